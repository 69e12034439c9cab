/* Prints one hash for every update rule, layer, network, resampling and stump of csrc. Usage: bits ISA THREADS. Two
 * builds that print the same text compute the same bits. The inputs are pseudo-random numbers. No result may be NaN,
 * because IEEE does not define the sign of a NaN. Knows no Python. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "isa/kernels.h"
#include "random/philox.h"

enum { STEPS = 50, SPANS = 6, ROOM = 1 << 14 };
static const int64_t sizes[SPANS] = {1, 7, 33, 0, 1000, FO_TILE + 5};
static const struct fo_api *api;
static int threads = 1;
static uint64_t hash, state;

static void begin(void) { hash = 0xcbf29ce484222325u, state = 1; }

static void end(const char *group, const char *name)
{
    printf("%s %s %016llx\n", group, name, (unsigned long long)hash);
}

static void add_byte(unsigned byte) { hash = (hash ^ byte) * 0x100000001b3u; } /* FNV-1a */

static void add_bytes(const uint8_t *x, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        add_byte(x[i]);
}

static void add_number(uint64_t x, int bytes)
{
    for (int i = 0; i < bytes; i++)
        add_byte(x >> (8 * i) & 255u); /* the same on a big-endian machine */
}

static void add_floats(const float *x, int64_t n)
{
    for (int64_t i = 0; i < n; i++) {
        uint32_t bits;
        memcpy(&bits, &x[i], sizeof bits);
        if ((bits & 0x7fffffffu) > 0x7f800000u) {
            fprintf(stderr, "element %lld is NaN\n", (long long)i);
            exit(1);
        }
        add_number(bits, 4);
    }
}

static void add_doubles(const double *x, int64_t n)
{
    for (int64_t i = 0; i < n; i++) {
        uint64_t bits;
        memcpy(&bits, &x[i], sizeof bits);
        add_number(bits, 8);
    }
}

/* A number in [-1, 1) from a linear congruential generator. Every such number is exact in float. */
static float random_float(void)
{
    state = state * 6364136223846793005u + 1442695040888963407u;
    return (float)((double)(state >> 40) / 8388608.0 - 1.0);
}

static void fill(float *x, int64_t n, float low, float high)
{
    for (int64_t i = 0; i < n; i++)
        x[i] = low + (high - low) * (random_float() * 0.5f + 0.5f);
}

/* -- steps -------------------------------------------------------------------------------------------------------- */

static float buffers[FO_MAX_BUFFERS][SPANS][FO_TILE + 16], gradients[SPANS][FO_TILE + 16];
static float origins[SPANS][FO_TILE + 16];

static void lay_spans(struct fo_span *span, const struct fo_rule *rule, uint8_t type)
{
    memset(buffers, 0, sizeof buffers);
    for (int s = 0; s < SPANS; s++) {
        span[s] = (struct fo_span){.gradient = gradients[s], .origin = origins[s], .size = sizes[s]};
        span[s].w_type = span[s].g_type = type;
        for (int b = 0; b < rule->n_buffers; b++)
            span[s].buffer[b] = buffers[b][s];
        if (type == FO_FLOAT)
            fill(buffers[0][s], sizes[s], -1, 1);
    }
}

static void new_gradients(uint8_t type)
{
    for (int s = 0; s < SPANS; s++) {
        fill(gradients[s], sizes[s], -1, 1);
        if (type != FO_FLOAT) {
            float wide[FO_TILE + 16];
            memcpy(wide, gradients[s], sizeof wide);
            fo_kernels()->narrow[type](wide, (uint16_t *)gradients[s], sizes[s]);
        }
    }
}

static void add_spans(const struct fo_span *span, const struct fo_rule *rule)
{
    for (int s = 0; s < SPANS; s++)
        for (int b = 0; b < rule->n_buffers; b++)
            if (b > 0 || span[s].w_type == FO_FLOAT)
                add_floats(span[s].buffer[b], span[s].size);
            else
                for (int64_t i = 0; i < span[s].size; i++)
                    add_number(((const uint16_t *)span[s].buffer[0])[i], 2);
}

