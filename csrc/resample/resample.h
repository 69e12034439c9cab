/* Drawing with replacement, compiled once per instruction set (kernels.h includes this file through layers.h). A
 * resample is how often it draws each row. Every number drawn and the order of every sum are part of its definition.
 *
 * n draws of n rows make multinomial counts. They are drawn as independent Poisson counts, of a random byte each,
 * with a mean a little below 1, and single draws for what is missing to n: given their sum, independent Poisson counts
 * of one mean are the multinomial counts of so many draws. That holds for every sum, so that counts whose sum is beyond
 * n can be thrown away, and drawn again. */
#include "digits.h"
#include "xoshiro.h"

enum { PURPOSE_RESAMPLE = 0x40000000 }; /* or'ed with the stratum, the fourth word of a counter */

/* What a stream is for: the second word of its counters. */
enum { FOR_DRAWS, FOR_SHUFFLE };

struct urn {
    const struct fo_stratum *stratum;
    const struct fo_poisson *poisson;
    uint32_t key[2], resample, purpose;
};

static struct urn urn_of(const struct fo_resample *job, int64_t resample, int64_t s)
{
    const struct urn u = {job->strata + s,
                          job->poisson[s],
                          {job->key[0], job->key[1]},
                          (uint32_t)(job->first + resample),
                          PURPOSE_RESAMPLE | (uint32_t)s};
    return u;
}

/* Random words of 64 bits: whole blocks of them, or word after word of blocks kept for it. */
enum { WORDS = XOSHIRO_BLOCK };
struct stream {
    struct xoshiro generators;
    uint64_t kept[WORDS];
    int left; /* of those kept, the last ones */
};

static void begin(struct stream *s, const struct urn *u, uint32_t what)
{
    s->generators = xoshiro_seeded(what, u->resample, u->purpose, u->key);
    s->left = 0;
}

static void next_block(uint64_t *word, struct stream *s) { xoshiro_block(word, &s->generators); }

static uint64_t next_word(struct stream *s)
{
    if (s->left == 0) {
        next_block(s->kept, s);
        s->left = WORDS;
    }
    return s->kept[WORDS - s->left--];
}

/* n · word = index · 2⁶⁴ + rest; the rest is what is left of the word. Lemire (2019), "Fast random integer generation
 * in an interval", without the rejection, whose work fo_draws_per_word has made needless. */
FO_INLINE uint32_t index_below(uint64_t n, uint64_t *word)
{
    const uint64_t p = (*word & 0xFFFFFFFFu) * n, q = (*word >> 32) * n + (p >> 32);
    *word = q << 32 | (p & 0xFFFFFFFFu);
    return (uint32_t)(q >> 32);
}

static void draw_singly(uint8_t *count, int64_t draws, uint64_t n, struct stream *s)
{
    const int per_word = fo_draws_per_word((int64_t)n);
    while (draws > 0) {
        uint64_t word[WORDS];
        next_block(word, s);
        for (int step = 0; step < per_word && draws > 0; step++, draws -= WORDS) {
            uint32_t row[WORDS];
            for (int i = 0; i < WORDS; i++)
                row[i] = index_below(n, &word[i]);
            for (int i = 0; i < WORDS && i < draws; i++)
                count[row[i]]++;
        }
    }
}

/* -- counts ------------------------------------------------------------------------------------------------------- */

enum { COUNTED = 8 * WORDS }; /* rows that a block counts: row 8 w + b by byte b of word w */

static void counts_of(uint8_t *count, const uint64_t *word, const struct fo_poisson *p)
{
    const uint8_t a = p->last[0], b = p->last[1], c = p->last[2], d = p->last[3];
    uint8_t byte[COUNTED];
#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    for (int i = 0; i < COUNTED; i++)
        byte[i] = (uint8_t)(word[i / 8] >> 8 * (i % 8));
#else
    memcpy(byte, word, sizeof byte);
#endif
    for (int i = 0; i < COUNTED; i++)
        count[i] = (uint8_t)((byte[i] > a) + (byte[i] > b) + (byte[i] > c) + (byte[i] > d));
}

/* The rows of a block that are hit: the first eight bits of a word say which, the others how often it is drawn. */
static void hit(uint8_t *count, const struct fo_poisson *p, struct stream *s)
{
    const uint64_t many = next_word(s);
    for (int h = 0; h < FO_HITS && many >= p->hits[h]; h++) {
        const uint64_t word = next_word(s), choice = word << 8;
        uint64_t k = 0;
        for (int i = 0; i < FO_RESTS; i++)
            k += choice >= p->rest[i];
        count[word >> 56] = (uint8_t)k;
    }
}

/* Up to 256 · 255: in 16 bits. */
static int64_t sum_of_block(const uint8_t *count)
{
    uint16_t sum = 0;
    for (int i = 0; i < COUNTED; i++)
        sum = (uint16_t)(sum + count[i]);
    return sum;
}

/* How many are drawn. */
static int64_t count_rows(uint8_t *count, int64_t rows, const struct fo_poisson *p, struct stream *s)
{
    int64_t drawn = 0;
    for (; rows > 0; rows -= COUNTED, count += COUNTED) {
        uint64_t word[WORDS];
        uint8_t last[COUNTED], *const mine = rows < COUNTED ? last : count;
        next_block(word, s);
        counts_of(mine, word, p);
        hit(mine, p, s);
        if (rows < COUNTED) {
            memset(last + rows, 0, (size_t)(COUNTED - rows));
            memcpy(count, last, (size_t)rows);
        }
        drawn += sum_of_block(mine);
    }
    return drawn;
}

