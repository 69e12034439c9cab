/* The C interface of a dense neural network: activations, the squared error, and whole batches and epochs, whose matrix
 * products are computed by the caller's sgemm. Knows no Python and allocates nothing. Several networks of one shape are
 * stored side by side: `models` of them, each with `rows` samples. */
#pragma once

#include <stdint.h>

#include "fastopt.h"

/* The units of one layer. On input x is the product of inputs and weights (forward) or the gradient at y (back). */
struct fo_dense {
    float *x;    /* (models, rows, units). Output of forward: see FO_ACTIVATIONS; of back: the gradient at x + bias */
    float *y;    /* like x: the activations. May be x itself, except for gelu, whose derivative needs x + bias */
    float *bias; /* (models, units) or NULL. Output of back: the sums of the gradient over the rows */
    int64_t models, rows, units;
};

/* clang-format off */
#define FO_ACTIVATIONS(X)                                                                                              \
    X(identity) /* y ← z, z = x + bias */                                                                              \
    X(relu)     /* y ← max(z, 0) */                                                                                    \
    X(tanh)     /* y ← tanh z */                                                                                       \
    X(gelu)     /* y ← z/2·(1 + tanh(√(2/π)·(z + 0.044715·z³))), and x ← z, which back needs */
/* clang-format on */
#define FO_ACTIVATION_INDEX(name) FO_ACTIVATION_##name,
enum { FO_ACTIVATIONS(FO_ACTIVATION_INDEX) FO_N_ACTIVATIONS };

/* Half the squared error of (rows, units): the loss of each row, and the gradient times scale. */
struct fo_squares {
    const float *output, *target;
    float *gradient, *loss;
    int64_t rows, units;
    float scale;
};

/* The sgemm of a BLAS, with the arguments of Fortran: matrices are stored column by column. */
typedef void fo_sgemm(const char *trans_a, const char *trans_b, const int *m, const int *n, const int *k,
                      const float *alpha, const float *a, const int *lda, const float *b, const int *ldb,
                      const float *beta, float *c, const int *ldc);

/* One layer of all models. */
struct fo_layer {
    const float *weight, *bias; /* (models, inputs, outputs), (models, outputs) */
    float *weight_gradient, *bias_gradient;
    float *product, *active, *gradient; /* (models, rows, outputs); product = active if fo_dense has x = y */
    int inputs, outputs;
};

/* A batch: from inputs and targets to the losses and the gradients of all parameters. */
struct fo_pass {
    fo_sgemm *sgemm;
    const struct fo_layer *layer;
    const float *x;        /* (models, rows, inputs of the first layer) */
    const int64_t *target; /* (models, rows) classes; NULL: */
    const float *soft;     /* (models, rows, outputs): probabilities if `classes`, else target values */
    const float *weight;   /* (models, rows) factors of losses and gradients, or NULL */
    float *loss;           /* (models, rows) */
    double *total;         /* (models): the losses are added to it, in the order of the rows */
    double smoothing;
    int64_t models;
    int layers, rows, activation, classes;
};

/* An array of all rows and the array to which the rows of a batch are copied; a row has `size` bytes. */
struct fo_source {
    const void *all;
    void *batch;
    int64_t size;
};
enum { FO_SOURCES = 3 }; /* samples, targets, weights */

/* An epoch of one model or a part of it. For each batch: copy its rows, compute the gradients, take one step. */
struct fo_epoch {
    struct fo_pass pass; /* `rows` of a full batch; the last batch may have fewer */
    struct fo_step step;
    int64_t cost;                 /* of the step, from lay_out */
    const struct fo_group *group; /* (steps, n_groups): the hyper-parameters of each step */
    const float *shift;           /* (steps, n_groups) for look_ahead; NULL: gradients are taken at w */
    int64_t n_groups;
    struct fo_source source[FO_SOURCES]; /* `all` is NULL if there are none */
    const int64_t *order;                /* (samples) positions */
    int64_t samples;
};

struct fo_network_api {
    void (*forward)(int activation, const struct fo_dense *layer);
    void (*back)(int activation, const struct fo_dense *layer);
    void (*squares)(const struct fo_squares *job);
    void (*pass)(const struct fo_pass *pass); /* model after model, so that other models change no bit of one */
    void (*epoch)(const struct fo_epoch *epoch);
};
extern const struct fo_network_api fo_network_api;
