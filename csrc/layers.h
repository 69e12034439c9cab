/* The kernels of the regularization layers, compiled once per instruction set (kernels.h includes this file). Plain
 * loops, no intrinsics; sums run in double over sixteen lanes, in an order that is part of their definition. */
#include "elementary.h"
#include "fastopt_layers.h"
#include "philox.h"

/* -- random numbers and element by element ------------------------------------------------------------------------ */

enum { CHUNK = 4 * PHILOX_BLOCK }; /* elements whose random numbers are drawn at once: they stay in the L1 cache */
enum { PURPOSE_ELEMENTS = 0 };     /* the fourth word of a counter; 1 is that of samples (augmentation) */

static void draw_words(uint32_t *out, uint64_t at, const struct fo_draw *draw)
{
    for (int i = 0; i < CHUNK; i += PHILOX_BLOCK)
        philox_block(out + i, at + (uint64_t)i, draw->stream, PURPOSE_ELEMENTS, draw->key);
}

/* Box & Muller (1958), "A note on the generation of random normal deviates": two words make two normals, up to 6.66
 * standard deviations (2⁻³² is the least chance that 32 bits can tell). */
static void draw_normals(float *out, uint64_t at, const struct fo_draw *draw)
{
    uint32_t word[CHUNK];
    draw_words(word, at, draw);
    for (int i = 0; i < CHUNK; i += 2 * PHILOX_LANES)
        for (int l = 0; l < PHILOX_LANES; l++) {
            const uint32_t u = word[i + l], turn = word[i + PHILOX_LANES + l];
            const float uniform = ((float)(int32_t)(u >> 1) + 0.5f) * 4.6566128730773926e-10f; /* 2⁻³¹ */
            const float radius = sqrtf(-2.0f * log_of(uniform));
            const struct sincos direction = sincos_of(turn);
            out[i + l] = radius * direction.cosine;
            out[i + PHILOX_LANES + l] = radius * direction.sine;
        }
}

/* A loop over elements with a random number r each, chunk by chunk; chunks lie at multiples of CHUNK of the stream. */
#define FO_DRAWN(name, type, source, T, result)                                                                        \
    static void name(const struct fo_each *e, int64_t from, int64_t to)                                                \
    {                                                                                                                  \
        const float *const x = e->x;                                                                                   \
        T *const out = e->out;                                                                                         \
        const float a = e->a;                                                                                          \
        const uint32_t threshold = e->threshold;                                                                       \
        (void)x, (void)a, (void)threshold;                                                                             \
        type random[CHUNK];                                                                                            \
        for (int64_t i = from; i < to;) {                                                                              \
            const uint64_t at = (uint64_t)e->draw.offset + (uint64_t)i;                                                \
            const int64_t into = (int64_t)(at % CHUNK);                                                                \
            const int64_t n = CHUNK - into < to - i ? CHUNK - into : to - i;                                           \
            source(random, at - (uint64_t)into, &e->draw);                                                             \
            FO_INDEPENDENT                                                                                             \
            for (int64_t j = 0; j < n; j++) {                                                                          \
                const type r = random[into + j];                                                                       \
                out[i + j] = result;                                                                                   \
            }                                                                                                          \
            i += n;                                                                                                    \
        }                                                                                                              \
    }
FO_DRAWN(words, uint32_t, draw_words, uint32_t, r)
FO_DRAWN(add_normal, float, draw_normals, float, x[i + j] + a * r)
FO_DRAWN(times_normal, float, draw_normals, float, x[i + j] * (1.0f + a * r))
FO_INLINE float kept(uint32_t r, uint32_t threshold, float y) { return r < threshold ? 0.0f : y; }
FO_DRAWN(drop, uint32_t, draw_words, float, kept(r, threshold, a *x[i + j]))