static const struct fo_prelude preludes[FO_VARIANTS] = {
    {1, INFINITY, 0, 0, 0}, {1, INFINITY, 0, 0, 0.001f}, {-1, 0.7f, 0.03f, 0.01f, 0}, {-1, 0.7f, 0.03f, 0.01f, 0.001f}};

static void steps(int index, uint8_t type, int variant, double noise)
{
    const struct fo_rule *const rule = &api->steps->rules[index];
    struct fo_span span[SPANS];
    struct fo_group group = {.rule = index, .near_one = variant == FO_GENERAL, .prelude = preludes[variant]};
    double partial[SPANS * 2 + 1];
    int64_t tiles;
    for (int k = 0; k < rule->n_scalars; k++)
        fill(&group.scalars[k], 1, variant == FO_GENERAL ? 0.9985f : 0.05f, variant == FO_GENERAL ? 1 : 0.95f);
    lay_spans(span, rule, type);
    const int64_t cost = api->steps->lay_out(span, SPANS, &tiles);
    for (int t = 0; t < STEPS; t++) {
        struct fo_step step = {.span = span, .n_spans = SPANS, .group = &group, .partial = partial, .threads = threads};
        step.grad_scale = 0.5, step.max_norm = 1, step.want_norm = true, step.zero_gradients = t % 2 == 1;
        step.noise = noise, step.noise_key[0] = 7, step.noise_key[1] = (uint32_t)t;
        new_gradients(type);
        api->steps->run(&step, cost);
        add_doubles(&step.norm, 1);
        if (rule->n_buffers > 1 && t % 10 == 9) {
            const float shift = 0.25f;
            api->steps->look_ahead(&step, cost, &shift);
            add_spans(span, rule);
            api->steps->look_ahead(&step, cost, NULL);
        }
    }
    add_spans(span, rule);
}

static void all_steps(void)
{
    for (int index = 0; index < api->steps->n_rules; index++) {
        begin();
        for (uint8_t type = FO_FLOAT; type < FO_TYPES; type++)
            for (int variant = 0; variant < FO_VARIANTS; variant++)
                steps(index, type, variant, 0);
        steps(index, FO_FLOAT, FO_PENALIZED, 0.1);
        end("rule", api->steps->rules[index].name);
    }
}

/* -- layers ------------------------------------------------------------------------------------------------------- */

static float x[ROOM], y[ROOM], out[ROOM];
static double partial[ROOM], sums[ROOM];

#define NAME(name) #name,
static const char *const each_names[] = {FO_EACH(NAME)};
static const char *const image_names[] = {FO_IMAGES(NAME)};

/* Arguments in the range of the kernel. */
static void fill_arguments(int kernel)
{
    fill(x, ROOM, -1, 1), fill(y, ROOM, -1, 1);
    if (kernel == FO_EACH_exps)
        fill(x, ROOM, -110, 0);
    if (kernel == FO_EACH_logs)
        fill(x, ROOM, 1e-6f, 1);
    for (uint32_t i = 0; i < ROOM && (kernel == FO_EACH_sines || kernel == FO_EACH_cosines); i++) {
        const uint32_t turn = i * 2654435761u;
        memcpy(&x[i], &turn, sizeof turn);
    }
}

static void each(int kernel)
{
    const int64_t lengths[] = {1, 65, 2 * FO_TILE + 129};
    begin();
    for (int k = 0; k < 3; k++) {
        const int64_t n = lengths[k];
        struct fo_each job = {.x = x, .y = y, .out = out, .size = n, .a = 1.25f, .b = 0.3f, .threshold = 0x60000000u};
        job.draw = (struct fo_draw){{11, 13}, 5, kernel == FO_EACH_drop_bits ? 0 : 64};
        fill_arguments(kernel), memset(out, 0, sizeof out);
        api->layers->each(kernel, &job, 1, threads);
        if (kernel == FO_EACH_words)
            for (int64_t i = 0; i < n; i++)
                add_number(((const uint32_t *)(const void *)out)[i], 4);
        else if (kernel == FO_EACH_drop_bits)
            add_bytes((const uint8_t *)out, (n + 7) / 8);
        else
            add_floats(out, n);
    }
    end("each", each_names[kernel]);
}

