/* Driver of the image kernels: a unit is one sample. */
#include "fastopt.h"
#include "fastopt_layers.h"
#include "runtime/threads.h"

struct image_job {
    const struct fo_images *job;
    int kernel;
};

static void image_samples(const void *all, int64_t from, int64_t to)
{
    const struct image_job *const i = all;
    for (int64_t sample = from; sample < to; sample++)
        for (int64_t c = 0; c < i->job->planes; c++)
            fo_kernels()->layers->images[i->kernel](i->job, sample, c);
}

void fo_run_images(int kernel, const struct fo_images *job, int threads)
{
    const struct image_job all = {job, kernel};
    fo_share_units(image_samples, &all, job->samples, threads);
}
