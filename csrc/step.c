/* Many tensors, one team of threads. Threads take contiguous shares of equal cost that meet at tile borders; every sum
 * is formed tile by tile and added up in tile order, so that the number of threads changes no bit. */
#include "fastopt.h"
#include "fastopt_layers.h"

#include <float.h>
#include <math.h>
#include <string.h>

enum { FO_LINE = 64 }; /* bytes of a cache line */

/* A place among all elements of all spans. */
struct place {
    int64_t span, element;
};

int64_t fo_lay_out(struct fo_span *span, int64_t n_spans, int64_t *tiles)
{
    int64_t cost = 0, tile = 0;
    for (int64_t s = 0; s < n_spans; s++) {
        span[s].first_cost = cost;
        span[s].first_tile = tile;
        cost += span[s].size + FO_SPAN_COST;
        tile += (span[s].size + FO_TILE - 1) / FO_TILE;
    }
    *tiles = tile;
    return cost;
}

/* The tile border at or after `cost`; both neighbours compute the same one. */
static struct place place_at(const struct fo_step *step, int64_t cost, int64_t total)
{
    if (cost >= total)
        return (struct place){step->n_spans, 0};
    int64_t low = 0, high = step->n_spans; /* the last span that starts at or before cost */
    while (high - low > 1) {
        const int64_t middle = low + (high - low) / 2;
        if (step->span[middle].first_cost <= cost)
            low = middle;
        else
            high = middle;
    }
    const int64_t into = cost - step->span[low].first_cost;
    const int64_t border = (into + FO_TILE - 1) / FO_TILE * FO_TILE;
    if (border >= step->span[low].size)
        return (struct place){low + (into > 0), 0};
    return (struct place){low, border};
}

/* share(part, of): from which place to which place this thread works. */
static void share(const struct fo_step *step, int64_t cost, int part, int of, struct place *from, struct place *to)
{
    const int64_t each = cost / of, more = cost % of;
    *from = place_at(step, part * each + (part < more ? part : more), cost);
    *to = place_at(step, (part + 1) * each + (part + 1 < more ? part + 1 : more), cost);
}

/* The elements [begin, end) of span s that lie between two places. */
static int64_t begin_in(int64_t s, struct place from) { return s == from.span ? from.element : 0; }
static int64_t end_in(const struct fo_step *step, int64_t s, struct place to)
{
    return s == to.span ? to.element : step->span[s].size;
}
static int64_t last_span(struct place to) { return to.element > 0 ? to.span : to.span - 1; }

/* Tensors of 16 bits go through float scratch of a tile's size, which stays in the cache. */
static int64_t width(uint8_t type) { return type == FO_FLOAT ? 4 : 2; }
static char *at(const void *x, uint8_t type, int64_t i) { return (char *)x + i * width(type); }

static const float *widened(const struct fo_kernels *kernels, const void *x, uint8_t type, int64_t i, int64_t size,
                            float *scratch)
{
    if (type == FO_FLOAT)
        return (const float *)at(x, type, i);
    kernels->widen[type]((const uint16_t *)at(x, type, i), scratch, size);
    return scratch;
}

static void sum_tiles(const struct fo_step *step, const struct fo_kernels *kernels, struct place from, struct place to)
{
    for (int64_t s = from.span; s <= last_span(to); s++) {
        const struct fo_span *span = &step->span[s];
        const int64_t end = end_in(step, s, to);
        for (int64_t i = begin_in(s, from); i < end; i += FO_TILE) {
            const int64_t size = end - i < FO_TILE ? end - i : FO_TILE;
            float scratch[FO_TILE];
            const float *g = widened(kernels, span->gradient, span->g_type, i, size, scratch);
            step->partial[span->first_tile + i / FO_TILE] = kernels->sum_of_squares(g, size);
        }
    }
}

/* The norm of all gradients; decides whether the step is skipped. */
static void finish_norm(struct fo_step *step)
{
    double sum = 0;
    for (int64_t s = 0; s < step->n_spans; s++) {
        const int64_t tiles = (step->span[s].size + FO_TILE - 1) / FO_TILE;
        for (int64_t tile = 0; tile < tiles; tile++)
            sum += step->partial[step->span[s].first_tile + tile];
    }
    step->norm = fabs(step->grad_scale) * sqrt(sum);
    /* A scale above 1 may overflow what is finite; surely not while the norm, after clipping, is a float's. */
    const double applied = step->norm > step->max_norm ? step->max_norm : step->norm;
    const bool overflow = fabs(step->grad_scale) > 1 && applied > FLT_MAX;
    step->skipped = step->skip_nonfinite && (!isfinite(step->norm) || overflow);
}