static void channels(bool last)
{
    enum { OUTER = 15, CHANNELS = 16, INNER = 20, SIZE = OUTER * CHANNELS * INNER };
    double shift[CHANNELS];
    float high[CHANNELS], low[CHANNELS], scale[OUTER * CHANNELS], bias[CHANNELS], slope[CHANNELS];
    begin();
    fill(x, ROOM, -1, 1), fill(y, ROOM, -1, 1);
    fill(high, CHANNELS, -1, 1), fill(low, CHANNELS, -1e-8f, 1e-8f), fill(scale, OUTER * CHANNELS, -1, 1);
    fill(bias, CHANNELS, -1, 1), fill(slope, CHANNELS, -1, 1);
    for (int c = 0; c < CHANNELS; c++)
        shift[c] = high[c];
    scale[3] = 0;
    struct fo_channels job = {x,     NULL,    out,  OUTER, CHANNELS, INNER, last, false,
                              shift, partial, high, low,   scale,    bias,  slope};
    api->layers->sums(&job, sums, threads), add_doubles(sums, 2 * CHANNELS);
    api->layers->channels(FO_CHANNELS_normalize, &job, threads), add_floats(out, SIZE);
    job.dy = y;
    api->layers->sums(&job, sums, threads), add_doubles(sums, 2 * CHANNELS);
    api->layers->channels(FO_CHANNELS_normalize_back, &job, threads), add_floats(out, SIZE);
    api->layers->channels(FO_CHANNELS_scale, &job, threads), add_floats(out, SIZE);
    job.per_outer = true;
    api->layers->channels(FO_CHANNELS_scale, &job, threads), add_floats(out, SIZE);
    end("channels", last ? "last" : "first");
}

static void entropies(void)
{
    enum { ROWS = 400, CLASSES = 20 };
    int64_t target[ROWS];
    float loss[ROWS], weight[CLASSES];
    static float soft[ROWS * CLASSES];
    for (int r = 0; r < ROWS; r++)
        target[r] = r % 23 < CLASSES ? r % 23 : -100;
    begin();
    fill(x, ROOM, -9, 9), fill(weight, CLASSES, 0.1f, 2), fill(soft, ROWS * CLASSES, 0, 0.1f);
    for (int kind = 0; kind < 4; kind++) {
        struct fo_entropy job = {.logits = x,
                                 .gradient = out,
                                 .loss = loss,
                                 .partial = partial,
                                 .rows = ROWS,
                                 .classes = CLASSES,
                                 .ignore = -100,
                                 .smoothing = 0.1,
                                 .scale = 1.0 / ROWS};
        job.target = kind < 2 ? target : NULL, job.soft = kind < 2 ? NULL : soft, job.weight = kind % 2 ? weight : NULL;
        double total = kind < 2 ? api->layers->target_weight(&job) : 0;
        add_doubles(&total, 1);
        total = api->layers->entropy(&job, threads);
        add_doubles(&total, 1), add_floats(loss, ROWS), add_floats(out, ROWS * CLASSES);
    }
    end("layer", "entropy");
}

static void mixing(void)
{
    enum { ROWS = 3, SIZE = FO_TILE + 9 };
    const int64_t partner[ROWS] = {2, 1, 0};
    float a[ROWS], b[ROWS];
    begin();
    fill(x, ROOM, -1, 1), fill(a, ROWS, 0, 1), fill(b, ROWS, 0, 1);
    const struct fo_mix job = {x, out, partner, a, b, ROWS, SIZE};
    api->layers->mix(&job, threads);
    add_floats(out, ROWS * SIZE);
    end("layer", "mix");
}

static void numbers(void)
{
    const uint32_t key[2] = {0x12345678u, 0x9abcdef0u};
    uint32_t counter[4 * 37], words[4 * 37];
    begin();
    for (uint32_t i = 0; i < 4 * 37; i++)
        counter[i] = i * 2654435761u;
    philox_rows(counter, words, 37, key);
    for (int i = 0; i < 4 * 37; i++)
        add_number(words[i], 4);
    end("layer", "philox");
    begin();
    fill(x, ROOM, -1, 1);
    for (int power = 1; power <= 2; power++) {
        const double sum = api->layers->sum_of_powers(x, ROOM - 3, power, partial, threads);
        add_doubles(&sum, 1);
    }
    end("layer", "sum_of_powers");
}

