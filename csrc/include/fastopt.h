/* The public C interface: tensors, hyper-parameters, one step, and the table of functions by which other modules and
 * other libraries call this one. Knows no Python and allocates nothing. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define FO_MAX_BUFFERS 4 /* the parameter and three states */
#define FO_MAX_SCALARS 12
#define FO_NEAR_ONE (1 - 0x1p-10f) /* beyond it a rule uses 1 − β in place of β: see fading in rules.h */
#define FO_TILE 4096    /* elements: sums are formed tile by tile, and shares of threads end at borders of tiles */
#define FO_SHORT 512    /* elements: a longer span begins with a call for those before the first full cache line */
#define FO_SPAN_COST 64 /* one more tensor takes as much time as so many elements */

/* Applied to every gradient before its rule: g ← clamp(scale·g, ±clip) + weight_decay·w + l1·sign(w). The rule's update
 * u then gives w ← w − (decay·w + u). Neutral values: scale = 1, clip = INFINITY, weight_decay = l1 = decay = 0. */
struct fo_prelude {
    double scale; /* −1 for maximize. Its product with grad_scale and the clip coefficient is rounded once. */
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
    int64_t first_cost; /* set by lay_out: the cost and the number of tiles of all spans before this one */
    int64_t first_tile;
    int32_t group;
    uint8_t w_type, g_type; /* enum fo_type */
};

/* Hyper-parameters of a group of spans. */
struct fo_group {
    int rule;      /* index into fo_rules */
    bool near_one; /* a β is beyond FO_NEAR_ONE */
    struct fo_prelude prelude;
    float scalars[FO_MAX_SCALARS]; /* in the order of the rule's row */
};

struct fo_rule {
    const char *name;
    const char *buffers; /* the text of the row, such as "(w, m, v)" */
    const char *scalars;
    int n_buffers, n_scalars;
};

struct fo_step {
    struct fo_span *span;
    int64_t n_spans;
    const struct fo_group *group;
    double *partial; /* one double per tile, or NULL without want_norm */
    double grad_scale;
    double max_norm;     /* INFINITY: no clipping */
    bool want_norm;      /* needed for max_norm and skip_nonfinite */
    bool skip_nonfinite; /* first compute the step without writing: all of its results must be finite */
    bool zero_gradients;
    double noise;          /* > 0: g ← scale·g + noise·n, n standard normal, before clip and penalties */
    uint32_t noise_key[2]; /* element i of span s gets number i of stream s */
    int threads;           /* 1: the OpenMP runtime is never entered */
    int64_t cost;          /* set by run and look_ahead, and the shift too */
    const float *shift;
    double norm;  /* out: the norm of grad_scale·g over all spans, before clipping */
    bool skipped; /* out: a gradient, or a new parameter or state, is not finite, and nothing was written */
};

enum { FO_API_VERSION = 1 }; /* grows when a member is added at the end of a table; a table never shrinks */

/* Threads of the process. */
struct fo_runtime_api {
    /* How many threads the calling thread may use for so many elements: 1 if they are few. */
    int (*threads_for)(int64_t elements);
    int (*forks)(void);                             /* how many forks lie between this process and the first one */
    void (*huge_pages)(void *memory, size_t bytes); /* to be called before the memory is first touched */
};

/* Steps of an optimizer. */
struct fo_steps_api {
    const struct fo_rule *rules;
    int n_rules;
    /* Sets first_cost and first_tile of each span and the number of tiles, and returns the cost of all spans. */
    int64_t (*lay_out)(struct fo_span *span, int64_t n_spans, int64_t *tiles);
    void (*run)(struct fo_step *step, int64_t cost);
    /* origin ← w, w ← w − shift[group]·a; or w ← origin if shift is NULL. */
    void (*look_ahead)(const struct fo_step *step, int64_t cost, const float *shift);
};

/* Hooks for tests: the back-off of thread teams (runtime/threads.h), and below how many elements one thread does the
 * work. */
struct fo_testing_api {
    void (*report_job)(double total, double least, int of, bool reduced);
    int (*team_size)(int threads);
    bool (*set_backoff)(bool on);
    int64_t (*serial_threshold)(void);
    void (*set_serial_threshold)(int64_t elements);
};

struct fo_resample;
struct fo_stump;

/* The C library is linked into one module only, because the choice of kernels and the thread teams are state of the
 * process, which must exist once. All other modules get this table. */
struct fo_api {
    int version; /* FO_API_VERSION of the library, which may be newer than the caller's */
    const struct fo_runtime_api *runtime;
    const struct fo_steps_api *steps;
    const struct fo_layers_api *layers;   /* layers/layers.h */
    const struct fo_network_api *network; /* network/network.h */
    void (*resample)(int kernel, const struct fo_resample *job, int threads);
    int64_t (*stump)(struct fo_stump *job, int threads);
    const struct fo_testing_api *testing;
};
