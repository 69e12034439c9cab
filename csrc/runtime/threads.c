/* Teams of threads: the only file that enters the OpenMP runtime. A job is divided into shares whose results do not
 * depend on the number of threads, so a team may have any size. In a child of fork() it has one thread, because OpenMP
 * would hang there.
 *
 * Back-off: a parallel job ends when its slowest thread ends. If another process keeps a core busy, the operating
 * system can stop one thread of the team for 3 to 12 ms, and the parallel job takes longer than a serial one would.
 * - A job has failed if it took at least MIN_SECONDS and more than MAX_RATIO times as long as one thread would have
 *   taken. One thread's time is estimated: the size of the team times the shortest time that one of its threads worked.
 * - After a failure the next N jobs get half the threads. If such a job fails too, they get half of that, down to one.
 * - After N jobs the full team gets a retry. If it fails, N doubles: FIRST_LENGTH at first, MAX_LENGTH at most.
 * - After RESET_AFTER full teams without a failure N starts from FIRST_LENGTH again.
 * The environment variable FASTOPT_BACKOFF=0, which is read once, switches this off.
 *
 * OpenMP ends the process if it cannot start a thread. So before a team grows, threads are started and ended as a
 * trial. If that fails, the next N jobs use the threads that there are. */
#include "runtime/threads.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/dispatch.h"

#ifdef _OPENMP
#include <fenv.h>
#include <omp.h>
#include <pthread.h>
#endif

static const double MIN_SECONDS = 1e-3; /* longer than it takes to wake a sleeping thread, which is no failure */
static const double MAX_RATIO = 2;      /* the shares of one job differ by less, even if nothing delays a thread */
enum {
    FIRST_LENGTH = 8,  /* jobs: a short disturbance costs a few slower jobs and no more */
    MAX_LENGTH = 128,  /* jobs: at most one job in 129 is a failed retry while a core stays busy */
    RESET_AFTER = 256, /* jobs: longer than the longest back-off, so that a lasting disturbance is not forgotten */
};

/* Several threads of the caller may run jobs at the same time. The accesses are relaxed atomics, so such jobs may be
 * counted twice or not at all; that changes the length of a back-off, and no result. */
static struct {
    int off;
    int limit;     /* the size of a team during a back-off */
    int length;    /* N of the last back-off; 0: no failure is remembered */
    int remaining; /* jobs until the retry */
    int successes; /* full teams since the last failure */
} backoff;

#ifdef _OPENMP
static int get(const int *x) { return __atomic_load_n(x, __ATOMIC_RELAXED); }
static void set(int *x, int value) { __atomic_store_n(x, value, __ATOMIC_RELAXED); }
#else /* without OpenMP there is no team, and the compiler may have no such atomics */
static int get(const int *x) { return *x; }
static void set(int *x, int value) { *x = value; }
#endif

bool fo_set_backoff(bool on)
{
    const bool before = !get(&backoff.off);
    set(&backoff.off, !on);
    set(&backoff.length, 0);
    set(&backoff.remaining, 0);
    return before;
}

int fo_team_size(int threads)
{
    const int remaining = get(&backoff.remaining), limit = get(&backoff.limit);
    if (remaining == 0)
        return threads;
    set(&backoff.remaining, remaining - 1);
    return threads < limit ? threads : limit;
}

static void back_off(int half)
{
    const int length = get(&backoff.length), limit = get(&backoff.limit);
    set(&backoff.limit, length > 0 && limit < half ? limit : half); /* a smaller team, if half failed before */
    set(&backoff.length, length == 0 ? FIRST_LENGTH : 2 * length < MAX_LENGTH ? 2 * length : MAX_LENGTH);
    set(&backoff.remaining, get(&backoff.length));
    set(&backoff.successes, 0);
}

void fo_report_job(double total, double least, int of, bool reduced)
{
    const bool failed = total >= MIN_SECONDS && total > MAX_RATIO * of * least && !get(&backoff.off);
    if (failed && reduced) {
        set(&backoff.limit, of / 2);
        set(&backoff.remaining, get(&backoff.length));
    } else if (failed) {
        back_off(of / 2);
    } else if (!reduced && get(&backoff.length) > 0) {
        set(&backoff.successes, get(&backoff.successes) + 1);
        if (get(&backoff.successes) >= RESET_AFTER)
            set(&backoff.length, 0);
    }
}

void fo_meet(struct fo_team *team)
{
#ifdef _OPENMP
    if (team->of > 1) {
        const double begun = omp_get_wtime();
#pragma omp barrier
        team->waited += omp_get_wtime() - begun;
    }
#endif
    (void)team;
}

