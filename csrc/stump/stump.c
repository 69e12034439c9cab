/* The driver of the stump. One thread searches a feature, and the best feature is chosen in their order, so that the
 * number of threads changes no bit. */
#include <math.h>
#include <string.h>

#include "isa/kernels.h"

/* A power of two near 1/x: multiplying by it makes x about 1 and rounds nothing. */
static double unit_of(double x)
{
    int exponent;
    (void)frexp(x, &exponent);
    return x > 0 && isfinite(x) ? ldexp(1, exponent > 1022 ? -1022 : -exponent) : 1;
}

static double greatest_weight(const struct fo_stump *job)
{
    double greatest = 0;
    for (int64_t i = 0; i < job->rows; i++)
        greatest = job->weight[i] > greatest ? job->weight[i] : greatest;
    return greatest;
}

static void lay_out_binary(struct fo_stump *job)
{
    double total[2] = {0, 0};
    for (int64_t i = 0; i < job->rows; i++) {
        const double w = job->weight[i] * job->scale;
        job->pairs[2 * i] = job->label[i] == 0 ? w : 0;
        job->pairs[2 * i + 1] = job->label[i] == 0 ? 0 : w;
        total[0] += job->pairs[2 * i];
        total[1] += job->pairs[2 * i + 1];
    }
    memcpy(job->total, total, sizeof total);
}

static void lay_out_classes(struct fo_stump *job)
{
    memset(job->all, 0, (size_t)job->classes * sizeof(double));
    for (int64_t i = 0; i < job->rows; i++)
        job->all[job->label[i]] += job->weight[i] * job->scale;
}

/* The first y with a positive weight; others may have any size. */
static double first_of(const struct fo_stump *job)
{
    int64_t i = 0;
    while (i < job->rows - 1 && job->weight[i] == 0)
        i++;
    return job->y[i];
}

/* y is centred and scaled to about 1, so that neither a large mean nor large or small values lose digits. */
static void lay_out_squares(struct fo_stump *job)
{
    double weight = 0, sum = 0, largest = 0;
    const double first = first_of(job);
    for (int64_t i = 0; i < job->rows; i++) {
        const double w = job->weight[i] * job->scale;
        weight += w;
        sum += w * (job->y[i] - first);
    }
    const double mean = first + sum / weight;
    for (int64_t i = 0; i < job->rows; i++)
        if (job->weight[i] > 0 && fabs(job->y[i] - mean) > largest)
            largest = fabs(job->y[i] - mean);
    const double unit = unit_of(largest);
    double total = 0;
    for (int64_t i = 0; i < job->rows; i++) {
        const double w = job->weight[i] * job->scale;
        job->pairs[2 * i] = w;
        total += job->pairs[2 * i + 1] = w > 0 ? w * ((job->y[i] - mean) * unit) : 0;
    }
    job->mean = mean;
    job->unit = unit;
    job->total[0] = weight;
    job->total[1] = total;
}

int64_t fo_run_stump(struct fo_stump *job, int threads)
{
    job->scale = unit_of(greatest_weight(job));
    if (job->kind == FO_STUMP_BINARY)
        lay_out_binary(job);
    else if (job->kind == FO_STUMP_CLASSES)
        lay_out_classes(job);
    else
        lay_out_squares(job);
    fo_share_units(fo_kernels()->split, job, job->features, threads);
    int64_t best = -1;
    for (int64_t f = 0; f < job->features; f++)
        if (job->split[f].at >= 0 && (best < 0 || job->split[f].score > job->split[best].score))
            best = f;
    return best;
}