static void drop_bits(const struct fo_each *e, int64_t from, int64_t to)
{
    uint8_t *const out = e->out;
    uint32_t word[CHUNK];
    for (int64_t i = from; i < to; i += CHUNK) {
        const int64_t n = to - i < CHUNK ? to - i : CHUNK;
        draw_words(word, (uint64_t)i, &e->draw);
        for (int64_t j = 0; j < n; j += 8) {
            unsigned bits = 0;
            for (int64_t k = j; k < j + 8 && k < n; k++)
                bits |= (unsigned)(word[k] >= e->threshold) << (k - j);
            out[(i + j) / 8] = (uint8_t)bits;
        }
    }
}

#define FO_PLAIN(name, in, result)                                                                                     \
    static void name(const struct fo_each *e, int64_t from, int64_t to)                                                \
    {                                                                                                                  \
        const in *const x = (const in *)(const void *)e->x;                                                            \
        const float *const y = e->y;                                                                                   \
        float *const out = e->out;                                                                                     \
        const float a = e->a, b = e->b;                                                                                \
        (void)y, (void)a, (void)b;                                                                                     \
        FO_INDEPENDENT                                                                                                 \
        for (int64_t i = from; i < to; i++)                                                                            \
            out[i] = result;                                                                                           \
    }
/* As a step has it. */
FO_INLINE float with_penalty(float g, float w, float l2, float l1)
{
    const struct fo_prelude p = {.scale = 1, .clip = INFINITY, .weight_decay = l2, .l1 = l1, .decay = 1};
    return penalized(g, w, p);
}
FO_PLAIN(penalize, float, with_penalty(x[i], y[i], a, b))
FO_PLAIN(exps, float, exp_of(x[i]))
FO_PLAIN(logs, float, log_of(x[i]))
FO_PLAIN(sines, uint32_t, sincos_of(x[i]).sine)
FO_PLAIN(cosines, uint32_t, sincos_of(x[i]).cosine)

static void copy(const struct fo_each *e, int64_t from, int64_t to)
{
    memcpy((float *)e->out + from, e->x + from, (size_t)(to - from) * sizeof(float));
}

static void philox_rows(const uint32_t *counter, uint32_t *out, int64_t n, const uint32_t key[2])
{
    for (int64_t i = 0; i < n; i++) {
        const struct philox x = {counter[4 * i], counter[4 * i + 1], counter[4 * i + 2], counter[4 * i + 3]};
        const struct philox y = philox(x, key);
        out[4 * i] = (uint32_t)y.a;
        out[4 * i + 1] = (uint32_t)y.b;
        out[4 * i + 2] = (uint32_t)y.c;
        out[4 * i + 3] = (uint32_t)y.d;
    }
}

/* Not inlined, and one sum a loop: so gcc 12 vectorizes all lanes; among other code, only some of them. */
#if defined(__GNUC__)
#define FO_APART static __attribute__((noinline))
#else
#define FO_APART static
#endif

/* -- sums in lanes --------------------------------------------------------------------------------------------------
 */

FO_INLINE double fold(double *lane)
{
    for (int width = LANES / 2; width > 0; width /= 2)
        for (int j = 0; j < width; j++)
            lane[j] += lane[j + width];
    return lane[0];
}

/* lane[i mod 16] += term(x[i], y[i]) */
#define FO_LANES(name, term)                                                                                           \
    FO_APART void name(const float *restrict x, const float *restrict y, int64_t size, double shift,                   \
                       double *restrict lane)                                                                          \
    {                                                                                                                  \
        int64_t at = 0;                                                                                                \
        (void)x, (void)y, (void)shift;                                                                                 \
        for (; at + LANES <= size; at += LANES)                                                                        \
            for (int j = 0; j < LANES; j++) {                                                                          \
                const int64_t i = at + j;                                                                              \
                lane[j] += term;                                                                                       \
            }                                                                                                          \
        for (int64_t i = at; i < size; i++)                                                                            \
            lane[i - at] += term;                                                                                      \
    }