#ifdef _OPENMP
/* OpenMP keeps the threads of a calling thread's last team for its next one. */
static _Thread_local int started = 1;
static int growing;              /* 1 while one thread of the caller enlarges its team */
static void (*on_failure)(void); /* called once, when a thread cannot be started */
static int usual;                /* OpenMP's number of threads where nobody has set another one */

/* Starts threads, each of which starts the next one, and returns when all have ended. rest: how many to start; then how
 * many could not be started. */
static void *start_chain(void *rest)
{
    int *const n = rest;
    pthread_t next;
    if (*n == 0)
        return NULL;
    --*n;
    if (pthread_create(&next, NULL, start_chain, rest) == 0)
        pthread_join(next, NULL);
    else
        ++*n;
    return NULL;
}

/* How many threads the team may have, at most `size`. The trial starts twice as many threads as are missing, because
 * the system may count a thread for a while after its end. */
static int affordable(int size)
{
    if (size <= started)
        return size;
    if (__atomic_exchange_n(&growing, 1, __ATOMIC_ACQUIRE) != 0)
        return started;
    const int missing = 2 * (size - started);
    int rest = missing;
    start_chain(&rest);
    if (rest == 0)
        return size;
    const int most = started + (missing - rest) / 2;
    if (most == started)
        __atomic_store_n(&growing, 0, __ATOMIC_RELEASE);
    back_off(most);
    void (*const report)(void) = __atomic_exchange_n(&on_failure, NULL, __ATOMIC_RELAXED);
    if (report != NULL)
        report();
    return most;
}

/* The threads take the modes of the caller's arithmetic, such as rounding and flushing subnormal numbers to zero. */
static void run_team(fo_share *share, void *job, int threads, bool reduced)
{
    const bool grows = threads > started;
    double least = INFINITY;
    int of = 1;
    fenv_t caller;
    (void)fegetenv(&caller);
    const double begun = omp_get_wtime();
#pragma omp parallel num_threads(threads) reduction(min : least)
    {
        struct fo_team team = {omp_get_thread_num(), omp_get_num_threads(), 0, false};
        fenv_t own;
        if (team.part > 0)
            (void)fegetenv(&own), (void)fesetenv(&caller);
        else if (of = team.of, grows)
            __atomic_store_n(&growing, 0, __ATOMIC_RELEASE);
        const double start = omp_get_wtime();
        share(job, &team);
        least = team.claims ? INFINITY : omp_get_wtime() - start - team.waited;
        if (team.part > 0)
            (void)fesetenv(&own);
    }
    started = threads;
    if (!grows) /* a job that also starts threads takes longer than MIN_SECONDS */
        fo_report_job(omp_get_wtime() - begun, least, of, reduced);
}
#endif

int fo_allowed_threads(int threads)
{
#ifdef _OPENMP
    if (fo_forked() || omp_in_parallel())
        return 1;
    const int limit = omp_get_max_threads();
    return limit != usual && limit < threads ? limit : threads;
#else
    return threads;
#endif
}

void fo_init_threads(void (*report)(void))
{
    const char *const on = getenv("FASTOPT_BACKOFF");
    set(&backoff.off, on != NULL && strcmp(on, "0") == 0);
#ifdef _OPENMP
    const char *const asked = getenv("OMP_NUM_THREADS");
    const int n = asked != NULL ? (int)strtol(asked, NULL, 10) : 0;
    usual = n > 0 ? n : omp_get_num_procs();
    on_failure = report;
#endif
    (void)report;
}

void fo_share_out(fo_share *share, void *job, int threads)
{
#ifdef _OPENMP
    const int size = threads > 1 && !fo_forked() ? affordable(fo_team_size(threads)) : 1;
    if (size > 1) {
        run_team(share, job, size, size < threads);
        return;
    }
#endif
    struct fo_team one = {0, 1, 0, false};
    (void)threads;
    share(job, &one);
}

struct units {
    fo_work *work;
    const void *job;
    int64_t units;
};

static void share_units(void *all, struct fo_team *team)
{
    const struct units *const u = all;
    u->work(u->job, fo_share_begin(u->units, team->part, team->of), fo_share_begin(u->units, team->part + 1, team->of));
}

void fo_share_units(fo_work *work, const void *job, int64_t units, int threads)
{
    struct units all = {work, job, units};
    fo_share_out(share_units, &all, units < threads ? (int)units : threads);
}
