/* The job of the cross-entropy. */
#pragma once

#include <stdint.h>

/* Softmax cross-entropy of (rows, classes) logits, loss and gradient. */
struct fo_entropy {
    const float *logits;
    const int64_t *target; /* (rows) classes; NULL: */
    const float *soft;     /* (rows, classes) */
    const float *weight;   /* (classes); NULL: all 1 */
    float *gradient;       /* (rows, classes), of scale times the loss */
    float *loss;           /* (rows), or NULL */
    double *partial;       /* entropy_units doubles */
    int64_t rows, classes, ignore;
    double smoothing, scale;
    double total_weight; /* set by the driver: Σ weight */
};
