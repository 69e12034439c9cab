/* xoshiro256++, Blackman & Vigna (2021), "Scrambled linear pseudorandom number generators": eight generators side by
 * side, seeded by Philox. Random bits in order for a quarter of what Philox takes, where nobody asks for a number in
 * the middle. Knows no distribution. */
#pragma once

#include "random/philox.h"

enum { XOSHIRO_LANES = 8, XOSHIRO_STEPS = 4, XOSHIRO_BLOCK = XOSHIRO_LANES * XOSHIRO_STEPS };

struct xoshiro {
    uint64_t a[XOSHIRO_LANES], b[XOSHIRO_LANES], c[XOSHIRO_LANES], d[XOSHIRO_LANES];
};

/* Sixteen counters are 32 words of 64 bits, first those of their first halves: word l of 8 is `a` of generator l, and
 * so on. The last three words of the counters and the key say which generators these are. */
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

/* 32 words, of four steps: word 8 s + l is generator l's. The steps are written out, so that the loop over generators
 * is the one that is vectorized. */
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
