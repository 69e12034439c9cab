/* The C interface of the regularization layers: what each call is given. Knows no Python, allocates nothing.
 * A job is a struct, its kernels (layers.h, images.h) work on a range of its units, its driver (layers.c) shares the
 * units out over threads. Units and the order of every sum are a matter of shapes alone. */
#ifndef FASTOPT_LAYERS_H
#define FASTOPT_LAYERS_H

#include <stdbool.h>
#include <stdint.h>

#include "fastopt_resample.h"

/* Which random numbers: those of elements offset, offset + 1, … of a stream under a key. */
struct fo_draw {
    uint32_t key[2];
    uint32_t stream;
    int64_t offset;
};

/* Element by element over one array; a kernel uses what it needs. Unit: FO_TILE elements. */
struct fo_each {
    const float *x, *y;
    void *out; /* floats, or what the kernel says */
    int64_t size;
    int64_t first_tile; /* filled by the driver: the tiles of all jobs before this one */
    struct fo_draw draw;
    float a, b;
    uint32_t threshold;
};

/* clang-format off */
#define FO_EACH(X)                                                                                                     \
    X(words)        /* uint32 out ← the stream itself */                                                               \
    X(add_normal)   /* out ← x + a·n, n standard normal */                                                             \
    X(times_normal) /* out ← x·(1 + a·n) */                                                                            \
    X(drop)         /* out ← 0 where word < threshold, else a·x */                                                     \
    X(drop_bits)    /* bit i of out ← word i >= threshold; the offset is 0 */                                          \
    X(penalize)     /* out ← x + a·y + b·sign(y) */                                                                    \
    X(copy)         /* out ← x */                                                                                      \
    X(exps)         /* out ← eˣ, x <= 0 */                                                                             \
    X(logs)         /* out ← ln x, x in (0, 1] */                                                                      \
    X(sines)        /* out ← sin 2π·word/2³² of the words x points at */                                               \
    X(cosines)
/* clang-format on */
#define FO_EACH_INDEX(name) FO_EACH_##name,
enum { FO_EACH(FO_EACH_INDEX) FO_N_EACH };

/* Channels of an array (outer, channels, inner), or (outer, inner, channels) if channels_last. */
struct fo_channels {
    const float *x, *dy;
    float *out;
    int64_t outer, channels, inner;
    bool channels_last;
    bool per_outer;                                 /* scale: factors are (outer, channels), else (channels) */
    const double *shift;                            /* (channels): sums are of x − shift */
    double *partial;                                /* (fo_slabs, channels, 2) */
    const float *high, *low, *scale, *bias, *slope; /* (channels) each */
};

/* Σ(x − shift) and Σ(x − shift)² per channel, or Σdy and Σdy·(x − shift) where dy is given: (channels, 2) in sums. */
int64_t fo_slabs(const struct fo_channels *job);
void fo_run_sums(const struct fo_channels *job, double *sums, int threads);
/* out ← ((x − high) − low)·scale + bias, high + low being the mean */
void fo_run_normalize(const struct fo_channels *job, int threads);
/* out ← (dy − bias − ((x − high) − low)·slope)·scale */
void fo_run_normalize_back(const struct fo_channels *job, int threads);
/* out ← x·scale, exactly 0 where scale is 0 */
void fo_run_scale(const struct fo_channels *job, int threads);

void fo_run_each(int kernel, struct fo_each *job, int64_t jobs, int threads);
/* Σ|x|^power, power 1 or 2; a double of partial for each tile */
double fo_run_sum_of_powers(const float *x, int64_t size, int power, double *partial, int threads);
/* (n, 4) counters to (n, 4) words */
void fo_run_philox(const uint32_t *counter, uint32_t *out, int64_t n, const uint32_t key[2]);

/* Row r of (rows, size): out ← a[r]·x[r] + b[r]·x[partner[r]] */
struct fo_mix {
    const float *x;
    float *out;
    const int64_t *partner;
    const float *a, *b;
    int64_t rows, size;
};
void fo_run_mix(const struct fo_mix *job, int threads);

