/* The driver of the bootstrap: shares of the resamples over threads. Each resample is one thread's, so that the number
 * of threads changes no bit. A serial call never enters the OpenMP runtime. */
#include "fastopt_resample.h"

#include "fastopt.h"
#include "fastopt_layers.h"

#ifdef _OPENMP
#include <omp.h>
#endif

int fo_draws_per_word(int64_t n)
{
    /* nᵏ <= 2⁴⁰ of the 2⁶⁴ values of a word */
    return n <= 256 ? 5 : n <= 1024 ? 4 : n <= 10321 ? 3 : n <= 1 << 20 ? 2 : 1;
}

void fo_run_resample(int kernel, const struct fo_resample *job, int threads)
{
    void (*const resample)(const struct fo_resample *, int64_t, int64_t, int) = fo_kernels()->layers->resample[kernel];
#ifdef _OPENMP
    if (threads > 1 && job->resamples > 1 && !fo_forked()) {
#pragma omp parallel num_threads(threads)
        {
            const int64_t part = omp_get_thread_num(), of = omp_get_num_threads();
            const int64_t from = job->resamples / of * part + (part < job->resamples % of ? part : job->resamples % of);
            resample(job, from, from + job->resamples / of + (part < job->resamples % of), (int)part);
        }
        return;
    }
#endif
    (void)threads;
    resample(job, 0, job->resamples, 0);
}
