/* Driver of mixup and cutmix on vectors: a unit is one tile of one row. */
#include "fastopt.h"
#include "fastopt_layers.h"
#include "runtime/threads.h"
#include "runtime/tiles.h"

static void mix_tiles(const void *all, int64_t from, int64_t to)
{
    const struct fo_mix *const m = all;
    const int64_t tiles = fo_tiles(m->size);
    for (int64_t unit = from; unit < to; unit++) {
        const int64_t r = unit / tiles, at = unit % tiles * FO_TILE;
        const float *const x = m->x + r * m->size + at, *const y = m->x + m->partner[r] * m->size + at;
        const int64_t size = fo_least(m->size - at, FO_TILE);
        fo_kernels()->layers->mix(m->out + r * m->size + at, x, y, m->a[r], m->b[r], size);
    }
}

void fo_run_mix(const struct fo_mix *job, int threads)
{
    fo_share_units(mix_tiles, job, job->rows * fo_tiles(job->size), threads);
}
