/* The C interface of the decision stump: finds the best split of one node over all features. Knows no Python, allocates
 * nothing and sorts nothing: the caller sorts each feature once for all rounds of a boosting. */
#pragma once

#include <stdint.h>

/* The criterion that a split reduces most: the weighted Gini impurity of two classes or of more, or the weighted
 * squared error. */
enum { FO_STUMP_BINARY, FO_STUMP_CLASSES, FO_STUMP_SQUARES };

/* The best split of one feature lies between places `at` and `at + 1` of its order; `at` is −1 if there is none. */
struct fo_split {
    double score;
    double left[2]; /* the sums of `pairs` up to `at` */
    int64_t at;
};

struct fo_stump {
    int kind;
    int64_t rows, features, classes;
    const uint32_t *order; /* (features, rows) in ascending order: 2·row + (1 if the next value is greater) */
    const double *weight;  /* (rows) >= 0, at least one > 0 */
    const double *y;       /* (rows), of squares */
    const int32_t *label;  /* (rows) 0 … classes − 1, of classes */
    double *pairs;         /* (rows, 2), filled: weights of the two classes, or weight and weight·(y − mean) */
    double *all;           /* (classes), filled if there are more than two: the sums of all rows */
    double *left, *best;   /* (features, classes), filled likewise: the sums so far, and those left of the best split */
    struct fo_split *split; /* (features), filled */
    double total[2];        /* filled: the sums of `pairs` */
    double mean, unit;      /* filled, of squares: y stands in pairs as (y − mean)·unit */
    double scale;           /* filled: the power of two that weights are multiplied by */
};

/* The feature of the best split, the lowest of equals; −1 if there is none. No sum depends on the threads. */
int64_t fo_run_stump(struct fo_stump *job, int threads);
