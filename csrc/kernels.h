/* The loop around a rule, written once and compiled once per instruction set. Holds no formula of an optimizer and no
 * intrinsics: the compiler vectorizes these loops, and plain IEEE operations give the same bits at every width. */
#include <math.h>
#include <string.h>

#include "fastopt.h"
#include "rules.h"

#ifndef ISA
#error "include this from a kernels_<isa>.c that defines ISA"
#endif

/* No two buffers of a span overlap: the binding has checked that, the compiler need not. */
#if defined(__clang__)
#pragma clang diagnostic ignored "-Wpass-failed" /* leave to vectorize, no demand: at -O1 nothing is */
#define FO_INDEPENDENT _Pragma("clang loop vectorize(assume_safety)")
#elif defined(__GNUC__)
#define FO_INDEPENDENT _Pragma("GCC ivdep")
#else
#define FO_INDEPENDENT
#endif

#define FO_PASTE_(a, b) a##b
#define FO_PASTE(a, b) FO_PASTE_(a, b)
#define FO_TEXT_(a) #a
#define FO_TEXT(a) FO_TEXT_(a)

/* Comparisons, not products with zero, so that an absent term leaves NaN, infinities and −0.0 alone. */
FO_INLINE float penalized(float g, const float w, const struct fo_prelude p)
{
    g = g > p.clip ? p.clip : g;
    g = g < -p.clip ? -p.clip : g;
    g = p.weight_decay != 0.0f ? g + p.weight_decay * w : g;
    const float sign = w > 0.0f ? p.l1 : w < 0.0f ? -p.l1 : 0.0f;
    return p.l1 != 0.0f ? g + sign : g;
}

