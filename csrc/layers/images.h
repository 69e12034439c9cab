/* Jobs that move or recolor the pixels of images. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

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
