/* Distributes the resamples of the bootstrap over threads. One thread does a whole resample, so the number of threads
 * changes no bit. A call on one thread never enters the OpenMP runtime. */
#include "isa/kernels.h"
#include "runtime/tiles.h"

struct drawing {
    void (*resample)(const struct fo_resample *, int64_t, int64_t, int);
    const struct fo_resample *job;
};

enum { SHARES = 16 }; /* per thread: if the OS preempts one thread, the others take over its remaining shares */

static void draw(void *drawing, struct fo_team *team)
{
    const struct drawing *const d = drawing;
    const int64_t resamples = d->job->resamples;
#ifdef _OPENMP
    if (team->of > 1) {
        const int64_t share = resamples / (SHARES * team->of) + 1;
        team->claims = true;
#pragma omp for schedule(dynamic, share) nowait
        for (int64_t b = 0; b < resamples; b++)
            d->resample(d->job, b, b + 1, team->part);
        return;
    }
#endif
    (void)team;
    d->resample(d->job, 0, resamples, 0);
}

void fo_run_resample(int kernel, const struct fo_resample *job, int threads)
{
    struct drawing drawing = {fo_kernels()->resample[kernel], job};
    fo_share_out(draw, &drawing, job->resamples < threads ? (int)job->resamples : threads);
}
