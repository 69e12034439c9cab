/* Kernels that treat each element alone: noise, dropout, the gradient of a penalty; and the elementary functions and
 * the random words themselves, for tests. Elements [from, to) of one job. */
#include "layers/elementwise.h"
#include "math/elementary.h"
#include "random/philox.h"

enum { CHUNK = 4 * PHILOX_BLOCK }; /* random numbers drawn at once: they stay in the L1 cache */
enum { PURPOSE_ELEMENTS = 0 };     /* the fourth word of a Philox counter; augmentation of samples uses 1 */

static void draw_words(uint32_t *out, uint64_t at, const struct fo_draw *draw)
{
    for (int i = 0; i < CHUNK; i += PHILOX_BLOCK)
        philox_block(out + i, at + (uint64_t)i, draw->stream, PURPOSE_ELEMENTS, draw->key);
}

/* Box & Muller (1958), "A note on the generation of random normal deviates": two words make two normal numbers. They
 * are at most 6.66 standard deviations from 0, because the smallest probability of a 32-bit word is 2⁻³². Writes the
 * bits of the floats. */
static void draw_normals(uint32_t *out, uint64_t at, const struct fo_draw *draw)
{
    draw_words(out, at, draw);
    for (int i = 0; i < CHUNK; i += 2 * PHILOX_LANES)
        for (int l = 0; l < PHILOX_LANES; l++) {
            const uint32_t u = out[i + l], turn = out[i + PHILOX_LANES + l];
            const float uniform = ((float)(int32_t)(u >> 1) + 0.5f) * 4.6566128730773926e-10f; /* 2⁻³¹ */
            const float radius = sqrtf(-2.0f * log_of(uniform));
            const struct sincos direction = sincos_of(turn);
            out[i + l] = bits_of(radius * direction.cosine);
            out[i + PHILOX_LANES + l] = bits_of(radius * direction.sine);
        }
}

/* The random numbers of a few elements: `size` from number `skip` on of the chunk that begins at number `start`. Chunks
 * begin at multiples of CHUNK in the stream of random numbers, wherever the array begins in it. */
struct chunk {
    uint64_t start;
    int64_t skip, size;
};

FO_INLINE struct chunk chunk_at(const struct fo_each *e, int64_t from, int64_t to)
{
    const uint64_t at = (uint64_t)e->draw.offset + (uint64_t)from, skip = at % CHUNK;
    const int64_t rest = CHUNK - (int64_t)skip;
    return (struct chunk){at - skip, (int64_t)skip, fo_least(rest, to - from)};
}

static void words(const struct fo_each *e, int64_t from, int64_t to)
{
    uint32_t word[CHUNK];
    for (struct chunk c; from < to; from += c.size) {
        c = chunk_at(e, from, to);
        draw_words(word, c.start, &e->draw);
        memcpy((uint32_t *)e->out + from, word + c.skip, (size_t)c.size * sizeof *word);
    }
}

typedef void fo_draw_chunk(uint32_t *out, uint64_t at, const struct fo_draw *draw);
typedef float fo_noisy(const struct fo_each *e, float x, uint32_t random);

/* out ← result(x, random), where `draw` draws the random numbers. */
FO_INLINE void with_random(fo_draw_chunk *draw, fo_noisy *result, const struct fo_each *all, int64_t from, int64_t to)
{
    const struct fo_each e = *all; /* a copy, which stores to `out` cannot change */
    uint32_t random[CHUNK];
    for (struct chunk c; from < to; from += c.size) {
        c = chunk_at(all, from, to);
        draw(random, c.start, &all->draw);
        const float *const x = e.x + from;
        const uint32_t *const r = random + c.skip;
        float *const out = (float *)e.out + from;
        FO_INDEPENDENT
        for (int64_t i = 0; i < c.size; i++)
            out[i] = result(&e, x[i], r[i]);
    }
}

FO_INLINE float plus_noise(const struct fo_each *e, float x, uint32_t normal) { return x + e->a * float_of(normal); }
FO_INLINE float times_noise(const struct fo_each *e, float x, uint32_t n) { return x * (1.0f + e->a * float_of(n)); }
FO_INLINE float dropped(const struct fo_each *e, float x, uint32_t word)
{
    const float kept = e->a * x;
    return word < e->threshold ? 0.0f : kept;
}

static void add_normal(const struct fo_each *e, int64_t from, int64_t to)
{
    with_random(draw_normals, plus_noise, e, from, to);
}
static void times_normal(const struct fo_each *e, int64_t from, int64_t to)
{
    with_random(draw_normals, times_noise, e, from, to);
}
static void drop(const struct fo_each *e, int64_t from, int64_t to) { with_random(draw_words, dropped, e, from, to); }

static void drop_bits(const struct fo_each *e, int64_t from, int64_t to)
{
    uint8_t *const out = e->out;
    uint32_t word[CHUNK];
    for (int64_t i = from; i < to; i += CHUNK) {
        const int64_t n = fo_least(to - i, CHUNK);
        draw_words(word, (uint64_t)i, &e->draw);
        for (int64_t j = 0; j < n; j += 8) {
            unsigned bits = 0;
            for (int64_t k = j; k < j + 8 && k < n; k++)
                bits |= (unsigned)(word[k] >= e->threshold) << (k - j);
            out[(i + j) / 8] = (uint8_t)bits;
        }
    }
}

/* The same formula as in a step. */
static void penalize(const struct fo_each *e, int64_t from, int64_t to)
{
    const struct fo_prelude p = {.scale = 1, .clip = INFINITY, .weight_decay = e->a, .l1 = e->b, .decay = 1};
    const float *const x = e->x, *const y = e->y;
    float *const out = e->out;
    FO_INDEPENDENT
    for (int64_t i = from; i < to; i++)
        out[i] = penalized(x[i], y[i], p);
}

FO_INLINE void map(float (*function)(float), const struct fo_each *e, int64_t from, int64_t to)
{
    const float *const x = e->x;
    float *const out = e->out;
    FO_INDEPENDENT
    for (int64_t i = from; i < to; i++)
        out[i] = function(x[i]);
}

FO_INLINE float sine(float x) { return sincos_of(bits_of(x)).sine; } /* of a word in a float's place */
FO_INLINE float cosine(float x) { return sincos_of(bits_of(x)).cosine; }
static void exps(const struct fo_each *e, int64_t from, int64_t to) { map(exp_of, e, from, to); }
static void logs(const struct fo_each *e, int64_t from, int64_t to) { map(log_of, e, from, to); }
static void sines(const struct fo_each *e, int64_t from, int64_t to) { map(sine, e, from, to); }
static void cosines(const struct fo_each *e, int64_t from, int64_t to) { map(cosine, e, from, to); }

static void copy(const struct fo_each *e, int64_t from, int64_t to)
{
    memcpy((float *)e->out + from, e->x + from, (size_t)(to - from) * sizeof(float));
}
