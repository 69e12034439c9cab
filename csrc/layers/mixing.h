/* The job of mixup and cutmix on vectors. */
#pragma once

#include <stdint.h>

/* Row r of (rows, size): out ← a[r]·x[r] + b[r]·x[partner[r]], without a term whose factor is 0. */
struct fo_mix {
    const float *x;
    float *out;
    const int64_t *partner;
    const float *a, *b;
    int64_t rows, size;
};
