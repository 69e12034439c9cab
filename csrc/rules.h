/* The update rules: what each optimizer does to one element. Start reading here.
 *
 * A rule sees one element of the parameter (w) and of its states, the gradient g after the prelude of
 * optimize/kernels.inl.h, and the scalars h, formed in double on the host and rounded once. It knows nothing of loops,
 * threads or Python. It changes w only by adding to it or subtracting from it, because the loop may pass −decay·w as w.
 * Notation: a complement such as 1 − β₁ is `beta1c`. All arithmetic is IEEE single precision, in the order written. */
#ifndef FASTOPT_RULES_H
#define FASTOPT_RULES_H

#include <float.h>
#include <math.h>
#include <stdbool.h>

#include "fastopt.h"

/* X(rule, (w, states...), (scalars...), point): at most FO_MAX_BUFFERS names and FO_MAX_SCALARS scalars; `point` is
 * where the gradient was taken, and so where the penalties of the prelude are. */
/* clang-format off */
#define RULES(X)                                                                                                       \
    X(sgd,                       (w),          (lr), x.w)                                                              \
    X(momentum,                  (w, a),       (lr, beta, betac, gain), x.w)                                           \
    X(nesterov,                  (w, a),       (lr, beta, betac, gain), x.w)                                           \
    X(nag,                       (w, a),       (lr, beta, betac, gain, shift), x.w - h.shift * x.a)                    \
    X(adagrad,                   (w, G),       (lr, eps_in, eps_out), x.w)                                             \
    X(adadelta,                  (w, G, H),    (lr, rho, rhoc, eps), x.w)                                              \
    X(rmsprop,                   (w, G),       (lr, rho, rhoc, eps_in, eps_out), x.w)                                  \
    X(rmsprop_centered,          (w, G, m),    (lr, rho, rhoc, eps_in, eps_out), x.w)                                  \
    X(rmsprop_momentum,          (w, G, a),    (lr, rho, rhoc, eps_in, eps_out, beta, betac, gain, nesterov), x.w)     \
    X(rmsprop_centered_momentum, (w, G, m, a), (lr, rho, rhoc, eps_in, eps_out, beta, betac, gain, nesterov), x.w)     \
    X(adam,                      (w, m, v),    (lr, beta1, beta1c, beta2, beta2c, c, eps_in, eps_out), x.w)            \
    X(amsgrad,                   (w, m, v, u), (lr, beta1, beta1c, beta2, beta2c, cu, c, eps_in, eps_out), x.w)
/* clang-format on */

#define FO_LIST(...) __VA_ARGS__
#define FO_DECLARE(rule, buffers, scalars, point)                                                                      \
    struct rule##_element {                                                                                            \
        float FO_LIST buffers;                                                                                         \
    };                                                                                                                 \
    struct rule##_scalars {                                                                                            \
        float FO_LIST scalars;                                                                                         \
    };
RULES(FO_DECLARE)
#undef FO_DECLARE

