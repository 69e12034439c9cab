/* Columns of doubles as whole numbers of four digits, whose sums over the rows of a resample are exact in any order and
 * of 16-bit products, two and their sum an instruction on every x86. Compiled once per instruction set (resample.h
 * includes this file). Knows nothing of how rows are drawn. */
#include "fastopt_resample.h"

static int digit_rows(int64_t left) { return left < FO_DIGIT_ROWS ? (int)left : FO_DIGIT_ROWS; }

/* A row not below 2⁻⁶ of the largest is a whole multiple of 2^exponent, 2⁻⁵⁹ of the power of two above the largest, as
 * its last bit of 53 is no finer. In a resample with such a row doubles would round by as much as the digits of others
 * are off, half of that; without one, they would not. There is none, of 64 expected, in one resample of 10²⁷. */
static const double NEAR = 0x1p-6;
enum { EXPECTED = 64, WHOLE_BITS = FO_DIGITS * FO_DIGIT_BITS - 1, LEAST_EXPONENT = -900 };

/* The bits of |x| ascend with it; infinities and NaN are beyond. */
static double largest_of(const double *x, int64_t rows)
{
    int64_t largest = 0;
    for (int64_t i = 0; i < rows; i++) {
        int64_t bits;
        memcpy(&bits, &x[i], sizeof bits);
        bits &= INT64_MAX;
        largest = bits > largest ? bits : largest;
    }
    double found;
    memcpy(&found, &largest, sizeof found);
    return found;
}

/* x / unit as the nearest whole number, −2¹⁴ to 2¹⁴, which the sum with so large a number has for its last bits; x
 * keeps the rest. */
FO_INLINE int16_t cut_digit(double *x, double unit)
{
    const double large = 0x1.8p52, sum = *x / unit + large;
    int64_t bits;
    memcpy(&bits, &sum, sizeof bits);
    *x -= (sum - large) * unit;
    return (int16_t)bits;
}

/* Whether the digits leave nothing of any row, and scaling has made none 0. */
static bool write_digits(int16_t *digits, const double *x, int rows, double scale)
{
    int64_t left = 0;
    FO_INDEPENDENT
    for (int i = 0; i < rows; i++) {
        const double scaled = x[i] * scale;
        double rest = scaled;
        digits[3 * rows + i] = cut_digit(&rest, 0x1p45);
        digits[2 * rows + i] = cut_digit(&rest, 0x1p30);
        digits[rows + i] = cut_digit(&rest, 0x1p15);
        digits[i] = cut_digit(&rest, 1);
        left |= (rest != 0) | ((scaled == 0) & (x[i] != 0));
    }
    return left == 0;
}

/* How many draws of a resample are of a row that large. */
static double expected_above(const double *x, double least, const struct fo_stratum *strata, int64_t n_strata)
{
    double expected = 0;
    for (int64_t s = 0; s < n_strata; s++) {
        int64_t rows = 0;
        for (int64_t i = strata[s].first; i < strata[s].first + strata[s].rows; i++)
            rows += fabs(x[i]) >= least;
        expected += (double)rows * (double)strata[s].draws / (double)strata[s].rows;
    }
    return expected;
}

static bool digits_of(const double *x, const struct fo_stratum *strata, int64_t n_strata, int16_t *digits,
                      int *exponent)
{
    int64_t rows = 0;
    for (int64_t s = 0; s < n_strata; rows += strata[s].rows, s++)
        if (strata[s].draws > strata[s].rows)
            return false;
    const double largest = largest_of(x, rows);
    int above;
    frexp(largest, &above);
    if (!isfinite(largest) || above < LEAST_EXPONENT)
        return false;
    bool exact = true;
    for (int64_t i = 0; i < rows; i += FO_DIGIT_ROWS)
        exact &= write_digits(digits + FO_DIGITS * i, x + i, digit_rows(rows - i), ldexp(1, WHOLE_BITS - above));
    *exponent = above - WHOLE_BITS;
    return exact || expected_above(x, NEAR * largest, strata, n_strata) >= EXPECTED;
}

/* Adds a block's. No sum is near 2³¹: rows are drawn about as often as there are, or less. */
static void add_digits(int64_t sum[FO_DIGITS], const int16_t *digits, const uint8_t *times, int rows)
{
    const int16_t *const d0 = digits, *const d1 = d0 + rows, *const d2 = d1 + rows, *const d3 = d2 + rows;
    int32_t s0 = 0, s1 = 0, s2 = 0, s3 = 0;
    for (int i = 0; i < rows; i++) {
        const int16_t k = times[i]; /* of 16 bits, as the digits: two products and their sum are one instruction */
        s0 += k * d0[i];
        s1 += k * d1[i];
        s2 += k * d2[i];
        s3 += k * d3[i];
    }
    sum[0] += s0, sum[1] += s1, sum[2] += s2, sum[3] += s3;
}

static double joined(const int64_t sum[FO_DIGITS], int exponent)
{
    const int64_t digit = 1 << FO_DIGIT_BITS, low = sum[1] * digit + sum[0], high = sum[3] * digit + sum[2];
    return ldexp((double)high * (double)(digit * digit) + (double)low, exponent);
}
