/* Distributes the resamples of the bootstrap over threads. One thread does a whole resample, so the number of threads
 * changes no bit. A call on one thread never enters the OpenMP runtime. */
#include "fastopt_resample.h"

#include "fastopt.h"
#include "fastopt_layers.h"

struct drawing {
    void (*resample)(const struct fo_resample *, int64_t, int64_t, int);
    const struct fo_resample *job;
};

#ifdef _OPENMP
enum { SHARES = 16 }; /* per thread: if the OS preempts one thread, the others take over its remaining shares */

static int64_t first_of_share(const struct fo_resample *job, int64_t share, int64_t of)
{
    return job->resamples / of * share + job->resamples % of * share / of;
}
#endif

static void draw(void *drawing, struct fo_team *team)
{
    const struct drawing *const d = drawing;
    if (team->of == 1)
        d->resample(d->job, 0, d->job->resamples, 0);
#ifdef _OPENMP
    const int64_t shares = d->job->resamples < SHARES * team->of ? d->job->resamples : SHARES * team->of;
    if (team->of > 1) {
        team->claims = true;
#pragma omp for schedule(dynamic) nowait
        for (int64_t s = 0; s < shares; s++)
            d->resample(d->job, first_of_share(d->job, s, shares), first_of_share(d->job, s + 1, shares), team->part);
    }
#endif
}

void fo_run_resample(int kernel, const struct fo_resample *job, int threads)
{
    struct drawing drawing = {fo_kernels()->layers->resample[kernel], job};
    fo_share_out(draw, &drawing, job->resamples < threads ? (int)job->resamples : threads);
}
