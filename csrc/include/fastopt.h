/* The C interface of the optimizers: tensors, hyper-parameters, one step, and the choice of kernels. Knows no Python
 * and allocates nothing. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define FO_MAX_BUFFERS 4 /* the parameter and three states */
#define FO_MAX_SCALARS 12
#define FO_TILE 4096 /* elements: sums are formed tile by tile, and shares of threads end at borders of tiles */
#define FO_SHORT                                                                                                       \
    512 /* elements: in a longer span the elements before the first full cache line get a call of their own */
#define FO_SPAN_COST 64 /* one more tensor takes as much time as so many elements */

/* Applied to every gradient before its rule: g ← clamp(scale·g, ±clip) + weight_decay·w + l1·sign(w), w ← decay·w. It
 * changes nothing if scale = 1, clip = INFINITY, weight_decay = l1 = 0, decay = 1. */
struct fo_prelude {
    double
        scale; /* −1 for maximize. Its product with grad_scale and the norm's clip coefficient is rounded to float. */
    float clip, weight_decay, l1, decay;
};

/* How a parameter and its gradient are stored. States and all arithmetic are float. */
enum fo_type { FO_FLOAT, FO_BFLOAT16, FO_FLOAT16, FO_TYPES };

/* One parameter tensor, its gradient and its states. `buffer` has the order of the rule's row in RULES. The parameter
 * and `origin` are stored as w_type and the gradient as g_type, although the pointers are those of float. */
struct fo_span {
    float *buffer[FO_MAX_BUFFERS];
    float *gradient;
    float *origin;      /* keeps the parameter while w is at the lookahead point; may be NULL */
    int64_t size;       /* elements */
    int64_t first_cost; /* set by fo_lay_out: the cost and the number of tiles of all spans before this one */
    int64_t first_tile;
    int32_t group;
    uint8_t w_type, g_type; /* enum fo_type */
};

/* Hyper-parameters of a group of spans. */
struct fo_group {
    int rule; /* index into fo_rules */
    struct fo_prelude prelude;
    float scalars[FO_MAX_SCALARS]; /* in the order of the rule's row */
};

struct fo_rule {
    const char *name;
    const char *buffers; /* the text of the row, such as "(w, m, v)" */
    const char *scalars;
    int n_buffers, n_scalars;
};

/* Updates elements [from, to). Each rule has two kernels: without and with clip, weight decay and L1. */
typedef void fo_update(float *const *buffer, const float *gradient, int64_t from, int64_t to,
                       const struct fo_prelude *prelude, float scale, const float *scalars);

struct fo_kernels {
    const char *isa;
    fo_update *const (*update)[2];
    double (*sum_of_squares)(const float *x, int64_t size); /* the same bits on every ISA */
    /* origin ← w; w ← w − shift·a */
    void (*lookahead)(float *w, const float *a, float *origin, float shift, int64_t from, int64_t to);
    /* indexed by enum fo_type, for 16 bits: to float, which is exact, and back, rounded to nearest even */
    void (*const *widen)(const uint16_t *x, float *y, int64_t size);
    void (*const *narrow)(const float *x, uint16_t *y, int64_t size);
    const struct fo_layers *layers;   /* fastopt_layers.h */
    const struct fo_network *network; /* fastopt_network.h */
    const struct fo_stumps *stumps;   /* fastopt_stump.h */
};

struct fo_step {
    struct fo_span *span;
    int64_t n_spans;
    const struct fo_group *group;
    double *partial; /* one double per tile, or NULL without want_norm */
    double grad_scale;
    double max_norm; /* INFINITY: no clipping */
    bool want_norm;  /* needed for max_norm and skip_nonfinite */
    bool skip_nonfinite;
    bool zero_gradients;
    double noise;          /* > 0: g ← scale·g + noise·n, n standard normal, before clip and penalties */
    uint32_t noise_key[2]; /* element i of span s gets number i of stream s */
    int threads;           /* 1: the OpenMP runtime is never entered */
    int64_t cost;          /* set by fo_run_step and fo_run_lookahead, and the shift too */
    const float *shift;
    double norm;  /* out: the norm of grad_scale·g over all spans, before clipping */
    bool skipped; /* out: a gradient is not finite, and nothing was written */
};

/* Rules and instruction sets: runtime/dispatch.c */
extern const struct fo_rule fo_rules[];
extern const int fo_n_rules;
int fo_init(void);                              /* 0, or −1 if a fork guard could not be set */
const struct fo_kernels *fo_kernels(void);      /* the table in use */
bool fo_select(const char *isa);                /* false if this build or this CPU lacks it */
const char *fo_isa_name(int index);             /* those of this build, the narrowest first; then NULL */
bool fo_isa_runs(int index);                    /* whether this CPU has it */
bool fo_forked(void);                           /* whether this is a child of fork(), which must not enter OpenMP */
int fo_forks(void);                             /* how many forks lie between this process and the first one */
const char *fo_openmp_runtime(void);            /* path of the library, or NULL without OpenMP */
void fo_huge_pages(void *memory, size_t bytes); /* to be called before the memory is first touched */

/* Steps: optimize/ */
int64_t fo_lay_out(struct fo_span *span, int64_t n_spans,
                   int64_t *tiles); /* returns the total cost; sets first_cost and first_tile */
void fo_run_step(struct fo_step *step, int64_t cost);
/* origin ← w, w ← w − shift[group]·a; or w ← origin if shift is NULL. */
void fo_run_lookahead(const struct fo_step *step, int64_t cost, const float *shift);

#include "runtime/threads.h"
