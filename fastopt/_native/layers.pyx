# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False, embedsignature=False
"""The regularization layers: checks every buffer, drops the GIL, calls. Holds no formula."""

from cpython.mem cimport PyMem_Free
from libc.math cimport INFINITY, NAN
from libc.stdint cimport int64_t, uint8_t, uint32_t, uintptr_t

cimport numpy as cnp

import numpy as np

from fastopt._native.arrays cimport (
    address_of, allocate, as_buffer, as_float32, as_output, as_pixels, as_rows, as_vector, check_disjoint, check_shape,
    check_writeable, first_overlap, floats, interval, is_contiguous, order_of, own_indices, own_vector, shape_of
)
from fastopt._native.capi cimport (
    FO_CHANNELS_normalize, FO_CHANNELS_normalize_back, FO_CHANNELS_scale, FO_EACH_add_normal, FO_EACH_copy,
    FO_EACH_cosines, FO_EACH_drop, FO_EACH_drop_bits, FO_EACH_exps, FO_EACH_logs, FO_EACH_penalize, FO_EACH_sines,
    FO_EACH_times_normal, FO_EACH_words, FO_FLOAT, FO_IMAGES_crop, FO_IMAGES_flip, FO_IMAGES_paste, FO_IMAGES_tone,
    FO_IMAGES_warp, FO_TILE, KEEP_GIL, draw_of, fo_channels, fo_draw, fo_each, fo_entropy, fo_images, fo_mix,
    philox_rows
)
from fastopt._native.runtime cimport api
from fastopt._native.spans cimport interval_of

cnp.import_array()

cdef dict EACH = {
    "add_normal": FO_EACH_add_normal, "times_normal": FO_EACH_times_normal, "drop": FO_EACH_drop,
    "penalize": FO_EACH_penalize, "copy": FO_EACH_copy, "exps": FO_EACH_exps, "logs": FO_EACH_logs,
    "sines": FO_EACH_sines, "cosines": FO_EACH_cosines,
}
cdef dict IMAGES = {"flip": FO_IMAGES_flip, "crop": FO_IMAGES_crop, "paste": FO_IMAGES_paste,
                    "tone": FO_IMAGES_tone, "warp": FO_IMAGES_warp}


# -- random numbers and elementwise kernels ---------------------------------------------------------------------------

def philox(counters, key):
    """Philox 4x32-10: (n, 4) uint32 random numbers from (n, 4) uint32 counters under a key of two uint32."""
    cdef cnp.ndarray c = np.ascontiguousarray(counters, np.uint32)
    cdef cnp.ndarray k = np.ascontiguousarray(key, np.uint32)
    if c.ndim != 2 or c.shape[1] != 4 or k.ndim != 1 or k.shape[0] != 2:
        raise ValueError(f"counters must have shape (n, 4) and key (2,), got {shape_of(c)} and {shape_of(k)}")
    cdef cnp.ndarray out = np.empty_like(c)
    philox_rows(<const uint32_t *> cnp.PyArray_DATA(c), <uint32_t *> cnp.PyArray_DATA(out), c.shape[0],
                <const uint32_t *> cnp.PyArray_DATA(k))
    return out


