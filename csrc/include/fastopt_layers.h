/* The C interface of the regularization layers. Knows no Python and allocates nothing. Each layer has a struct that
 * describes a job, kernels (layers/<name>.inl.h) that work on a range of the job's units, and a driver
 * (layers/<name>.c) that divides the units among threads. Units and the order of sums depend on shapes alone, never on
 * threads. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "fastopt_resample.h"

/* Random numbers offset, offset + 1, … of a stream of a key. */
struct fo_draw {
    uint32_t key[2];
    uint32_t stream;
    int64_t offset;
};

/* An elementwise job on one array. A kernel reads only the fields in its formula. Unit: FO_TILE elements. */
struct fo_each {
    const float *x, *y;
    void *out; /* of float, unless the kernel says otherwise */
    int64_t size;
    int64_t first_tile; /* set by the driver: the number of tiles of all jobs before this one */
    struct fo_draw draw;
    float a, b;
    uint32_t threshold;
};

/* clang-format off */
#define FO_EACH(X)                                                                                                     \
    X(words)        /* uint32 out ← word, the random words themselves */                                                               \
    X(add_normal)   /* out ← x + a·n, n standard normal */                                                             \
    X(times_normal) /* out ← x·(1 + a·n) */                                                                            \
    X(drop)         /* out ← 0 where word < threshold, else a·x */                                                     \
    X(drop_bits)    /* bit i of out ← word i >= threshold; offset must be 0 */                                          \
    X(penalize)     /* out ← x + a·y + b·sign(y) */                                                                    \
    X(copy)         /* out ← x */                                                                                      \
    X(exps)         /* out ← eˣ, x <= 0 */                                                                             \
    X(logs)         /* out ← ln x, x in (0, 1] */                                                                      \
    X(sines)        /* out ← sin 2π·word/2³²; x points at uint32 words */                                               \
    X(cosines)
/* clang-format on */
#define FO_EACH_INDEX(name) FO_EACH_##name,
enum { FO_EACH(FO_EACH_INDEX) FO_N_EACH };

/* An array of shape (outer, channels, inner), or (outer, inner, channels) if channels_last. */
struct fo_channels {
    const float *x, *dy;
    float *out;
    int64_t outer, channels, inner;
    bool channels_last;
    bool per_outer;      /* fo_run_scale: the factors have the shape (outer, channels), else (channels) */
    const double *shift; /* (channels), subtracted from x before it is summed */
    double *partial;     /* (fo_slabs, channels, 2) */
    const float *high, *low, *scale, *bias, *slope; /* (channels) each */
};

/* sums (channels, 2) ← Σ(x − shift), Σ(x − shift)²; or Σdy, Σdy·(x − shift) if dy is given. */
int64_t fo_slabs(const struct fo_channels *job);
void fo_run_sums(const struct fo_channels *job, double *sums, int threads);
/* out ← ((x − high) − low)·scale + bias, where high + low is the mean */
void fo_run_normalize(const struct fo_channels *job, int threads);
/* out ← (dy − bias − ((x − high) − low)·slope)·scale */
void fo_run_normalize_back(const struct fo_channels *job, int threads);
/* out ← x·scale, exactly 0 where scale is 0 */
void fo_run_scale(const struct fo_channels *job, int threads);

void fo_run_each(int kernel, struct fo_each *job, int64_t jobs, int threads);
/* Σ|x|^power for power 1 or 2. `partial` has one double per tile. */
double fo_run_sum_of_powers(const float *x, int64_t size, int power, double *partial, int threads);
/* out (n, 4) ← Philox of each counter (n, 4) */
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
    const int64_t *target; /* (rows) classes; NULL: */
    const float *soft;     /* (rows, classes) */
    const float *weight;   /* (classes); NULL: all 1 */
    float *gradient;       /* (rows, classes), of scale times the loss */
    float *loss;           /* (rows), or NULL */
    double *partial;       /* fo_entropy_units doubles */
    int64_t rows, classes, ignore;
    double smoothing, scale;
    double total_weight; /* set by the driver: Σ weight */
};
int64_t fo_entropy_units(const struct fo_entropy *job);
double fo_run_entropy(struct fo_entropy *job, int threads); /* the sum of the losses, without scale */
/* Σ weight[target] over the rows whose target is not `ignore`; −1 − r if the target of row r is no class. */
double fo_target_weight(const struct fo_entropy *job);

/* Images of shape (samples, planes, height, width), whose pixels have `pixel` bytes. A batch (N, H, W, C) has one plane
 * per sample, whose pixels have all C channels. Unit: a sample. */
struct fo_images {
    const uint8_t *x, *other;
    uint8_t *out;
    int64_t samples, planes, height, width, pixel;
    int64_t out_height, out_width;
    const int64_t *place;   /* per sample: see the kernel */
    const int64_t *partner; /* paste: the sample of `other` to copy the box from */
    const uint8_t *fill;    /* (planes, pixel) bytes */
    bool reflect;           /* outside the image: mirrored without repeating the edge, else `fill` */
    bool is_float;          /* else uint8 */
    const double *number;   /* per sample: see the kernel */
    float low, high;        /* tone: the range of the results */
};

/* clang-format off */
#define FO_IMAGES(X)                                                                                                   \
    X(flip)  /* place (1): bit 0 mirrors left and right, bit 1 up and down */                                          \
    X(crop)  /* place (2): out[y][x] ← in[y + place[0]][x + place[1]] */                                               \
    X(paste) /* place (4): rows [p0, p1), columns [p2, p3) of out ← other[partner], or fill if other is NULL */              \
    X(tone)  /* number (2): out ← number[0]·x + number[1] */                                                           \
    X(warp)  /* number (6): out[y][x] ← in at (n0·y + n1·x + n2, n3·y + n4·x + n5), bilinear */
/* clang-format on */
#define FO_IMAGES_INDEX(name) FO_IMAGES_##name,
enum { FO_IMAGES(FO_IMAGES_INDEX) FO_N_IMAGES };
void fo_run_images(int kernel, const struct fo_images *job, int threads);

/* The kernels of one instruction set. Each works on a range [from, to) of units. */
struct fo_layers {
    void (*each[FO_N_EACH])(const struct fo_each *job, int64_t from, int64_t to); /* elements */
    double (*sum_of_magnitudes)(const float *x, int64_t size);
    void (*sums)(const struct fo_channels *job, int64_t from, int64_t to);
    void (*normalize)(const struct fo_channels *job, int64_t from, int64_t to);
    void (*normalize_back)(const struct fo_channels *job, int64_t from, int64_t to);
    void (*scale)(const struct fo_channels *job, int64_t from, int64_t to);
    void (*mix)(float *out, const float *x, const float *y, float a, float b, int64_t size);
    double (*entropy)(const struct fo_entropy *job, int64_t from, int64_t to); /* rows */
    void (*images[FO_N_IMAGES])(const struct fo_images *job, int64_t sample, int64_t plane);
    void (*philox)(const uint32_t *counter, uint32_t *out, int64_t n, const uint32_t key[2]);
    void (*resample[FO_N_RESAMPLE])(const struct fo_resample *job, int64_t from, int64_t to, int thread);
};

/* The sizes of the units of the channel kernels. */
#define FO_ROWS 256    /* rows of a slab, with channels last */
#define FO_COLUMNS 512 /* channels of a unit of the sums, with channels last */
#define FO_PLANE 512   /* a unit joins the planes of several samples until it has so many elements */