static void draw_stratum(uint8_t *count, const struct urn *u)
{
    const int64_t rows = u->stratum->rows, draws = u->stratum->draws;
    int64_t drawn = 0;
    struct stream s;
    begin(&s, u, FOR_DRAWS);
    if (u->poisson)
        while ((drawn = count_rows(count, rows, u->poisson, &s)) > draws)
            ;
    else
        memset(count, 0, (size_t)rows);
    draw_singly(count, draws - drawn, (uint64_t)rows, &s);
}

static void draw_resample(uint8_t *counts, const struct fo_resample *job, int64_t resample)
{
    for (int64_t s = 0; s < job->n_strata; s++) {
        const struct urn u = urn_of(job, resample, s);
        draw_stratum(counts + u.stratum->first, &u);
    }
}

static uint8_t *counts_for(const struct fo_resample *job, int thread) { return job->counts + thread * job->apart; }

/* -- what is made of them ----------------------------------------------------------------------------------------- */

/* In two loops a block, which are vectorized where one would not be. */
static double sum_counted(const double *x, const uint8_t *count, int64_t rows)
{
    double lane[LANES] = {0};
    int64_t i = 0;
    for (; i + COUNTED <= rows; i += COUNTED) {
        int32_t times[COUNTED];
        for (int j = 0; j < COUNTED; j++)
            times[j] = count[i + j];
        for (int j = 0; j < COUNTED; j += LANES)
            for (int l = 0; l < LANES; l++)
                lane[l] += times[j + l] * x[i + j + l];
    }
    for (int l = 0; i < rows; i++, l++)
        lane[l % LANES] += count[i] * x[i];
    return fold(lane);
}

/* Of some resamples at once, so that digits come from the first cache for all but one of them. */
static void sum_column(double *out, const struct fo_resample *job, const struct fo_column *column,
                       const uint8_t *counts, int resamples)
{
    int64_t sum[FO_TOGETHER][FO_DIGITS] = {{0}};
    if (!column->digits) {
        for (int r = 0; r < resamples; r++)
            out[r * job->columns] = sum_counted(column->x, counts + r * job->rows, job->rows);
        return;
    }
    for (int64_t from = 0; from < job->rows; from += FO_DIGIT_ROWS)
        for (int r = 0; r < resamples; r++)
            add_digits(sum[r], column->digits + FO_DIGITS * from, counts + r * job->rows + from,
                       digit_rows(job->rows - from));
    for (int r = 0; r < resamples; r++)
        out[r * job->columns] = joined(sum[r], column->exponent);
}

static void resample_sums(const struct fo_resample *job, int64_t from, int64_t to, int thread)
{
    uint8_t *const counts = counts_for(job, thread);
    for (int64_t b = from; b < to; b += FO_TOGETHER) {
        const int resamples = to - b < FO_TOGETHER ? (int)(to - b) : FO_TOGETHER;
        for (int r = 0; r < resamples; r++)
            draw_resample(counts + r * job->rows, job, b + r);
        for (int64_t c = 0; c < job->columns; c++)
            sum_column(job->out + b * job->columns + c, job, job->column + c, counts, resamples);
    }
}

static void resample_places(const struct fo_resample *job, int64_t from, int64_t to, int thread)
{
    uint8_t *const counts = counts_for(job, thread);
    for (int64_t b = from; b < to; b++) {
        draw_resample(counts, job, b);
        int64_t place = -1, below = 0; /* below: how many were drawn up to this place */
        for (int64_t p = 0; p < job->columns; p++) {
            while (below <= job->places[p])
                below += counts[job->order[++place]];
            job->out[b * job->columns + p] = job->x[place];
        }
    }
}

/* Fisher and Yates: a statistic may look at the order of the rows, as that of a series does. */
static void shuffle(int64_t *row, int64_t n, const struct urn *u)
{
    struct stream s;
    begin(&s, u, FOR_SHUFFLE);
    for (int64_t last = n - 1; last > 0; last -= WORDS) {
        uint64_t word[WORDS];
        uint32_t other[WORDS];
        next_block(word, &s);
        for (int i = 0; i < WORDS; i++)
            other[i] =
                index_below((uint64_t)(last + 1 - i), &word[i]); /* beyond the end, where it is below 1: unused */
        for (int i = 0; i < WORDS && i < last; i++) {
            const int64_t kept = row[last - i];
            row[last - i] = row[other[i]];
            row[other[i]] = kept;
        }
    }
}

/* Row i as often as it is counted. Four are written at once, of which the next row overwrites what is too many. */
static int64_t list_rows(int64_t *row, const uint8_t *counts, const struct fo_stratum *t)
{
    enum { AT_ONCE = 4 };
    int64_t n = 0;
    for (int64_t i = t->first; i < t->first + t->rows; i++) {
        const int64_t end = n + counts[i];
        if (counts[i] <= AT_ONCE && n + AT_ONCE <= t->draws)
            for (int c = 0; c < AT_ONCE; c++)
                row[n + c] = i;
        else
            for (; n < end; n++)
                row[n] = i;
        n = end;
    }
    return n;
}

static void resample_rows(const struct fo_resample *job, int64_t from, int64_t to, int thread)
{
    uint8_t *const counts = counts_for(job, thread);
    for (int64_t b = from; b < to; b++) {
        draw_resample(counts, job, b);
        int64_t *row = job->index + b * job->draws;
        for (int64_t s = 0; s < job->n_strata; s++) {
            const struct urn u = urn_of(job, b, s);
            const int64_t n = list_rows(row, counts, u.stratum);
            shuffle(row, n, &u);
            row += n;
        }
    }
}
