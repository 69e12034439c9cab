/* Teams of threads: the one place that enters the OpenMP runtime. A job is done in shares whose results do not depend
 * on how many there are, so that a team may be of any size: of one in a child of a fork, where OpenMP must not be
 * entered, and for a while where a core that a thread wants is another program's.
 *
 * There a team can be worse than one thread: a job ends when its last thread does, and that one begins, or goes on,
 * when the operating system takes the core from the other program, after 3 to 12 ms. So it is looked at how long each
 * thread works. Where one would have been faster, the next jobs are done by half of them, down to one, and then as many
 * as are asked for are tried again; the longer after, the more often it was in vain. */
#include <math.h>

#include "fastopt.h"

#ifdef _OPENMP
#include <omp.h>
#endif

/* Seconds: waking a sleeping thread takes less. Shares differ by less than the factor. */
static const double LONG = 1e-3, UNEVEN = 2;

/* In jobs: how long a team is held down after a first one in vain; at most; and how many others that one is remembered
 * for. */
enum { LEAST_HELD = 8, MOST_HELD = 128, REMEMBERED = 256 };

/* most: threads while it is held down; left: jobs of these `length`; since: jobs of whole teams since the last in vain.
 * Relaxed: threads of the caller that come at the same time may count a job twice, or not at all. */
static struct {
    int off, most, length, left, since;
} hold;

#ifdef _OPENMP
static int get(const int *x) { return __atomic_load_n(x, __ATOMIC_RELAXED); }
static void set(int *x, int value) { __atomic_store_n(x, value, __ATOMIC_RELAXED); }
#else /* no teams, and maybe a compiler without atomics */
static int get(const int *x) { return *x; }
static void set(int *x, int value) { *x = value; }
#endif

bool fo_set_holds(bool on)
{
    const bool before = !get(&hold.off);
    set(&hold.off, !on);
    set(&hold.length, 0);
    set(&hold.left, 0);
    return before;
}

int fo_team_size(int threads)
{
    const int left = get(&hold.left), most = get(&hold.most);
    if (left == 0)
        return threads;
    set(&hold.left, left - 1);
    return threads < most ? threads : most;
}

static void judge_whole(bool vain, int fewer)
{
    const int length = get(&hold.length), most = get(&hold.most), since = get(&hold.since);
    if (vain) {
        set(&hold.most, length > 0 && most < fewer ? most : fewer);
        set(&hold.length, length == 0 ? LEAST_HELD : 2 * length < MOST_HELD ? 2 * length : MOST_HELD);
        set(&hold.left, get(&hold.length));
        set(&hold.since, 0);
    } else if (length > 0) {
        set(&hold.since, since + 1);
        if (since + 1 >= REMEMBERED)
            set(&hold.length, 0);
    }
}

void fo_judge_team(double total, double least, int of, bool held)
{
    const bool vain = total >= LONG && total > UNEVEN * of * least && !get(&hold.off);
    if (!held)
        judge_whole(vain, of / 2);
    else if (vain) {
        set(&hold.most, of / 2);
        set(&hold.left, get(&hold.length));
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
static void run_by_several(fo_share *share, void *job, int threads, bool held)
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
        fo_judge_team(total, least, of, held);
    else
        set(&largest, of);
}
#endif

void fo_share_out(fo_share *share, void *job, int threads)
{
#ifdef _OPENMP
    const int size = threads > 1 && !fo_forked() ? fo_team_size(threads) : 1;
    if (size > 1) {
        run_by_several(share, job, size, size < threads);
        return;
    }
#endif
    struct fo_team one = {0, 1, 0, false};
    (void)threads;
    share(job, &one);
}
