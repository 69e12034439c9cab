"""The declarations of csrc, each once: structs, constants, and the table of functions that the runtime module exports.

The headers say what each struct means. Only runtime.pyx calls the C library by name; every other module cimports `api`
from it.
"""

from libc.stdint cimport int16_t, int32_t, int64_t, uint8_t, uint32_t, uint64_t


cdef enum:
    KEEP_GIL = 16384    # elements; a job of fewer takes some microseconds, and releasing the GIL would cost more

cdef extern from "fastopt.h" nogil:
    const int FO_MAX_BUFFERS
    const int FO_MAX_SCALARS
    const int FO_TILE
    const int FO_SHORT
    const int FO_SPAN_COST
    const float FO_NEAR_ONE
    const int FO_FLOAT
    const int FO_BFLOAT16
    const int FO_FLOAT16

    struct fo_prelude:
        double scale
        float clip, weight_decay, l1, decay

    struct fo_span:
        float *buffer[4]
        float *gradient
        float *origin
        int64_t size
        int32_t group
        uint8_t w_type
        uint8_t g_type

    struct fo_group:
        int rule
        bint near_one
        fo_prelude prelude
        float scalars[12]

    struct fo_rule:
        const char *name
        const char *buffers
        const char *scalars
        int n_buffers
        int n_scalars

    struct fo_step:
        fo_span *span
        int64_t n_spans
        const fo_group *group
        double *partial
        double grad_scale
        double max_norm
        bint want_norm
        bint skip_nonfinite
        bint zero_gradients
        double noise
        uint32_t noise_key[2]
        int threads
        double norm
        bint skipped

cdef extern from "random/philox.h" nogil:
    void philox_rows(const uint32_t *counter, uint32_t *out, int64_t n, const uint32_t *key)

cdef extern from "layers/layers.h" nogil:
    struct fo_draw:
        uint32_t key[2]
        uint32_t stream
        int64_t offset

    struct fo_each:
        const float *x
        const float *y
        void *out
        int64_t size
        fo_draw draw
        float a, b
        uint32_t threshold

    int FO_EACH_words, FO_EACH_add_normal, FO_EACH_times_normal, FO_EACH_drop, FO_EACH_drop_bits, FO_EACH_penalize
    int FO_EACH_copy, FO_EACH_exps, FO_EACH_logs, FO_EACH_sines, FO_EACH_cosines

    struct fo_channels:
        const float *x
        const float *dy
        float *out
        int64_t outer, channels, inner
        bint channels_last, per_outer
        const double *shift
        double *partial
        const float *high
        const float *low
        const float *scale
        const float *bias
        const float *slope

    int FO_CHANNELS_normalize, FO_CHANNELS_normalize_back, FO_CHANNELS_scale

    struct fo_mix:
        const float *x
        float *out
        const int64_t *partner
        const float *a
        const float *b
        int64_t rows, size

    struct fo_entropy:
        const float *logits
        const int64_t *target
        const float *soft
        const float *weight
        float *gradient
        float *loss
        double *partial
        int64_t rows, classes, ignore
        double smoothing, scale

    struct fo_images:
        const uint8_t *x
        const uint8_t *other
        uint8_t *out
        int64_t samples, planes, height, width, pixel, out_height, out_width
        const int64_t *place
        const int64_t *partner
        const uint8_t *fill
        bint reflect, is_float
        const double *number
        float low, high

    int FO_IMAGES_flip, FO_IMAGES_crop, FO_IMAGES_paste, FO_IMAGES_tone, FO_IMAGES_warp

cdef extern from "network/network.h" nogil:
    struct fo_dense:
        float *x
        float *y
        float *bias
        int64_t models, rows, units

    struct fo_squares:
        const float *output
        const float *target
        float *gradient
        float *loss
        int64_t rows, units
        float scale

    ctypedef void fo_sgemm(const char *, const char *, const int *, const int *, const int *, const float *,
                           const float *, const int *, const float *, const int *, const float *, float *, const int *)

    struct fo_layer:
        const float *weight
        const float *bias
        float *weight_gradient
        float *bias_gradient
        float *product
        float *active
        float *gradient
        int inputs, outputs

    struct fo_pass:
        fo_sgemm *sgemm
        const fo_layer *layer
        const float *x
        const int64_t *target
        const float *soft
        const float *weight
        float *loss
        double *total
        double smoothing
        int64_t models
        int layers, rows, activation, classes

    struct fo_source:
        const void *all
        void *batch
        int64_t size

    struct fo_epoch:
        fo_pass pass_ "pass"
        fo_step step
        int64_t cost
        const fo_group *group
        const float *shift
        int64_t n_groups
        fo_source source[3]
        const int64_t *order
        int64_t samples

    int FO_ACTIVATION_identity, FO_ACTIVATION_relu, FO_ACTIVATION_tanh, FO_ACTIVATION_gelu

