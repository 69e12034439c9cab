/* The table of functions by which other extension modules and other libraries call this one. The C library is linked
 * into one module only: the choice of kernels and the thread teams are state of the process, which must exist once. */
#ifndef FASTOPT_API_H
#define FASTOPT_API_H

#include "fastopt.h"
#include "fastopt_layers.h"
#include "fastopt_network.h"
#include "fastopt_resample.h"
#include "fastopt_stump.h"

enum { FO_API_VERSION = 1 }; /* grows when a member is added at the end of a table; a table never shrinks */

/* Threads of the process. */
struct fo_runtime_api {
    int (*threads_for)(int64_t elements); /* how many threads may work on so many elements: 1 if they are few */
    int (*forks)(void);                   /* how many forks lie between this process and the first one */
    void (*huge_pages)(void *memory, size_t bytes);
};

/* Steps of an optimizer. */
struct fo_steps_api {
    const struct fo_rule *rules;
    int n_rules;
    int64_t (*lay_out)(struct fo_span *span, int64_t n_spans, int64_t *tiles);
    void (*run)(struct fo_step *step, int64_t cost);
    void (*look_ahead)(const struct fo_step *step, int64_t cost, const float *shift);
};

/* Regularization layers. */
struct fo_layers_api {
    int64_t (*slabs)(const struct fo_channels *job);
    void (*each)(int kernel, struct fo_each *job, int64_t jobs, int threads);
    double (*sum_of_powers)(const float *x, int64_t size, int power, double *partial, int threads);
    void (*philox)(const uint32_t *counter, uint32_t *out, int64_t n, const uint32_t key[2]);
    void (*sums)(const struct fo_channels *job, double *sums, int threads);
    void (*normalize)(const struct fo_channels *job, int threads);
    void (*normalize_back)(const struct fo_channels *job, int threads);
    void (*scale)(const struct fo_channels *job, int threads);
    void (*mix)(const struct fo_mix *job, int threads);
    int64_t (*entropy_units)(const struct fo_entropy *job);
    double (*target_weight)(const struct fo_entropy *job);
    double (*entropy)(struct fo_entropy *job, int threads);
    void (*images)(int kernel, const struct fo_images *job, int threads);
};

/* The dense network. */
struct fo_network_api {
    void (*forward)(int activation, const struct fo_dense *layer);
    void (*back)(int activation, const struct fo_dense *layer);
    void (*squares)(const struct fo_squares *job);
    void (*pass)(const struct fo_pass *pass);
    void (*epoch)(const struct fo_epoch *epoch);
};

/* The bootstrap. */
struct fo_resample_api {
    void (*run)(int kernel, const struct fo_resample *job, int threads);
};

/* The decision stump. */
struct fo_stump_api {
    int64_t (*run)(struct fo_stump *job, int threads);
};

/* Hooks for tests: the back-off of thread teams, and below how many elements one thread does the work. */
struct fo_testing_api {
    void (*report_job)(double total, double least, int of, bool reduced);
    int (*team_size)(int threads);
    bool (*set_backoff)(bool on);
    int64_t (*serial_threshold)(void);
    void (*set_serial_threshold)(int64_t elements);
};

struct fo_api {
    int version; /* FO_API_VERSION of the library, which may be newer than the caller's */
    const struct fo_runtime_api *runtime;
    const struct fo_steps_api *steps;
    const struct fo_layers_api *layers;
    const struct fo_network_api *network;
    const struct fo_resample_api *resample;
    const struct fo_stump_api *stump;
    const struct fo_testing_api *testing;
};

const struct fo_api *fo_get_api(void);

/* The number of threads that the process asks for; 1 until it is set. */
int fo_num_threads(void);
void fo_set_num_threads(int threads);

#endif
