/* The C interface of what a dense network does beside its products. Knows no Python, allocates nothing.
 * Networks of one shape lie side by side: `models` of them, each with `rows` samples. */
#ifndef FASTOPT_NETWORK_H
#define FASTOPT_NETWORK_H

#include <stdint.h>

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
