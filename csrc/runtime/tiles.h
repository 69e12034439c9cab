/* Arithmetic of tiles, which divide an array, and of the sums over them. */
#pragma once

#include "fastopt.h"

static inline int64_t fo_least(int64_t a, int64_t b) { return a < b ? a : b; }
static inline int64_t fo_tiles(int64_t size) { return (size + FO_TILE - 1) / FO_TILE; }

/* In order, so that the sum does not depend on which thread formed which part. */
static inline double fo_sum_partials(const double *partial, int64_t n)
{
    double sum = 0;
    for (int64_t i = 0; i < n; i++)
        sum += partial[i];
    return sum;
}
