/* One tile of a row of mixup or cutmix: out ← a·x + b·y. */
static void mix(float *out, const float *x, const float *y, float a, float b, int64_t size)
{
    FO_INDEPENDENT
    for (int64_t i = 0; i < size; i++)
        out[i] = a * x[i] + b * y[i];
}
