/* Drawing with replacement and summing what was drawn, compiled once per instruction set (kernels.h includes this file
 * through layers.h). The order of the draws and of every sum is part of its definition. */
#include "fastopt_resample.h"

enum {
    PURPOSE_RESAMPLE = 0x40000000, /* or'ed with the stratum, the fourth word of a counter */
    PAIRS = PHILOX_BLOCK / 2,      /* 64-bit words in a block of Philox */
    MOST_PER_WORD = 5,
    HELD = 2048 /* rows drawn before they are summed: they stay in the L1 cache */
};

/* n · word = index · 2⁶⁴ + rest, and the rest is the word of the next index: Lemire (2019), "Fast random integer
 * generation in an interval", without the rejection, whose work fo_draws_per_word has made needless. */
static void draw_block(uint32_t *out, int64_t block, int64_t resample, int64_t stratum, uint32_t n, int per_word,
                       const uint32_t key[2])
{
    uint32_t word[PHILOX_BLOCK];
    uint64_t high[PAIRS], low[PAIRS];
    philox_block(word, (uint64_t)block * PHILOX_BLOCK, (uint32_t)resample, PURPOSE_RESAMPLE | (uint32_t)stratum, key);
    for (int half = 0; half < 2; half++)
        for (int l = 0; l < PHILOX_LANES; l++) {
            high[half * PHILOX_LANES + l] = word[2 * half * PHILOX_LANES + l];
            low[half * PHILOX_LANES + l] = word[(2 * half + 1) * PHILOX_LANES + l];
        }
    for (int step = 0; step < per_word; step++)
        for (int i = 0; i < PAIRS; i++) {
            const uint64_t p = low[i] * n, q = high[i] * n + (p >> 32);
            out[step * PAIRS + i] = (uint32_t)(q >> 32);
            high[i] = q & 0xFFFFFFFFu;
            low[i] = p & 0xFFFFFFFFu;
        }
}

/* What becomes of the rows drawn: `take` gets them, up to HELD at a time, counted from the stratum's first row. */
typedef void taker(void *state, const uint32_t *row, int64_t first, int64_t count);

static void draw_resample(const struct fo_resample *job, int64_t resample, taker *take, void *state)
{
    uint32_t row[HELD + MOST_PER_WORD * PAIRS];
    for (int64_t s = 0; s < job->n_strata; s++) {
        const struct fo_stratum t = job->strata[s];
        const int per_word = fo_draws_per_word(t.rows);
        int64_t held = 0;
        for (int64_t done = 0, block = 0; done < t.draws; block++) {
            const int64_t left = t.draws - done, fresh = left < per_word * PAIRS ? left : per_word * PAIRS;
            draw_block(row + held, block, resample, s, (uint32_t)t.rows, per_word, job->key);
            held += fresh;
            done += fresh;
            if (held >= HELD || done == t.draws) {
                take(state, row, t.first, held);
                held = 0;
            }
        }
    }
}

struct summing {
    const double *x;
    int64_t columns;
    double *sum;
};

/* One column: sixteen sums side by side. */
static void sum_column(void *state, const uint32_t *row, int64_t first, int64_t count)
{
    const struct summing *const s = state;
    const double *const x = s->x + first;
    double lane[LANES] = {0};
    int64_t i = 0;
    for (; i + LANES <= count; i += LANES)
        for (int j = 0; j < LANES; j++)
            lane[j] += x[row[i + j]];
    for (int j = 0; i < count; i++, j++)
        lane[j] += x[row[i]];
    s->sum[0] += fold(lane);
}

/* Up to eight columns side by side, and four rows, whose additions do not wait for one another. */
enum { WIDE = 8, ROWS_AT_ONCE = 4 };

FO_INLINE void sum_wide(double *sum, const double *x, int64_t columns, int width, const uint32_t *row, int64_t count)
{
    double lane[ROWS_AT_ONCE][WIDE] = {{0}};
    for (int64_t i = 0; i < count; i++)
        for (int c = 0; c < width; c++)
            lane[i % ROWS_AT_ONCE][c] += x[row[i] * columns + c];
    for (int c = 0; c < width; c++)
        sum[c] += (lane[0][c] + lane[1][c]) + (lane[2][c] + lane[3][c]);
}

static void sum_columns(void *state, const uint32_t *row, int64_t first, int64_t count)
{
    const struct summing *const s = state;
    const double *const x = s->x + first * s->columns;
    if (s->columns == 2) {
        sum_wide(s->sum, x, 2, 2, row, count);
        return;
    }
    for (int64_t c = 0; c < s->columns; c += WIDE) {
        const int width = s->columns - c < WIDE ? (int)(s->columns - c) : WIDE;
        sum_wide(s->sum + c, x + c, s->columns, width, row, count);
    }
}

static void resample_sums(const struct fo_resample *job, int64_t from, int64_t to, int thread)
{
    (void)thread;
    for (int64_t b = from; b < to; b++) {
        struct summing s = {job->x, job->columns, job->out + b * job->columns};
        memset(s.sum, 0, (size_t)job->columns * sizeof(double));
        draw_resample(job, job->first + b, job->columns == 1 ? sum_column : sum_columns, &s);
    }
}

struct counting {
    const uint32_t *rank;
    uint32_t *counts;
};

static void count_ranks(void *state, const uint32_t *row, int64_t first, int64_t count)
{
    const struct counting *const c = state;
    for (int64_t i = 0; i < count; i++)
        c->counts[c->rank[first + row[i]]]++;
}

/* The values at these places of the sorted resample: the ranks drawn are counted, and the counts added up. */
static void resample_places(const struct fo_resample *job, int64_t from, int64_t to, int thread)
{
    struct counting c = {job->rank, job->counts + (int64_t)thread * job->rows};
    for (int64_t b = from; b < to; b++) {
        memset(c.counts, 0, (size_t)job->rows * sizeof(uint32_t));
        draw_resample(job, job->first + b, count_ranks, &c);
        int64_t rank = 0, below = c.counts[0]; /* below: how many were drawn up to this rank */
        for (int64_t p = 0; p < job->columns; p++) {
            while (below <= job->places[p])
                below += c.counts[++rank];
            job->out[b * job->columns + p] = job->x[rank];
        }
    }
}

struct listing {
    int64_t *at;
};

static void list_rows(void *state, const uint32_t *row, int64_t first, int64_t count)
{
    struct listing *const l = state;
    for (int64_t i = 0; i < count; i++)
        l->at[i] = first + (int64_t)row[i];
    l->at += count;
}

static void resample_rows(const struct fo_resample *job, int64_t from, int64_t to, int thread)
{
    (void)thread;
    for (int64_t b = from; b < to; b++) {
        struct listing l = {job->index + b * job->draws};
        draw_resample(job, job->first + b, list_rows, &l);
    }
}
