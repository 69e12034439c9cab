/* The driver of the bootstrap: shares of the resamples over threads. Each resample is one thread's, so that the number
 * of threads changes no bit. A serial call never enters the OpenMP runtime. */
#include "fastopt_resample.h"

#include <math.h>

#include "fastopt.h"
#include "fastopt_layers.h"

int fo_draws_per_word(int64_t n)
{
    /* nᵏ <= 2⁴⁰ of the 2⁶⁴ values of a word */
    return n <= 256 ? 5 : n <= 1024 ? 4 : n <= 10321 ? 3 : n <= 1 << 20 ? 2 : 1;
}

/* Below, counting is no faster; nor where most rows are not drawn. */
enum { LEAST_DRAWS = 256, MOST_ROWS_PER_DRAW = 4 };

bool fo_is_counted(const struct fo_stratum *s)
{
    return s->draws >= LEAST_DRAWS && s->rows / MOST_ROWS_PER_DRAW <= s->draws;
}

static uint64_t bits_of_share(double share) { return share < 1 ? (uint64_t)(share * 0x1p64) : UINT64_MAX; }

/* How many of 256 cells tell each count: what is left after rounding down goes where it does the least harm. The share
 * (1 − ε) of the rows that they can tell: such that no count is told too often. */
static double deal_cells(int cell[FO_LASTS + 1], const double chance[FO_LASTS + 1])
{
    int left = 256;
    for (int k = 0; k <= FO_LASTS; k++)
        left -= cell[k] = (int)(256 * chance[k]);
    for (; left > 0; left--) {
        int best = 0;
        for (int k = 1; k <= FO_LASTS; k++)
            if (chance[k] / (cell[k] + 1) > chance[best] / (cell[best] + 1))
                best = k;
        cell[best]++;
    }
    double share = 1;
    for (int k = 0; k <= FO_LASTS; k++)
        if (cell[k] > 0 && 256 * chance[k] / cell[k] < share)
            share = 256 * chance[k] / cell[k];
    return share;
}

/* A row is not hit with the chance `told`, e^−μ: hits of 256 rows are Poisson with the mean 256 μ. */
static void hits_for(uint64_t hits[FO_HITS], double told)
{
    double mean = 0, power = 1, chance = told, sum;
    for (int k = 1; k < 64; k++)
        mean += (power *= 1 - told) / k; /* −log(told) */
    for (int square = 0; square < 8; square++)
        chance *= chance;
    sum = chance;
    for (int h = 0; h < FO_HITS; h++) {
        hits[h] = bits_of_share(sum);
        sum += chance *= 256 * mean / (h + 1);
    }
}

/* In sums, products, quotients and a root alone, which IEEE rounds alike everywhere. */
struct fo_poisson fo_poisson_for(const struct fo_stratum *stratum)
{
    const double draws = (double)stratum->draws, mean = (draws - 2 * sqrt(draws)) / (double)stratum->rows;
    struct fo_poisson p;
    double chance[FO_RESTS + 1] = {1}, all = 1, sum = 0;
    for (int k = 1; k <= FO_RESTS; k++)
        all += chance[k] = chance[k - 1] * mean / k;
    for (int k = 0; k <= FO_RESTS; k++)
        chance[k] /= all;
    int cell[FO_LASTS + 1], last = -1;
    const double told = deal_cells(cell, chance);
    for (int k = 0; k < FO_RESTS; k++) {
        if (k < FO_LASTS)
            p.last[k] = (uint8_t)(last += cell[k]);
        sum += chance[k] - (k <= FO_LASTS ? told * cell[k] / 256 : 0);
        p.rest[k] = bits_of_share(sum / (1 - told));
    }
    hits_for(p.hits, told);
    return p;
}

/* -- shares ------------------------------------------------------------------------------------------------------- */

struct drawing {
    void (*resample)(const struct fo_resample *, int64_t, int64_t, int);
    const struct fo_resample *job;
};

#ifdef _OPENMP
enum { SHARES = 16 }; /* per thread: one that the machine held up leaves the rest to the others */

static int64_t first_of_share(const struct fo_resample *job, int64_t share, int64_t of)
{
    return job->resamples / of * share + job->resamples % of * share / of;
}
#endif

static void draw(void *all, struct fo_team *team)
{
    const struct drawing *const d = all;
    if (team->of == 1)
        d->resample(d->job, 0, d->job->resamples, 0);
#ifdef _OPENMP
    const int64_t shares = d->job->resamples < SHARES * team->of ? d->job->resamples : SHARES * team->of;
    if (team->of > 1) {
        team->claims = true;
#pragma omp for schedule(dynamic) nowait
        for (int64_t s = 0; s < shares; s++)
            d->resample(d->job, first_of_share(d->job, s, shares), first_of_share(d->job, s + 1, shares), team->part);
    }
#endif
}

bool fo_digits_of(const double *x, const struct fo_stratum *strata, int64_t n_strata, int16_t *digits, int *exponent)
{
    return fo_kernels()->layers->digits_of(x, strata, n_strata, digits, exponent);
}

void fo_run_resample(int kernel, const struct fo_resample *job, int threads)
{
    struct drawing all = {fo_kernels()->layers->resample[kernel], job};
    fo_share_out(draw, &all, job->resamples < threads ? (int)job->resamples : threads);
}
