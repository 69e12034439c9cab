/* The job of the bootstrap. Knows no statistic and no Python, and allocates nothing. */
#pragma once

#include <stdint.h>

/* `draws` rows are drawn, with replacement, from rows first … first + rows − 1. A count must fit into 8 bits. So
 * draws <= 255 or draws <= rows, where one row is drawn 256 times with a probability below rows / 256!, 10⁻⁴⁹⁷ for
 * 2³² rows. */
struct fo_stratum {
    int64_t first, rows, draws;
};

/* Resamples number first … first + resamples − 1. What stratum s draws in resample b is a function of (key, s, b). */
struct fo_resample {
    uint32_t key[2];
    const struct fo_stratum *strata; /* (n_strata): each begins where the one before it ends */
    int64_t n_strata;
    int64_t first, resamples;
    int64_t rows, draws; /* of all strata together; draws is the size of a resample */

    uint8_t *counts; /* (threads, apart): scratch memory, how often a resample draws each row */
    int64_t apart;   /* >= rows + FO_COUNTS_BEYOND, and such that no two threads write to one cache line */

    const double *x;       /* sums: (columns, rows). Order statistics: (rows), ascending */
    const uint32_t *order; /* order statistics: (rows), x[i] is the value of row order[i] */
    const int64_t *places; /* order statistics: (columns), ascending places in the sorted resample */
    int64_t columns;

    double *out;    /* (resamples, columns): sums over the rows drawn, or order statistics of the resample */
    int64_t *index; /* (resamples, draws): the rows drawn, stratum by stratum, in random order within each */
};

enum { FO_COUNTS_BEYOND = 128 }; /* counts are written in blocks of 128 */
enum { FO_RESAMPLE_sums, FO_RESAMPLE_places, FO_RESAMPLE_rows, FO_N_RESAMPLE };
void fo_run_resample(int kernel, const struct fo_resample *job, int threads);
