/* The table of functions of fastopt.h, and how many threads a job may use. */
#include "isa/kernels.h"
#include "optimize/layout.h"

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
    return fo_allowed_threads(most < num_threads ? (int)most : num_threads);
}

static const struct fo_runtime_api runtime = {threads_for, fo_forks, fo_huge_pages};

static const struct fo_testing_api testing = {fo_report_job, fo_team_size, fo_set_backoff, serial_threshold,
                                              set_serial_threshold};

static const struct fo_api api = {FO_API_VERSION,  &runtime,        &fo_steps_api, &fo_layers_api,
                                  &fo_network_api, fo_run_resample, fo_run_stump,  &testing};

const struct fo_api *fo_get_api(void) { return &api; }
