/* Mixup and cutmix on vectors: a unit is one tile of one row. */
static void mix(const void *job, int64_t from, int64_t to)
{
    const struct fo_mix m = *(const struct fo_mix *)job;
    const int64_t tiles = fo_tiles(m.size);
    for (int64_t unit = from; unit < to; unit++) {
        const int64_t r = unit / tiles, at = unit % tiles * FO_TILE, size = fo_least(m.size - at, FO_TILE);
        const float *const x = m.x + r * m.size + at, *const y = m.x + m.partner[r] * m.size + at;
        const float a = m.a[r], b = m.b[r];
        float *const out = m.out + r * m.size + at;
        const float *const only = b == 0.0f ? x : y; /* a row of weight 0 adds nothing, even if it is not finite */
        if (a == 0.0f || b == 0.0f) {
            const float factor = b == 0.0f ? a : b;
            FO_INDEPENDENT
            for (int64_t i = 0; i < size; i++)
                out[i] = factor * only[i];
            continue;
        }
        FO_INDEPENDENT
        for (int64_t i = 0; i < size; i++)
            out[i] = a * x[i] + b * y[i];
    }
}
