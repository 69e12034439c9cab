/* exp, log, tanh, sine and cosine from additions, products and quotients alone. They have the same bits wherever
 * arithmetic is IEEE, which no libm promises, and loops over them vectorize. Polynomials: Moshier's Cephes, single
 * precision. */
#pragma once

#include <stdint.h>
#include <string.h>

#include "math/loops.h" /* bits_of, float_of */

/* eˣ for x <= 0, within 1 ulp: 2ⁿ eʳ, |r| <= ln 2 / 2; 0 below −104. Subnormal results are rounded twice. NaN gives
 * NaN. */
FO_INLINE float exp_of(float x)
{
    const float magic = 12582912.0f; /* 1.5 · 2²³: adding it leaves the nearest integer in the last bits */
    x = x < -104.0f ? -104.0f : x;
    const float shifted = x * 1.44269504088896341f + magic;
    const float n = shifted - magic;
    const float r = (x - n * 0.693359375f) + n * 2.12194440e-4f;
    float p = 1.9875691500e-4f;
    p = p * r + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    p = (p * (r * r) + r) + 1.0f;
    /* 2ⁿ can be subnormal, so it is formed as two factors, each a normal number */
    const int32_t whole = (int32_t)(bits_of(shifted) - bits_of(magic)), half = whole >> 1;
    return p * float_of((uint32_t)(half + 127) << 23) * float_of((uint32_t)(whole - half + 127) << 23);
}

/* ln x for a normal number x in (0, 1], within 1 ulp: x = 2ᵉ m, √½ <= m < √2. */
FO_INLINE float log_of(float x)
{
    const int32_t e = (int32_t)(bits_of(x) - 0x3F3504F3u) >> 23;
    const float f = float_of(bits_of(x) - ((uint32_t)e << 23)) - 1.0f, z = f * f, n = (float)e;
    /* even and odd powers separately: two short chains of operations are faster than a long one */
    float even = 7.0376836292e-2f, odd = -1.1514610310e-1f;
    even = even * z + 1.1676998740e-1f;
    odd = odd * z - 1.2420140846e-1f;
    even = even * z + 1.4249322787e-1f;
    odd = odd * z - 1.6668057665e-1f;
    even = even * z + 2.0000714765e-1f;
    odd = odd * z - 2.4999993993e-1f;
    even = even * z + 3.3333331174e-1f;
    const float p = odd * f + even;
    const float tail = p * f * z - n * 2.12194440e-4f - 0.5f * z;
    return n * 0.693359375f + (f + tail);
}

/* ln x in double for a positive normal number: 2 artanh((m − 1)/(m + 1)) + e ln 2. NaN gives NaN. */
FO_INLINE double log_of_double(double x)
{
    int64_t bits;
    memcpy(&bits, &x, sizeof bits);
    const int64_t e = (bits - 0x3FE6A09E667F3BCD) >> 52;
    bits -= e * ((int64_t)1 << 52);
    double m, p = 1.0 / 23;
    memcpy(&m, &bits, sizeof m);
    const double s = (m - 1.0) / (m + 1.0), z = s * s;
    for (int k = 21; k >= 3; k -= 2)
        p = p * z + 1.0 / k;
    return x != x ? x : (double)e * 0.6931471805599453 + (2.0 * s + 2.0 * s * z * p);
}

/* tanh x within 2 ulps: Cephes' polynomial near 0, where 1 − e^(−2|x|) would cancel. NaN gives NaN. */
FO_INLINE float tanh_of(float x)
{
    const float size = float_of(bits_of(x) & 0x7fffffffu), z = x * x;
    const float e = exp_of(-2.0f * size), far = (1.0f - e) / (1.0f + e);
    float p = -5.70498872745e-3f;
    p = p * z + 2.06390887954e-2f;
    p = p * z - 5.37397155531e-2f;
    p = p * z + 1.33314422036e-1f;
    p = p * z - 3.33332819422e-1f;
    const float near = p * z * x + x;
    return size < 0.625f ? near : float_of(bits_of(far) | (bits_of(x) & 0x80000000u));
}

struct sincos {
    float sine, cosine;
};

/* sin and cos of 2π·turn/2³², within 2.5 ulps. Integer arithmetic reduces the angle to an eighth of a circle exactly.
 */
FO_INLINE struct sincos sincos_of(uint32_t turn)
{
    const uint32_t quadrant = (turn + 0x20000000u) >> 30;
    const float x = (float)(int32_t)(turn - (quadrant << 30)) * 1.46291807926715968e-9f; /* 2π / 2³² */
    const float z = x * x;
    const float s = ((-1.9515295891e-4f * z + 8.3321608736e-3f) * z - 1.6666654611e-1f) * z * x + x;
    const float c =
        ((2.443315711809948e-5f * z - 1.388731625493765e-3f) * z + 4.166664568298827e-2f) * z * z - 0.5f * z + 1.0f;
    const uint32_t sine = quadrant & 1 ? bits_of(c) : bits_of(s), cosine = quadrant & 1 ? bits_of(s) : bits_of(c);
    const uint32_t sine_sign = quadrant << 30 & 0x80000000u, cosine_sign = (quadrant + 1) << 30 & 0x80000000u;
    const struct sincos y = {float_of(sine ^ sine_sign), float_of(cosine ^ cosine_sign)};
    return y;
}