enum { IMAGES = 5, PLANES = 3, SIDE = 12, PIXELS = IMAGES * PLANES * SIDE * SIDE };

static void float_images(int kernel, struct fo_images job)
{
    const float color[PLANES] = {0.25f, -0.5f, 0.75f};
    memcpy(out, y, sizeof out);
    job.x = (const uint8_t *)x, job.other = (const uint8_t *)y, job.out = (uint8_t *)out;
    job.fill = (const uint8_t *)color, job.is_float = true, job.pixel = 4, job.low = -0.9f, job.high = 0.9f;
    api->layers->images(kernel, &job, threads);
    add_floats(out, PIXELS);
}

static void byte_images(int kernel, struct fo_images job)
{
    static uint8_t bytes[PIXELS], others[PIXELS], results[PIXELS];
    for (int i = 0; i < PIXELS; i++)
        bytes[i] = (uint8_t)(i * 151 >> 2), others[i] = results[i] = (uint8_t)(i * 97 >> 1);
    job.x = bytes, job.other = others, job.out = results;
    job.fill = (const uint8_t *)"\11\63\377", job.pixel = 1, job.high = 255;
    api->layers->images(kernel, &job, threads);
    add_bytes(results, PIXELS);
}

static void images(int kernel)
{
    static const int64_t place[IMAGES * 4] = {0, 5, 2, 9, 1, 12, 0, 12, 2, 3, 4, 5, 3, 3, 3, 3, 1, 7, 0, 1};
    static const int64_t partner[IMAGES] = {4, 3, 2, 1, 0};
    double number[IMAGES * 6];
    struct fo_images job = {.samples = IMAGES, .planes = PLANES, .place = place, .partner = partner, .number = number};
    job.height = job.width = job.out_height = job.out_width = SIDE;
    begin();
    fill(x, ROOM, -1, 1), fill(y, ROOM, -1, 1);
    for (int i = 0; i < IMAGES * 6; i++)
        number[i] = i % 3 == 2 ? 3 * random_float() : random_float();
    for (int reflect = 0; reflect < 2; reflect++) {
        job.reflect = reflect;
        byte_images(kernel, job), float_images(kernel, job);
    }
    end("image", image_names[kernel]);
}

/* -- resamples and stumps ------------------------------------------------------------------------------------------ */

static void fill_doubles(double *values, int64_t n, double low, double high)
{
    for (int64_t i = 0; i < n; i++)
        values[i] = low + (high - low) * ((double)random_float() * 0.5 + 0.5);
}

static const char *const resample_names[] = {"sums", "places", "rows"};

/* Strata of few and of many rows: with Poisson counts, and with rows that are drawn one by one. */
static const struct fo_stratum strata[] = {{0, 7, 7},        {7, 900, 101},      {907, 1, 1},      {908, 2000, 2000},
                                           {2908, 256, 256}, {3164, 3900, 3900}, {7064, 8936, 102}};

static void resamples(int kernel)
{
    enum { ROWS = 16000, COLUMNS = 11, RESAMPLES = 11, DRAWS = 6367, PLACES = 3, MOST_THREADS = 8 };
    enum { APART = ROWS + FO_COUNTS_BEYOND + 64 };
    static const int64_t place[PLACES] = {0, 1000, DRAWS - 1}, columns[] = {1, 2, COLUMNS};
    static double values[ROWS * COLUMNS], found[RESAMPLES * COLUMNS];
    static uint32_t order[ROWS];
    static uint8_t counts[MOST_THREADS * APART];
    static int64_t index[RESAMPLES * DRAWS];
    begin();
    fill_doubles(values, ROWS * COLUMNS, -1, 1);
    for (uint32_t i = 0; i < ROWS; i++)
        order[i] = i * 7u % ROWS;
    struct fo_resample job = {
        .key = {11, 13}, .strata = strata, .n_strata = sizeof strata / sizeof *strata, .rows = ROWS, .draws = DRAWS};
    job.first = 3, job.resamples = RESAMPLES, job.counts = counts, job.apart = APART;
    job.x = values, job.order = order, job.places = place, job.out = found, job.index = index;
    for (int k = 0; k < 3; k++) {
        job.columns = kernel == FO_RESAMPLE_places ? PLACES : columns[k];
        api->resample(kernel, &job, threads);
        if (kernel != FO_RESAMPLE_rows)
            add_doubles(found, RESAMPLES * job.columns);
    }
    for (int64_t i = 0; i < RESAMPLES * DRAWS; i++)
        add_number((uint64_t)index[i], 8);
    end("resample", resample_names[kernel]);
}

