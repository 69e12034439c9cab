/* The regularization layers. Each has a struct that describes a job (<name>.h) and kernels (<name>.inl.h); drivers.c
 * divides the jobs among threads. Knows no Python and allocates nothing. */
#pragma once

#include "layers/channels.h"
#include "layers/cross_entropy.h"
#include "layers/elementwise.h"
#include "layers/images.h"
#include "layers/mixing.h"

struct fo_layers_api {
    void (*each)(int kernel, struct fo_each *job, int64_t jobs, int threads);
    /* Σ|x|^power for power 1 or 2. `partial` has one double per tile. */
    double (*sum_of_powers)(const float *x, int64_t size, int power, double *partial, int threads);
    int64_t (*slabs)(const struct fo_channels *job);
    /* sums (channels, 2) ← Σ(x − shift), Σ(x − shift)²; or Σdy, Σdy·(x − shift) if dy is given. */
    void (*sums)(const struct fo_channels *job, double *sums, int threads);
    void (*channels)(int kernel, const struct fo_channels *job, int threads);
    void (*mix)(const struct fo_mix *job, int threads);
    int64_t (*entropy_units)(const struct fo_entropy *job);
    /* Σ weight[target] over the rows whose target is not `ignore`; −1 − r if the target of row r is no class. */
    double (*target_weight)(const struct fo_entropy *job);
    double (*entropy)(struct fo_entropy *job, int threads); /* the sum of the losses, without scale */
    void (*images)(int kernel, const struct fo_images *job, int threads);
};
extern const struct fo_layers_api fo_layers_api;
