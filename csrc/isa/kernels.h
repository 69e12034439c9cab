/* The table of all kernels of one instruction set. A kernel works on the elements, rows or other units [from, to). */
#pragma once

#include "layers/layers.h"
#include "network/network.h"
#include "resample/resample.h"
#include "runtime/dispatch.h"
#include "runtime/threads.h"
#include "stump/stump.h"

/* The kernels of a rule: without a prelude; with decoupled decay only; with clip, weight decay and L1 only; with all,
 * and a β near 1. */
enum fo_variant { FO_PLAIN, FO_DECAYED, FO_PENALIZED, FO_GENERAL, FO_VARIANTS };

/* Updates elements [from, to). */
typedef void fo_update(float *const *buffer, const float *gradient, int64_t from, int64_t to,
                       const struct fo_prelude *prelude, float scale, const float *scalars);

/* Adds x² or |x| of each element to the lanes of a sum (runtime/tiles.h). */
typedef void fo_add(const float *x, int64_t size, double *lane);

struct fo_kernels {
    const char *isa;
    fo_update *const (*update)[FO_VARIANTS];
    /* origin ← w; w ← w − shift·a */
    void (*lookahead)(float *w, const float *a, float *origin, float shift, int64_t from, int64_t to);
    /* indexed by enum fo_type, for 16 bits: to float, which is exact, and back, rounded to nearest even */
    void (*const *widen)(const uint16_t *x, float *y, int64_t size);
    void (*const *narrow)(const float *x, uint16_t *y, int64_t size);
    fo_add *add_squares, *add_magnitudes;

    void (*each[FO_N_EACH])(const struct fo_each *job, int64_t from, int64_t to); /* elements */
    fo_work *sums, *channels[FO_N_CHANNELS], *mix;
    double (*entropy)(const struct fo_entropy *job, int64_t from, int64_t to); /* rows */
    void (*images[FO_N_IMAGES])(const struct fo_images *job, int64_t sample, int64_t plane);

    void (*forward[FO_N_ACTIVATIONS])(const struct fo_dense *layer);
    void (*back[FO_N_ACTIVATIONS])(const struct fo_dense *layer);
    void (*squares)(const struct fo_squares *job);
    void (*resample[FO_N_RESAMPLE])(const struct fo_resample *job, int64_t from, int64_t to, int thread);
    fo_work *split; /* features of a stump */
};
