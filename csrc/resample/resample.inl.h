/* What the bootstrap computes from a resample: sums, order statistics, or the list of the rows drawn. Compiled once per
 * instruction set (isa/kernels.inl.h includes this file). Each function does resamples from … to − 1. */
#include "resample/draw.inl.h"

/* Σ count[i] x[i], in doubles. Row i is added to lane i % LANES, and the lanes are added at the end, so the error is at
 * most rows / LANES + 6 roundings of Σ count[i] |x[i]|. */
static double sum_counted(const double *x, const uint8_t *count, int64_t rows)
{
    double lane[LANES] = {0};
    int64_t i = 0;
    for (; i + ROWS_AT_ONCE <= rows; i += ROWS_AT_ONCE) {
        int32_t times[ROWS_AT_ONCE]; /* two loops, because compilers do not vectorize the two conversions in one */
        for (int j = 0; j < ROWS_AT_ONCE; j++)
            times[j] = count[i + j];
        for (int j = 0; j < ROWS_AT_ONCE; j += LANES)
            for (int l = 0; l < LANES; l++)
                lane[l] += times[j + l] * x[i + j + l];
    }
    for (int l = 0; i < rows; i++, l++)
        lane[l % LANES] += count[i] * x[i];
    return fold(lane);
}

static void resample_sums(const struct fo_resample *job, int64_t from, int64_t to, int thread)
{
    for (int64_t b = from; b < to; b++) {
        const uint8_t *const counts = draw_resample(job, b, thread);
        for (int64_t c = 0; c < job->columns; c++)
            job->out[b * job->columns + c] = sum_counted(job->x + c * job->rows, counts, job->rows);
    }
}

static void resample_places(const struct fo_resample *job, int64_t from, int64_t to, int thread)
{
    for (int64_t b = from; b < to; b++) {
        const uint8_t *const counts = draw_resample(job, b, thread);
        int64_t place = -1, drawn = 0; /* drawn: the sum of the counts of places 0 … place */
        for (int64_t p = 0; p < job->columns; p++) {
            while (drawn <= job->places[p])
                drawn += counts[job->order[++place]];
            job->out[b * job->columns + p] = job->x[place];
        }
    }
}

/* Writes row i count[i] times. It always writes four times and lets the next row overwrite what is too much, because a
 * loop of unpredictable length would be slower. */
static int64_t list_rows(int64_t *row, const uint8_t *counts, const struct fo_stratum *stratum)
{
    enum { AT_ONCE = 4 };
    int64_t n = 0;
    for (int64_t i = stratum->first; i < stratum->first + stratum->rows; i++) {
        const int64_t end = n + counts[i];
        if (counts[i] <= AT_ONCE && n + AT_ONCE <= stratum->draws)
            for (int c = 0; c < AT_ONCE; c++)
                row[n + c] = i;
        else
            for (; n < end; n++)
                row[n] = i;
        n = end;
    }
    return n;
}

/* Fisher and Yates: a statistic may depend on the order of the rows, as that of a time series does. */
static void shuffle(int64_t *row, int64_t n, struct xoshiro *x)
{
    for (int64_t last = n - 1; last > 0; last -= WORDS) {
        uint64_t word[WORDS];
        uint32_t other[WORDS];
        xoshiro_block(word, x);
        for (int i = 0; i < WORDS; i++) /* those with i > last are not used */
            other[i] = index_below((uint64_t)(last + 1 - i), word[i]);
        for (int i = 0; i < WORDS && i < last; i++) {
            const int64_t kept = row[last - i];
            row[last - i] = row[other[i]];
            row[other[i]] = kept;
        }
    }
}

static void resample_rows(const struct fo_resample *job, int64_t from, int64_t to, int thread)
{
    for (int64_t b = from; b < to; b++) {
        const uint8_t *const counts = draw_resample(job, b, thread);
        int64_t *row = job->index + b * job->draws;
        for (int64_t s = 0; s < job->n_strata; s++) {
            struct xoshiro x = generators_of(job, b, s, FOR_ORDER);
            const int64_t n = list_rows(row, counts, &job->strata[s]);
            shuffle(row, n, &x);
            row += n;
        }
    }
}
