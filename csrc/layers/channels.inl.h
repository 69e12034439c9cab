/* Batch normalization and factors per channel: sums over all elements of a channel, and loops that apply factors. */
#include "layers/channels.h"

/* A unit is one channel of a slab. A slab is one tile of the plane in one sample, or in several if planes are small. */
static void sums_of_planes(const struct fo_channels *job, int64_t unit)
{
    const int64_t c = unit % job->channels, slab = unit / job->channels;
    const int64_t tiles = fo_tiles(job->inner), samples = fo_samples_of_slab(job);
    const int64_t first = slab / tiles * samples, last = fo_least(first + samples, job->outer);
    const int64_t start = slab % tiles * FO_TILE, size = fo_least(job->inner - start, FO_TILE);
    double one[LANES] = {0}, two[LANES] = {0};
    for (int64_t n = first; n < last; n++) {
        const int64_t at = (n * job->channels + c) * job->inner + start;
        if (job->dy) {
            add_values(job->dy + at, size, one);
            add_products(job->x + at, job->dy + at, size, job->shift[c], two);
        } else {
            add_differences(job->x + at, size, job->shift[c], one);
            add_squares(job->x + at, size, job->shift[c], two);
        }
    }
    double *const partial = job->partial + (2 * slab * job->channels + c);
    partial[0] = fold(one);
    partial[job->channels] = fold(two);
}

/* Per column c: one[c] += Σ d and two[c] += Σ d², d = x − shift; or Σ dy and Σ dy·d. The running sums are loaded and
 * stored once for `rows` elements. */
FO_INLINE void column_sums(bool back, const struct fo_channels *job, int64_t at, int rows, int64_t c0, int64_t columns,
                           double *restrict one, double *restrict two)
{
    const float *const x = job->x + at, *const dy = back ? job->dy + at : x;
    const double *const shift = job->shift + c0;
    const int64_t stride = job->channels;
    FO_INDEPENDENT
    for (int64_t c = 0; c < columns; c++) {
        double first = 0, second = 0;
        for (int r = 0; r < rows; r++) {
            const double d = (double)x[r * stride + c] - shift[c], g = back ? (double)dy[r * stride + c] : d;
            first += g;
            second += g * d;
        }
        one[c] += first;
        two[c] += second;
    }
}

/* Four rows at a time; `rows` is a constant of each call, so that the compiler unrolls the inner loop. */
static void row_sums(const struct fo_channels *job, int64_t r, int64_t rows, int64_t c0, int64_t columns, double *one,
                     double *two)
{
    const int64_t at = r * job->channels + c0;
    if (job->dy && rows >= 4)
        column_sums(true, job, at, 4, c0, columns, one, two);
    else if (job->dy)
        column_sums(true, job, at, (int)rows, c0, columns, one, two);
    else if (rows >= 4)
        column_sums(false, job, at, 4, c0, columns, one, two);
    else
        column_sums(false, job, at, (int)rows, c0, columns, one, two);
}

/* A unit is FO_COLUMNS channels of a slab of FO_ROWS rows. */
static void sums_of_columns(const struct fo_channels *job, int64_t unit)
{
    const int64_t blocks = (job->channels + FO_COLUMNS - 1) / FO_COLUMNS, slab = unit / blocks;
    const int64_t c = unit % blocks * FO_COLUMNS, rows = job->outer * job->inner;
    const int64_t n = fo_least(job->channels - c, FO_COLUMNS);
    const int64_t first = slab * FO_ROWS, last = fo_least(first + FO_ROWS, rows);
    double *const one = job->partial + (2 * slab * job->channels + c), *const two = one + job->channels;
    memset(one, 0, (size_t)n * sizeof *one);
    memset(two, 0, (size_t)n * sizeof *two);
    for (int64_t r = first; r < last; r += 4)
        row_sums(job, r, last - r, c, n, one, two);
}

static void channel_sums(const void *job, int64_t from, int64_t to)
{
    const bool last = ((const struct fo_channels *)job)->channels_last;
    for (int64_t unit = from; unit < to; unit++)
        if (last)
            sums_of_columns(job, unit);
        else
            sums_of_planes(job, unit);
}

/* The result for one element: x and dy of it, k its channel's place in the factors. */
typedef float fo_channel_result(const struct fo_channels *job, const float *x, const float *dy, int64_t k);

/* A unit is a plane, or a row with channels last. */
FO_INLINE void map_channels(fo_channel_result *result, const void *all, int64_t from, int64_t to)
{
    const struct fo_channels job = *(const struct fo_channels *)all; /* a copy, which stores to `out` cannot change */
    const int64_t size = job.channels_last ? job.channels : job.inner;
    for (int64_t unit = from; unit < to; unit++) {
        const float *const x = job.x + unit * size, *const dy = job.dy ? job.dy + unit * size : x;
        float *const out = job.out + unit * size;
        if (job.channels_last) {
            const int64_t base = job.per_outer ? unit / job.inner * job.channels : 0;
            FO_INDEPENDENT
            for (int64_t i = 0; i < size; i++)
                out[i] = result(&job, x + i, dy + i, base + i);
        } else {
            const int64_t k = job.per_outer ? unit : unit % job.channels;
            FO_INDEPENDENT
            for (int64_t i = 0; i < size; i++)
                out[i] = result(&job, x + i, dy + i, k);
        }
    }
}

FO_INLINE float normalized(const struct fo_channels *j, const float *x, const float *dy, int64_t k)
{
    return (void)dy, ((*x - j->high[k]) - j->low[k]) * j->scale[k] + j->bias[k];
}

FO_INLINE float normalized_back(const struct fo_channels *j, const float *x, const float *dy, int64_t k)
{
    return (*dy - j->bias[k] - ((*x - j->high[k]) - j->low[k]) * j->slope[k]) * j->scale[k];
}

FO_INLINE float scaled(const struct fo_channels *j, const float *x, const float *dy, int64_t k)
{
    return (void)dy, j->scale[k] == 0.0f ? 0.0f : *x * j->scale[k];
}

static void normalize(const void *job, int64_t from, int64_t to) { map_channels(normalized, job, from, to); }
static void normalize_back(const void *job, int64_t from, int64_t to) { map_channels(normalized_back, job, from, to); }
static void scale_channels(const void *job, int64_t from, int64_t to) { map_channels(scaled, job, from, to); }
