/* The C interface: what a step is given and what it does. Knows no Python, allocates nothing. */
#ifndef FASTOPT_H
#define FASTOPT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define FO_MAX_BUFFERS 4 /* the parameter and three states */
#define FO_MAX_SCALARS 12
#define FO_TILE 4096    /* elements; sums are formed tile by tile, threads meet at tile borders */
#define FO_SHORT 512    /* elements; from here on a span's first elements up to a cache line are a call of their own */
#define FO_SPAN_COST 64 /* elements' worth of time that one more tensor costs */

/* What happens to every gradient before its rule: g ← clamp(scale·g, ±clip) + weight_decay·w + l1·sign(w), w ← decay·w.
 * Absent: scale = 1, clip = INFINITY, weight_decay = l1 = 0, decay = 1. */
struct fo_prelude {
    double scale; /* −1 for maximize; times grad_scale and the norm's clip coefficient, rounded to float at the end */
    float clip, weight_decay, l1, decay;
};

/* What a parameter and its gradient are stored as; states are always float. Arithmetic is float's everywhere. */
enum fo_type { FO_FLOAT, FO_BFLOAT16, FO_FLOAT16, FO_TYPES };

/* One parameter tensor, its gradient and its states; the order of `buffer` is that of the rule's row. The parameter,
 * its origin and the gradient are of their types, whatever the pointers say. */
struct fo_span {
    float *buffer[FO_MAX_BUFFERS];
    float *gradient;
    float *origin;      /* room for the parameter while it stands at the lookahead point, or NULL */
    int64_t size;       /* elements */
    int64_t first_cost; /* filled by fo_lay_out: the costs and the tiles of all spans before this one */
    int64_t first_tile;
    int32_t group;
    uint8_t w_type, g_type; /* enum fo_type */
};

/* Hyper-parameters shared by some spans. */
struct fo_group {
    int rule; /* index into fo_rules */
    struct fo_prelude prelude;
    float scalars[FO_MAX_SCALARS]; /* in the order of the rule's row */
};

struct fo_rule {
    const char *name;
    const char *buffers; /* "(w, m, v)": the row's own text */
    const char *scalars;
    int n_buffers, n_scalars;
};

/* One kernel per rule and two for its prelude: without and with clip, weight decay and L1. Elements [from, to). */
typedef void fo_update(float *const *buffer, const float *gradient, int64_t from, int64_t to,
                       const struct fo_prelude *prelude, float scale, const float *scalars);

struct fo_kernels {
    const char *isa;
    fo_update *const (*update)[2];
    double (*sum_of_squares)(const float *x, int64_t size); /* lanes of a fixed layout: same bits on every ISA */
    /* origin ← w; w ← w − shift·a */
    void (*lookahead)(float *w, const float *a, float *origin, float shift, int64_t from, int64_t to);
    /* by enum fo_type, those of 16 bits: to float exactly, and back, rounded to nearest even */
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
    double *partial; /* one double per tile; may be NULL if the norm is not wanted */
    double grad_scale;
    double max_norm; /* INFINITY: no clipping */
    bool want_norm;  /* form the global norm: for max_norm, for skip_nonfinite, or to report it */
    bool skip_nonfinite;
    bool zero_gradients;
    double noise;          /* > 0: g ← scale·g + noise·n, n standard normal, before clip and the penalties */
    uint32_t noise_key[2]; /* element i of span s is number i of stream s */
    int threads;           /* 1: serial, never enters the OpenMP runtime */
    double norm;           /* out: the norm of grad_scale·g over all spans, before clipping */
    bool skipped;          /* out: nothing was written, a gradient is not finite */
};

/* rules and instruction sets (dispatch.c) */
extern const struct fo_rule fo_rules[];
extern const int fo_n_rules;
int fo_init(void);                              /* 0, or −1 if a fork guard could not be set */
const struct fo_kernels *fo_kernels(void);      /* in use */
bool fo_select(const char *isa);                /* false: unknown, not built, or not on this CPU */
const char *fo_isa_name(int index);             /* built for, from plain to wide; NULL past the end */
bool fo_isa_runs(int index);                    /* and this CPU has it */
bool fo_forked(void);                           /* in a child of fork(): OpenMP must not be entered */
int fo_forks(void);                             /* how many forks deep */
const char *fo_openmp_runtime(void);            /* path of the library, or NULL without OpenMP */
void fo_huge_pages(void *memory, size_t bytes); /* ask for them, before the memory is first touched */

/* steps (step.c) */
int64_t fo_lay_out(struct fo_span *span, int64_t n_spans,
                   int64_t *tiles); /* total cost; fills first_cost, first_tile */
void fo_run_step(struct fo_step *step, int64_t cost);
/* origin ← w, w ← w − shift[group]·a; with shift NULL the way back, w ← origin */
void fo_run_lookahead(const struct fo_step *step, int64_t cost, const float *shift);

#include "runtime/threads.h"

#endif