/* Softmax cross-entropy of (rows, classes) logits, loss and gradient. */
struct fo_entropy {
    const float *logits;
    const int64_t *target; /* (rows), or NULL: */
    const float *soft;     /* (rows, classes) */
    const float *weight;   /* (classes) or NULL: 1 */
    float *gradient;       /* (rows, classes): of the loss times scale */
    float *loss;           /* (rows), or NULL if the sum is enough */
    double *partial;       /* fo_entropy_units doubles */
    int64_t rows, classes, ignore;
    double smoothing, scale;
    double total_weight; /* filled by the driver: Σ weight */
};
int64_t fo_entropy_units(const struct fo_entropy *job);
double fo_run_entropy(struct fo_entropy *job, int threads); /* the sum of the losses, not times scale */
/* Σ weight[target] over the rows that count, or −1 − r for the first row r whose target is no class */
double fo_target_weight(const struct fo_entropy *job);

/* Images (samples, planes, height, width) of pixels of some bytes: (N, C, H, W), or (N, H, W, C) as one plane of pixels
 * of C channels. Unit: a sample. */
struct fo_images {
    const uint8_t *x, *other;
    uint8_t *out;
    int64_t samples, planes, height, width, pixel;
    int64_t out_height, out_width;
    const int64_t *place;   /* per sample, as the kernel says */
    const int64_t *partner; /* paste: the sample of `other` that the box comes from */
    const uint8_t *fill;    /* (planes, pixel) bytes */
    bool reflect;           /* outside: mirrored without repeating the edge; else fill */
    bool is_float;          /* else uint8 */
    const double *number;   /* per sample, as the kernel says */
    float low, high;        /* tone: results are clamped to this range */
};

/* clang-format off */
#define FO_IMAGES(X)                                                                                                   \
    X(flip)  /* place (1): bit 0 mirrors left and right, bit 1 up and down */                                          \
    X(crop)  /* place (2): out[y][x] ← in[y + place[0]][x + place[1]] */                                               \
    X(paste) /* place (4): out ← other[partner] or fill in rows [0, 1), columns [2, 3); the rest stays */              \
    X(tone)  /* number (2): out ← number[0]·x + number[1] */                                                           \
    X(warp)  /* number (6): out[y][x] ← in at (n0·y + n1·x + n2, n3·y + n4·x + n5), bilinear */
/* clang-format on */
#define FO_IMAGES_INDEX(name) FO_IMAGES_##name,
enum { FO_IMAGES(FO_IMAGES_INDEX) FO_N_IMAGES };
void fo_run_images(int kernel, const struct fo_images *job, int threads);

/* The kernels of one instruction set: a range of units each. */
struct fo_layers {
    void (*each[FO_N_EACH])(const struct fo_each *job, int64_t from, int64_t to); /* elements */
    double (*sum_of_magnitudes)(const float *x, int64_t size);
    void (*sums)(const struct fo_channels *job, int64_t from, int64_t to);
    void (*normalize)(const struct fo_channels *job, int64_t from, int64_t to);
    void (*normalize_back)(const struct fo_channels *job, int64_t from, int64_t to);
    void (*scale)(const struct fo_channels *job, int64_t from, int64_t to);
    void (*mix)(float *out, const float *x, const float *y, float a, float b, int64_t size);
    double (*entropy)(const struct fo_entropy *job, int64_t from, int64_t to); /* rows */
    void (*images[FO_N_IMAGES])(const struct fo_images *job, int64_t from, int64_t to);
    void (*philox)(const uint32_t *counter, uint32_t *out, int64_t n, const uint32_t key[2]);
    void (*resample[FO_N_RESAMPLE])(const struct fo_resample *job, int64_t from, int64_t to, int thread);
};

/* Units of the channel kernels, shared by them and their drivers. */
#define FO_ROWS 256    /* rows of a slab with channels last, samples of one plane size below FO_PLANE otherwise */
#define FO_COLUMNS 512 /* channels that a unit of sums takes, with channels last */
#define FO_PLANE 512   /* elements of a channel that a unit takes at least, if planes are smaller */

#endif
