/* Kernels that move or recolor the pixels of one plane of one sample. Nothing is random here: the job says what happens
 * to each sample. */
#include "layers/images.h"

/* The place of i in 0 … n−1 if a row is mirrored without repeating its edge: … 2 1 0 1 2 … n−1 n−2 … */
FO_INLINE int64_t mirrored(int64_t i, int64_t n)
{
    if (i >= 0 && i < n)
        return i;
    if (n == 1)
        return 0;
    i %= 2 * (n - 1);
    i = i < 0 ? i + 2 * (n - 1) : i;
    return i < n ? i : 2 * (n - 1) - i;
}

/* Sets n pixels to one color. */
static void fill_pixels(uint8_t *out, const uint8_t *fill, int64_t n, int64_t pixel)
{
    bool same = true;
    for (int64_t b = 1; b < pixel; b++)
        same &= fill[b] == fill[0];
    if (same)
        memset(out, fill[0], (size_t)(n > 0 ? n * pixel : 0));
    for (int64_t i = 0; i < n && !same; i++)
        memcpy(out + i * pixel, fill, (size_t)pixel);
}

/* Copies a row backwards. The common sizes of a pixel have loops of their own, which the compiler vectorizes. */
static void reverse_row(uint8_t *restrict out, const uint8_t *restrict x, int64_t n, int64_t pixel)
{
    if (pixel == 1)
        for (int64_t i = 0; i < n; i++)
            out[i] = x[n - 1 - i];
    else if (pixel == 3)
        for (int64_t i = 0; i < n; i++)
            for (int b = 0; b < 3; b++)
                out[3 * i + b] = x[3 * (n - 1 - i) + b];
    else if (pixel == 4)
        for (int64_t i = 0; i < n; i++)
            memcpy(out + 4 * i, x + 4 * (n - 1 - i), 4);
    else
        for (int64_t i = 0; i < n; i++)
            memcpy(out + i * pixel, x + (n - 1 - i) * pixel, (size_t)pixel);
}

/* Where plane `c` of a sample begins in an array with `size` bytes per plane. */
FO_INLINE int64_t plane_at(const struct fo_images *job, int64_t sample, int64_t c, int64_t size)
{
    return (sample * job->planes + c) * size;
}

static void image_flip(const struct fo_images *job, int64_t sample, int64_t c)
{
    const int64_t row = job->width * job->pixel, at = plane_at(job, sample, c, job->height * row);
    const uint8_t *const x = job->x + at;
    uint8_t *const out = job->out + at;
    const int64_t how = job->place[sample];
    if (how == 0)
        memcpy(out, x, (size_t)(job->height * row));
    for (int64_t y = 0; how != 0 && y < job->height; y++) {
        const uint8_t *const source = x + (how & 2 ? job->height - 1 - y : y) * row;
        if (how & 1)
            reverse_row(out + y * row, source, job->width, job->pixel);
        else
            memcpy(out + y * row, source, (size_t)row);
    }
}

/* Fills the columns of a row outside [begin, end) by mirroring the source. */
static void mirror_sides(const struct fo_images *job, const uint8_t *source, uint8_t *out, int64_t dx, int64_t begin,
                         int64_t end)
{
    for (int64_t i = begin > 0 ? 0 : end; i < job->out_width; i = i + 1 == begin ? end : i + 1)
        memcpy(out + i * job->pixel, source + mirrored(i + dx, job->width) * job->pixel, (size_t)job->pixel);
}

static void image_crop(const struct fo_images *job, int64_t sample, int64_t c)
{
    const int64_t dy = job->place[2 * sample], dx = job->place[2 * sample + 1];
    const int64_t n = job->out_width, pixel = job->pixel;
    const uint8_t *const x = job->x + plane_at(job, sample, c, job->height * job->width * pixel);
    uint8_t *out = job->out + plane_at(job, sample, c, job->out_height * n * pixel);
    int64_t begin = dx < 0 ? -dx : 0, end = job->width - dx < n ? job->width - dx : n;
    begin = begin < n ? begin : n; /* columns [begin, end) of the output come from the source */
    end = end > begin ? end : begin;
    const bool whole = begin == 0 && end == n && dy >= 0 && dy + job->out_height <= job->height;
    if (!job->reflect && !whole) /* filling all first is faster than three short writes in each row */
        fill_pixels(out, job->fill + c * pixel, job->out_height * n, pixel);
    for (int64_t y = 0; y < job->out_height; y++, out += n * pixel) {
        const int64_t from = y + dy;
        if (!job->reflect && (from < 0 || from >= job->height))
            continue;
        const uint8_t *const source = x + mirrored(from, job->height) * job->width * pixel;
        if (end > begin)
            memcpy(out + begin * pixel, source + (begin + dx) * pixel, (size_t)((end - begin) * pixel));
        if (job->reflect)
            mirror_sides(job, source, out, dx, begin, end);
    }
}

