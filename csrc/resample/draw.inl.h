/* How often a resample draws each row, compiled once per instruction set (resample.inl.h includes this file). The
 * random bits and the order in which they are used are part of the definition of a resample.
 *
 * d draws from n rows, all equally likely, give multinomial counts. Independent Poisson counts of equal means have this
 * distribution, too, given that their sum is d. So each row gets a Poisson count, with means that add up to
 * d − 2 √d. If the sum exceeds d (one resample in 44), all counts are drawn again. Otherwise the rows that are missing
 * to d are drawn one by one. */
#include "resample/resample.h"
#include "resample/xoshiro.h"

enum { WORDS = XOSHIRO_BLOCK, ROWS_AT_ONCE = 4 * WORDS };

/* In the counters that seed generators, the second word says what they draw and the fourth names the stratum. */
enum { FOR_COUNTS, FOR_ORDER };
enum { PURPOSE_RESAMPLE = 0x40000000 };

static struct xoshiro generators_of(const struct fo_resample *job, int64_t resample, int64_t stratum, uint32_t what)
{
    return xoshiro_seeded(what, (uint32_t)(job->first + resample), PURPOSE_RESAMPLE | (uint32_t)stratum, job->key);
}

/* n · word / 2⁶⁴, rounded down. As n < 2³², no number's probability is off by more than a share of 2⁻³². Lemire (2019),
 * "Fast random integer generation in an interval", without its rejection. */
FO_INLINE uint32_t index_below(uint64_t n, uint64_t word)
{
    return (uint32_t)((((word & 0xFFFFFFFFu) * n >> 32) + (word >> 32) * n) >> 32);
}

static void draw_one_by_one(uint8_t *count, int64_t rows, int64_t draws, struct xoshiro *x)
{
    for (; draws > 0; draws -= WORDS) {
        uint64_t word[WORDS];
        uint32_t row[WORDS];
        xoshiro_block(word, x);
        for (int i = 0; i < WORDS; i++)
            row[i] = index_below((uint64_t)rows, word[i]);
        for (int i = 0; i < WORDS && i < draws; i++)
            count[row[i]]++;
    }
}

/* A random number of 16 bits decides most counts. Count k < CELLS owns 2¹⁶ P(k) of its values, rounded down: the lowest
 * values belong to count 0, the next ones to count 1, and so on. A few values at the end belong to no count. If one of
 * them is drawn, a number of 64 bits decides, with the probabilities that rounding down has left over. */
enum { COUNTS = 24, CELLS = 7 };
struct poisson {
    int16_t last[CELLS];   /* the last value of each; they start at −2¹⁵, as SSE2 cannot compare unsigned numbers */
    uint64_t left[COUNTS]; /* 2⁶⁴ P(count <= k | no count owns the value) */
};

/* Only sums, products, quotients and a square root, which IEEE 754 rounds the same on every machine. */
static struct poisson poisson_of(int64_t rows, int64_t draws)
{
    const double mean = ((double)draws - 2 * sqrt((double)draws)) / (double)rows;
    double chance[COUNTS + 1] = {1}, total = 1, sum = 0;
    int32_t last = -0x8001;
    struct poisson p;
    for (int k = 1; k <= COUNTS; k++)
        total += chance[k] = chance[k - 1] * mean / k;
    for (int k = 0; k <= COUNTS; k++)
        chance[k] *= 0x1p16 / total;
    for (int k = 0; k < CELLS; k++) {
        last += (int32_t)chance[k];
        chance[k] -= (int32_t)chance[k];
        p.last[k] = (int16_t)last;
    }
    for (int k = 0; k < COUNTS; k++) {
        const double share = (sum += chance[k]) / (0x7FFF - last);
        p.left[k] = share < 1 ? (uint64_t)(share * 0x1p64) : UINT64_MAX;
    }
    return p;
}

/* Row 4 w + b of a block has bits 16 b … 16 b + 15 of word w. */
static void draw_sixteen_bits(int16_t *u, struct xoshiro *x)
{
    uint64_t word[WORDS];
    xoshiro_block(word, x);
#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    for (int i = 0; i < ROWS_AT_ONCE; i++)
        u[i] = (int16_t)(word[i / 4] >> 16 * (i % 4));
#else
    memcpy(u, word, sizeof word);
#endif
}

static void decide(uint8_t *count, const struct poisson *p, struct xoshiro *x)
{
    for (int i = 0; i < ROWS_AT_ONCE; i++)
        if (count[i] == CELLS) {
            uint64_t word[WORDS]; /* only the first is used: one block in 60 comes here */
            xoshiro_block(word, x);
            count[i] = 0;
            for (int k = 0; k < COUNTS; k++)
                count[i] = (uint8_t)(count[i] + (word[0] >= p->left[k]));
        }
}

static void draw_block(uint8_t *count, const struct poisson *p, struct xoshiro *x)
{
    int16_t u[ROWS_AT_ONCE], most = 0;
    draw_sixteen_bits(u, x);
    for (int i = 0; i < ROWS_AT_ONCE; i++) {
        int16_t k = 0;
        for (int c = 0; c < CELLS; c++)
            k = (int16_t)(k + (u[i] > p->last[c]));
        most = k > most ? k : most;
        count[i] = (uint8_t)k;
    }
    if (most == CELLS)
        decide(count, p, x);
}

/* Returns the sum of the counts. */
static int64_t draw_poisson(uint8_t *count, int64_t rows, const struct poisson *p, struct xoshiro *x)
{
    int64_t sum = 0;
    for (; rows > 0; rows -= ROWS_AT_ONCE, count += ROWS_AT_ONCE) {
        uint16_t part = 0; /* at most 128 · 24 */
        draw_block(count, p, x);
        if (rows < ROWS_AT_ONCE)
            memset(count + rows, 0, (size_t)(ROWS_AT_ONCE - rows));
        for (int i = 0; i < ROWS_AT_ONCE; i++)
            part = (uint16_t)(part + count[i]);
        sum += part;
    }
    return sum;
}

/* Poisson counts need at least 256 draws and a fourth as many draws as rows to be faster than single draws. */
static void draw_stratum(uint8_t *count, const struct fo_resample *job, int64_t resample, int64_t stratum)
{
    const int64_t rows = job->strata[stratum].rows, draws = job->strata[stratum].draws;
    int64_t drawn = 0;
    struct xoshiro x = generators_of(job, resample, stratum, FOR_COUNTS);
    if (draws >= 256 && rows / 4 <= draws) {
        const struct poisson p = poisson_of(rows, draws);
        do
            drawn = draw_poisson(count, rows, &p, &x);
        while (drawn > draws);
    } else
        memset(count, 0, (size_t)rows);
    draw_one_by_one(count, rows, draws - drawn, &x);
}

/* A stratum's last block of counts may reach into the next stratum, which is drawn afterwards. */
static uint8_t *draw_resample(const struct fo_resample *job, int64_t resample, int thread)
{
    uint8_t *const counts = job->counts + thread * job->apart;
    for (int64_t s = 0; s < job->n_strata; s++)
        draw_stratum(counts + job->strata[s].first, job, resample, s);
    return counts;
}
