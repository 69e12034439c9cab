/* One step of an optimizer over many tensors, on one team of threads. Every sum is formed tile by tile and added in the
 * order of the tiles, so that the number of threads changes no bit. */
#include <float.h>
#include <math.h>
#include <string.h>

#include "isa/kernels.h"
#include "optimize/layout.h"
#include "rules.h"
#include "runtime/tiles.h"

enum {
    FO_LINE = 64,   /* bytes of a cache line */
    FO_PIECE = 256, /* elements of an array on the stack: a thread's stack may have 16 KiB only */
    FO_TRIAL = 64,  /* the same where all buffers of a rule are on the stack */
};

/* The bytes of an element, and the address of element i. */
static int64_t width(uint8_t type) { return type == FO_FLOAT ? 4 : 2; }
static char *at(const void *x, uint8_t type, int64_t i) { return (char *)x + i * width(type); }

/* Elements i, i + 1, … as float: in place, or converted into scratch memory. */
static const float *widened(const struct fo_kernels *kernels, const void *x, uint8_t type, int64_t i, int64_t size,
                            float *scratch)
{
    if (type == FO_FLOAT)
        return (const float *)at(x, type, i);
    kernels->widen[type]((const uint16_t *)at(x, type, i), scratch, size);
    return scratch;
}

/* The sum of squares of each tile of the share. */
static void sum_tiles(const struct fo_step *step, const struct fo_kernels *kernels, struct share share)
{
    for (int64_t s = share.from.span; s <= last_span(share); s++) {
        const struct fo_span *span = &step->span[s];
        const int64_t end = end_in(step, share, s);
        for (int64_t i = begin_in(share, s); i < end; i += FO_TILE) {
            const int64_t stop = fo_least(end, i + FO_TILE), stride = span->g_type == FO_FLOAT ? FO_TILE : FO_PIECE;
            float scratch[FO_PIECE];
            double lane[LANES] = {0};
            for (int64_t j = i; j < stop; j += stride) {
                const int64_t size = fo_least(stop - j, stride);
                kernels->add_squares(widened(kernels, span->gradient, span->g_type, j, size, scratch), size, lane);
            }
            step->partial[span->first_tile + i / FO_TILE] = fold(lane);
        }
    }
}

static double sum_of_tiles(const struct fo_step *step)
{
    int64_t tiles = 0;
    for (int64_t s = 0; s < step->n_spans; s++)
        tiles += fo_tiles(step->span[s].size);
    return fo_sum_partials(step->partial, tiles);
}

/* The norm of all gradients, from the sums of the tiles; decides whether the step is skipped. */
static void finish_norm(struct fo_step *step)
{
    step->norm = fabs(step->grad_scale) * sqrt(sum_of_tiles(step));
    step->skipped = step->skip_nonfinite && !isfinite(step->norm);
}

/* The arguments of the kernel for all spans of one group. */
struct update {
    fo_update *update;
    const struct fo_prelude *prelude;
    const float *scalars;
    double scale;
    bool fits; /* scale is 0 or a normal number of float */
};

static enum fo_variant variant_of(const struct fo_group *group)
{
    const struct fo_prelude *prelude = &group->prelude;
    const bool penalized = prelude->clip < INFINITY || prelude->weight_decay != 0 || prelude->l1 != 0;
    if (group->near_one || (penalized && prelude->decay != 0))
        return FO_GENERAL;
    return penalized ? FO_PENALIZED : prelude->decay != 0 ? FO_DECAYED : FO_PLAIN;
}

static struct update update_of(const struct fo_step *step, const struct fo_kernels *kernels, int32_t index)
{
    const struct fo_group *group = &step->group[index];
    /* If the norm is NaN, every gradient becomes NaN, as in torch. Otherwise one NaN could pass unnoticed. */
    const bool within = step->norm <= step->max_norm || isinf(step->max_norm);
    const double clip = within ? 1.0 : step->max_norm / step->norm;
    const double scale = group->prelude.scale * step->grad_scale * clip, size = fabs(scale);
    const bool fits = scale == 0 || isnan(scale) || (size >= FLT_MIN && size <= FLT_MAX);
    return (struct update){kernels->update[group->rule][variant_of(group)], &group->prelude, group->scalars, scale,
                           fits};
}

/* The first element at or after `begin` at which a cache line of the parameter begins; the states have the parameter's
 * alignment. In cache, stores across lines cost a quarter of the speed. A short span is not worth a second call. */
static int64_t aligned_begin(const struct fo_span *span, int64_t begin, int64_t end)
{
    const int64_t misplaced = (int64_t)((uintptr_t)(span->buffer[0] + begin) % FO_LINE / sizeof(float));
    const int64_t first = misplaced == 0 ? begin : begin + FO_LINE / (int64_t)sizeof(float) - misplaced;
    return end - begin < FO_SHORT ? begin : first;
}

