/* Drivers of the elementwise kernels, over one array or many, and the sum of powers of an array. */
#include "fastopt.h"
#include "fastopt_layers.h"
#include "runtime/threads.h"
#include "runtime/tiles.h"

struct each_jobs {
    const struct fo_each *job;
    int64_t jobs;
    int kernel;
};

static void each_tiles(const void *all, int64_t from, int64_t to)
{
    const struct each_jobs *const e = all;
    int64_t j = 0;
    while (from < to) {
        while (j + 1 < e->jobs && e->job[j + 1].first_tile <= from)
            j++;
        const struct fo_each *const job = &e->job[j];
        const int64_t begin = from - job->first_tile, end = fo_least(to - job->first_tile, fo_tiles(job->size));
        fo_kernels()->layers->each[e->kernel](job, begin * FO_TILE, fo_least(end * FO_TILE, job->size));
        from = job->first_tile + end;
    }
}

void fo_run_each(int kernel, struct fo_each *job, int64_t jobs, int threads)
{
    int64_t tiles = 0;
    for (int64_t j = 0; j < jobs; j++) {
        job[j].first_tile = tiles;
        tiles += fo_tiles(job[j].size);
    }
    const struct each_jobs all = {job, jobs, kernel};
    fo_share_units(each_tiles, &all, tiles, threads);
}

struct powers {
    const float *x;
    int64_t size;
    double (*sum)(const float *x, int64_t size);
    double *partial;
};

static void power_tiles(const void *job, int64_t from, int64_t to)
{
    const struct powers *const p = job;
    for (int64_t tile = from; tile < to; tile++)
        p->partial[tile] = p->sum(p->x + tile * FO_TILE, fo_least(p->size - tile * FO_TILE, FO_TILE));
}

double fo_run_sum_of_powers(const float *x, int64_t size, int power, double *partial, int threads)
{
    const struct fo_kernels *const kernels = fo_kernels();
    const struct powers job = {x, size, power == 2 ? kernels->sum_of_squares : kernels->layers->sum_of_magnitudes,
                               partial};
    fo_share_units(power_tiles, &job, fo_tiles(size), threads);
    return fo_sum_partials(partial, fo_tiles(size));
}

void fo_run_philox(const uint32_t *counter, uint32_t *out, int64_t n, const uint32_t key[2])
{
    fo_kernels()->layers->philox(counter, out, n, key);
}