enum { STUMP_ROWS = 777, STUMP_FEATURES = 5, STUMP_KINDS = 3 };

/* For each feature: the rows in ascending order of whole numbers, many of which are equal. */
static void lay_orders(uint32_t *order)
{
    for (int f = 0; f < STUMP_FEATURES; f++, order += STUMP_ROWS) {
        int value[STUMP_ROWS], n = 0;
        for (int i = 0; i < STUMP_ROWS; i++)
            value[i] = (int)((random_float() * 0.5f + 0.5f) * (float)(f == 0 ? 1 : 300 * f));
        for (int v = 0; v < 300 * STUMP_FEATURES; v++) {
            for (int i = 0; i < STUMP_ROWS; i++)
                if (value[i] == v)
                    order[n++] = 2 * (uint32_t)i;
            if (n > 0 && n < STUMP_ROWS)
                order[n - 1] |= 1u;
        }
    }
}

static void stumps(int kind)
{
    enum { CLASSES = 4 };
    static const char *const names[STUMP_KINDS] = {"binary", "classes", "squares"};
    static uint32_t order[STUMP_FEATURES * STUMP_ROWS];
    static double weight[STUMP_ROWS], target[STUMP_ROWS], pairs[2 * STUMP_ROWS],
        sum[(1 + 2 * STUMP_FEATURES) * CLASSES];
    static int32_t label[STUMP_ROWS];
    struct fo_split split[STUMP_FEATURES];
    begin();
    lay_orders(order);
    fill_doubles(weight, STUMP_ROWS, 0, 3), fill_doubles(target, STUMP_ROWS, 5, 9);
    for (int i = 0; i < STUMP_ROWS; i++) {
        weight[i] = i % 10 == 3 ? 0 : weight[i];
        label[i] = (int32_t)(target[i] * 100) % (kind == FO_STUMP_BINARY ? 2 : CLASSES);
    }
    struct fo_stump job = {.kind = kind, .rows = STUMP_ROWS, .features = STUMP_FEATURES, .classes = CLASSES};
    job.order = order, job.weight = weight, job.y = target, job.label = label, job.pairs = pairs, job.split = split;
    job.all = sum, job.left = sum + CLASSES, job.best = job.left + STUMP_FEATURES * CLASSES;
    add_number((uint64_t)api->stump(&job, threads), 8);
    for (int f = 0; f < STUMP_FEATURES; f++) {
        add_doubles(&split[f].score, 1), add_doubles(split[f].left, 2);
        add_number((uint64_t)split[f].at, 8);
    }
    add_doubles(sum, (1 + 2 * STUMP_FEATURES) * CLASSES);
    add_doubles(&job.mean, 1), add_doubles(&job.unit, 1), add_doubles(&job.scale, 1);
    end("stump", names[kind]);
}

/* -- networks ----------------------------------------------------------------------------------------------------- */

/* An sgemm that adds in a fixed order, which a BLAS does not promise. */
static void plain_sgemm(const char *ta, const char *tb, const int *m, const int *n, const int *k, const float *alpha,
                        const float *a, const int *lda, const float *b, const int *ldb, const float *beta, float *c,
                        const int *ldc)
{
    (void)alpha, (void)beta; /* 1 and 0 */
    for (int j = 0; j < *n; j++)
        for (int i = 0; i < *m; i++) {
            float sum = 0;
            for (int l = 0; l < *k; l++)
                sum += a[*ta == 'T' ? l + i * *lda : i + l * *lda] * b[*tb == 'T' ? j + l * *ldb : l + j * *ldb];
            c[i + j * *ldc] = sum;
        }
}