FO_LANES(add_magnitudes, (double)fabsf(x[i]))
FO_LANES(add_values, (double)y[i])
FO_LANES(add_differences, (double)x[i] - shift)
FO_LANES(add_squares, ((double)x[i] - shift) * ((double)x[i] - shift))
FO_LANES(add_products, (double)y[i] * ((double)x[i] - shift))

static double sum_of_magnitudes(const float *x, int64_t size)
{
    double lane[LANES] = {0};
    add_magnitudes(x, NULL, size, 0, lane);
    return fold(lane);
}

static double sum_of(const float *x, int64_t size)
{
    double lane[LANES] = {0};
    add_values(NULL, x, size, 0, lane);
    return fold(lane);
}

/* -- channels: batch normalization, factors per channel ----------------------------------------------------------- */

/* A slab of planes: some samples, one piece of the plane; one channel of it is a unit. */
static void sums_of_planes(const struct fo_channels *job, int64_t unit)
{
    const int64_t c = unit % job->channels, slab = unit / job->channels;
    const int64_t pieces = (job->inner + FO_TILE - 1) / FO_TILE, piece = slab % pieces;
    const int64_t group = job->inner < FO_PLANE ? (FO_PLANE + job->inner - 1) / job->inner : 1;
    const int64_t first = slab / pieces * group;
    const int64_t last = first + group < job->outer ? first + group : job->outer;
    const int64_t start = piece * FO_TILE;
    const int64_t size = job->inner - start < FO_TILE ? job->inner - start : FO_TILE;
    double one[LANES] = {0}, two[LANES] = {0};
    for (int64_t n = first; n < last; n++) {
        const int64_t at = (n * job->channels + c) * job->inner + start;
        if (job->dy) {
            add_values(NULL, job->dy + at, size, 0, one);
            add_products(job->x + at, job->dy + at, size, job->shift[c], two);
        } else {
            add_differences(job->x + at, NULL, size, job->shift[c], one);
            add_squares(job->x + at, NULL, size, job->shift[c], two);
        }
    }
    job->partial[2 * unit] = fold(one);
    job->partial[2 * unit + 1] = fold(two);
}

/* Four rows at a time, so that each running sum is loaded and stored once for four elements. */
#define FO_COLUMN_SUMS(name, p, q)                                                                                     \
    static void name(const float *x, const float *dy, const double *shift, int64_t columns, int64_t stride, int rows,  \
                     double *one, double *two)                                                                         \
    {                                                                                                                  \
        FO_INDEPENDENT                                                                                                 \
        for (int64_t c = 0; c < columns; c++) {                                                                        \
            double first = 0, second = 0;                                                                              \
            for (int r = 0; r < rows; r++) {                                                                           \
                const double d = (double)x[r * stride + c] - shift[c], g = dy ? (double)dy[r * stride + c] : 0.0;      \
                (void)g;                                                                                               \
                first += p;                                                                                            \
                second += q;                                                                                           \
            }                                                                                                          \
            one[c] += first;                                                                                           \
            two[c] += second;                                                                                          \
        }                                                                                                              \
    }
FO_COLUMN_SUMS(column_moments, d, d *d)
FO_COLUMN_SUMS(column_products, g, g *d)

/* A slab of rows, some columns of it. */
static void sums_of_columns(const struct fo_channels *job, int64_t unit)
{
    const int64_t blocks = (job->channels + FO_COLUMNS - 1) / FO_COLUMNS, slab = unit / blocks;
    const int64_t c = unit % blocks * FO_COLUMNS, rows = job->outer * job->inner;
    const int64_t n = job->channels - c < FO_COLUMNS ? job->channels - c : FO_COLUMNS;
    const int64_t first = slab * FO_ROWS, last = first + FO_ROWS < rows ? first + FO_ROWS : rows;
    double one[FO_COLUMNS] = {0}, two[FO_COLUMNS] = {0};
    for (int64_t r = first; r < last; r += 4) {
        const float *const x = job->x + r * job->channels + c, *const dy = job->dy ? job->dy + (x - job->x) : NULL;
        const int some = last - r < 4 ? (int)(last - r) : 4;
        if (dy && some == 4)
            column_products(x, dy, job->shift + c, n, job->channels, 4, one, two);
        else if (dy)
            column_products(x, dy, job->shift + c, n, job->channels, some, one, two);
        else if (some == 4)
            column_moments(x, NULL, job->shift + c, n, job->channels, 4, one, two);
        else
            column_moments(x, NULL, job->shift + c, n, job->channels, some, one, two);
    }
    for (int64_t j = 0; j < n; j++) {
        job->partial[2 * (slab * job->channels + c + j)] = one[j];
        job->partial[2 * (slab * job->channels + c + j) + 1] = two[j];
    }
}

