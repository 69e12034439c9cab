/* How the elements of many tensors (spans) are divided among threads: contiguous shares of equal cost, whose borders
 * are borders of tiles. */
#pragma once

#include "fastopt.h"

extern const struct fo_steps_api fo_steps_api;

/* An element of a span. The end of everything is {n_spans, 0}. */
struct place {
    int64_t span, element;
};

struct share {
    struct place from, to;
};

int64_t fo_lay_out(struct fo_span *span, int64_t n_spans, int64_t *tiles);

/* The share of thread `part` of `of`; cost is that of all spans. */
struct share fo_share_of(const struct fo_step *step, int64_t cost, int part, int of);

/* The elements [begin, end) of span s that lie in a share, and the last span that has any. */
static inline int64_t begin_in(struct share share, int64_t s) { return s == share.from.span ? share.from.element : 0; }
static inline int64_t end_in(const struct fo_step *step, struct share share, int64_t s)
{
    return s == share.to.span ? share.to.element : step->span[s].size;
}
static inline int64_t last_span(struct share share) { return share.to.element > 0 ? share.to.span : share.to.span - 1; }
