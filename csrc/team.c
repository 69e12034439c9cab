/* Teams of threads: the one place that enters the OpenMP runtime. A job is done in shares whose results do not depend
 * on how many there are, so that a team may be of any size: of one in a child of a fork, where OpenMP must not be
 * entered, and for a while where a core that a thread wants is another program's.
 *
 * There a team is worse than one thread: a job ends when its last thread does, and that one begins, or goes on, when
 * the operating system takes the core from the other program, after 3 to 12 ms. So it is looked at how long each thread
 * works. Where one would have been faster, the next jobs are done by one, and then a team is tried again; the longer
 * after, the more often it was in vain. */
#include <math.h>

#include "fastopt.h"

#ifdef _OPENMP
#include <omp.h>
#endif

/* Seconds: waking a sleeping thread takes less. Shares differ by less than the factor. */
static const double LONG = 1e-3, UNEVEN = 2;

/* In jobs: what a pause has after a first team in vain; at most; and after how many others that one is forgotten. */
enum { LEAST_PAUSE = 8, MOST_PAUSE = 128, FORGOTTEN = 256 };

/* left: of the pause, whose length was the last one; since: jobs of teams since. Relaxed: threads of the caller that
 * come at the same time may count a job twice, or not at all. */
static struct {
    int off, length, left, since;
} pause;

#ifdef _OPENMP
static int get(const int *x) { return __atomic_load_n(x, __ATOMIC_RELAXED); }
static void set(int *x, int value) { __atomic_store_n(x, value, __ATOMIC_RELAXED); }
#else /* no teams, and maybe a compiler without atomics */
static int get(const int *x) { return *x; }
static void set(int *x, int value) { *x = value; }
#endif

bool fo_set_pauses(bool on)
{
    const bool before = !get(&pause.off);
    set(&pause.off, !on);
    set(&pause.length, 0);
    set(&pause.left, 0);
    return before;
}

int fo_judge_team(double total, double least, int of)
{
    if (total >= LONG && total > UNEVEN * of * least && !get(&pause.off)) {
        const int length = get(&pause.length);
        set(&pause.length, length == 0 ? LEAST_PAUSE : 2 * length < MOST_PAUSE ? 2 * length : MOST_PAUSE);
        set(&pause.left, get(&pause.length));
        set(&pause.since, 0);
    } else if (get(&pause.length) > 0) {
        set(&pause.since, get(&pause.since) + 1);
        if (get(&pause.since) >= FORGOTTEN)
            set(&pause.length, 0);
    }
    return get(&pause.left);
}

#ifdef _OPENMP
static bool is_paused(void)
{
    const int left = get(&pause.left);
    if (left > 0)
        set(&pause.left, left - 1);
    return left > 0;
}
#endif

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
static void run_by_several(fo_share *share, void *job, int threads)
{
    double work[FO_MOST_THREADS], least = INFINITY;
    int of = 1;
    const double begun = omp_get_wtime();
#pragma omp parallel num_threads(threads)
    {
        struct fo_team team = {omp_get_thread_num(), omp_get_num_threads(), 0, false};
        const double start = omp_get_wtime();
        share(job, &team);
        work[team.part] = team.claims ? INFINITY : omp_get_wtime() - start - team.waited;
        if (team.part == 0)
            of = team.of;
    }
    const double total = omp_get_wtime() - begun;
    for (int part = 0; part < of; part++)
        least = work[part] < least ? work[part] : least;
    static int largest; /* so far: the threads of a larger team had to be made */
    if (of <= get(&largest))
        fo_judge_team(total, least, of);
    else
        set(&largest, of);
}
#endif

void fo_share_out(fo_share *share, void *job, int threads)
{
#ifdef _OPENMP
    if (threads > 1 && !fo_forked() && !is_paused()) {
        run_by_several(share, job, threads);
        return;
    }
#endif
    struct fo_team one = {0, 1, 0, false};
    (void)threads;
    share(job, &one);
}
