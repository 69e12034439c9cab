/* The C interface of a dense network: what it does beside its products, and whole batches and epochs with a caller's
 * sgemm for them. Knows no Python, allocates nothing.
 * Networks of one shape lie side by side: `models` of them, each with `rows` samples. */
#ifndef FASTOPT_NETWORK_H
#define FASTOPT_NETWORK_H

#include <stdint.h>

#include "fastopt.h"

/* One layer's units. Forward: x is the product of inputs and weights; back: the gradient at the activations. */
struct fo_dense {
    float *x;    /* (models, rows, units): forward, what FO_ACTIVATIONS says; back, the gradient at x + bias */
    float *y;    /* like x: what forward leaves; x itself unless the activation's slope is told from x + bias */
    float *bias; /* (models, units) or NULL: added; back, the sums of the gradient over the rows */
    int64_t models, rows, units;
};

/* clang-format off */
#define FO_ACTIVATIONS(X)                                                                                              \
    X(identity) /* y ← z, z = x + bias */                                                                              \
    X(relu)     /* y ← max(z, 0) */                                                                                    \
    X(tanh)     /* y ← tanh z */                                                                                       \
    X(gelu)     /* y ← z/2·(1 + tanh(√(2/π)·(z + 0.044715·z³))), and x ← z for the way back */
/* clang-format on */
#define FO_ACTIVATION_INDEX(name) FO_ACTIVATION_##name,
enum { FO_ACTIVATIONS(FO_ACTIVATION_INDEX) FO_N_ACTIVATIONS };

/* Half the squared error of (rows, units): loss per row, gradient times scale. */
struct fo_squares {
    const float *output, *target;
    float *gradient, *loss;
    int64_t rows, units;
    float scale;
};

/* A BLAS's sgemm with the arguments of Fortran: matrices column by column. */
typedef void fo_sgemm(const char *trans_a, const char *trans_b, const int *m, const int *n, const int *k,
                      const float *alpha, const float *a, const int *lda, const float *b, const int *ldb,
                      const float *beta, float *c, const int *ldc);

/* One layer of all models: the arrays of the first, with those of the others behind. */
struct fo_layer {
    const float *weight, *bias; /* (models, inputs, outputs), (models, outputs) */
    float *weight_gradient, *bias_gradient;
    float *product, *active, *gradient; /* (models, rows, outputs); the first two are one where fo_dense has x = y */
    int inputs, outputs;
};

/* A batch through the networks and back: from x and the targets to the gradients of all parameters. */
struct fo_pass {
    fo_sgemm *sgemm;
    const struct fo_layer *layer;
    const float *x;        /* (models, rows, inputs of the first layer) */
    const int64_t *target; /* (models, rows) classes; or NULL: */
    const float *soft;     /* (models, rows, outputs): probabilities if `classes`, else numbers */
    const float *weight;   /* (models, rows) that losses and gradients are multiplied by, or NULL */
    float *loss;           /* (models, rows) */
    double *total;         /* (models): the losses are added, in order */
    double smoothing;
    int64_t models;
    int layers, rows, activation, classes;
};

/* Model by model, so that those beside a model change none of its bits. */
void fo_run_pass(const struct fo_pass *pass);

/* Where a batch's rows come from, and where the pass looks for them: `size` bytes each. */
struct fo_source {
    const void *all;
    void *batch;
    int64_t size;
};
enum { FO_SOURCES = 3 }; /* samples, targets, weights */

/* An epoch of one model, or a part of it: of batch after batch the rows, the gradients and the optimizer's step. */
struct fo_epoch {
    struct fo_pass pass; /* `rows` of a full batch; the last one may have fewer */
    struct fo_step step;
    int64_t cost;                 /* of the step, from fo_lay_out */
    const struct fo_group *group; /* (steps, n_groups): what each step is given */
    const float *shift;           /* (steps, n_groups) of fo_run_lookahead, or NULL: gradients are taken at w */
    int64_t n_groups;
    struct fo_source source[FO_SOURCES]; /* all NULL: not there */
    const int64_t *order;                /* positions of the samples, `samples` of them */
    int64_t samples;
};
void fo_run_epoch(const struct fo_epoch *epoch);

void fo_run_forward(int activation, const struct fo_dense *layer);
void fo_run_back(int activation, const struct fo_dense *layer);
void fo_run_squares(const struct fo_squares *job);

/* The kernels of one instruction set. */
struct fo_network {
    void (*forward[FO_N_ACTIVATIONS])(const struct fo_dense *layer);
    void (*back[FO_N_ACTIVATIONS])(const struct fo_dense *layer);
    void (*squares)(const struct fo_squares *job);
};

#endif