enum { MODELS = 2, SAMPLES = 5, LAYERS = 3, WIDEST = 300, WEIGHTS = MODELS * 11 * WIDEST, BATCH = MODELS * SAMPLES };
static const int widths[LAYERS + 1] = {7, WIDEST, 11, 3};
static float dense[LAYERS][2][WEIGHTS], dense_bias[LAYERS][2][MODELS * WIDEST];
static float dense_units[LAYERS][3][BATCH * WIDEST];

static void lay_layers(struct fo_layer *layer, bool apart)
{
    for (int i = 0; i < LAYERS; i++) {
        struct fo_layer *const l = &layer[i];
        *l = (struct fo_layer){.weight = dense[i][0], .bias = dense_bias[i][0], .weight_gradient = dense[i][1]};
        l->bias_gradient = dense_bias[i][1], l->inputs = widths[i], l->outputs = widths[i + 1];
        l->product = dense_units[i][0], l->active = dense_units[i][apart && i < LAYERS - 1 ? 1 : 0];
        l->gradient = dense_units[i][2];
        fill(dense[i][0], MODELS * widths[i] * widths[i + 1], -1, 1);
        fill(dense_bias[i][0], MODELS * widths[i + 1], -1, 1);
    }
}

static void batch(int activation, bool classes, bool given_weights)
{
    float inputs[BATCH * 7], soft[BATCH * 3], weight[BATCH], loss[BATCH];
    int64_t target[BATCH];
    double total[MODELS] = {0};
    struct fo_layer layer[LAYERS];
    lay_layers(layer, activation == FO_ACTIVATION_gelu);
    fill(inputs, BATCH * 7, -2, 2), fill(soft, BATCH * 3, 0, 1), fill(weight, BATCH, 0, 3);
    for (int i = 0; i < BATCH; i++)
        target[i] = i % 3;
    struct fo_pass p = {.sgemm = plain_sgemm, .layer = layer, .x = inputs, .loss = loss, .total = total};
    p.layers = LAYERS, p.models = MODELS, p.rows = SAMPLES, p.activation = activation, p.classes = classes;
    p.target = classes && given_weights ? target : NULL, p.soft = p.target ? NULL : soft;
    p.weight = given_weights ? weight : NULL, p.smoothing = 0.1;
    api->network->pass(&p);
    add_floats(loss, BATCH), add_doubles(total, MODELS);
    for (int i = 0; i < LAYERS; i++) {
        add_floats(dense[i][1], MODELS * widths[i] * widths[i + 1]);
        add_floats(dense_bias[i][1], MODELS * widths[i + 1]);
    }
}

/* The kernels of one layer of several models, with or without a bias. */
static void one_layer(int activation, bool biased)
{
    const int64_t size = BATCH * WIDEST;
    float *const a = dense_units[0][0], *const b = dense_units[0][1], *const g = dense_units[0][2], loss[BATCH];
    float *const kept = activation == FO_ACTIVATION_gelu ? b : a, *const bias = dense_bias[0][0];
    fill(a, size, -4, 4), fill(g, size, -1, 1), fill(bias, MODELS * WIDEST, -1, 1);
    struct fo_dense d = {a, kept, biased ? bias : NULL, MODELS, SAMPLES, WIDEST};
    api->network->forward(activation, &d);
    add_floats(kept, size);
    d.x = g, d.y = a;
    api->network->back(activation, &d);
    add_floats(g, size), add_floats(bias, MODELS * WIDEST);
    const struct fo_squares s = {kept, g, a == kept ? b : a, loss, BATCH, WIDEST, 0.3f};
    api->network->squares(&s);
    add_floats(s.gradient, size), add_floats(loss, BATCH);
}

static void networks(int activation, const char *name)
{
    begin();
    for (int form = 0; form < 4; form++)
        batch(activation, form & 1, form & 2);
    one_layer(activation, true), one_layer(activation, false);
    end("network", name);
}

/* An epoch of softmax regression: two full batches and a smaller one, each with a step of NAG and its lookahead. */
enum { EPOCH = 13, ROWS = 5, BATCHES = 3, FEATURES = 7, LABELS = 3, ENTRIES = FEATURES * LABELS };
static float regression[2][4][ENTRIES]; /* weights and biases: parameter, momentum, gradient, origin */
static struct fo_span regression_span[2] = {{.size = ENTRIES}, {.size = LABELS}};
static struct fo_group nag_step[BATCHES];
static float shift[BATCHES];