static void image_paste(const struct fo_images *job, int64_t sample, int64_t c)
{
    const int64_t *const box = job->place + 4 * sample;
    const int64_t row = job->width * job->pixel, n = box[3] - box[2], left = box[2] * job->pixel;
    uint8_t *const out = job->out + plane_at(job, sample, c, job->height * row);
    for (int64_t y = box[0]; y < box[1] && n > 0; y++)
        if (job->other)
            memcpy(out + y * row + left,
                   job->other + plane_at(job, job->partner[sample], c, job->height * row) + y * row + left,
                   (size_t)(n * job->pixel));
        else
            fill_pixels(out + y * row + left, job->fill + c * job->pixel, n, job->pixel);
}

/* Rounds to the nearest, halves up. NaN becomes 0. */
FO_INLINE uint8_t to_byte(float x)
{
    x = x > 0.0f ? x : 0.0f;
    x = x < 255.0f ? x : 255.0f;
    return (uint8_t)(int32_t)(x + 0.5f);
}

FO_INLINE float clamped(float x, float low, float high)
{
    x = x < low ? low : x;
    return x > high ? high : x;
}

static void image_tone(const struct fo_images *job, int64_t sample, int64_t c)
{
    const int64_t bytes = job->height * job->width * job->pixel;
    const float low = job->low, high = job->high;
    const float gain = (float)job->number[2 * sample], bias = (float)job->number[2 * sample + 1];
    const uint8_t *const x = job->x + plane_at(job, sample, c, bytes);
    uint8_t *const out = job->out + plane_at(job, sample, c, bytes);
    if (job->is_float) {
        FO_INDEPENDENT
        for (int64_t i = 0; i < bytes / 4; i++)
            ((float *)(void *)out)[i] = clamped(gain * ((const float *)(const void *)x)[i] + bias, low, high);
    } else {
        FO_INDEPENDENT
        for (int64_t i = 0; i < bytes; i++)
            out[i] = to_byte(clamped(gain * (float)x[i] + bias, low, high));
    }
}

/* Channel `b` of the pixel at (y, x) of a plane; outside the plane the mirrored pixel or `fill`. */
FO_INLINE float pixel_at(const struct fo_images *job, const uint8_t *plane, const uint8_t *fill, int64_t y, int64_t x,
                         int64_t b)
{
    const uint8_t *from = fill;
    if (job->reflect)
        from = plane + (mirrored(y, job->height) * job->width + mirrored(x, job->width)) * job->pixel;
    else if (y >= 0 && y < job->height && x >= 0 && x < job->width)
        from = plane + (y * job->width + x) * job->pixel;
    return job->is_float ? ((const float *)(const void *)from)[b] : (float)from[b];
}

/* Bilinear interpolation at (y, x), in pixels from the center of the first pixel. */
static void warp_pixel(const struct fo_images *job, const uint8_t *plane, const uint8_t *fill, double y, double x,
                       uint8_t *out)
{
    const int64_t channels = job->is_float ? job->pixel / 4 : job->pixel;
    const int64_t y0 = (int64_t)floor(y), x0 = (int64_t)floor(x);
    const float fy = (float)(y - (double)y0), fx = (float)(x - (double)x0);
    for (int64_t b = 0; b < channels; b++) {
        const float p = pixel_at(job, plane, fill, y0, x0, b), q = pixel_at(job, plane, fill, y0, x0 + 1, b);
        const float r = pixel_at(job, plane, fill, y0 + 1, x0, b), s = pixel_at(job, plane, fill, y0 + 1, x0 + 1, b);
        const float top = fx == 0.0f ? p : p + fx * (q - p), bottom = fx == 0.0f ? r : r + fx * (s - r);
        const float v = fy == 0.0f ? top : top + fy * (bottom - top);
        if (job->is_float)
            ((float *)(void *)out)[b] = v;
        else
            out[b] = to_byte(v);
    }
}

static void image_warp(const struct fo_images *job, int64_t sample, int64_t c)
{
    const double *const m = job->number + 6 * sample;
    const uint8_t *const x = job->x + plane_at(job, sample, c, job->height * job->width * job->pixel);
    uint8_t *out = job->out + plane_at(job, sample, c, job->out_height * job->out_width * job->pixel);
    for (int64_t i = 0; i < job->out_height; i++)
        for (int64_t j = 0; j < job->out_width; j++, out += job->pixel) {
            const double v = (double)i, u = (double)j;
            warp_pixel(job, x, job->fill + c * job->pixel, m[0] * v + m[1] * u + m[2], m[3] * v + m[4] * u + m[5], out);
        }
}