static void channel_sums(const struct fo_channels *job, int64_t from, int64_t to)
{
    for (int64_t unit = from; unit < to; unit++)
        if (job->channels_last)
            sums_of_columns(job, unit);
        else
            sums_of_planes(job, unit);
}

/* Element by element with what belongs to its channel: units are planes, or rows with channels last. k is the place of
 * the channel's factors. */
#define FO_CHANNELS(name, result)                                                                                      \
    static void name(const struct fo_channels *job, int64_t from, int64_t to)                                          \
    {                                                                                                                  \
        const float *const high = job->high, *const low = job->low, *const scale = job->scale;                         \
        const float *const bias = job->bias, *const slope = job->slope;                                                \
        (void)high, (void)low, (void)bias, (void)slope;                                                                \
        const int64_t size = job->channels_last ? job->channels : job->inner;                                          \
        for (int64_t unit = from; unit < to; unit++) {                                                                 \
            const float *const x = job->x + unit * size, *const dy = job->dy ? job->dy + unit * size : NULL;           \
            float *const out = job->out + unit * size;                                                                 \
            (void)dy;                                                                                                  \
            if (job->channels_last) {                                                                                  \
                const int64_t base = job->per_outer ? unit / job->inner * job->channels : 0;                           \
                FO_INDEPENDENT                                                                                         \
                for (int64_t i = 0; i < size; i++) {                                                                   \
                    const int64_t k = base + i;                                                                        \
                    out[i] = result;                                                                                   \
                }                                                                                                      \
            } else {                                                                                                   \
                const int64_t k = job->per_outer ? unit : unit % job->channels;                                        \
                FO_INDEPENDENT                                                                                         \
                for (int64_t i = 0; i < size; i++)                                                                     \
                    out[i] = result;                                                                                   \
            }                                                                                                          \
        }                                                                                                              \
    }
FO_CHANNELS(normalize, ((x[i] - high[k]) - low[k]) * scale[k] + bias[k])
FO_CHANNELS(normalize_back, (dy[i] - bias[k] - ((x[i] - high[k]) - low[k]) * slope[k]) * scale[k])
FO_CHANNELS(scale_channels, scale[k] == 0.0f ? 0.0f : x[i] * scale[k])

/* -- mixing -----------------------------------------------------------------------------------------------------------
 */

static void mix(float *out, const float *x, const float *y, float a, float b, int64_t size)
{
    FO_INDEPENDENT
    for (int64_t i = 0; i < size; i++)
        out[i] = a * x[i] + b * y[i];
}

/* -- cross-entropy ----------------------------------------------------------------------------------------------------
 */

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

/* Σ weight·(x − top), the part of the loss that smoothing spreads over all classes. */
static double spread(const float *x, const float *weight, float top, int64_t size)
{
    double lane[LANES] = {0}, sum = 0;
    if (weight)
        add_products(x, weight, size, top, lane);
    else
        add_differences(x, NULL, size, top, lane);
    const double quick = fold(lane);
    if (!weight || quick == quick)
        return quick;
    for (int64_t i = 0; i < size; i++)
        if (weight[i] != 0.0f)
            sum += (double)weight[i] * ((double)x[i] - top);
    return sum; /* 0 · −inf, of a class that does not count, made the other one NaN */
}

