/* The C interface of the bootstrap: what a call is given. Knows no statistic and no Python, allocates nothing. */
#ifndef FASTOPT_RESAMPLE_H
#define FASTOPT_RESAMPLE_H

#include <stdint.h>

/* `draws` rows of first … first + rows − 1, with replacement. */
struct fo_stratum {
    int64_t first, rows, draws;
};

/* Resamples number first … first + resamples − 1; draw d of stratum s in resample b is a function of (key, s, b, d). */
struct fo_resample {
    uint32_t key[2];
    const struct fo_stratum *strata;
    int64_t n_strata;
    int64_t first, resamples;
    int64_t draws; /* of all strata: the size of a resample */

    const double *x; /* sums: (rows, columns); order statistics: (rows) in ascending order */
    int64_t columns;
    const uint32_t *rank; /* order statistics: the place of a row in x */
    uint32_t *counts;     /* order statistics: (threads, rows) */
    int64_t rows;
    const int64_t *places; /* order statistics: (columns) places in the sorted resample, ascending */

    double *out;    /* (resamples, columns): sums of the rows drawn, or order statistics of the resample */
    int64_t *index; /* (resamples, draws): the rows drawn */
};

enum { FO_RESAMPLE_sums, FO_RESAMPLE_places, FO_RESAMPLE_rows, FO_N_RESAMPLE };
void fo_run_resample(int kernel, const struct fo_resample *job, int threads);

/* Rows that one 64-bit word draws from n: as many as leave every tuple's chance within a share of 2⁻²⁴ of its due. */
int fo_draws_per_word(int64_t n);

#endif
