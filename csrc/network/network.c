/* Batches and epochs of dense networks, on one thread: compared with the matrix products the other work is short, and a
 * batch is too short for the barrier of a parallel region, which waits for a time slice on a busy machine. The caller
 * trains many models on threads of its own. */
#include <string.h>

#include "isa/kernels.h"
#include "optimize/layout.h"

static void run_forward(int activation, const struct fo_dense *layer) { fo_kernels()->forward[activation](layer); }
static void run_back(int activation, const struct fo_dense *layer) { fo_kernels()->back[activation](layer); }
static void run_squares(const struct fo_squares *job) { fo_kernels()->squares(job); }

/* A batch of one model: `k` is the model, `i` the layer. */

static int64_t units(const struct fo_pass *p, int64_t k, const struct fo_layer *l) { return k * p->rows * l->outputs; }
static int64_t weights(int64_t k, const struct fo_layer *l) { return k * l->inputs * l->outputs; }

/* c ← a·b for matrices stored row by row; sgemm, which reads columns, computes cᵀ ← bᵀ·aᵀ. ta, tb: 'T' if a or b is
 * stored transposed. */
static void product(fo_sgemm *sgemm, char ta, char tb, int rows, int columns, int inner, const float *a, const float *b,
                    float *c)
{
    const int lda = ta == 'T' ? rows : inner, ldb = tb == 'T' ? inner : columns;
    const float one = 1, zero = 0;
    sgemm(&tb, &ta, &columns, &rows, &inner, &one, b, &ldb, a, &lda, &zero, c, &columns);
}

/* The input of layer i. */
static const float *input_of(const struct fo_pass *p, int64_t k, int i)
{
    const struct fo_layer *const l = &p->layer[i];
    return i ? p->layer[i - 1].active + units(p, k, &p->layer[i - 1]) : p->x + k * p->rows * l->inputs;
}

static int activation_of(const struct fo_pass *p, int i)
{
    return i == p->layers - 1 ? FO_ACTIVATION_identity : p->activation;
}

static void forward(const struct fo_pass *p, int64_t k)
{
    for (int i = 0; i < p->layers; i++) {
        const struct fo_layer *const l = &p->layer[i];
        float *const z = l->product + units(p, k, l);
        struct fo_dense d = {z, l->active + units(p, k, l), NULL, 1, p->rows, l->outputs};
        d.bias = (float *)l->bias + k * l->outputs; /* forward does not write it */
        product(p->sgemm, 'N', 'N', p->rows, l->outputs, l->inputs, input_of(p, k, i), l->weight + weights(k, l), z);
        run_forward(activation_of(p, i), &d);
    }
}

/* The losses and the gradients at the output. */
static void output_gradients(const struct fo_pass *p, int64_t k)
{
    const struct fo_layer *const l = &p->layer[p->layers - 1];
    const int64_t at = units(p, k, l);
    const double scale = 1.0 / p->rows;
    struct fo_squares s = {
        l->product + at, p->soft ? p->soft + at : NULL, l->gradient + at, p->loss + k * p->rows, p->rows, l->outputs,
        (float)scale};
    if (!p->classes) {
        run_squares(&s);
        return;
    }
    struct fo_entropy e = {.logits = s.output, .soft = s.target, .gradient = s.gradient, .loss = s.loss};
    e.target = p->target ? p->target + k * p->rows : NULL;
    e.rows = p->rows, e.classes = l->outputs, e.ignore = -100;
    e.smoothing = p->smoothing, e.scale = scale, e.total_weight = l->outputs;
    fo_kernels()->entropy(&e, 0, e.rows);
}

/* Multiplies losses and gradients by the weights of the rows, and adds up the losses. */
static void apply_weights(const struct fo_pass *p, int64_t k)
{
    const struct fo_layer *const l = &p->layer[p->layers - 1];
    float *const gradient = l->gradient + units(p, k, l), *const loss = p->loss + k * p->rows;
    for (int64_t r = 0; r < p->rows; r++) {
        const float factor = p->weight ? p->weight[k * p->rows + r] : 1.0f;
        for (int64_t j = 0; p->weight && j < l->outputs; j++)
            gradient[r * l->outputs + j] *= factor;
        loss[r] *= factor;
        p->total[k] += (double)loss[r];
    }
}

static void back(const struct fo_pass *p, int64_t k)
{
    for (int i = p->layers - 1; i >= 0; i--) {
        const struct fo_layer *const l = &p->layer[i];
        const int activation = activation_of(p, i);
        float *const g = l->gradient + units(p, k, l);
        struct fo_dense d = {g, NULL, l->bias_gradient + k * l->outputs, 1, p->rows, l->outputs};
        d.y = (activation == FO_ACTIVATION_gelu ? l->product : l->active) + units(p, k, l);
        run_back(activation, &d);
        product(p->sgemm, 'T', 'N', l->inputs, l->outputs, p->rows, input_of(p, k, i), g,
                l->weight_gradient + weights(k, l));
        if (i)
            product(p->sgemm, 'N', 'T', p->rows, l->inputs, l->outputs, g, l->weight + weights(k, l),
                    p->layer[i - 1].gradient + units(p, k, &p->layer[i - 1]));
    }
}

static void run_pass(const struct fo_pass *pass)
{
    for (int64_t k = 0; k < pass->models; k++) {
        forward(pass, k);
        output_gradients(pass, k);
        apply_weights(pass, k);
        back(pass, k);
    }
}

/* Copies the rows of a batch. */
static void gather(const struct fo_epoch *e, const int64_t *order, int64_t rows)
{
    for (int i = 0; i < FO_SOURCES; i++) {
        const struct fo_source s = e->source[i];
        for (int64_t r = 0; s.all && r < rows; r++)
            memcpy((char *)s.batch + r * s.size, (const char *)s.all + order[r] * s.size, (size_t)s.size);
    }
}

static void run_epoch(const struct fo_epoch *e)
{
    struct fo_pass pass = e->pass;
    struct fo_step step = e->step;
    int64_t g = 0;
    for (int64_t at = 0; at < e->samples; at += pass.rows, g += e->n_groups) {
        if (e->samples - at < pass.rows)
            pass.rows = (int)(e->samples - at);
        gather(e, e->order + at, pass.rows);
        if (e->shift)
            fo_steps_api.look_ahead(&step, e->cost, e->shift + g);
        run_pass(&pass);
        if (e->shift)
            fo_steps_api.look_ahead(&step, e->cost, NULL);
        step.group = e->group + g;
        fo_steps_api.run(&step, e->cost);
    }
}

const struct fo_network_api fo_network_api = {run_forward, run_back, run_squares, run_pass, run_epoch};