#if defined(_MSC_VER)
#define FO_INLINE static __forceinline
#define FO_UNUSED
#else
#define FO_INLINE static inline __attribute__((always_inline))
#define FO_UNUSED __attribute__((unused))
#endif
#define RULE(rule)                                                                                                     \
    FO_INLINE void rule(struct rule##_element *x, const float g, const struct rule##_scalars h, FO_UNUSED bool near_one)

/* s ← β·s + x, with betac = 1 − β formed in double. A float β near 1 is rounded to a number whose distance from 1 is
 * another, and the average would be one over another number of steps. The kernel `general` then takes 1 − β itself. An
 * infinite s stays infinite in both forms. */
FO_INLINE float fading(bool near_one, float beta, float betac, float s, float x)
{
    if (!near_one || beta <= FO_NEAR_ONE)
        return beta * s + x;
    return fabsf(s) <= FLT_MAX ? s + (x - betac * s) : s + x;
}

/* Robbins & Monro (1951), A Stochastic Approximation Method. */
RULE(sgd) { x->w -= h.lr * g; }

/* Polyak (1964), the heavy ball. gain is 1, or 1 − dampening (torch); with the learning rate inside the
 * momentum (Keras) gain = −η and lr = −1, so that a is Keras' velocity. */
RULE(momentum)
{
    x->a = fading(near_one, h.beta, h.betac, x->a, h.gain * g);
    x->w -= h.lr * x->a;
}

/* Nesterov's accelerated gradient in the shifted form of Sutskever et al. (2013): w is the lookahead point. */
RULE(nesterov)
{
    const float d = h.gain * g;
    x->a = fading(near_one, h.beta, h.betac, x->a, d);
    x->w -= h.lr * (h.beta * x->a + d);
}

/* Nesterov (1983) as the textbook has it: Momentum, with g taken at w − shift·a, shift = η β (lookahead() in
 * optimize/kernels.inl.h). */
RULE(nag)
{
    x->a = fading(near_one, h.beta, h.betac, x->a, h.gain * g);
    x->w -= h.lr * x->a;
}

/* Duchi, Hazan & Singer (2011), diagonal Adagrad. */
RULE(adagrad)
{
    x->G += g * g;
    x->w -= h.lr * g / (sqrtf(x->G + h.eps_in) + h.eps_out);
}

/* Zeiler (2012), ADADELTA, algorithm 1. H averages the squared updates. */
RULE(adadelta)
{
    x->G = fading(near_one, h.rho, h.rhoc, x->G, h.rhoc * g * g);
    const float d = g * sqrtf(x->H + h.eps) / sqrtf(x->G + h.eps);
    x->w -= h.lr * d;
    x->H = fading(near_one, h.rho, h.rhoc, x->H, h.rhoc * d * d);
}

/* Hinton (2012), lecture 6e. */
RULE(rmsprop)
{
    x->G = fading(near_one, h.rho, h.rhoc, x->G, h.rhoc * g * g);
    x->w -= h.lr * g / (sqrtf(x->G + h.eps_in) + h.eps_out);
}

/* Graves (2013), eq. 38-41: the variance in place of the second moment, kept from rounding below zero. */
FO_INLINE float centered(const float G, const float m)
{
    const float variance = G - m * m;
    return variance < 0.0f ? 0.0f : variance;
}

RULE(rmsprop_centered)
{
    x->G = fading(near_one, h.rho, h.rhoc, x->G, h.rhoc * g * g);
    x->m = fading(near_one, h.rho, h.rhoc, x->m, h.rhoc * g);
    x->w -= h.lr * g / (sqrtf(centered(x->G, x->m) + h.eps_in) + h.eps_out);
}

RULE(rmsprop_momentum)
{
    x->G = fading(near_one, h.rho, h.rhoc, x->G, h.rhoc * g * g);
    const float d = h.gain * g / (sqrtf(x->G + h.eps_in) + h.eps_out);
    x->a = fading(near_one, h.beta, h.betac, x->a, d);
    x->w -= h.lr * (h.nesterov != 0.0f ? h.beta * x->a + d : x->a);
}

RULE(rmsprop_centered_momentum)
{
    x->G = fading(near_one, h.rho, h.rhoc, x->G, h.rhoc * g * g);
    x->m = fading(near_one, h.rho, h.rhoc, x->m, h.rhoc * g);
    const float d = h.gain * g / (sqrtf(centered(x->G, x->m) + h.eps_in) + h.eps_out);
    x->a = fading(near_one, h.beta, h.betac, x->a, d);
    x->w -= h.lr * (h.nesterov != 0.0f ? h.beta * x->a + d : x->a);
}

/* Kingma & Ba (2015), algorithm 1. lr carries the bias corrections that c does not:
 * (lr, c) = (η √(1−β₂ᵗ)/(1−β₁ᵗ), 1) or (η/(1−β₁ᵗ), 1/(1−β₂ᵗ)). */
RULE(adam)
{
    x->m = fading(near_one, h.beta1, h.beta1c, x->m, h.beta1c * g);
    x->v = fading(near_one, h.beta2, h.beta2c, x->v, h.beta2c * g * g);
    x->w -= h.lr * x->m / (sqrtf(h.c * x->v + h.eps_in) + h.eps_out);
}

/* Reddi, Kale & Kumar (2018). u is the largest v (cu = 1) or v̂ (cu = 1/(1−β₂ᵗ), optax) so far; NaN passes through. */
RULE(amsgrad)
{
    x->m = fading(near_one, h.beta1, h.beta1c, x->m, h.beta1c * g);
    x->v = fading(near_one, h.beta2, h.beta2c, x->v, h.beta2c * g * g);
    const float v = h.cu * x->v;
    x->u = x->u >= v ? x->u : v;
    x->w -= h.lr * x->m / (sqrtf(h.c * x->u + h.eps_in) + h.eps_out);
}

#endif
