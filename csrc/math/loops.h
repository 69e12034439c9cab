/* What the kernels' loops have in common: hints for the compiler, and sums in lanes. */
#pragma once

#include <stdint.h>
#include <string.h>

#include "rules.h" /* FO_INLINE */
#include "runtime/tiles.h"

/* FO_INDEPENDENT stands before a loop whose iterations touch different elements. The caller has checked that no two of
 * its arrays overlap, so the compiler need not. A macro, because a pragma cannot be a function. */
#if defined(__clang__)
#pragma clang diagnostic ignored "-Wpass-failed" /* a loop may stay scalar, as all do at -O1 */
#define FO_INDEPENDENT _Pragma("clang loop vectorize(assume_safety)")
#elif defined(__GNUC__)
#define FO_INDEPENDENT _Pragma("GCC ivdep")
#else
#define FO_INDEPENDENT
#endif

/* FO_APART marks a function that is never inlined: gcc 12 vectorizes all lanes of a loop that stands alone, and only
 * some of them among other code. */
#if defined(__GNUC__)
#define FO_APART static __attribute__((noinline))
#else
#define FO_APART static
#endif

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

typedef double fo_term(float x, float y, double shift);

/* lane[i mod 16] += term(x[i], y[i], shift). A term of one array is given that array twice. */
FO_INLINE void add_terms(fo_term *term, const float *restrict x, const float *restrict y, int64_t size, double shift,
                         double *restrict lane)
{
    int64_t i = 0;
    for (; i + LANES <= size; i += LANES)
        for (int j = 0; j < LANES; j++)
            lane[j] += term(x[i + j], y[i + j], shift);
    for (int j = 0; i + j < size; j++)
        lane[j] += term(x[i + j], y[i + j], shift);
}

/* Terms: a product of two floats is exact in double. */
FO_INLINE double value(float x, float y, double shift) { return (void)y, (void)shift, (double)x; }
FO_INLINE double magnitude(float x, float y, double shift) { return (void)y, (void)shift, (double)fabsf(x); }
FO_INLINE double difference(float x, float y, double shift) { return (void)y, (double)x - shift; }
FO_INLINE double square(float x, float y, double shift) { return (void)y, ((double)x - shift) * ((double)x - shift); }
FO_INLINE double product(float x, float y, double shift) { return (double)y * ((double)x - shift); }

FO_APART void add_values(const float *x, int64_t size, double *lane) { add_terms(value, x, x, size, 0, lane); }
FO_APART void add_magnitudes(const float *x, int64_t size, double *lane) { add_terms(magnitude, x, x, size, 0, lane); }

FO_APART void add_differences(const float *x, int64_t size, double shift, double *lane)
{
    add_terms(difference, x, x, size, shift, lane);
}

FO_APART void add_squares(const float *x, int64_t size, double shift, double *lane)
{
    add_terms(square, x, x, size, shift, lane);
}

FO_APART void add_products(const float *x, const float *y, int64_t size, double shift, double *lane)
{
    add_terms(product, x, y, size, shift, lane);
}

FO_APART void add_plain_squares(const float *x, int64_t n, double *lane) { add_terms(square, x, x, n, 0, lane); }

FO_INLINE double sum_of(const float *x, int64_t size)
{
    double lane[LANES] = {0};
    add_values(x, size, lane);
    return fold(lane);
}
