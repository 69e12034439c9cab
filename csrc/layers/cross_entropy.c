/* Driver of the cross-entropy: a unit is as many rows as have about FO_TILE logits. */
#include "fastopt.h"
#include "fastopt_layers.h"
#include "runtime/threads.h"
#include "runtime/tiles.h"

static int64_t rows_per_unit(const struct fo_entropy *job)
{
    return job->classes < FO_TILE ? FO_TILE / job->classes : 1;
}

int64_t fo_entropy_units(const struct fo_entropy *job)
{
    return (job->rows + rows_per_unit(job) - 1) / rows_per_unit(job);
}

double fo_target_weight(const struct fo_entropy *job)
{
    double sum = 0;
    for (int64_t r = 0; r < job->rows; r++) {
        const int64_t y = job->target[r];
        if (y == job->ignore)
            continue;
        if (y < 0 || y >= job->classes)
            return -1.0 - (double)r;
        sum += job->weight ? (double)job->weight[y] : 1.0;
    }
    return sum;
}

static void entropy_units(const void *job, int64_t from, int64_t to)
{
    const struct fo_entropy *const e = job;
    const int64_t rows = rows_per_unit(e);
    for (int64_t unit = from; unit < to; unit++)
        e->partial[unit] = fo_kernels()->layers->entropy(e, unit * rows, fo_least((unit + 1) * rows, e->rows));
}

double fo_run_entropy(struct fo_entropy *job, int threads)
{
    job->total_weight = 0;
    for (int64_t c = 0; c < job->classes; c++)
        job->total_weight += job->weight ? (double)job->weight[c] : 1.0;
    fo_share_units(entropy_units, job, fo_entropy_units(job), threads);
    return fo_sum_partials(job->partial, fo_entropy_units(job));
}
