/* Lays out spans one after another and finds the share of each thread. */
#include "optimize/layout.h"

#include "runtime/threads.h"
#include "runtime/tiles.h"

int64_t fo_lay_out(struct fo_span *span, int64_t n_spans, int64_t *tiles)
{
    int64_t cost = 0, tile = 0;
    for (int64_t s = 0; s < n_spans; s++) {
        span[s].first_cost = cost;
        span[s].first_tile = tile;
        cost += span[s].size + FO_SPAN_COST;
        tile += fo_tiles(span[s].size);
    }
    *tiles = tile;
    return cost;
}

/* The first border of a tile at or after `cost`. Two neighbouring threads compute the same one. */
static struct place place_at(const struct fo_step *step, int64_t cost, int64_t total)
{
    if (cost >= total)
        return (struct place){step->n_spans, 0};
    int64_t low = 0, high = step->n_spans; /* bisection: the last span that begins at or before `cost` */
    while (high - low > 1) {
        const int64_t middle = low + (high - low) / 2;
        if (step->span[middle].first_cost <= cost)
            low = middle;
        else
            high = middle;
    }
    const int64_t into = cost - step->span[low].first_cost;
    const int64_t border = fo_tiles(into) * FO_TILE;
    if (border >= step->span[low].size)
        return (struct place){low + (into > 0), 0};
    return (struct place){low, border};
}

struct share fo_share_of(const struct fo_step *step, int64_t cost, int part, int of)
{
    return (struct share){place_at(step, fo_share_begin(cost, part, of), cost),
                          place_at(step, fo_share_begin(cost, part + 1, of), cost)};
}