/* What the update of one group's spans is given. */
struct job {
    fo_update *update;
    const struct fo_prelude *prelude;
    const float *scalars;
    float scale;
};

static struct job job_of(const struct fo_step *step, const struct fo_kernels *kernels, int32_t index)
{
    const struct fo_group *group = &step->group[index];
    const struct fo_prelude *prelude = &group->prelude;
    const bool penalized = prelude->clip < INFINITY || prelude->weight_decay != 0 || prelude->l1 != 0;
    /* A norm that is NaN makes every gradient NaN, as in torch; an unclipped rest of them would go unnoticed. */
    const bool within = step->norm <= step->max_norm || isinf(step->max_norm);
    const double clip = within ? 1.0 : step->max_norm / step->norm;
    const float scale = (float)(prelude->scale * step->grad_scale * clip);
    return (struct job){kernels->update[group->rule][penalized], prelude, group->scalars, scale};
}

/* The first element at or after `begin` whose parameter begins a cache line; states lie as their parameter does. Stores
 * that cross lines cost a quarter of the speed in cache. A short span is not worth a second call. */
static int64_t aligned_begin(const struct fo_span *span, int64_t begin, int64_t end)
{
    const int64_t misplaced = (int64_t)((uintptr_t)(span->buffer[0] + begin) % FO_LINE / sizeof(float));
    const int64_t first = misplaced == 0 ? begin : begin + FO_LINE / (int64_t)sizeof(float) - misplaced;
    return end - begin < FO_SHORT ? begin : first;
}

/* A tile at most, with noise: its gradients are scaled and made noisy in a buffer of the thread's own. */
static void update_noisily(const struct fo_step *step, const struct job *job, const struct fo_span *span, int64_t from,
                           int64_t to)
{
    float noisy[FO_TILE], *buffer[FO_MAX_BUFFERS];
    for (int b = 0; b < FO_MAX_BUFFERS; b++)
        buffer[b] = span->buffer[b] == NULL ? NULL : span->buffer[b] + from;
    for (int64_t i = from; i < to; i++)
        noisy[i - from] = job->scale * span->gradient[i];
    const struct fo_draw draw = {{step->noise_key[0], step->noise_key[1]}, (uint32_t)(span - step->span), from};
    const struct fo_each add = {.x = noisy, .out = noisy, .size = to - from, .draw = draw, .a = (float)step->noise};
    fo_kernels()->layers->each[FO_EACH_add_normal](&add, 0, to - from);
    job->update(buffer, noisy, 0, to - from, job->prelude, 1.0f, job->scalars);
}

static void update_span(const struct fo_step *step, const struct job *job, const struct fo_span *span, int64_t begin,
                        int64_t end)
{
    const int64_t first = aligned_begin(span, begin, end);
    const int64_t stride =
        step->zero_gradients || step->noise > 0 ? FO_TILE : end; /* zeroed while the tile is still in the cache */
    int64_t i = begin, stop = first > begin ? first : end - begin > stride ? begin + stride : end;
    while (i < end) {
        if (step->noise > 0)
            update_noisily(step, job, span, i, stop);
        else
            job->update(span->buffer, span->gradient, i, stop, job->prelude, job->scale, job->scalars);
        if (step->zero_gradients)
            memset(span->gradient + i, 0, (size_t)(stop - i) * sizeof(float));
        i = stop;
        stop = end - i > stride ? i + stride : end;
    }
}

