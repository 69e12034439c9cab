/* Softmax and cross-entropy of rows of logits: losses and gradients. */
#include "layers/cross_entropy.h"
#include "math/elementary.h"

FO_APART float largest(const float *x, int64_t size)
{
    float lane[LANES], top = -INFINITY;
    int64_t i = 0;
    for (int j = 0; j < LANES; j++)
        lane[j] = -INFINITY;
    for (; i + LANES <= size; i += LANES)
        for (int j = 0; j < LANES; j++)
            lane[j] = x[i + j] > lane[j] ? x[i + j] : lane[j];
    for (int j = 0; i + j < size; j++)
        lane[j] = x[i + j] > lane[j] ? x[i + j] : lane[j];
    for (int j = 0; j < LANES; j++)
        top = lane[j] > top ? lane[j] : top;
    return top;
}

FO_APART void exponentials(const float *restrict x, float top, float *restrict out, int64_t size)
{
    for (int64_t i = 0; i < size; i++)
        out[i] = exp_of(x[i] - top);
}

/* Σ weight·(x − top): label smoothing gives every class this part of the loss. */
static double smoothed_part(const float *x, const float *weight, float top, int64_t size)
{
    double lane[LANES] = {0}, sum = 0;
    if (weight)
        add_products(x, weight, size, top, lane);
    else
        add_differences(x, size, top, lane);
    const double quick = fold(lane);
    if (!weight || quick == quick)
        return quick;
    for (int64_t i = 0; i < size; i++)
        if (weight[i] != 0.0f)
            sum += (double)weight[i] * ((double)x[i] - top);
    return sum; /* without the classes of weight 0, whose logit −inf made the first sum NaN */
}

/* Target class y, weights w, smoothing ε, K classes: with q = w·((1 − ε)·[class is y] + ε/K) and top = max z, the loss
 * is Σq·(ln Σe^(z − top) − (z − top)), and its gradient at z is Σq·softmax(z) − q. */
static double entropy_of_class(const struct fo_entropy *e, int64_t y, const float *z, float *g)
{
    const float top = largest(z, e->classes);
    exponentials(z, top, g, e->classes);
    const double sum = sum_of(g, e->classes), logarithm = log_of_double(sum);
    const double own = (1.0 - e->smoothing) * (e->weight ? (double)e->weight[y] : 1.0);
    const double share = e->smoothing / (double)e->classes;
    double loss = own == 0.0 ? 0.0 : own * (logarithm - ((double)z[y] - top));
    if (share != 0.0)
        loss += share * (e->total_weight * logarithm - smoothed_part(z, e->weight, top, e->classes));
    const float factor = (float)(e->scale * (own + share * e->total_weight) / sum);
    const float rest = (float)(e->scale * share), target = (float)(e->scale * own);
    for (int64_t i = 0; i < e->classes; i++)
        g[i] = g[i] * factor - (e->weight ? rest * e->weight[i] : rest);
    g[y] -= target;
    return loss;
}

/* The same for target probabilities t: q = w·((1 − ε)·t + ε/K). A class with q = 0 adds nothing, even if its logit is
 * −inf. */
static double entropy_of_soft(const struct fo_entropy *e, const float *t, const float *z, float *g)
{
    const float top = largest(z, e->classes);
    exponentials(z, top, g, e->classes);
    const double sum = sum_of(g, e->classes), logarithm = log_of_double(sum);
    const double kept = 1.0 - e->smoothing, share = e->smoothing / (double)e->classes;
    double lane[LANES] = {0}, weight[LANES] = {0};
    for (int64_t i = 0; i < e->classes; i++) {
        const double q = (kept * t[i] + share) * (e->weight ? (double)e->weight[i] : 1.0);
        weight[i % LANES] += q;
        lane[i % LANES] += q == 0.0 ? 0.0 : q * (logarithm - ((double)z[i] - top));
    }
    const double factor = e->scale * fold(weight) / sum;
    for (int64_t i = 0; i < e->classes; i++) {
        const double q = (kept * t[i] + share) * (e->weight ? (double)e->weight[i] : 1.0);
        g[i] = (float)(g[i] * factor - e->scale * q);
    }
    return fold(lane);
}

