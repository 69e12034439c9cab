/* Divides the jobs of the layers among threads. Units and the order of sums depend on shapes alone, so the number of
 * threads changes no bit. */
#include <string.h>

#include "isa/kernels.h"
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
        fo_kernels()->each[e->kernel](job, begin * FO_TILE, fo_least(end * FO_TILE, job->size));
        from = job->first_tile + end;
    }
}

static void run_each(int kernel, struct fo_each *job, int64_t jobs, int threads)
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
    fo_add *add;
    double *partial;
};

static void power_tiles(const void *job, int64_t from, int64_t to)
{
    const struct powers *const p = job;
    for (int64_t tile = from; tile < to; tile++) {
        double lane[LANES] = {0};
        p->add(p->x + tile * FO_TILE, fo_least(p->size - tile * FO_TILE, FO_TILE), lane);
        p->partial[tile] = fold(lane);
    }
}

static double run_sum_of_powers(const float *x, int64_t size, int power, double *partial, int threads)
{
    const struct fo_kernels *const kernels = fo_kernels();
    const struct powers job = {x, size, power == 2 ? kernels->add_squares : kernels->add_magnitudes, partial};
    fo_share_units(power_tiles, &job, fo_tiles(size), threads);
    return fo_sum_partials(partial, fo_tiles(size));
}

static int64_t count_slabs(const struct fo_channels *job)
{
    if (job->channels_last)
        return (job->outer * job->inner + FO_ROWS - 1) / FO_ROWS;
    const int64_t samples = fo_samples_of_slab(job);
    return (job->outer + samples - 1) / samples * fo_tiles(job->inner);
}

static void run_sums(const struct fo_channels *job, double *sums, int threads)
{
    const int64_t slabs = count_slabs(job), n = job->channels;
    const int64_t blocks = job->channels_last ? (job->channels + FO_COLUMNS - 1) / FO_COLUMNS : job->channels;
    fo_share_units(fo_kernels()->sums, job, slabs * blocks, threads);
    memset(sums, 0, (size_t)(2 * n) * sizeof(double));
    for (int64_t slab = 0; slab < 2 * slabs; slab++)
        for (int64_t c = 0; c < n; c++)
            sums[2 * c + slab % 2] += job->partial[slab * n + c];
}

/* A unit is a plane, or a row with channels last. */
static void run_channels(int kernel, const struct fo_channels *job, int threads)
{
    const int64_t units = job->outer * (job->channels_last ? job->inner : job->channels);
    fo_share_units(fo_kernels()->channels[kernel], job, units, threads);
}

static void run_mix(const struct fo_mix *job, int threads)
{
    fo_share_units(fo_kernels()->mix, job, job->rows * fo_tiles(job->size), threads);
}

/* A unit of the cross-entropy is as many rows as have about FO_TILE logits. */
static int64_t rows_per_unit(const struct fo_entropy *job)
{
    return job->classes < FO_TILE ? FO_TILE / job->classes : 1;
}

static int64_t count_entropy_units(const struct fo_entropy *job)
{
    return (job->rows + rows_per_unit(job) - 1) / rows_per_unit(job);
}

static double target_weight(const struct fo_entropy *job)
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
        e->partial[unit] = fo_kernels()->entropy(e, unit * rows, fo_least((unit + 1) * rows, e->rows));
}

static double run_entropy(struct fo_entropy *job, int threads)
{
    job->total_weight = 0;
    for (int64_t c = 0; c < job->classes; c++)
        job->total_weight += job->weight ? (double)job->weight[c] : 1.0;
    fo_share_units(entropy_units, job, count_entropy_units(job), threads);
    return fo_sum_partials(job->partial, count_entropy_units(job));
}

struct image_job {
    const struct fo_images *job;
    int kernel;
};

static void image_samples(const void *all, int64_t from, int64_t to)
{
    const struct image_job *const i = all;
    for (int64_t sample = from; sample < to; sample++)
        for (int64_t c = 0; c < i->job->planes; c++)
            fo_kernels()->images[i->kernel](i->job, sample, c);
}

static void run_images(int kernel, const struct fo_images *job, int threads)
{
    const struct image_job all = {job, kernel};
    fo_share_units(image_samples, &all, job->samples, threads);
}

const struct fo_layers_api fo_layers_api = {
    .each = run_each,
    .sum_of_powers = run_sum_of_powers,
    .slabs = count_slabs,
    .sums = run_sums,
    .channels = run_channels,
    .mix = run_mix,
    .entropy_units = count_entropy_units,
    .target_weight = target_weight,
    .entropy = run_entropy,
    .images = run_images,
};