#define FO_KERNEL(rule, name, point, PENALIZED)                                                                        \
    static void name(float *const *buffer, const float *gradient, int64_t from, int64_t to,                            \
                     const struct fo_prelude *prelude, float scale, const float *scalars)                              \
    {                                                                                                                  \
        enum { N = sizeof(struct rule##_element) / sizeof(float) };                                                    \
        const struct fo_prelude p = *prelude;                                                                          \
        struct rule##_scalars h;                                                                                       \
        memcpy(&h, scalars, sizeof h);                                                                                 \
        float *const b0 = buffer[0], *const b1 = buffer[1], *const b2 = buffer[2], *const b3 = buffer[3];              \
        FO_INDEPENDENT                                                                                                 \
        for (int64_t i = from; i < to; i++) {                                                                          \
            union {                                                                                                    \
                struct rule##_element x;                                                                               \
                float b[FO_MAX_BUFFERS];                                                                               \
            } e;                                                                                                       \
            float g = scale * gradient[i];                                                                             \
            e.b[0] = b0[i];                                                                                            \
            if (N > 1)                                                                                                 \
                e.b[1] = b1[i];                                                                                        \
            if (N > 2)                                                                                                 \
                e.b[2] = b2[i];                                                                                        \
            if (N > 3)                                                                                                 \
                e.b[3] = b3[i];                                                                                        \
            if (PENALIZED) {                                                                                           \
                const struct rule##_element x = e.x;                                                                   \
                g = penalized(g, point, p);                                                                            \
            }                                                                                                          \
            e.b[0] *= p.decay;                                                                                         \
            rule(&e.x, g, h);                                                                                          \
            b0[i] = e.b[0];                                                                                            \
            if (N > 1)                                                                                                 \
                b1[i] = e.b[1];                                                                                        \
            if (N > 2)                                                                                                 \
                b2[i] = e.b[2];                                                                                        \
            if (N > 3)                                                                                                 \
                b3[i] = e.b[3];                                                                                        \
        }                                                                                                              \
    }
#define FO_KERNELS(rule, buffers, scalars, point)                                                                      \
    FO_KERNEL(rule, rule##_plain, point, 0)                                                                            \
    FO_KERNEL(rule, rule##_penalized, point, 1)
RULES(FO_KERNELS)

#define FO_ENTRY(rule, buffers, scalars, point) {rule##_plain, rule##_penalized},
static fo_update *const update[][2] = {RULES(FO_ENTRY)};

/* Sixteen running sums in double, element i in lane i mod 16, folded in halves: the order of every addition is part of
 * the definition, so that no instruction set may change it. A product of two floats is exact in double. */
enum { LANES = 16 };

static double sum_of_squares(const float *x, int64_t size)
{
    double lane[LANES] = {0};
    int64_t i = 0;
    for (; i + LANES <= size; i += LANES)
        for (int j = 0; j < LANES; j++)
            lane[j] += (double)x[i + j] * x[i + j];
    for (int j = 0; i + j < size; j++)
        lane[j] += (double)x[i + j] * x[i + j];
    for (int width = LANES / 2; width > 0; width /= 2)
        for (int j = 0; j < width; j++)
            lane[j] += lane[j + width];
    return lane[0];
}

static void lookahead(float *w, const float *a, float *origin, float shift, int64_t from, int64_t to)
{
    FO_INDEPENDENT
    for (int64_t i = from; i < to; i++) {
        const float x = w[i];
        origin[i] = x;
        w[i] = x - shift * a[i];
    }
}

/* bfloat16 and IEEE half to float and back, in integers: the same bits on every ISA, whatever the CPU can convert. */
FO_INLINE uint32_t bits_of(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}

FO_INLINE float float_of(uint32_t bits)
{
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

FO_INLINE float widen_bfloat16(uint16_t x) { return float_of((uint32_t)x << 16); }

FO_INLINE uint16_t narrow_bfloat16(float x)
{
    const uint32_t bits = bits_of(x);
    const uint32_t rounded = (bits + 0x7fffu + (bits >> 16 & 1u)) >> 16;
    return (uint16_t)((bits & 0x7fffffffu) > 0x7f800000u ? bits >> 16 | 0x40u : rounded); /* NaN stays NaN, quiet */
}

FO_INLINE float widen_float16(uint16_t x)
{
    const uint32_t sign = (uint32_t)(x & 0x8000u) << 16, exponent = x >> 10 & 31u, fraction = x & 0x3ffu;
    const uint32_t normal = (exponent + 112u) << 23 | fraction << 13;
    const uint32_t special = 0x7f800000u | fraction << 13 | (fraction != 0u ? 0x400000u : 0u);
    const uint32_t subnormal = bits_of((float)(int32_t)fraction * 0x1p-24f); /* a normal float: exact */
    return float_of(sign | (exponent == 0u ? subnormal : exponent == 31u ? special : normal));
}

FO_INLINE uint16_t narrow_float16(float x)
{
    const uint32_t bits = bits_of(x), sign = bits >> 16 & 0x8000u, size = bits & 0x7fffffffu;
    const uint32_t normal = (size + 0xfffu + (size >> 13 & 1u) - 0x38000000u) >> 13;
    const uint32_t small = bits_of(float_of(size) + 0.5f) - 0x3f000000u; /* 0.5f counts in units of 2⁻²⁴ */
    const uint32_t finite = size < 0x38800000u ? small : size >= 0x477ff000u ? 0x7c00u : normal;
    return (uint16_t)(sign | (size > 0x7f800000u ? 0x7e00u | (size >> 13 & 0x1ffu) : finite));
}

#define FO_CONVERSIONS(type)                                                                                           \
    static void widen_all_##type(const uint16_t *x, float *y, int64_t size)                                            \
    {                                                                                                                  \
        FO_INDEPENDENT                                                                                                 \
        for (int64_t i = 0; i < size; i++)                                                                             \
            y[i] = widen_##type(x[i]);                                                                                 \
    }                                                                                                                  \
    static void narrow_all_##type(const float *x, uint16_t *y, int64_t size)                                           \
    {                                                                                                                  \
        FO_INDEPENDENT                                                                                                 \
        for (int64_t i = 0; i < size; i++)                                                                             \
            y[i] = narrow_##type(x[i]);                                                                                \
    }
FO_CONVERSIONS(bfloat16)
FO_CONVERSIONS(float16)

static void (*const widen[FO_TYPES])(const uint16_t *, float *, int64_t) = {NULL, widen_all_bfloat16,
                                                                            widen_all_float16};
static void (*const narrow[FO_TYPES])(const float *, uint16_t *, int64_t) = {NULL, narrow_all_bfloat16,
                                                                             narrow_all_float16};

#include "layers.h"
#include "network.h"
#include "stump.h"

const struct fo_kernels FO_PASTE(fo_kernels_, ISA) = {FO_TEXT(ISA), update,  sum_of_squares, lookahead, widen,
                                                      narrow,       &layers, &network,       &stumps};
