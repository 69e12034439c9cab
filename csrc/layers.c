/* The drivers of the layers: shares of a job's units over threads, and sums put together in the order of the units, so
 * that the number of threads changes no bit. Serial calls never enter the OpenMP runtime. */
#include <math.h>
#include <string.h>

#include "fastopt.h"
#include "fastopt_layers.h"

static int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }

typedef void work(const void *job, int64_t from, int64_t to);

struct units {
    work *do_units;
    const void *job;
    int64_t units;
};

static void share_units(void *all, struct fo_team *team)
{
    const struct units *const u = all;
    const int64_t part = team->part, each = u->units / team->of, more = u->units % team->of;
    const int64_t from = part * each + (part < more ? part : more);
    u->do_units(u->job, from, from + each + (part < more));
}

static void run(work *do_units, const void *job, int64_t units, int threads)
{
    struct units all = {do_units, job, units};
    fo_share_out(share_units, &all, (int)least(units, threads));
}

static int64_t tiles_of(int64_t size) { return (size + FO_TILE - 1) / FO_TILE; }

/* -- element by element, over one array or many ------------------------------------------------------------------- */

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
        const int64_t end = least(to - job->first_tile, tiles_of(job->size));
        fo_kernels()->layers->each[e->kernel](job, (from - job->first_tile) * FO_TILE, least(end * FO_TILE, job->size));
        from = job->first_tile + end;
    }
}

void fo_run_each(int kernel, struct fo_each *job, int64_t jobs, int threads)
{
    int64_t tiles = 0;
    for (int64_t j = 0; j < jobs; j++) {
        job[j].first_tile = tiles;
        tiles += tiles_of(job[j].size);
    }
    const struct each_jobs all = {job, jobs, kernel};
    run(each_tiles, &all, tiles, threads);
}

struct powers {
    const float *x;
    int64_t size;
    int power;
    double *partial;
};

static void power_tiles(const void *job, int64_t from, int64_t to)
{
    const struct powers *const p = job;
    const struct fo_kernels *const kernels = fo_kernels();
    for (int64_t tile = from; tile < to; tile++) {
        const float *const x = p->x + tile * FO_TILE;
        const int64_t size = least(p->size - tile * FO_TILE, FO_TILE);
        p->partial[tile] =
            p->power == 2 ? kernels->sum_of_squares(x, size) : kernels->layers->sum_of_magnitudes(x, size);
    }
}

static double sum_up(const double *partial, int64_t n)
{
    double sum = 0;
    for (int64_t i = 0; i < n; i++)
        sum += partial[i];
    return sum;
}

double fo_run_sum_of_powers(const float *x, int64_t size, int power, double *partial, int threads)
{
    const struct powers job = {x, size, power, partial};
    run(power_tiles, &job, tiles_of(size), threads);
    return sum_up(partial, tiles_of(size));
}

void fo_run_philox(const uint32_t *counter, uint32_t *out, int64_t n, const uint32_t key[2])
{
    fo_kernels()->layers->philox(counter, out, n, key);
}

/* -- channels -------------------------------------------------------------------------------------------------------
 */

int64_t fo_slabs(const struct fo_channels *job)
{
    if (job->channels_last)
        return (job->outer * job->inner + FO_ROWS - 1) / FO_ROWS;
    const int64_t group = job->inner < FO_PLANE ? (FO_PLANE + job->inner - 1) / job->inner : 1;
    return (job->outer + group - 1) / group * tiles_of(job->inner);
}

static void sum_units(const void *job, int64_t from, int64_t to) { fo_kernels()->layers->sums(job, from, to); }
static void normalize_units(const void *job, int64_t from, int64_t to)
{
    fo_kernels()->layers->normalize(job, from, to);
}
static void back_units(const void *job, int64_t from, int64_t to)
{
    fo_kernels()->layers->normalize_back(job, from, to);
}
static void scale_units(const void *job, int64_t from, int64_t to) { fo_kernels()->layers->scale(job, from, to); }

void fo_run_sums(const struct fo_channels *job, double *sums, int threads)
{
    const int64_t slabs = fo_slabs(job), n = 2 * job->channels;
    const int64_t blocks = job->channels_last ? (job->channels + FO_COLUMNS - 1) / FO_COLUMNS : job->channels;
    run(sum_units, job, slabs * blocks, threads);
    memset(sums, 0, (size_t)n * sizeof(double));
    for (int64_t slab = 0; slab < slabs; slab++)
        for (int64_t i = 0; i < n; i++)
            sums[i] += job->partial[slab * n + i];
}

static int64_t rows_of(const struct fo_channels *job)
{
    return job->outer * (job->channels_last ? job->inner : job->channels);
}
void fo_run_normalize(const struct fo_channels *job, int threads) { run(normalize_units, job, rows_of(job), threads); }
void fo_run_normalize_back(const struct fo_channels *job, int threads) { run(back_units, job, rows_of(job), threads); }
void fo_run_scale(const struct fo_channels *job, int threads) { run(scale_units, job, rows_of(job), threads); }

/* -- mixing, cross-entropy, images -------------------------------------------------------------------------------- */

static void mix_rows(const void *all, int64_t from, int64_t to)
{
    const struct fo_mix *const m = all;
    const int64_t tiles = tiles_of(m->size);
    for (int64_t unit = from; unit < to; unit++) {
        const int64_t r = unit / tiles, at = unit % tiles * FO_TILE;
        const float *const x = m->x + r * m->size + at, *const y = m->x + m->partner[r] * m->size + at;
        const int64_t size = least(m->size - at, FO_TILE);
        fo_kernels()->layers->mix(m->out + r * m->size + at, x, y, m->a[r], m->b[r], size);
    }
}

void fo_run_mix(const struct fo_mix *job, int threads) { run(mix_rows, job, job->rows * tiles_of(job->size), threads); }

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
        e->partial[unit] = fo_kernels()->layers->entropy(e, unit * rows, least((unit + 1) * rows, e->rows));
}

double fo_run_entropy(struct fo_entropy *job, int threads)
{
    job->total_weight = 0;
    for (int64_t c = 0; c < job->classes; c++)
        job->total_weight += job->weight ? (double)job->weight[c] : 1.0;
    run(entropy_units, job, fo_entropy_units(job), threads);
    return sum_up(job->partial, fo_entropy_units(job));
}

struct image_job {
    const struct fo_images *job;
    int kernel;
};

static void image_samples(const void *all, int64_t from, int64_t to)
{
    const struct image_job *const i = all;
    fo_kernels()->layers->images[i->kernel](i->job, from, to);
}

void fo_run_images(int kernel, const struct fo_images *job, int threads)
{
    const struct image_job all = {job, kernel};
    run(image_samples, &all, job->samples, threads);
}
