/* Drawing with replacement, compiled once per instruction set (kernels.h includes this file through layers.h). A
 * resample is how often it draws each row. Every number drawn and the order of every sum are part of its definition.
 *
 * n draws of n rows make multinomial counts. They are drawn as independent Poisson counts, of a byte of Philox each,
 * with a mean a little below 1, and single draws for what is missing to n: given their sum, independent Poisson counts
 * of one mean are the multinomial counts of so many draws. That holds for every sum, so that counts whose sum is beyond
 * n can be thrown away, and drawn again. */
#include "fastopt_resample.h"

enum { PURPOSE_RESAMPLE = 0x40000000 }; /* or'ed with the stratum, the fourth word of a counter */

/* What words of Philox are for: the upper half of their counter. An attempt at counts has two. */
enum { FOR_DRAWS, FOR_SHUFFLE, FOR_COUNTS, FOR_HITS, FOR_NEXT_ATTEMPT = 2 };

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

/* A block of words of 64 bits: sixteen counters make two each. */
enum { WORDS = 2 * PHILOX_LANES };

FO_INLINE void words_for(uint64_t *word, const struct urn *u, uint32_t what, int64_t block)
{
    const uint32_t key[2] = {u->key[0], u->key[1]}, resample = u->resample, purpose = u->purpose;
    for (int l = 0; l < PHILOX_LANES; l++) {
        const struct philox x = {(uint32_t)block * PHILOX_LANES + (uint32_t)l, what, resample, purpose};
        const struct philox y = philox(x, key);
        word[l] = (uint64_t)y.b << 32 | (uint32_t)y.a;
        word[PHILOX_LANES + l] = (uint64_t)y.d << 32 | (uint32_t)y.c;
    }
}

/* Word after word. */
struct words {
    uint64_t word[WORDS];
    int64_t used;
    uint32_t what;
};

static uint64_t next_word(struct words *w, const struct urn *u)
{
    if (w->used % WORDS == 0)
        words_for(w->word, u, w->what, w->used / WORDS);
    return w->word[w->used++ % WORDS];
}

/* n · word = index · 2⁶⁴ + rest; the rest is what is left of the word. Lemire (2019), "Fast random integer generation
 * in an interval", without the rejection, whose work fo_draws_per_word has made needless. */
FO_INLINE uint32_t index_below(uint64_t n, uint64_t *word)
{
    const uint64_t p = (*word & 0xFFFFFFFFu) * n, q = (*word >> 32) * n + (p >> 32);
    *word = q << 32 | (p & 0xFFFFFFFFu);
    return (uint32_t)(q >> 32);
}

static void draw_singly(uint8_t *count, int64_t draws, const struct urn *u)
{
    const uint64_t n = (uint64_t)u->stratum->rows;
    const int per_word = fo_draws_per_word((int64_t)n);
    for (int64_t block = 0; draws > 0; block++) {
        uint64_t word[WORDS];
        words_for(word, u, FOR_DRAWS, block);
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
static void hit(uint8_t *count, struct words *words, const struct urn *u)
{
    const struct fo_poisson *const p = u->poisson;
    const uint64_t many = next_word(words, u);
    for (int h = 0; h < FO_HITS && many >= p->hits[h]; h++) {
        const uint64_t word = next_word(words, u), choice = word << 8;
        uint64_t k = 0;
        for (int i = 0; i < FO_RESTS; i++)
            k += choice >= p->rest[i];
        count[word >> 56] = (uint8_t)k;
    }
}

static void count_rows(uint8_t *count, const struct urn *u, uint32_t attempt)
{
    struct words hits;
    hits.used = 0, hits.what = FOR_HITS + FOR_NEXT_ATTEMPT * attempt;
    for (int64_t row = 0, block = 0; row < u->stratum->rows; row += COUNTED, block++) {
        const int64_t rows = u->stratum->rows - row < COUNTED ? u->stratum->rows - row : COUNTED;
        uint64_t word[WORDS];
        uint8_t last[COUNTED], *const mine = rows == COUNTED ? count + row : last;
        words_for(word, u, FOR_COUNTS + FOR_NEXT_ATTEMPT * attempt, block);
        counts_of(mine, word, u->poisson);
        hit(mine, &hits, u);
        if (rows < COUNTED)
            memcpy(count + row, last, (size_t)rows);
    }
}

/* Sums of 256 bytes each, side by side in 16 bits. */
static int64_t sum_of_counts(const uint8_t *count, int64_t rows)
{
    enum { SUMS = 64, PER_SUM = 256 };
    int64_t total = 0, i = 0;
    while (i + SUMS <= rows) {
        uint16_t sum[SUMS] = {0};
        for (int k = 0; k < PER_SUM && i + SUMS <= rows; k++, i += SUMS)
            for (int s = 0; s < SUMS; s++)
                sum[s] = (uint16_t)(sum[s] + count[i + s]);
        for (int s = 0; s < SUMS; s++)
            total += sum[s];
    }
    for (; i < rows; i++)
        total += count[i];
    return total;
}

static void draw_stratum(uint8_t *count, const struct urn *u)
{
    const int64_t rows = u->stratum->rows, draws = u->stratum->draws;
    int64_t drawn = 0;
    if (!u->poisson)
        memset(count, 0, (size_t)rows);
    for (uint32_t attempt = 0; u->poisson && (attempt == 0 || drawn > draws); attempt++) {
        count_rows(count, u, attempt);
        drawn = sum_of_counts(count, rows);
    }
    draw_singly(count, draws - drawn, u);
}

static uint8_t *draw_resample(const struct fo_resample *job, int64_t resample, int thread)
{
    uint8_t *const counts = job->counts + thread * job->rows;
    for (int64_t s = 0; s < job->n_strata; s++) {
        const struct urn u = urn_of(job, resample, s);
        draw_stratum(counts + u.stratum->first, &u);
    }
    return counts;
}

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
        int64_t place = 0, below = counts[job->order[0]]; /* below: how many were drawn up to this place */
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
    for (int64_t last = n - 1, block = 0; last > 0; last -= WORDS, block++) {
        uint64_t word[WORDS];
        uint32_t other[WORDS];
        words_for(word, u, FOR_SHUFFLE, block);
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
    for (int64_t b = from; b < to; b++) {
        const uint8_t *const counts = draw_resample(job, b, thread);
        int64_t *row = job->index + b * job->draws;
        for (int64_t s = 0; s < job->n_strata; s++) {
            const struct urn u = urn_of(job, b, s);
            const int64_t n = list_rows(row, counts, u.stratum);
            shuffle(row, n, &u);
            row += n;
        }
    }
}
