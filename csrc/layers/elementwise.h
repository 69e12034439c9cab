/* Jobs that treat each element alone: noise, dropout, the gradient of a penalty, elementary functions, random words. */
#pragma once

#include <stdint.h>

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
