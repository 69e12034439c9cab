/* Jobs that treat each channel alone: batch normalization, and factors per channel. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

/* The sizes of the units of the sums. */
enum {
    FO_ROWS = 256,    /* rows of a slab, with channels last */
    FO_COLUMNS = 512, /* channels of a unit, with channels last */
    FO_PLANE = 512,   /* a unit joins the planes of several samples until it has so many elements */
};

/* An array of shape (outer, channels, inner), or (outer, inner, channels) if channels_last. */
struct fo_channels {
    const float *x, *dy;
    float *out;
    int64_t outer, channels, inner;
    bool channels_last;
    bool per_outer;      /* scale: the factors have the shape (outer, channels), else (channels) */
    const double *shift; /* (channels), subtracted from x before it is summed */
    double *partial;     /* (slabs, 2, channels) */
    const float *high, *low, *scale, *bias, *slope; /* (channels) each */
};

/* Kernels, with a factor (channels) in each of high, low, scale, bias, slope; high + low is the mean. */
enum {
    FO_CHANNELS_normalize,      /* out ← ((x − high) − low)·scale + bias */
    FO_CHANNELS_normalize_back, /* out ← (dy − bias − ((x − high) − low)·slope)·scale */
    FO_CHANNELS_scale,          /* out ← x·scale, exactly 0 where scale is 0 */
    FO_N_CHANNELS
};

/* How many samples a slab joins, if channels are not last. */
static inline int64_t fo_samples_of_slab(const struct fo_channels *job)
{
    return job->inner < FO_PLANE ? (FO_PLANE + job->inner - 1) / job->inner : 1;
}
