/* Bias and activation of a dense layer in one pass, forward and backward, and the squared error. Matrix products are
 * left to a BLAS. */
#include "math/elementary.h"
#include "network/network.h"

/* Hendrycks & Gimpel, "Gaussian error linear units", arXiv:1606.08415 (2016), the form with tanh. */
FO_INLINE float gelu_tanh(float z) { return tanh_of(0.7978845608f * (z + 0.044715f * (z * z * z))); }

FO_INLINE float gelu_derivative(float z)
{
    const float t = gelu_tanh(z);
    return 0.5f * (1.0f + t) + 0.5f * z * (1.0f - t * t) * (0.7978845608f + 0.1070322243f * (z * z));
}

/* Activations. name_value(z) is the output at z; name_slope(g, v) is the gradient at z, given g, the gradient at the
 * output, and v, which is z itself for gelu and the output for the others. */
FO_INLINE float identity_value(float z) { return z; }
FO_INLINE float identity_slope(float g, float v) { return (void)v, g; }
FO_INLINE float relu_value(float z) { return z < 0.0f ? 0.0f : z; }
FO_INLINE float relu_slope(float g, float v) { return v > 0.0f ? g : 0.0f; }
FO_INLINE float tanh_value(float z) { return tanh_of(z); }
FO_INLINE float tanh_slope(float g, float v) { return g * (1.0f - v * v); }
FO_INLINE float gelu_value(float z) { return 0.5f * z * (1.0f + gelu_tanh(z)); }
FO_INLINE float gelu_slope(float g, float v) { return g * gelu_derivative(v); }

/* y ← value(x + bias). If `keep`, x ← x + bias, which `back` needs. */
FO_INLINE void forward(const struct fo_dense *d, bool keep, float (*value_of)(float))
{
    for (int64_t row = 0; row < d->models * d->rows; row++) {
        float *const x = d->x + row * d->units, *const y = d->y + row * d->units;
        const float *const bias = d->bias ? d->bias + row / d->rows * d->units : NULL;
        FO_INDEPENDENT
        for (int64_t i = 0; i < d->units; i++) {
            const float z = bias ? x[i] + bias[i] : x[i];
            if (keep)
                x[i] = z;
            y[i] = value_of(z);
        }
    }
}

enum { FO_SUMS = 256 }; /* columns summed at once, in double and in the order of the rows: they stay in the L1 cache */

/* Columns [from, to) of the rows of one model, which begin at row `first`. */
FO_INLINE void back_columns(const struct fo_dense *d, float (*slope)(float, float), int64_t first, int64_t from,
                            int64_t to)
{
    double sum[FO_SUMS] = {0};
    for (int64_t row = first; row < first + d->rows; row++) {
        float *const x = d->x + row * d->units + from;
        const float *const y = d->y + row * d->units + from;
        FO_INDEPENDENT
        for (int64_t i = 0; i < to - from; i++) {
            const float gradient = slope(x[i], y[i]);
            x[i] = gradient;
            sum[i] += (double)gradient;
        }
    }
    for (int64_t i = from; d->bias && i < to; i++)
        d->bias[first / d->rows * d->units + i] = (float)sum[i - from];
}

FO_INLINE void back(const struct fo_dense *d, float (*slope)(float, float))
{
    for (int64_t first = 0; first < d->models * d->rows; first += d->rows)
        for (int64_t from = 0; from < d->units; from += FO_SUMS)
            back_columns(d, slope, first, from, fo_least(from + FO_SUMS, d->units));
}

/* The pair of kernels of each row of FO_ACTIVATIONS. */
#define FO_ACTIVATION(name)                                                                                            \
    static void name##_forward(const struct fo_dense *d)                                                               \
    {                                                                                                                  \
        forward(d, FO_ACTIVATION_##name == FO_ACTIVATION_gelu, name##_value);                                          \
    }                                                                                                                  \
    static void name##_back(const struct fo_dense *d) { back(d, name##_slope); }
FO_ACTIVATIONS(FO_ACTIVATION)

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
