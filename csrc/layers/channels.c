/* Drivers of the channel kernels. */
#include <string.h>

#include "fastopt.h"
#include "fastopt_layers.h"
#include "runtime/threads.h"
#include "runtime/tiles.h"

int64_t fo_slabs(const struct fo_channels *job)
{
    if (job->channels_last)
        return (job->outer * job->inner + FO_ROWS - 1) / FO_ROWS;
    const int64_t group = job->inner < FO_PLANE ? (FO_PLANE + job->inner - 1) / job->inner : 1;
    return (job->outer + group - 1) / group * fo_tiles(job->inner);
}

static void sum_units(const void *job, int64_t from, int64_t to) { fo_kernels()->layers->sums(job, from, to); }
static void normalize(const void *job, int64_t from, int64_t to) { fo_kernels()->layers->normalize(job, from, to); }
static void back(const void *job, int64_t from, int64_t to) { fo_kernels()->layers->normalize_back(job, from, to); }
static void scale(const void *job, int64_t from, int64_t to) { fo_kernels()->layers->scale(job, from, to); }

void fo_run_sums(const struct fo_channels *job, double *sums, int threads)
{
    const int64_t slabs = fo_slabs(job), n = 2 * job->channels;
    const int64_t blocks = job->channels_last ? (job->channels + FO_COLUMNS - 1) / FO_COLUMNS : job->channels;
    fo_share_units(sum_units, job, slabs * blocks, threads);
    memset(sums, 0, (size_t)n * sizeof(double));
    for (int64_t slab = 0; slab < slabs; slab++)
        for (int64_t i = 0; i < n; i++)
            sums[i] += job->partial[slab * n + i];
}

static void run_rows(fo_work *work, const struct fo_channels *job, int threads)
{
    fo_share_units(work, job, job->outer * (job->channels_last ? job->inner : job->channels), threads);
}
void fo_run_normalize(const struct fo_channels *job, int threads) { run_rows(normalize, job, threads); }
void fo_run_normalize_back(const struct fo_channels *job, int threads) { run_rows(back, job, threads); }
void fo_run_scale(const struct fo_channels *job, int threads) { run_rows(scale, job, threads); }
