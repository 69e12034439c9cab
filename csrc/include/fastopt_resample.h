/* The C interface of the bootstrap: what a call is given. Knows no statistic and no Python, allocates nothing. */
#ifndef FASTOPT_RESAMPLE_H
#define FASTOPT_RESAMPLE_H

#include <stdbool.h>
#include <stdint.h>

/* `draws` of the rows first … first + rows − 1, with replacement. No row can be counted beyond a byte: draws <= 255, or
 * draws <= rows, where 256 draws of one row have a chance below rows / 256!, 10⁻⁴⁹⁷ for 32 bits. */
struct fo_stratum {
    int64_t first, rows, draws;
};

/* How often a row is drawn, Poisson, told by one random byte: the number of `last` below it. As 256 cells are too few,
 * some rows are told anew by 64 bits, from what the cells leave of each chance: the number of `rest` not above them.
 * How many of 256 rows are hit by this is told by 64 bits, too: the number of `hits` not above them. */
enum { FO_LASTS = 4, FO_RESTS = 24, FO_HITS = 64 };
struct fo_poisson {
    uint8_t last[FO_LASTS];
    uint64_t rest[FO_RESTS], hits[FO_HITS];
};

/* What is summed. Where `digits` are given, row i is Σ 2¹⁵ᵏ digit k · 2^exponent; the digits of FO_DIGIT_ROWS rows
 * stand together, number k of all of them behind number k − 1. Sums of whole numbers are exact in any order. */
enum { FO_DIGITS = 4, FO_DIGIT_BITS = 15, FO_DIGIT_ROWS = 2048, FO_TOGETHER = 8 };
struct fo_column {
    const double *x;
    const int16_t *digits; /* (FO_DIGITS rows), or NULL */
    int exponent;
};

/* Resamples number first … first + resamples − 1; what stratum s has in resample b is a function of (key, s, b). */
struct fo_resample {
    uint32_t key[2];
    const struct fo_stratum *strata;         /* one after another */
    const struct fo_poisson *const *poisson; /* (n_strata), NULL where draws are made one by one */
    int64_t n_strata;
    int64_t first, resamples;
    int64_t draws; /* of all strata: the size of a resample */

    int64_t rows;
    uint8_t *counts; /* (threads, apart): how often each row is drawn, in FO_TOGETHER resamples */
    int64_t apart;   /* >= FO_TOGETHER rows, and such that no two threads write to one cache line */

    const struct fo_column *column; /* sums: (columns) */
    int64_t columns;
    const double *x;       /* order statistics: (rows) in ascending order */
    const uint32_t *order; /* order statistics: the row that stands at a place of x */
    const int64_t *places; /* order statistics: (columns) places in the sorted resample, ascending */

    double *out;    /* (resamples, columns): sums over the rows drawn, or order statistics of the resample */
    int64_t *index; /* (resamples, draws): the rows drawn, in random order within a stratum */
};

enum { FO_RESAMPLE_sums, FO_RESAMPLE_places, FO_RESAMPLE_rows, FO_N_RESAMPLE };
void fo_run_resample(int kernel, const struct fo_resample *job, int threads);

/* Whether a stratum's rows are counted rather than drawn one by one; and how: with a mean such that counts seldom, in
 * one resample of 44, exceed its draws. */
bool fo_is_counted(const struct fo_stratum *stratum);
struct fo_poisson fo_poisson_for(const struct fo_stratum *stratum);

/* Writes the digits of a column's rows and its exponent. False where doubles may sum a resample better: where some row
 * is no whole multiple of 2^exponent and a resample may do without every row near the largest; where values are not
 * finite or too small to be scaled; and where more is drawn than there are rows, as the digits' sums have 32 bits. */
bool fo_digits_of(const double *x, const struct fo_stratum *strata, int64_t n_strata, int16_t *digits, int *exponent);

/* Rows that one 64-bit word draws from n: as many as leave every tuple's chance within a share of 2⁻²⁴ of its due. */
int fo_draws_per_word(int64_t n);

#endif
