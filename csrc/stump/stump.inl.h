/* Finds the best split of one feature. Sums are formed one after another in the order of the feature's values, and only
 * the scores are vectorized, so the bits are the same on every instruction set. Of equal scores the lowest threshold
 * wins.
 * Source: Breiman et al., Classification and Regression Trees (1984), sections 4.3 and 8.3. */
#include "stump/stump.h"

enum { STUMP_BLOCK = 64, STUMP_LANES = 8 };

struct stump_block {
    double a[STUMP_BLOCK], b[STUMP_BLOCK], edge[STUMP_BLOCK], score[STUMP_BLOCK];
};

/* The running sums of pairs along the order; `sum` carries them from block to block. */
FO_INLINE void stump_sums(struct stump_block *k, const uint32_t *order, const double *pairs, int64_t size, double *sum)
{
    double a = sum[0], b = sum[1];
    for (int64_t i = 0; i < size; i++) {
        const double *const pair = pairs + (order[i] & ~1u);
        k->a[i] = a += pair[0];
        k->b[i] = b += pair[1];
        k->edge[i] = (double)(int32_t)(order[i] & 1u);
    }
    sum[0] = a;
    sum[1] = b;
}

/* The sum over both sides of (Σ over classes of weight²) / weight. It is greatest where the Gini impurity is least. */
FO_APART void stump_binary(struct stump_block *k, int64_t size, const double *total)
{
    const double ta = total[0], tb = total[1];
    FO_INDEPENDENT
    for (int64_t i = 0; i < size; i++) {
        const double a = k->a[i], b = k->b[i], c = ta - a, d = tb - b, left = a + b, right = c + d;
        const double score = (a * a + b * b) / left + (c * c + d * d) / right;
        const double valid = left > 0 ? k->edge[i] : 0;
        k->score[i] = (right > 0 ? valid : 0) > 0 ? score : -1;
    }
}

/* S²/(W_left·W_right), where S is the left sum of the centred y: the squared error falls by this times the weight of
 * all. */
FO_APART void stump_squares(struct stump_block *k, int64_t size, const double *total)
{
    const double ta = total[0];
    FO_INDEPENDENT
    for (int64_t i = 0; i < size; i++) {
        const double left = k->a[i], right = ta - left, both = left * right;
        const double score = k->b[i] * k->b[i] / both;
        const double valid = right > 0 ? k->edge[i] : 0;
        k->score[i] = (both > 0 ? valid : 0) > 0 ? score : -1;
    }
}

/* The greatest score of a block; pads its end to full lanes. */
FO_APART double stump_greatest(double *score, int64_t size)
{
    double lane[STUMP_LANES];
    for (int j = 0; j < STUMP_LANES; j++)
        lane[j] = -1;
    for (; size % STUMP_LANES != 0; size++)
        score[size] = -1;
    for (int64_t i = 0; i < size; i += STUMP_LANES)
        for (int j = 0; j < STUMP_LANES; j++)
            lane[j] = score[i + j] > lane[j] ? score[i + j] : lane[j];
    double greatest = -1;
    for (int j = 0; j < STUMP_LANES; j++)
        greatest = lane[j] > greatest ? lane[j] : greatest;
    return greatest;
}

/* How many places can be left of a split: a row of positive weight must be right of it. */
FO_INLINE int64_t stump_places(const struct fo_stump *job, const uint32_t *order)
{
    int64_t last = job->rows - 1;
    while (last > 0 && job->weight[order[last] >> 1] == 0)
        last--;
    return last;
}

static void stump_pairs(const struct fo_stump *job, const uint32_t *order, struct fo_split *best)
{
    const int64_t places = stump_places(job, order);
    struct stump_block block;
    double sum[2] = {0, 0};
    for (int64_t from = 0; from < places; from += STUMP_BLOCK) {
        const int64_t size = fo_least(places - from, STUMP_BLOCK);
        stump_sums(&block, order + from, job->pairs, size, sum);
        if (job->kind == FO_STUMP_BINARY)
            stump_binary(&block, size, job->total);
        else
            stump_squares(&block, size, job->total);
        const double greatest = stump_greatest(block.score, size);
        if (!(greatest > best->score))
            continue;
        int64_t i = 0;
        while (block.score[i] != greatest)
            i++;
        *best = (struct fo_split){greatest, {block.a[i], block.b[i]}, from + i};
    }
}

/* Σ left² / Σ left + Σ right² / Σ right, sums over the classes; −1 if a side has no weight. */
FO_INLINE double stump_of_classes(const double *left, const double *all, int64_t classes)
{
    double l = 0, r = 0, l2 = 0, r2 = 0;
    for (int64_t k = 0; k < classes; k++) {
        const double right = all[k] - left[k];
        l += left[k];
        l2 += left[k] * left[k];
        r += right;
        r2 += right * right;
    }
    return l > 0 && r > 0 ? l2 / l + r2 / r : -1;
}

static void stump_classes(const struct fo_stump *job, int64_t feature, struct fo_split *best)
{
    const uint32_t *const order = job->order + feature * job->rows;
    const int64_t places = stump_places(job, order), classes = job->classes;
    double *const left = job->left + feature * classes, *const at_best = job->best + feature * classes;
    memset(left, 0, (size_t)classes * sizeof(double));
    for (int64_t i = 0; i < places; i++) {
        const uint32_t row = order[i] >> 1;
        left[job->label[row]] += job->weight[row] * job->scale;
        const double score = order[i] & 1u ? stump_of_classes(left, job->all, classes) : -1;
        if (score > best->score) {
            *best = (struct fo_split){score, {0, 0}, i};
            memcpy(at_best, left, (size_t)classes * sizeof(double));
        }
    }
}

static void stump_split(const void *job, int64_t from, int64_t to)
{
    const struct fo_stump *const stump = job;
    for (int64_t feature = from; feature < to; feature++) {
        struct fo_split *const best = &stump->split[feature];
        *best = (struct fo_split){-1, {0, 0}, -1};
        if (stump->kind == FO_STUMP_CLASSES)
            stump_classes(stump, feature, best);
        else
            stump_pairs(stump, stump->order + feature * stump->rows, best);
    }
}