/* With few classes one row would not fill a vector, so up to sixteen rows are computed side by side. Without weights
 * and smoothing. Each row's sums have the order of entropy_of_class, so the bits are the same. */
enum { FEW = LANES };

struct few {
    float z[FEW][LANES]; /* (class, row): logits, then softmax times scale */
    float own[LANES], top[LANES], factor[LANES];
    double logarithm[LANES];
};

/* z ← e^(z − top); sum[r] ← their sum over the classes, in the order of sum_of. */
FO_APART void exponentials_of_few(struct few *f, int64_t classes, double *restrict sum)
{
    double lane[FEW / 2][LANES];
    for (int r = 0; r < LANES; r++)
        f->top[r] = -INFINITY;
    for (int64_t i = 0; i < classes; i++)
        for (int r = 0; r < LANES; r++)
            f->top[r] = f->z[i][r] > f->top[r] ? f->z[i][r] : f->top[r];
    for (int64_t i = 0; i < classes; i++)
        for (int r = 0; r < LANES; r++)
            f->z[i][r] = exp_of(f->z[i][r] - f->top[r]);
    for (int i = 0; i < FEW / 2; i++) /* rows of f->z beyond the classes are 0 */
        for (int r = 0; r < LANES; r++)
            lane[i][r] = (double)f->z[i][r] + (double)f->z[i + FEW / 2][r];
    for (int width = FEW / 4; width > 0; width /= 2)
        for (int i = 0; i < width; i++)
            for (int r = 0; r < LANES; r++)
                lane[i][r] += lane[i + width][r];
    memcpy(sum, lane[0], sizeof lane[0]);
}

FO_APART void softmax_of_few(struct few *f, int64_t classes, double scale)
{
    double sum[LANES];
    exponentials_of_few(f, classes, sum);
    for (int r = 0; r < LANES; r++) {
        f->logarithm[r] = log_of_double(sum[r]);
        f->factor[r] = (float)(scale / sum[r]);
    }
    for (int64_t i = 0; i < classes; i++)
        for (int r = 0; r < LANES; r++)
            f->z[i][r] *= f->factor[r];
}

static void load_few(const struct fo_entropy *e, int64_t from, int64_t rows, struct few *f)
{
    for (int64_t r = 0; r < rows; r++) {
        const float *const z = e->logits + (from + r) * e->classes;
        for (int64_t i = 0; i < e->classes; i++)
            f->z[i][r] = z[i];
        f->own[r] = e->target[from + r] == e->ignore ? 0.0f : z[e->target[from + r]];
    }
}

/* Returns total plus the losses of these rows, added in their order. */
static double entropy_of_few(const struct fo_entropy *e, int64_t from, int64_t rows, double total)
{
    struct few f = {0};
    load_few(e, from, rows, &f);
    softmax_of_few(&f, e->classes, e->scale);
    for (int64_t r = 0; r < rows; r++) {
        float *const g = e->gradient + (from + r) * e->classes;
        const int64_t y = e->target[from + r];
        const double loss = y == e->ignore ? 0.0 : f.logarithm[r] - ((double)f.own[r] - f.top[r]);
        for (int64_t i = 0; i < e->classes; i++)
            g[i] = y == e->ignore ? 0.0f : f.z[i][r];
        if (y != e->ignore)
            g[y] -= (float)e->scale;
        if (e->loss)
            e->loss[from + r] = (float)loss;
        total += loss;
    }
    return total;
}

static double entropy(const struct fo_entropy *e, int64_t from, int64_t to)
{
    double total = 0;
    if (!e->soft && !e->weight && e->smoothing == 0 && e->classes <= FEW) {
        for (int64_t r = from; r < to; r += LANES)
            total = entropy_of_few(e, r, fo_least(to - r, LANES), total);
        return total;
    }
    for (int64_t r = from; r < to; r++) {
        const float *const z = e->logits + r * e->classes;
        float *const g = e->gradient + r * e->classes;
        double loss = 0;
        if (e->soft)
            loss = entropy_of_soft(e, e->soft + r * e->classes, z, g);
        else if (e->target[r] != e->ignore)
            loss = entropy_of_class(e, e->target[r], z, g);
        else
            memset(g, 0, (size_t)e->classes * sizeof(float));
        if (e->loss)
            e->loss[r] = (float)loss;
        total += loss;
    }
    return total;
}
