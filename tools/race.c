/* Runs the step's shares from plain pthreads, which ThreadSanitizer understands (libgomp's barriers it does not), and
 * compares with one thread. The source of step.c is included: its shares and passes are static. */
#include "optimize/step.c"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

enum { THREADS = 4, SPANS = 7 };
static const int64_t sizes[SPANS] = {1, 5 * FO_TILE + 3, 17, FO_TILE, 0, 3 * FO_TILE + 511, 4095};

struct work {
    struct fo_step *step;
    int64_t cost;
    int part;
    pthread_barrier_t *barrier;
};

/* What each thread of run_step's region does. */
static void *work(void *argument)
{
    const struct work *w = argument;
    const struct share share = fo_share_of(w->step, w->cost, w->part, THREADS);
    if (w->step->want_norm) {
        sum_tiles(w->step, fo_kernels(), share);
        if (pthread_barrier_wait(w->barrier) == PTHREAD_BARRIER_SERIAL_THREAD)
            finish_norm(w->step);
        pthread_barrier_wait(w->barrier);
    }
    if (!w->step->skipped)
        update_tiles(w->step, fo_kernels(), share);
    return NULL;
}

static void run(struct fo_step *step, int64_t cost)
{
    pthread_t thread[THREADS];
    struct work all[THREADS];
    pthread_barrier_t barrier;
    pthread_barrier_init(&barrier, NULL, THREADS);
    for (int i = 0; i < THREADS; i++) {
        all[i] = (struct work){step, cost, i, &barrier};
        pthread_create(&thread[i], NULL, work, &all[i]);
    }
    for (int i = 0; i < THREADS; i++)
        pthread_join(thread[i], NULL);
    pthread_barrier_destroy(&barrier);
}

static void fill(struct fo_span *span, uint32_t seed)
{
    for (int s = 0; s < SPANS; s++)
        for (int k = 0; k <= FO_MAX_BUFFERS; k++) {
            float *x = k < FO_MAX_BUFFERS ? span[s].buffer[k] : span[s].gradient;
            for (int64_t i = 0; x != NULL && i < span[s].size; i++) {
                seed = seed * 1664525u + 1013904223u;
                x[i] = (float)(seed >> 8) * 0x1p-24f;
            }
        }
}

static void make(struct fo_span *span, int rule)
{
    for (int s = 0; s < SPANS; s++) {
        span[s] = (struct fo_span){.size = sizes[s]};
        for (int k = 0; k < rules[rule].n_buffers; k++)
            span[s].buffer[k] = calloc((size_t)sizes[s] + 1, sizeof(float));
        span[s].gradient = calloc((size_t)sizes[s] + 1, sizeof(float));
    }
}

/* Whether both hold the same bits; frees them. */
static bool same(struct fo_span *a, struct fo_span *b, int rule)
{
    bool equal = true;
    for (int s = 0; s < SPANS; s++) {
        for (int k = 0; k < rules[rule].n_buffers; k++) {
            equal &= memcmp(a[s].buffer[k], b[s].buffer[k], (size_t)a[s].size * sizeof(float)) == 0;
            free(a[s].buffer[k]), free(b[s].buffer[k]);
        }
        free(a[s].gradient), free(b[s].gradient);
    }
    return equal;
}

static bool try_rule(int rule, bool norm, bool zero)
{
    struct fo_span one[SPANS], many[SPANS];
    make(one, rule), make(many, rule);
    fill(one, 7), fill(many, 7);
    struct fo_group group = {.rule = rule, .prelude = {1.0, 0.5f, 0.01f, 0.001f, 0.0f}};
    for (int i = 0; i < FO_MAX_SCALARS; i++)
        group.scalars[i] = 0.25f;
    int64_t tiles;
    double partial[64];
    struct fo_step step = {.span = one,
                           .n_spans = SPANS,
                           .group = &group,
                           .partial = partial,
                           .grad_scale = 0.5,
                           .max_norm = 1.0,
                           .want_norm = norm,
                           .zero_gradients = zero,
                           .threads = 1};
    run_step(&step, fo_lay_out(one, SPANS, &tiles));
    const double expected = step.norm;
    step.span = many, step.norm = 0;
    run(&step, fo_lay_out(many, SPANS, &tiles));
    const bool norms = step.norm == expected;
    return same(one, many, rule) && norms;
}

int main(void)
{
    int failures = fo_init(NULL) != 0, runs = 0;
    for (int rule = 0; rule < fo_steps_api.n_rules; rule++)
        for (int way = 0; way < 4; way++, runs++)
            if (!try_rule(rule, way & 1, way & 2)) {
                printf("%s differs\n", rules[rule].name);
                failures++;
            }
    printf("%d steps on %d threads, %d differ from one thread\n", runs, THREADS, failures);
    return failures != 0;
}
