/* xoshiro256++, Blackman & Vigna (2021), "Scrambled linear pseudorandom number generators": eight generators side by
 * side, seeded by Philox. They take a quarter of Philox's time per bit, but numbers can only be drawn in order. This
 * file knows no distribution. */
#pragma once

#include "random/philox.h"

enum { XOSHIRO_LANES = 8, XOSHIRO_STEPS = 4, XOSHIRO_BLOCK = XOSHIRO_LANES * XOSHIRO_STEPS };

struct xoshiro {
    uint64_t a[XOSHIRO_LANES], b[XOSHIRO_LANES], c[XOSHIRO_LANES], d[XOSHIRO_LANES];
};

/* Philox turns sixteen counters into 32 words of 64 bits: first the lower halves of its results, then the upper halves.
 * Words 0 … 7 are `a` of the eight generators, the next eight are `b`, and so on. The key and the last three words of
 * the counters identify the generators. */
FO_INLINE struct xoshiro xoshiro_seeded(uint32_t what, uint32_t stream, uint32_t purpose, const uint32_t key[2])
{
    struct xoshiro x;
    uint64_t word[2 * PHILOX_LANES];
    const uint32_t k[2] = {key[0], key[1]};
    for (int l = 0; l < PHILOX_LANES; l++) {
        const struct philox counter = {(uint32_t)l, what, stream, purpose};
        const struct philox y = philox(counter, k);
        word[l] = (uint64_t)y.b << 32 | (uint32_t)y.a;
        word[PHILOX_LANES + l] = (uint64_t)y.d << 32 | (uint32_t)y.c;
    }
    memcpy(&x, word, sizeof x);
    return x;
}

FO_INLINE uint64_t rotated(uint64_t x, int left) { return x << left | x >> (64 - left); }

struct xoshiro_state {
    uint64_t a, b, c, d;
};

FO_INLINE uint64_t xoshiro_next(struct xoshiro_state *s)
{
    const uint64_t result = rotated(s->a + s->d, 23) + s->a, shifted = s->b << 17;
    s->c ^= s->a;
    s->d ^= s->b;
    s->b ^= s->c;
    s->a ^= s->d;
    s->c ^= shifted;
    s->d = rotated(s->d, 45);
    return result;
}

/* 32 words: word 8 s + l is that of step s of generator l. The four steps are written out, so that the compiler
 * vectorizes the loop over generators. */
FO_INLINE void xoshiro_block(uint64_t *word, struct xoshiro *x)
{
    for (int l = 0; l < XOSHIRO_LANES; l++) {
        struct xoshiro_state s = {x->a[l], x->b[l], x->c[l], x->d[l]};
        word[l] = xoshiro_next(&s);
        word[XOSHIRO_LANES + l] = xoshiro_next(&s);
        word[2 * XOSHIRO_LANES + l] = xoshiro_next(&s);
        word[3 * XOSHIRO_LANES + l] = xoshiro_next(&s);
        x->a[l] = s.a, x->b[l] = s.b, x->c[l] = s.c, x->d[l] = s.d;
    }
}