def sample_uniforms(key, int64_t first, int64_t n, int blocks, uint32_t stream):
    """Uniform float64 (n, 4·blocks) in [0, 1). Row i depends on (key, first + i, stream) alone, as images need it."""
    cdef cnp.ndarray counters = np.empty((n * blocks, 4), np.uint32), uniforms = np.empty((n, 4 * blocks))
    cdef uint32_t *c = <uint32_t *> cnp.PyArray_DATA(counters)
    cdef double *u = <double *> cnp.PyArray_DATA(uniforms)
    cdef fo_draw draw = draw_of(key, 0, 0)
    cdef int64_t i
    for i in range(n * blocks):
        c[4 * i], c[4 * i + 1] = <uint32_t> (first + i // blocks), <uint32_t> ((first + i // blocks) >> 32)
        c[4 * i + 2], c[4 * i + 3] = <uint32_t> (i % blocks), 1 + stream
    philox_rows(c, c, n * blocks, draw.key)
    for i in range(4 * n * blocks):
        u[i] = c[i] * 2.0 ** -32
    return uniforms


cdef int _run_each(int kernel, fo_each *job, int64_t jobs) except -1:
    cdef int64_t j, elements = 0
    for j in range(jobs):
        elements += job[j].size
    cdef int threads = api.runtime.threads_for(elements)
    if elements < KEEP_GIL:
        api.layers.each(kernel, job, jobs, threads)
    else:
        with nogil:
            api.layers.each(kernel, job, jobs, threads)
    return 0


cdef cnp.ndarray _fill(int kernel, cnp.ndarray out, int64_t n, fo_draw draw, uint32_t threshold):
    cdef fo_each job
    job.x, job.y, job.out, job.size = NULL, NULL, cnp.PyArray_DATA(out), n
    job.draw, job.threshold = draw, threshold
    job.a = job.b = 0
    _run_each(kernel, &job, 1)
    return out


def words(int64_t n, key, stream=0, offset=0):
    """The random numbers offset ... offset + n of a stream, as uint32."""
    return _fill(FO_EACH_words, np.empty(n, np.uint32), n, draw_of(key, stream, offset), 0)


def drop_bits(int64_t n, threshold, key, stream=0):
    """One bit per element: whether its random uint32 is >= threshold. ceil(n / 8) bytes, the lowest bit first."""
    return _fill(FO_EACH_drop_bits, np.zeros((n + 7) // 8, np.uint8), n, draw_of(key, stream, 0), threshold)


def each(str kernel not None, x, out=None, *, y=None, double a=0, double b=0, key=0, stream=0, offset=0, threshold=0,
         tuple names not None=("x", "out", "y")):
    """Run one element-by-element kernel (FO_EACH in csrc) over an array in C order. Returns out, which may be x or y."""
    cdef fo_each job
    cdef cnp.ndarray source = as_rows(x, names[0])
    cdef cnp.ndarray second, target = as_output(out, names[1], source, names[0], True)
    job.y = NULL
    if y is not None:
        second = as_rows(y, names[2])
        check_shape(second, names[2], source, names[0])
        check_disjoint(target, names[1], second, names[2], True)
        job.y = floats(second)
    job.x, job.out, job.size = floats(source), cnp.PyArray_DATA(target), source.size
    job.draw = draw_of(key, stream, offset)
    job.a, job.b, job.threshold = <float> a, <float> b, threshold
    _run_each(EACH[kernel], &job, 1)
    return target


def each_of(str kernel not None, list sources not None, list targets not None, list seconds=None, *, double a=0,
            double b=0, key=0, tuple names not None=("source", "target", "second")):
    """Run one kernel over many tensors in one parallel region. Tensor i takes its random numbers from stream i.

    A target, its source and its second have one shape and one memory order, C or Fortran. A target may be its own
    source or second; it must not overlap any other array.
    """
    cdef int64_t i, n = len(targets)
    cdef fo_each *job = <fo_each *> allocate(n, sizeof(fo_each))
    cdef interval *taken = NULL
    try:
        taken = <interval *> allocate(n, sizeof(interval))
        for i in range(n):
            _tensor(&job[i], i, sources, targets, seconds, names)
            job[i].draw = draw_of(key, i, 0)
            job[i].a, job[i].b, job[i].threshold = <float> a, <float> b, 0
            taken[i] = interval_of(job[i].out, job[i].size, FO_FLOAT, i, 0)
        i = first_overlap(taken, n)
        if i > 0:
            raise ValueError(f"{names[1]} {taken[i].span} overlaps {names[1]} {taken[i - 1].span} in memory")
        _check_reads(job, taken, n, names)
        _run_each(EACH[kernel], job, n)
    finally:
        PyMem_Free(job)
        PyMem_Free(taken)


cdef int _tensor(fo_each *job, int64_t i, list sources, list targets, list seconds, tuple names) except -1:
    cdef cnp.ndarray target = as_buffer(targets[i], f"{names[1]} {i}")
    cdef cnp.ndarray source = _read(sources[i], f"{names[0]} {i}", target, f"{names[1]} {i}")
    job.x, job.y = floats(source), NULL
    job.out, job.size = cnp.PyArray_DATA(target), target.size
    if seconds is not None:
        job.y = floats(_read(seconds[i], f"{names[2]} {i}", target, f"{names[1]} {i}"))
    return 0


cdef cnp.ndarray _read(object x, str label, cnp.ndarray target, str name):
    cdef cnp.ndarray a = as_float32(x, label)
    check_shape(a, label, target, name)
    if cnp.PyArray_IS_C_CONTIGUOUS(a) and cnp.PyArray_IS_C_CONTIGUOUS(target):
        return a
    if cnp.PyArray_IS_F_CONTIGUOUS(a) and cnp.PyArray_IS_F_CONTIGUOUS(target):
        return a
    raise ValueError(f"{label} and {name} are not contiguous in one memory order (C or F)")


cdef int _check_reads(const fo_each *job, const interval *written, int64_t n, tuple names) except -1:
    """An array that is read is the target of its own tensor or overlaps no target. `written` is sorted and disjoint."""
    cdef int64_t i
    for i in range(n):
        _check_read(job[i].x, job[i].size, i, written, n, names[0], names[1])
        if job[i].y != NULL:
            _check_read(job[i].y, job[i].size, i, written, n, names[2], names[1])
    return 0


cdef int _check_read(const float *x, int64_t size, int64_t i, const interval *written, int64_t n, str name,
                     str target) except -1:
    cdef uintptr_t start = <uintptr_t> x, end = <uintptr_t> (x + size)
    cdef int64_t low = 0, high = n, middle
    while low < high:                   # find the first target that ends after the start
        middle = (low + high) // 2
        if written[middle].end <= start:
            low = middle + 1
        else:
            high = middle
    while low < n and written[low].start < end:
        if written[low].span != i or written[low].start != start:
            raise ValueError(f"{name} {i} overlaps {target} {written[low].span} in memory")
        low += 1
    return 0


def sum_of_powers(x, int power, str label="x"):
    """Σ|x|^power, power 1 or 2, in double: tile by tile in memory order."""
    cdef cnp.ndarray a = as_float32(x, label)
    if not (cnp.PyArray_IS_C_CONTIGUOUS(a) or cnp.PyArray_IS_F_CONTIGUOUS(a)):
        raise ValueError(f"{label} is not contiguous (shape {shape_of(a)}, strides {(<object> a).strides} bytes)")
    cdef int64_t size = a.size
    cdef const float *data = floats(a)
    cdef double *partial = <double *> allocate((size + FO_TILE - 1) // FO_TILE, sizeof(double))
    cdef int threads = api.runtime.threads_for(size)
    cdef double total
    with nogil:
        total = api.layers.sum_of_powers(data, size, power, partial, threads)
    PyMem_Free(partial)
    return total


# -- channels ---------------------------------------------------------------------------------------------------------

cdef fo_channels _channels(cnp.ndarray x, tuple layout) except *:
    """layout: (outer, channels, inner, channels_last)."""
    cdef fo_channels job
    job.outer, job.channels, job.inner, job.channels_last = layout
    if job.outer * job.channels * job.inner != x.size:
        raise ValueError(f"layout {layout} does not match shape {shape_of(x)}")
    job.x, job.dy, job.out = floats(x), NULL, NULL
    job.per_outer = False
    job.shift, job.partial = NULL, NULL
    job.high = job.low = job.scale = job.bias = job.slope = NULL
    return job


def channel_sums(x, tuple layout not None, shift, dy=None, tuple names not None=("x", "grad")):
    """Per channel Σ(x − shift) and Σ(x − shift)², or Σdy and Σdy·(x − shift): float64 (channels, 2)."""
    cdef cnp.ndarray a = as_rows(x, names[0]), b
    cdef fo_channels job = _channels(a, layout)
    job.shift = <const double *> cnp.PyArray_DATA(as_vector(shift, "shift", job.channels, cnp.NPY_FLOAT64))
    if dy is not None:
        b = as_rows(dy, names[1])
        check_shape(b, names[1], a, names[0])
        job.dy = floats(b)
    cdef cnp.ndarray sums = np.empty((job.channels, 2))
    cdef double *total = <double *> cnp.PyArray_DATA(sums)
    cdef int threads = api.runtime.threads_for(a.size)
    job.partial = <double *> allocate(2 * api.layers.slabs(&job) * job.channels, sizeof(double))
    with nogil:
        api.layers.sums(&job, total, threads)
    PyMem_Free(job.partial)
    return sums


cdef const float *_factors(object x, str label, int64_t n) except? NULL:
    return floats(as_vector(x, label, n, cnp.NPY_FLOAT32))


def normalize(x, tuple layout not None, high, low, scale, bias, out=None, *, bint same_allowed=True):
    """out ← ((x − high) − low)·scale + bias per channel."""
    cdef cnp.ndarray a = as_rows(x, "x"), target = as_output(out, "out", a, "x", same_allowed)
    cdef fo_channels job = _channels(a, layout)
    job.high, job.low = _factors(high, "high", job.channels), _factors(low, "low", job.channels)
    job.scale, job.bias = _factors(scale, "scale", job.channels), _factors(bias, "bias", job.channels)
    job.out = floats(target)
    cdef int threads = api.runtime.threads_for(a.size)
    with nogil:
        api.layers.channels(FO_CHANNELS_normalize, &job, threads)
    return target


def normalize_back(x, dy, tuple layout not None, high, low, scale, bias, slope, out=None):
    """out ← (dy − bias − ((x − high) − low)·slope)·scale per channel."""
    cdef cnp.ndarray a = as_rows(x, "x"), b = as_rows(dy, "grad"), target = as_output(out, "out", b, "grad", True)
    cdef fo_channels job = _channels(a, layout)
    check_shape(b, "grad", a, "x")
    check_disjoint(target, "out", a, "x", True)
    job.high, job.low = _factors(high, "high", job.channels), _factors(low, "low", job.channels)
    job.scale, job.bias = _factors(scale, "scale", job.channels), _factors(bias, "bias", job.channels)
    job.slope = _factors(slope, "slope", job.channels)
    job.dy, job.out = floats(b), floats(target)
    cdef int threads = api.runtime.threads_for(a.size)
    with nogil:
        api.layers.channels(FO_CHANNELS_normalize_back, &job, threads)
    return target


def scale_channels(x, tuple layout not None, scale, out=None, *, bint per_outer=False, str name="x"):
    """out ← x·scale, exactly 0 where scale is 0; a factor per channel, or per (outer, channel)."""
    cdef cnp.ndarray a = as_rows(x, name), target = as_output(out, "out", a, name, True)
    cdef fo_channels job = _channels(a, layout)
    job.per_outer = per_outer
    job.scale = _factors(scale, "scale", job.channels * (job.outer if per_outer else 1))
    job.out = floats(target)
    cdef int threads = api.runtime.threads_for(a.size)
    with nogil:
        api.layers.channels(FO_CHANNELS_scale, &job, threads)
    return target


# -- mixing, cross-entropy, images ------------------------------------------------------------------------------------

def mix(x, partner, a, b, out=None, *, str name="x"):
    """out[r] ← a[r]·x[r] + b[r]·x[partner[r]], r along the first axis."""
    cdef fo_mix job
    cdef cnp.ndarray source = as_rows(x, name), target = as_output(out, "out", source, name, False)
    job.rows = source.shape[0]
    job.size = source.size // job.rows if job.rows > 0 else 0
    cdef cnp.ndarray index = own_indices(partner, "partner", job.rows, job.rows)
    job.x, job.out = floats(source), floats(target)
    job.partner = <const int64_t *> cnp.PyArray_DATA(index)
    job.a, job.b = _factors(a, "a", job.rows), _factors(b, "b", job.rows)
    cdef int threads = api.runtime.threads_for(source.size)
    with nogil:
        api.layers.mix(&job, threads)
    return target


def entropy(logits, target, soft, weight, int64_t ignore, double smoothing, str reduction not None, out=None):
    """Softmax cross-entropy of (rows, classes) logits. Returns the loss and its gradient.

    target: int64 (rows) of classes, or None with soft targets of the shape of the logits. The loss is a float, or float32
    (rows) for reduction "none". "mean" divides by the sum of the weights of the targets, or by rows with soft targets.
    """
    cdef fo_entropy job
    cdef cnp.ndarray z = as_rows(logits, "logits"), grad = as_output(out, "out", z, "logits", False), losses
    job.rows, job.classes, job.ignore, job.smoothing = z.shape[0], z.shape[1], ignore, smoothing
    job.logits, job.gradient = floats(z), floats(grad)
    cdef cnp.ndarray held = _entropy_targets(&job, z, grad, target, soft, weight)
    cdef double total, count = job.rows if soft is not None else _target_weight(&job)
    job.scale = 1.0 if reduction != "mean" else 1.0 / count if count != 0 else NAN      # 0/0, like the loss
    if reduction == "none":
        losses = np.empty(job.rows, np.float32)
        job.loss = floats(losses)
    cdef int threads = api.runtime.threads_for(z.size)
    job.partial = <double *> allocate(api.layers.entropy_units(&job), sizeof(double))
    with nogil:
        total = api.layers.entropy(&job, threads)
    PyMem_Free(job.partial)
    if reduction == "none":
        return losses, grad
    if reduction == "mean":
        total = total / count if count != 0 else NAN
    return total, grad


cdef cnp.ndarray _entropy_targets(fo_entropy *job, cnp.ndarray z, cnp.ndarray grad, object target, object soft,
                                  object weight):
    """Check targets and weights, and enter them. Returns the array of targets that the kernel reads."""
    cdef cnp.ndarray t
    job.target, job.soft, job.weight, job.loss = NULL, NULL, NULL, NULL
    if weight is not None:
        job.weight = _factors(weight, "weight", job.classes)
        check_disjoint(grad, "out", <cnp.ndarray> weight, "weight", False)
    if soft is not None:
        t = as_rows(soft, "targets")
        check_shape(t, "targets", z, "logits")
        check_disjoint(grad, "out", t, "targets", False)
        job.soft = floats(t)
        return t
    check_disjoint(grad, "out", as_vector(target, "targets", job.rows, cnp.NPY_INT64), "targets", False)
    t = own_vector(target, "targets", job.rows, cnp.NPY_INT64)
    job.target = <const int64_t *> cnp.PyArray_DATA(t)
    return t


cdef double _target_weight(const fo_entropy *job) except? -1:
    """The sum of the weights of the targets, which are checked."""
    cdef double count = api.layers.target_weight(job)
    if count < 0:
        row = <int64_t> (-1 - count)
        raise ValueError(f"target {row} is {job.target[row]}, expected a class from 0 to {job.classes - 1}"
                         f" or ignore_index ({job.ignore})")
    return count


def images(str kernel not None, x, bint channels_last, out=None, *, size=None, place=None, other=None, partner=None,
           fill=None, bint reflect=False, number=None, double low=-INFINITY, double high=INFINITY):
    """Run one kernel for images (FO_IMAGES in csrc) over (N, C, H, W) or (N, H, W, C), float32 or uint8.

    size: (height, width) of the output. place: int64 (N, k), number: float64 (N, k); the kernel says what they mean.
    fill: C values of the dtype of x.
    """
    cdef fo_images job
    cdef int index = IMAGES[kernel]
    cdef cnp.ndarray a = as_pixels(x, "images"), target, b, indices
    cdef int64_t item = cnp.PyArray_ITEMSIZE(a), channels
    if a.ndim != 4:
        raise ValueError(f"images must have shape {'(N, H, W, C)' if channels_last else '(N, C, H, W)'}, "
                         f"got {shape_of(a)}")
    job.samples, channels = a.shape[0], a.shape[3] if channels_last else a.shape[1]
    job.height, job.width = a.shape[1 if channels_last else 2], a.shape[2 if channels_last else 3]
    job.planes, job.pixel = 1 if channels_last else channels, channels * item if channels_last else item
    job.out_height, job.out_width = size or (job.height, job.width)
    target = _images_output(out, a, channels_last, &job, index == FO_IMAGES_paste or index == FO_IMAGES_tone)
    job.x, job.out = <const uint8_t *> cnp.PyArray_DATA(a), <uint8_t *> cnp.PyArray_DATA(target)
    job.other, job.partner, job.place, job.fill, job.number = NULL, NULL, NULL, NULL, NULL
    job.reflect, job.is_float, job.low, job.high = reflect, item == 4, <float> low, <float> high
    if other is not None:
        b = as_pixels(other, "images", cnp.PyArray_TYPE(a))
        check_shape(b, "images", a, "out")
        check_disjoint(target, "out", b, "images", False)
        job.other = <const uint8_t *> cnp.PyArray_DATA(b)
        indices = own_indices(partner, "partner", job.samples, job.samples)
        job.partner = <const int64_t *> cnp.PyArray_DATA(indices)
    if fill is not None:
        job.fill = <const uint8_t *> cnp.PyArray_DATA(as_vector(fill, "fill", channels, cnp.PyArray_TYPE(a)))
    numbers = _images_numbers(index, &job, place, number)
    if index == FO_IMAGES_paste and address_of(target) != address_of(a):
        cnp.PyArray_CopyInto(target, a)
    cdef int threads = api.runtime.threads_for(target.size)
    with nogil:
        api.layers.images(index, &job, threads)
    return target


cdef cnp.ndarray _images_output(object out, cnp.ndarray x, bint channels_last, const fo_images *job, bint in_place):
    cdef tuple shape = shape_of(x)
    cdef tuple expected = (shape[0], job.out_height, job.out_width, shape[3]) if channels_last else (
        shape[0], shape[1], job.out_height, job.out_width)
    if out is None:
        return np.empty(expected, x.dtype)
    cdef cnp.ndarray a = as_pixels(out, "out", cnp.PyArray_TYPE(x))
    check_writeable(a, "out")
    if shape_of(a) != expected:
        raise ValueError(f"out has shape {shape_of(a)}, expected {expected}")
    check_disjoint(a, "out", x, "images", in_place)
    return a


cdef cnp.ndarray _images_numbers(int kernel, fo_images *job, object place, object number):
    """Enter and return the numbers that the kernel needs per sample. A box that is pasted must lie within the image."""
    cdef int64_t i, n = job.samples
    cdef cnp.ndarray numbers
    cdef const int64_t *box
    if kernel == FO_IMAGES_tone or kernel == FO_IMAGES_warp:
        i = 2 if kernel == FO_IMAGES_tone else 6
        numbers = as_vector(number, "number", i * n, cnp.NPY_FLOAT64)
        job.number = <const double *> cnp.PyArray_DATA(numbers)
        return numbers
    i = 1 if kernel == FO_IMAGES_flip else 2 if kernel == FO_IMAGES_crop else 4
    numbers = own_vector(place, "place", i * n, cnp.NPY_INT64)
    job.place = <const int64_t *> cnp.PyArray_DATA(numbers)
    if kernel == FO_IMAGES_paste:
        for i in range(n):
            box = job.place + 4 * i
            if not (0 <= box[0] <= box[1] <= job.height and 0 <= box[2] <= box[3] <= job.width):
                raise ValueError(f"box {i} is rows {box[0]}:{box[1]}, columns {box[2]}:{box[3]}, "
                                 f"outside of {job.height} × {job.width}")
    return numbers


# -- blocks that change parameters and put them back ---------------------------------------------------------------------

cdef class Restorer:
    """The block of EarlyStopping. In C, so that no signal can come between the end of the block and the copy."""

    cdef public list _params, _best     # parameters of the last update, and copies of the best ones, or None
    cdef public bint restore_best, _inside

    def __enter__(self):
        self._inside = True
        return self

    def __exit__(self, *_):
        self._inside = False
        if self.restore_best and self._best is not None and self._params is not None:
            each_of("copy", self._best, self._params, names=("best parameter", "parameter", ""))


cdef class PerturbedBlock:
    """In C, so that no signal can come between adding the noise and the promise to remove it."""

    cdef list params, saved
    cdef double std
    cdef object draw_key            # called when the block is entered
    cdef bint inside

    def __init__(self, list params not None, double std, draw_key):
        if self.inside:
            raise RuntimeError("this perturbed() block is entered already")
        names = ("parameter", "parameter", "")
        each_of("copy", params, params, names=names)        # onto themselves: checks them and changes nothing
        self.params = list(params)
        self.saved = [p.copy(order="K") for p in params]
        self.std = std
        self.draw_key = draw_key

    def __enter__(self):
        if self.inside:
            raise RuntimeError("this perturbed() block is entered already")
        key = self.draw_key()
        each_of("copy", self.params, self.saved, names=("parameter", "copy", ""))
        if self.std > 0:
            each_of("add_normal", self.saved, self.params, a=self.std, key=key, names=("copy", "parameter", ""))
        self.inside = True

    def __exit__(self, *_):
        if not self.inside:
            raise RuntimeError("this perturbed() block was not entered")
        self.abandon()

    def abandon(self, *_):
        """Leave the block if it was entered."""
        if self.inside:
            each_of("copy", self.saved, self.params, names=("copy", "parameter", ""))
            self.inside = False


class Perturbed(PerturbedBlock):
    """The block of perturbed()."""

    __slots__ = ()
    __del__ = PerturbedBlock.abandon    # before the garbage collector clears the parts of a cycle; __dealloc__ is too late