static void lay_steps(void)
{
    int rule = 0;
    while (strcmp(api->steps->rules[rule].name, "nag") != 0)
        rule++;
    for (int i = 0; i < 2; i++) {
        float (*const a)[ENTRIES] = regression[i];
        struct fo_span *const s = &regression_span[i];
        s->buffer[0] = a[0], s->buffer[1] = a[1], s->gradient = a[2], s->origin = a[3];
        fill(a[0], ENTRIES, -1, 1), fill(a[1], ENTRIES, -1, 1);
    }
    for (int i = 0; i < BATCHES; i++) {
        shift[i] = 0.09f / (float)(i + 1);
        const float scalars[] = {shift[i] / 0.9f, 0.9f, 0.1f, 1, shift[i]}; /* lr, beta, betac, gain, shift */
        nag_step[i] = (struct fo_group){.rule = rule, .prelude = {1, INFINITY, 0.1f, 0.01f, 0}};
        memcpy(nag_step[i].scalars, scalars, sizeof scalars);
    }
}

static void epoch(void)
{
    float x[EPOCH * FEATURES], w[EPOCH], rows[ROWS * FEATURES], chosen[ROWS], loss[ROWS], units[2][ROWS * LABELS];
    int64_t y[EPOCH], target[ROWS], order[EPOCH], tiles;
    double total = 0;
    fill(x, EPOCH * FEATURES, -2, 2), fill(w, EPOCH, 0, 3), lay_steps();
    for (int i = 0; i < EPOCH; i++)
        y[i] = i % LABELS, order[i] = i * 5 % EPOCH;
    float (*const a)[ENTRIES] = regression[0], (*const b)[ENTRIES] = regression[1];
    const struct fo_layer layer = {a[0], b[0], a[2], b[2], units[0], units[0], units[1], FEATURES, LABELS};
    struct fo_epoch e = {.group = nag_step, .shift = shift, .n_groups = 1, .order = order, .samples = EPOCH};
    e.pass = (struct fo_pass){.sgemm = plain_sgemm, .layer = &layer, .x = rows, .target = target, .weight = chosen};
    e.pass.loss = loss, e.pass.total = &total, e.pass.models = e.pass.layers = e.pass.classes = 1, e.pass.rows = ROWS;
    e.step = (struct fo_step){.span = regression_span, .n_spans = 2, .grad_scale = 1, .max_norm = INFINITY};
    e.step.threads = threads, e.cost = api->steps->lay_out(regression_span, 2, &tiles);
    e.source[0] = (struct fo_source){x, rows, FEATURES * sizeof *x};
    e.source[1] = (struct fo_source){y, target, sizeof *y}, e.source[2] = (struct fo_source){w, chosen, sizeof *w};
    begin();
    api->network->epoch(&e);
    add_floats(a[0], 2 * ENTRIES), add_floats(b[0], LABELS), add_floats(b[1], LABELS), add_doubles(&total, 1);
    end("network", "epoch");
}

int main(int argc, char **argv)
{
    if (fo_init(NULL) != 0 || argc != 3 || !fo_select(argv[1])) {
        fprintf(stderr, "bits ISA THREADS; the instruction sets here:");
        for (int i = 0; fo_isa_name(i) != NULL; i++)
            if (fo_isa_runs(i))
                fprintf(stderr, " %s", fo_isa_name(i));
        fprintf(stderr, "\n");
        return 2;
    }
    api = fo_get_api();
    threads = atoi(argv[2]);
    (void)api->testing->set_backoff(false); /* a busy machine must not reduce the number of threads */
    all_steps();
    for (int kernel = 0; kernel < FO_N_EACH; kernel++)
        each(kernel);
    channels(false), channels(true), entropies(), mixing(), numbers();
    for (int kernel = 0; kernel < FO_N_IMAGES; kernel++)
        images(kernel);
    for (int kernel = 0; kernel < FO_N_RESAMPLE; kernel++)
        resamples(kernel);
    for (int kind = 0; kind < STUMP_KINDS; kind++)
        stumps(kind);
#define NETWORK(name) networks(FO_ACTIVATION_##name, #name);
    FO_ACTIVATIONS(NETWORK)
    epoch();
    return 0;
}
