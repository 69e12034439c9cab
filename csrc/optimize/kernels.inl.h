/* The loop around a rule of rules.h, written once for all rules. Holds no formula of an optimizer. */

/* What happens to a gradient before its rule: clipping and penalties (struct fo_prelude). A term that is 0 is left out
 * by a comparison and not by a product, which would change NaN, infinities and −0.0. */
FO_INLINE float penalized(float g, const float w, const struct fo_prelude p)
{
    g = g > p.clip ? p.clip : g;
    g = g < -p.clip ? -p.clip : g;
    g = p.weight_decay != 0.0f ? g + p.weight_decay * w : g;
    const float sign = w > 0.0f ? p.l1 : w < 0.0f ? -p.l1 : w != w ? w : 0.0f;
    return p.l1 != 0.0f ? g + sign : g;
}

/* Element i of the n buffers of a rule. Loops of constant length, which the compiler unrolls. */
FO_INLINE void load(float *element, float *const *buffer, int n, int64_t i)
{
    for (int k = 0; k < n; k++)
        element[k] = buffer[k][i];
}

FO_INLINE void store(const float *element, float *const *buffer, int n, int64_t i)
{
    for (int k = 0; k < n; k++)
        buffer[k][i] = element[k];
}

/* One kernel: rule over the elements [from, to). A macro, because the element's struct and `point` differ by rule. With
 * DECAYED the rule subtracts its update from −decay·w, and the sum is added to w: decay and update are rounded
 * together, so a decay below half an ulp of w is not lost. −0.0 is what changes no sum. */
#define FO_KERNEL(rule, name, point, DECAYED, PENALIZED, NEAR_ONE)                                                     \
    static void name(float *const *buffer, const float *gradient, int64_t from, int64_t to,                            \
                     const struct fo_prelude *prelude, float scale, const float *scalars)                              \
    {                                                                                                                  \
        enum { N = sizeof(struct rule##_element) / sizeof(float) };                                                    \
        const struct fo_prelude p = *prelude;                                                                          \
        struct rule##_scalars h;                                                                                       \
        memcpy(&h, scalars, sizeof h);                                                                                 \
        float *const b[FO_MAX_BUFFERS] = {buffer[0], buffer[1], buffer[2], buffer[3]};                                 \
        FO_INDEPENDENT                                                                                                 \
        for (int64_t i = from; i < to; i++) {                                                                          \
            union {                                                                                                    \
                struct rule##_element x;                                                                               \
                float b[FO_MAX_BUFFERS];                                                                               \
            } e;                                                                                                       \
            load(e.b, b, N, i);                                                                                        \
            float g = scale * gradient[i];                                                                             \
            if (PENALIZED) {                                                                                           \
                const struct rule##_element x = e.x;                                                                   \
                g = penalized(g, point, p);                                                                            \
            }                                                                                                          \
            const float w = e.b[0];                                                                                    \
            if (DECAYED)                                                                                               \
                e.b[0] = p.decay != 0.0f ? -p.decay * w : -0.0f;                                                       \
            rule(&e.x, g, h, NEAR_ONE);                                                                                \
            if (DECAYED)                                                                                               \
                e.b[0] = w + e.b[0];                                                                                   \
            store(e.b, b, N, i);                                                                                       \
        }                                                                                                              \
    }
#define FO_KERNELS(rule, buffers, scalars, point)                                                                      \
    FO_KERNEL(rule, rule##_plain, point, 0, 0, 0)                                                                      \
    FO_KERNEL(rule, rule##_decayed, point, 1, 0, 0)                                                                    \
    FO_KERNEL(rule, rule##_penalized, point, 0, 1, 0)                                                                  \
    FO_KERNEL(rule, rule##_general, point, 1, 1, 1)
RULES(FO_KERNELS)

/* In the order of enum fo_variant. */
#define FO_ENTRY(rule, buffers, scalars, point) {rule##_plain, rule##_decayed, rule##_penalized, rule##_general},
static fo_update *const update[][FO_VARIANTS] = {RULES(FO_ENTRY)};

/* Moves w to the lookahead point: origin ← w; w ← w − shift·a. */
static void lookahead(float *w, const float *a, float *origin, float shift, int64_t from, int64_t to)
{
    FO_INDEPENDENT
    for (int64_t i = from; i < to; i++) {
        const float x = w[i];
        origin[i] = x;
        w[i] = x - shift * a[i];
    }
}
