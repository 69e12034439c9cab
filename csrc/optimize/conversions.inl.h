/* bfloat16 and IEEE half (float16) to float and back. The conversions use integers, not the CPU's instructions, so that
 * the bits are the same on every instruction set. Narrowing rounds to nearest even; NaN stays a quiet NaN. */

FO_INLINE float widen_bfloat16(uint16_t x) { return float_of((uint32_t)x << 16); }

FO_INLINE uint16_t narrow_bfloat16(float x)
{
    const uint32_t bits = bits_of(x);
    const uint32_t rounded = (bits + 0x7fffu + (bits >> 16 & 1u)) >> 16;
    return (uint16_t)((bits & 0x7fffffffu) > 0x7f800000u ? bits >> 16 | 0x40u : rounded);
}

FO_INLINE float widen_float16(uint16_t x)
{
    const uint32_t sign = (uint32_t)(x & 0x8000u) << 16, exponent = x >> 10 & 31u, fraction = x & 0x3ffu;
    const uint32_t normal = (exponent + 112u) << 23 | fraction << 13;
    const uint32_t special = 0x7f800000u | fraction << 13 | (fraction != 0u ? 0x400000u : 0u);
    const uint32_t subnormal = bits_of((float)(int32_t)fraction * 0x1p-24f); /* exact: a normal float */
    return float_of(sign | (exponent == 0u ? subnormal : exponent == 31u ? special : normal));
}

FO_INLINE uint16_t narrow_float16(float x)
{
    const uint32_t bits = bits_of(x), sign = bits >> 16 & 0x8000u, size = bits & 0x7fffffffu;
    const uint32_t normal = (size + 0xfffu + (size >> 13 & 1u) - 0x38000000u) >> 13;
    const uint32_t small = bits_of(float_of(size) + 0.5f) - 0x3f000000u; /* the last bit of 0.5f + x is 2⁻²⁴ */
    const uint32_t finite = size < 0x38800000u ? small : size >= 0x477ff000u ? 0x7c00u : normal;
    return (uint16_t)(sign | (size > 0x7f800000u ? 0x7e00u | (size >> 13 & 0x1ffu) : finite));
}

FO_INLINE void widen_all(float (*widen_one)(uint16_t), const uint16_t *x, float *y, int64_t size)
{
    FO_INDEPENDENT
    for (int64_t i = 0; i < size; i++)
        y[i] = widen_one(x[i]);
}

FO_INLINE void narrow_all(uint16_t (*narrow_one)(float), const float *x, uint16_t *y, int64_t size)
{
    FO_INDEPENDENT
    for (int64_t i = 0; i < size; i++)
        y[i] = narrow_one(x[i]);
}

static void widen_bfloat16s(const uint16_t *x, float *y, int64_t size) { widen_all(widen_bfloat16, x, y, size); }
static void widen_float16s(const uint16_t *x, float *y, int64_t size) { widen_all(widen_float16, x, y, size); }
static void narrow_bfloat16s(const float *x, uint16_t *y, int64_t size) { narrow_all(narrow_bfloat16, x, y, size); }
static void narrow_float16s(const float *x, uint16_t *y, int64_t size) { narrow_all(narrow_float16, x, y, size); }

/* By enum fo_type. */
static void (*const widen[])(const uint16_t *, float *, int64_t) = {NULL, widen_bfloat16s, widen_float16s};
static void (*const narrow[])(const float *, uint16_t *, int64_t) = {NULL, narrow_bfloat16s, narrow_float16s};