cdef extern from "resample/resample.h" nogil:
    struct fo_stratum:
        int64_t first, rows, draws

    struct fo_resample:
        uint32_t key[2]
        const fo_stratum *strata
        int64_t n_strata, first, resamples, rows, draws
        uint8_t *counts
        int64_t apart
        const double *x
        const uint32_t *order
        const int64_t *places
        int64_t columns
        double *out
        int64_t *index

    int FO_COUNTS_BEYOND
    int FO_RESAMPLE_sums, FO_RESAMPLE_places, FO_RESAMPLE_rows

cdef extern from "stump/stump.h" nogil:
    int FO_STUMP_BINARY, FO_STUMP_CLASSES, FO_STUMP_SQUARES

    struct fo_split:
        double score
        double left[2]
        int64_t at

    struct fo_stump:
        int kind
        int64_t rows, features, classes
        const uint32_t *order
        const double *weight
        const double *y
        const int32_t *label
        double *pairs
        double *all
        double *left
        double *best
        fo_split *split
        double total[2]
        double mean, unit, scale

cdef extern from "fastopt.h" nogil:
    struct fo_runtime_api:
        int (*threads_for)(int64_t elements) noexcept nogil
        int (*forks)() noexcept nogil
        void (*huge_pages)(void *memory, size_t bytes) noexcept nogil

    struct fo_steps_api:
        const fo_rule *rules
        int n_rules
        int64_t (*lay_out)(fo_span *span, int64_t n_spans, int64_t *tiles) noexcept nogil
        void (*run)(fo_step *step, int64_t cost) noexcept nogil
        void (*look_ahead)(const fo_step *step, int64_t cost, const float *shift) noexcept nogil

    struct fo_layers_api:
        int64_t (*slabs)(const fo_channels *job) noexcept nogil
        void (*each)(int kernel, fo_each *job, int64_t jobs, int threads) noexcept nogil
        double (*sum_of_powers)(const float *x, int64_t size, int power, double *partial, int threads) noexcept nogil
        void (*sums)(const fo_channels *job, double *sums, int threads) noexcept nogil
        void (*channels)(int kernel, const fo_channels *job, int threads) noexcept nogil
        void (*mix)(const fo_mix *job, int threads) noexcept nogil
        int64_t (*entropy_units)(const fo_entropy *job) noexcept nogil
        double (*target_weight)(const fo_entropy *job) noexcept nogil
        double (*entropy)(fo_entropy *job, int threads) noexcept nogil
        void (*images)(int kernel, const fo_images *job, int threads) noexcept nogil

    struct fo_network_api:
        void (*forward)(int activation, const fo_dense *layer) noexcept nogil
        void (*back)(int activation, const fo_dense *layer) noexcept nogil
        void (*squares)(const fo_squares *job) noexcept nogil
        void (*pass_ "pass")(const fo_pass *job) noexcept nogil
        void (*epoch)(const fo_epoch *job) noexcept nogil

    struct fo_testing_api:
        void (*report_job)(double total, double least, int of, bint reduced) noexcept nogil
        int (*team_size)(int threads) noexcept nogil
        bint (*set_backoff)(bint on) noexcept nogil
        int64_t (*serial_threshold)() noexcept nogil
        void (*set_serial_threshold)(int64_t elements) noexcept nogil

    struct fo_api:
        int version
        const fo_runtime_api *runtime
        const fo_steps_api *steps
        const fo_layers_api *layers
        const fo_network_api *network
        void (*resample)(int kernel, const fo_resample *job, int threads) noexcept nogil
        int64_t (*stump)(fo_stump *job, int threads) noexcept nogil
        const fo_testing_api *testing


cdef inline fo_draw draw_of(object key, object stream, object offset) except *:
    """The random numbers offset, offset + 1, ... of a stream under a 64-bit key."""
    cdef uint64_t k = key
    return fo_draw(key=[<uint32_t> (k & 0xFFFFFFFF), <uint32_t> (k >> 32)], stream=stream, offset=offset)