/* q = w·((1 − ε)·[class is y] + ε/K): the loss is Σq·(ln Σe − (z − top)), its gradient Σq·softmax − q. */
static double entropy_of_class(const struct fo_entropy *e, int64_t y, const float *z, float *g)
{
    const float top = largest(z, e->classes);
    exponentials(z, top, g, e->classes);
    const double sum = sum_of(g, e->classes), logarithm = log_of_double(sum);
    const double own = (1.0 - e->smoothing) * (e->weight ? (double)e->weight[y] : 1.0);
    const double share = e->smoothing / (double)e->classes;
    double loss = own == 0.0 ? 0.0 : own * (logarithm - ((double)z[y] - top));
    if (share != 0.0)
        loss += share * (e->total_weight * logarithm - spread(z, e->weight, top, e->classes));
    const float factor = (float)(e->scale * (own + share * e->total_weight) / sum);
    const float rest = (float)(e->scale * share), mine = (float)(e->scale * own);
    if (e->weight)
        for (int64_t i = 0; i < e->classes; i++)
            g[i] = g[i] * factor - rest * e->weight[i];
    else
        for (int64_t i = 0; i < e->classes; i++)
            g[i] = g[i] * factor - rest;
    g[y] -= mine;
    return loss;
}

/* The same with q = w·((1 − ε)·t + ε/K); a class of q = 0 does not count, however small its logit. */
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

/* Sixteen rows at most, of sixteen classes at most, neither weighed nor smoothed: one row beside the other, since a row
 * alone would not fill a vector. Each in the order of entropy_of_class: the same bits. */
enum { FEW = LANES };

struct few {
    float z[FEW][LANES]; /* (class, row): logits, then softmax times scale */
    float own[LANES], top[LANES], factor[LANES];
    double logarithm[LANES];
};

/* sum[r] ← Σ e^(z − top), in the order of sum_of; the exponentials take the place of z. */
FO_APART void exponentials_of_few(struct few *f, int64_t classes, double *restrict sum)
{
    double lane[FEW][LANES] = {{0}};
    for (int r = 0; r < LANES; r++)
        f->top[r] = -INFINITY;
    for (int64_t i = 0; i < classes; i++)
        for (int r = 0; r < LANES; r++)
            f->top[r] = f->z[i][r] > f->top[r] ? f->z[i][r] : f->top[r];
    for (int64_t i = 0; i < classes; i++)
        for (int r = 0; r < LANES; r++) {
            f->z[i][r] = exp_of(f->z[i][r] - f->top[r]);
            lane[i][r] = (double)f->z[i][r];
        }
    for (int width = FEW / 2; width > 0; width /= 2)
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

static void take_few(const struct fo_entropy *e, int64_t from, int64_t rows, struct few *f)
{
    for (int64_t r = 0; r < rows; r++) {
        const float *const z = e->logits + (from + r) * e->classes;
        for (int64_t i = 0; i < e->classes; i++)
            f->z[i][r] = z[i];
        f->own[r] = e->target[from + r] == e->ignore ? 0.0f : z[e->target[from + r]];
    }
}

/* total, and the losses of these rows added to it in their order. */
static double entropy_of_few(const struct fo_entropy *e, int64_t from, int64_t rows, double total)
{
    struct few f = {0};
    take_few(e, from, rows, &f);
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
            total = entropy_of_few(e, r, to - r < LANES ? to - r : LANES, total);
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

#include "images.h"
#include "resample.h"

#define FO_EACH_ENTRY(name) name,
#define FO_IMAGES_ENTRY(name) image_##name,
static const struct fo_layers layers = {{FO_EACH(FO_EACH_ENTRY)},
                                        sum_of_magnitudes,
                                        channel_sums,
                                        normalize,
                                        normalize_back,
                                        scale_channels,
                                        mix,
                                        entropy,
                                        {FO_IMAGES(FO_IMAGES_ENTRY)},
                                        philox_rows,
                                        digits_of,
                                        {resample_sums, resample_places, resample_rows}};