/* The usual case: float, without noise. */
static void update_in_place(const struct fo_step *step, const struct update *update, const struct fo_span *span,
                            int64_t begin, int64_t end)
{
    const int64_t first = aligned_begin(span, begin, end);
    const int64_t stride = step->zero_gradients ? FO_TILE : end; /* set to zero while the tile is still in the cache */
    for (int64_t i = begin, stop; i < end; i = stop) {
        stop = i < first ? first : end - i > stride ? i + stride : end;
        update->update(span->buffer, span->gradient, i, stop, update->prelude, (float)update->scale, update->scalars);
        if (step->zero_gradients)
            memset(span->gradient + i, 0, (size_t)(stop - i) * sizeof(float));
    }
}

/* scaled ← scale·g plus the step's noise, for elements i, i + 1, … of the span. scaled may be g. */
static void scale_gradient(const struct fo_step *step, const struct update *update, const struct fo_span *span,
                           const float *g, float *scaled, int64_t i, int64_t size)
{
    const double scale = update->fits ? (float)update->scale : update->scale;
    for (int64_t j = 0; j < size; j++)
        scaled[j] = (float)(scale * g[j]);
    const struct fo_draw draw = {{step->noise_key[0], step->noise_key[1]}, (uint32_t)(span - step->span), i};
    const struct fo_each job = {.x = scaled, .out = scaled, .size = size, .draw = draw, .a = (float)step->noise};
    if (step->noise > 0)
        fo_kernels()->each[FO_EACH_add_normal](&job, 0, size);
}

/* Updates the elements i, i + 1, … of the span, of which buffer[] holds parameter and states as float. */
static void update_piece(const struct fo_step *step, const struct update *update, const struct fo_span *span,
                         float *const *buffer, int64_t i, int64_t size)
{
    float scratch[FO_PIECE];
    const bool apart = step->noise > 0 || !update->fits;
    const float *g = widened(fo_kernels(), span->gradient, span->g_type, i, size, scratch);
    if (apart)
        scale_gradient(step, update, span, g, scratch, i, size);
    update->update(buffer, apart ? scratch : g, 0, size, update->prelude, apart ? 1.0f : (float)update->scale,
                   update->scalars);
}

/* 16 bits, noise, or a scale beyond float: piece by piece, in scratch memory on the stack. */
static void update_in_scratch(const struct fo_step *step, const struct fo_kernels *kernels, const struct update *update,
                              const struct fo_span *span, int64_t begin, int64_t end)
{
    float w[FO_PIECE];
    for (int64_t i = begin; i < end; i += FO_PIECE) {
        const int64_t size = fo_least(end - i, FO_PIECE);
        float *buffer[FO_MAX_BUFFERS] = {(float *)widened(kernels, span->buffer[0], span->w_type, i, size, w)};
        for (int k = 1; k < FO_MAX_BUFFERS && span->buffer[k] != NULL; k++)
            buffer[k] = span->buffer[k] + i;
        update_piece(step, update, span, buffer, i, size);
        if (span->w_type != FO_FLOAT)
            kernels->narrow[span->w_type](w, (uint16_t *)at(span->buffer[0], span->w_type, i), size);
        if (step->zero_gradients)
            memset(at(span->gradient, span->g_type, i), 0, (size_t)(size * width(span->g_type)));
    }
}

/* Computes a piece of a step without writing it. Returns the sum of squares of its new parameters and states, which is
 * not finite if one of them is not. */
static double try_piece(const struct fo_step *step, const struct fo_kernels *kernels, const struct update *update,
                        const struct fo_span *span, int64_t i, int64_t size)
{
    float trial[FO_MAX_BUFFERS][FO_TRIAL];
    float *const buffer[FO_MAX_BUFFERS] = {trial[0], trial[1], trial[2], trial[3]};
    uint16_t narrow[FO_TRIAL];
    const float *w = widened(kernels, span->buffer[0], span->w_type, i, size, trial[0]);
    memmove(trial[0], w, (size_t)size * sizeof *w);
    for (int k = 1; k < FO_MAX_BUFFERS && span->buffer[k] != NULL; k++)
        memcpy(trial[k], span->buffer[k] + i, (size_t)size * sizeof(float));
    update_piece(step, update, span, buffer, i, size);
    if (span->w_type != FO_FLOAT) { /* float16 ends at 65504 */
        kernels->narrow[span->w_type](trial[0], narrow, size);
        kernels->widen[span->w_type](narrow, trial[0], size);
    }
    double lane[LANES] = {0};
    for (int k = 0; k < FO_MAX_BUFFERS && span->buffer[k] != NULL; k++)
        kernels->add_squares(trial[k], size, lane);
    return fold(lane);
}

