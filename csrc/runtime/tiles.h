/* Arithmetic of tiles, which divide an array, and of the sums over them. */
#pragma once

#include "fastopt.h"

/* A sum has sixteen lanes of double. Element i is added to lane i mod 16, and at the end the lanes are added in halves.
 * This order is part of the result's definition, so no instruction set may change it. */
enum { LANES = 16 };

static inline double fold(double *lane)
{
    for (int width = LANES / 2; width > 0; width /= 2)
        for (int j = 0; j < width; j++)
            lane[j] += lane[j + width];
    return lane[0];
}

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