static void update_narrow(const struct fo_kernels *kernels, const struct job *job, const struct fo_span *span,
                          int64_t begin, int64_t end, bool zero)
{
    float w[FO_TILE], g[FO_TILE];
    for (int64_t i = begin; i < end; i += FO_TILE) {
        const int64_t size = end - i < FO_TILE ? end - i : FO_TILE;
        float *buffer[FO_MAX_BUFFERS] = {(float *)widened(kernels, span->buffer[0], span->w_type, i, size, w)};
        for (int k = 1; k < FO_MAX_BUFFERS && span->buffer[k] != NULL; k++)
            buffer[k] = span->buffer[k] + i;
        const float *gradient = widened(kernels, span->gradient, span->g_type, i, size, g);
        job->update(buffer, gradient, 0, size, job->prelude, job->scale, job->scalars);
        if (span->w_type != FO_FLOAT)
            kernels->narrow[span->w_type](w, (uint16_t *)at(span->buffer[0], span->w_type, i), size);
        if (zero)
            memset(at(span->gradient, span->g_type, i), 0, (size_t)(size * width(span->g_type)));
    }
}

static void update_tiles(const struct fo_step *step, const struct fo_kernels *kernels, struct place from,
                         struct place to)
{
    struct job job = {0};
    int32_t group = -1;
    for (int64_t s = from.span; s <= last_span(to); s++) {
        const struct fo_span *span = &step->span[s];
        if (span->group != group)
            job = job_of(step, kernels, group = span->group);
        const int64_t begin = begin_in(s, from), end = end_in(step, s, to);
        if (span->w_type == FO_FLOAT && span->g_type == FO_FLOAT)
            update_span(step, &job, span, begin, end);
        else
            update_narrow(kernels, &job, span, begin, end, step->zero_gradients);
    }
}

struct step_job {
    struct fo_step *step;
    int64_t cost;
};

static void step_share(void *job, struct fo_team *team)
{
    struct fo_step *const step = ((struct step_job *)job)->step;
    const struct fo_kernels *const kernels = fo_kernels();
    struct place from, to;
    share(step, ((struct step_job *)job)->cost, team->part, team->of, &from, &to);
    if (step->want_norm) {
        sum_tiles(step, kernels, from, to);
        fo_meet(team);
        if (team->part == 0)
            finish_norm(step);
        fo_meet(team);
    }
    if (!step->skipped)
        update_tiles(step, kernels, from, to);
}

void fo_run_step(struct fo_step *step, int64_t cost)
{
    struct step_job job = {step, cost};
    step->norm = 0;
    step->skipped = false;
    fo_share_out(step_share, &job, step->threads);
}

static void look_ahead_narrow(const struct fo_span *span, float shift, int64_t begin, int64_t end)
{
    const struct fo_kernels *kernels = fo_kernels();
    float w[FO_TILE], origin[FO_TILE];
    for (int64_t i = begin; i < end; i += FO_TILE) {
        const int64_t size = end - i < FO_TILE ? end - i : FO_TILE;
        uint16_t *const x = (uint16_t *)at(span->buffer[0], span->w_type, i);
        memcpy(at(span->origin, span->w_type, i), x, (size_t)size * sizeof *x);
        kernels->widen[span->w_type](x, w, size);
        kernels->lookahead(w, span->buffer[1] + i, origin, shift, 0, size);
        kernels->narrow[span->w_type](w, x, size);
    }
}

struct lookahead_job {
    const struct fo_step *step;
    int64_t cost;
    const float *shift;
};

/* To the lookahead point, or back where shift is NULL. */
static void look_ahead(void *all, struct fo_team *team)
{
    const struct lookahead_job *const job = all;
    const struct fo_step *const step = job->step;
    const float *const shift = job->shift;
    struct place from, to;
    share(step, job->cost, team->part, team->of, &from, &to);
    for (int64_t s = from.span; s <= last_span(to); s++) {
        const struct fo_span *span = &step->span[s];
        const int64_t begin = begin_in(s, from), end = end_in(step, s, to);
        if (shift != NULL && span->w_type != FO_FLOAT)
            look_ahead_narrow(span, shift[span->group], begin, end);
        else if (shift != NULL)
            fo_kernels()->lookahead(span->buffer[0], span->buffer[1], span->origin, shift[span->group], begin, end);
        else if (begin < end)
            memcpy(at(span->buffer[0], span->w_type, begin), at(span->origin, span->w_type, begin),
                   (size_t)((end - begin) * width(span->w_type)));
    }
}

void fo_run_lookahead(const struct fo_step *step, int64_t cost, const float *shift)
{
    struct lookahead_job job = {step, cost, shift};
    fo_share_out(look_ahead, &job, step->threads);
}