static void try_tiles(const struct fo_step *step, const struct fo_kernels *kernels, struct share share)
{
    for (int64_t s = share.from.span; s <= last_span(share); s++) {
        const struct fo_span *span = &step->span[s];
        const struct update update = update_of(step, kernels, span->group);
        const int64_t end = end_in(step, share, s);
        for (int64_t i = begin_in(share, s); i < end; i += FO_TILE) {
            double *const sum = &step->partial[span->first_tile + i / FO_TILE];
            *sum = 0;
            for (int64_t j = i, stop = fo_least(end, i + FO_TILE); j < stop; j += FO_TRIAL)
                *sum += try_piece(step, kernels, &update, span, j, fo_least(stop - j, FO_TRIAL));
        }
    }
}

static void update_tiles(const struct fo_step *step, const struct fo_kernels *kernels, struct share share)
{
    struct update update = {0};
    int32_t group = -1;
    for (int64_t s = share.from.span; s <= last_span(share); s++) {
        const struct fo_span *span = &step->span[s];
        if (span->group != group)
            update = update_of(step, kernels, group = span->group);
        const int64_t begin = begin_in(share, s), end = end_in(step, share, s);
        if (span->w_type == FO_FLOAT && span->g_type == FO_FLOAT && !(step->noise > 0) && update.fits)
            update_in_place(step, &update, span, begin, end);
        else
            update_in_scratch(step, kernels, &update, span, begin, end);
    }
}

static void step_share(void *job, struct fo_team *team)
{
    struct fo_step *const step = job;
    const struct fo_kernels *const kernels = fo_kernels();
    const struct share share = fo_share_of(step, step->cost, team->part, team->of);
    if (step->want_norm) {
        sum_tiles(step, kernels, share);
        fo_meet(team);
        if (team->part == 0)
            finish_norm(step);
        fo_meet(team);
    }
    if (step->skip_nonfinite && !step->skipped) {
        try_tiles(step, kernels, share);
        fo_meet(team);
        if (team->part == 0)
            step->skipped = !isfinite(sum_of_tiles(step));
        fo_meet(team);
    }
    if (!step->skipped)
        update_tiles(step, kernels, share);
}

static void run_step(struct fo_step *step, int64_t cost)
{
    step->cost = cost;
    step->norm = 0;
    step->skipped = false;
    fo_share_out(step_share, step, step->threads);
}

static void look_ahead_in_scratch(const struct fo_span *span, float shift, int64_t begin, int64_t end)
{
    const struct fo_kernels *kernels = fo_kernels();
    float w[FO_PIECE], origin[FO_PIECE];
    for (int64_t i = begin; i < end; i += FO_PIECE) {
        const int64_t size = fo_least(end - i, FO_PIECE);
        uint16_t *const x = (uint16_t *)at(span->buffer[0], span->w_type, i);
        memcpy(at(span->origin, span->w_type, i), x, (size_t)size * sizeof *x);
        kernels->widen[span->w_type](x, w, size);
        kernels->lookahead(w, span->buffer[1] + i, origin, shift, 0, size);
        kernels->narrow[span->w_type](w, x, size);
    }
}

/* To the lookahead point, or back if shift is NULL. */
static void look_ahead(void *job, struct fo_team *team)
{
    const struct fo_step *const step = job;
    const struct share share = fo_share_of(step, step->cost, team->part, team->of);
    for (int64_t s = share.from.span; s <= last_span(share); s++) {
        const struct fo_span *span = &step->span[s];
        const int64_t begin = begin_in(share, s), end = end_in(step, share, s);
        const float *const shift = step->shift ? &step->shift[span->group] : NULL;
        if (shift != NULL && span->w_type != FO_FLOAT)
            look_ahead_in_scratch(span, *shift, begin, end);
        else if (shift != NULL)
            fo_kernels()->lookahead(span->buffer[0], span->buffer[1], span->origin, *shift, begin, end);
        else if (begin < end)
            memcpy(at(span->buffer[0], span->w_type, begin), at(span->origin, span->w_type, begin),
                   (size_t)((end - begin) * width(span->w_type)));
    }
}

static void run_look_ahead(const struct fo_step *step, int64_t cost, const float *shift)
{
    struct fo_step job = *step;
    job.cost = cost;
    job.shift = shift;
    fo_share_out(look_ahead, &job, step->threads);
}

#define FO_ROW(rule, buffers, scalars, point)                                                                          \
    {#rule, #buffers, #scalars, sizeof(struct rule##_element) / sizeof(float),                                         \
     sizeof(struct rule##_scalars) / sizeof(float)},
static const struct fo_rule rules[] = {RULES(FO_ROW)};

#define FO_FITS(rule, buffers, scalars, point)                                                                         \
    _Static_assert(sizeof(struct rule##_element) <= FO_MAX_BUFFERS * sizeof(float), #rule " has too many buffers");    \
    _Static_assert(sizeof(struct rule##_scalars) <= FO_MAX_SCALARS * sizeof(float), #rule " has too many scalars");
RULES(FO_FITS)

const struct fo_steps_api fo_steps_api = {rules, sizeof rules / sizeof rules[0], fo_lay_out, run_step, run_look_ahead};
