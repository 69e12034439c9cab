/* The table of functions of fastopt_api.h, and how many threads a job may use. */
#include "fastopt_api.h"

/* Entering a parallel region costs one or two microseconds while the team is awake: below this many elements one thread
 * is faster (measured with python -m bench threshold). */
static int64_t parallel_from = 65536;
static int num_threads = 1;

int fo_num_threads(void) { return num_threads; }
void fo_set_num_threads(int threads) { num_threads = threads; }

static int64_t serial_threshold(void) { return parallel_from; }
static void set_serial_threshold(int64_t elements) { parallel_from = elements; }

/* Each thread gets half a threshold's work at least. */
static int threads_for(int64_t elements)
{
    if (elements < parallel_from)
        return 1;
    const int64_t most = parallel_from > 0 ? 2 * elements / parallel_from : num_threads;
    return most < num_threads ? (int)most : num_threads;
}

static const struct fo_runtime_api runtime = {threads_for, fo_forks, fo_huge_pages};

static const struct fo_layers_api layers = {
    .slabs = fo_slabs,
    .each = fo_run_each,
    .sum_of_powers = fo_run_sum_of_powers,
    .philox = fo_run_philox,
    .sums = fo_run_sums,
    .normalize = fo_run_normalize,
    .normalize_back = fo_run_normalize_back,
    .scale = fo_run_scale,
    .mix = fo_run_mix,
    .entropy_units = fo_entropy_units,
    .target_weight = fo_target_weight,
    .entropy = fo_run_entropy,
    .images = fo_run_images,
};

static const struct fo_network_api network = {fo_run_forward, fo_run_back, fo_run_squares, fo_run_pass, fo_run_epoch};
static const struct fo_resample_api resample = {fo_run_resample};
static const struct fo_stump_api stump = {fo_run_stump};
static const struct fo_testing_api testing = {fo_report_job, fo_team_size, fo_set_backoff, serial_threshold,
                                              set_serial_threshold};

const struct fo_api *fo_get_api(void)
{
    /* not constant expressions: the number of rules is another file's */
    static struct fo_steps_api steps;
    steps = (struct fo_steps_api){fo_rules, fo_n_rules, fo_lay_out, fo_run_step, fo_run_lookahead};
    static const struct fo_api api = {FO_API_VERSION, &runtime, &steps, &layers, &network, &resample, &stump, &testing};
    return &api;
}
