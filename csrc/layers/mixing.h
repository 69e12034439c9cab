/* The job of mixup and cutmix on vectors. */
#pragma once

#include <stdint.h>

/* Row r of (rows, size): out ← a[r]·x[r] + b[r]·x[partner[r]] */
struct fo_mix {
    const float *x;
    float *out;
    const int64_t *partner;
    const float *a, *b;
    int64_t rows, size;
};
