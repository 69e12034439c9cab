/* Loops that read and write memory like an optimizer and only add: they measure the speed of the memory.
 * roofline.py compiles them. No non-temporal stores, no prefetch, no intrinsics. */
#include <math.h>
#include <stdint.h>

#ifdef _OPENMP
#include <omp.h>
#endif

typedef void loop(float *const *buffer, const float *g, int64_t from, int64_t to);

#define LOOP(name, BODY)                                                                                               \
    static void name(float *const *buffer, const float *g, int64_t from, int64_t to)                                   \
    {                                                                                                                  \
        float *const b0 = buffer[0], *const b1 = buffer[1], *const b2 = buffer[2], *const b3 = buffer[3];              \
        (void)b1, (void)b2, (void)b3;                                                                                  \
        _Pragma("GCC ivdep") for (int64_t i = from; i < to; i++)                                                       \
        {                                                                                                              \
            const float x = g[i];                                                                                      \
            BODY;                                                                                                      \
        }                                                                                                              \
    }

#define READ(k) const float x##k = b##k[i] + x
#define WRITE(k) b##k[i] = x##k

/* In the order of LOOPS in roofline.py: one to four buffers read and written, one gradient read; then common loops for
 * comparison. All reads of an element come before its writes, as in csrc/optimize/kernels.inl.h. */
LOOP(update_1, READ(0); WRITE(0))
LOOP(update_2, READ(0); READ(1); WRITE(0); WRITE(1))
LOOP(update_3, READ(0); READ(1); READ(2); WRITE(0); WRITE(1); WRITE(2))
LOOP(update_4, READ(0); READ(1); READ(2); READ(3); WRITE(0); WRITE(1); WRITE(2); WRITE(3))
LOOP(copy, b0[i] = x)
LOOP(scale, b0[i] = 3.0f * x)
LOOP(triad, b0[i] = b1[i] + 3.0f * x)
/* Minimal loops for subnormal numbers: a decay, alone and with the square root and the division of an adaptive rule. */
LOOP(decay, b0[i] = 0.9f * b0[i] + x)
LOOP(decay_root, const float x0 = 0.9f * b0[i]; WRITE(0); b1[i] -= x / sqrtf(x0 + 1e-16f))
static loop *const loops[] = {update_1, update_2, update_3, update_4, copy, scale, triad, decay, decay_root};

enum { TILE = 4096 }; /* threads take contiguous shares that meet at tile borders, as in csrc/optimize/layout.c */

static int64_t border(int64_t n, int part, int of)
{
    const int64_t tiles = (n + TILE - 1) / TILE, tile = tiles * part / of;
    return tile * TILE < n ? tile * TILE : n;
}

__attribute__((visibility("default"))) void run(int which, float *const *buffer, const float *g, int64_t n, int threads,
                                                int64_t times)
{
    for (int64_t t = 0; t < times; t++) {
#ifdef _OPENMP
        if (threads > 1) {
#pragma omp parallel num_threads(threads)
            {
                const int part = omp_get_thread_num(), of = omp_get_num_threads();
                loops[which](buffer, g, border(n, part, of), border(n, part + 1, of));
            }
            continue;
        }
#endif
        (void)threads;
        loops[which](buffer, g, 0, n);
    }
}
