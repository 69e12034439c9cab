/* Bias and activation of a dense layer, forward and back in one pass each, and the squared error: compiled once per
 * instruction set (kernels.h includes this file after layers.h). No products: those are BLAS's. */
#include "fastopt_network.h"

/* tanh x within 2 ulps: Cephes' polynomial near 0, where 1 − e^(−2|x|) would cancel. NaN stays. */
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

/* Hendrycks & Gimpel, "Gaussian error linear units", arXiv:1606.08415 (2016): the form with tanh. */
FO_INLINE float gelu_tanh(float z) { return tanh_of(0.7978845608f * (z + 0.044715f * (z * z * z))); }

FO_INLINE float gelu_slope(float z)
{
    const float t = gelu_tanh(z);
    return 0.5f * (1.0f + t) + 0.5f * z * (1.0f - t * t) * (0.7978845608f + 0.1070322243f * (z * z));
}

/* value of z and the gradient at z from g, that at the value: told from v, the value (KEEP 0) or z itself (KEEP 1). */
#define FO_ACTIVATION(name, KEEP, value, slope)                                                                        \
    static void name##_forward(const struct fo_dense *d)                                                               \
    {                                                                                                                  \
        for (int64_t row = 0; row < d->models * d->rows; row++) {                                                      \
            float *const x = d->x + row * d->units, *const y = d->y + row * d->units;                                  \
            const float *const bias = d->bias ? d->bias + row / d->rows * d->units : NULL;                             \
            FO_INDEPENDENT                                                                                             \
            for (int64_t i = 0; i < d->units; i++) {                                                                   \
                const float z = bias ? x[i] + bias[i] : x[i];                                                          \
                if (KEEP)                                                                                              \
                    x[i] = z;                                                                                          \
                y[i] = value;                                                                                          \
            }                                                                                                          \
        }                                                                                                              \
    }                                                                                                                  \
    static void name##_columns(const struct fo_dense *d, int64_t first, int64_t from, int64_t to)                      \
    {                                                                                                                  \
        double sum[FO_SUMS] = {0};                                                                                     \
        for (int64_t row = first; row < first + d->rows; row++) {                                                      \
            float *const x = d->x + row * d->units + from;                                                             \
            const float *const y = d->y + row * d->units + from;                                                       \
            FO_INDEPENDENT                                                                                             \
            for (int64_t i = 0; i < to - from; i++) {                                                                  \
                const float g = x[i], v = y[i];                                                                        \
                (void)v;                                                                                               \
                const float slid = slope;                                                                              \
                x[i] = slid;                                                                                           \
                sum[i] += (double)slid;                                                                                \
            }                                                                                                          \
        }                                                                                                              \
        for (int64_t i = from; d->bias && i < to; i++)                                                                 \
            d->bias[first / d->rows * d->units + i] = (float)sum[i - from];                                            \
    }                                                                                                                  \
    static void name##_back(const struct fo_dense *d)                                                                  \
    {                                                                                                                  \
        for (int64_t first = 0; first < d->models * d->rows; first += d->rows)                                         \
            for (int64_t from = 0; from < d->units; from += FO_SUMS)                                                   \
                name##_columns(d, first, from, from + FO_SUMS < d->units ? from + FO_SUMS : d->units);                 \
    }
enum { FO_SUMS = 256 }; /* columns summed at once, in double and in the order of the rows: they stay in the L1 cache */
FO_ACTIVATION(identity, 0, z, g)
FO_ACTIVATION(relu, 0, z < 0.0f ? 0.0f : z, v > 0.0f ? g : 0.0f)
FO_ACTIVATION(tanh, 0, tanh_of(z), g * (1.0f - v * v))
FO_ACTIVATION(gelu, 1, 0.5f * z * (1.0f + gelu_tanh(z)), g *gelu_slope(v))

static void squares(const struct fo_squares *job)
{
    for (int64_t row = 0; row < job->rows; row++) {
        const float *const output = job->output + row * job->units, *const target = job->target + row * job->units;
        double sum = 0;
        for (int64_t i = 0; i < job->units; i++) {
            const double off = (double)output[i] - target[i];
            job->gradient[row * job->units + i] = (float)(off * job->scale);
            sum += off * off;
        }
        job->loss[row] = (float)(0.5 * sum);
    }
}

#define FO_FORWARD_ENTRY(name) name##_forward,
#define FO_BACK_ENTRY(name) name##_back,
static const struct fo_network network = {{FO_ACTIVATIONS(FO_FORWARD_ENTRY)}, {FO_ACTIVATIONS(FO_BACK_ENTRY)}, squares};
