# The network's part of the binding, included by _core.pyx: checks every buffer, drops the GIL, calls. Holds no formula.

from libc.string cimport memcpy

cdef extern from "fastopt_network.h" nogil:
    struct fo_dense:
        float *x
        float *y
        float *bias
        int64_t models, rows, units

    struct fo_squares:
        const float *output
        const float *target
        float *gradient
        float *loss
        int64_t rows, units
        float scale

    int FO_ACTIVATION_identity, FO_ACTIVATION_relu, FO_ACTIVATION_tanh, FO_ACTIVATION_gelu

    void fo_run_forward(int activation, const fo_dense *layer)
    void fo_run_back(int activation, const fo_dense *layer)
    void fo_run_squares(const fo_squares *job)

cdef dict ACTIVATIONS = {
    "identity": FO_ACTIVATION_identity, "relu": FO_ACTIVATION_relu, "tanh": FO_ACTIVATION_tanh,
    "gelu": FO_ACTIVATION_gelu,
}


cdef int _dense(fo_dense *layer, object x, object y, object bias) except -1:
    cdef cnp.ndarray a = _as_rows(x, "x"), b = _as_rows(y, "y"), c
    _check_out(a, "x")
    _check_out(b, "y")
    if a.ndim != 3:
        raise ValueError(f"x must have shape (models, rows, units), got {_shape(a)}")
    _check_shape(b, "y", a, "x")
    _check_disjoint(b, "y", a, "x", True)
    layer.models, layer.rows, layer.units = a.shape[0], a.shape[1], a.shape[2]
    layer.x, layer.y, layer.bias = <float *> cnp.PyArray_DATA(a), <float *> cnp.PyArray_DATA(b), NULL
    if bias is not None:
        c = _as_rows(bias, "bias")
        _check_out(c, "bias")
        if c.ndim != 2 or c.shape[0] != a.shape[0] or c.shape[1] != a.shape[2]:
            raise ValueError(f"bias has shape {_shape(c)}, expected ({a.shape[0]}, {a.shape[2]})")
        _check_disjoint(c, "bias", a, "x", False)
        _check_disjoint(c, "bias", b, "y", False)
        layer.bias = <float *> cnp.PyArray_DATA(c)
    return 0


def activate(str activation not None, x, y, bias=None):
    """y ← activation(x + bias) for (models, rows, units); y is x itself unless the activation is "gelu", where x keeps
    x + bias. bias: (models, units) or None."""
    cdef fo_dense layer
    cdef int kernel = ACTIVATIONS[activation]
    _dense(&layer, x, y, bias)
    if (layer.x == layer.y) == (kernel == FO_ACTIVATION_gelu) and layer.models * layer.rows * layer.units:
        raise ValueError(f"y must {'not ' if kernel == FO_ACTIVATION_gelu else ''}be x for {activation!r}")
    if layer.models * layer.rows * layer.units < KEEP_GIL:
        fo_run_forward(kernel, &layer)
    else:
        with nogil:
            fo_run_forward(kernel, &layer)


def activate_back(str activation not None, x, y, bias=None):
    """x, the gradient at the activations, becomes that at x + bias, and bias its sums over the rows. y: what `activate`
    left in its y, or for "gelu" in its x."""
    cdef fo_dense layer
    cdef int kernel = ACTIVATIONS[activation]
    _dense(&layer, x, y, bias)
    if layer.models * layer.rows * layer.units < KEEP_GIL:
        fo_run_back(kernel, &layer)
    else:
        with nogil:
            fo_run_back(kernel, &layer)


def squared_error(output, target, gradient, losses, double scale):
    """losses (rows) ← ½ Σ (output − target)² over the units, gradient ← (output − target)·scale; float32 (rows, units),
    the gradient may be the output itself."""
    cdef fo_squares job
    cdef cnp.ndarray z = _as_rows(output, "output"), t = _as_rows(target, "target")
    cdef cnp.ndarray g = _as_rows(gradient, "gradient"), loss = _as_rows(losses, "losses")
    _check_out(g, "gradient")
    _check_out(loss, "losses")
    if z.ndim != 2:
        raise ValueError(f"output must have shape (rows, units), got {_shape(z)}")
    _check_shape(t, "target", z, "output")
    _check_shape(g, "gradient", z, "output")
    _vector(loss, "losses", z.shape[0], cnp.NPY_FLOAT32)
    _check_disjoint(g, "gradient", z, "output", True)
    _check_disjoint(g, "gradient", t, "target", False)
    for other, name in ((z, "output"), (t, "target"), (g, "gradient")):
        _check_disjoint(loss, "losses", other, name, False)
    job.output, job.target = <const float *> cnp.PyArray_DATA(z), <const float *> cnp.PyArray_DATA(t)
    job.gradient, job.loss = <float *> cnp.PyArray_DATA(g), <float *> cnp.PyArray_DATA(loss)
    job.rows, job.units, job.scale = z.shape[0], z.shape[1], <float> scale
    with nogil:
        fo_run_squares(&job)


def entropy_rows(logits, targets, gradient, losses, double smoothing, double scale):
    """Softmax cross-entropy of (rows, classes): losses (rows) of each, gradient of their sum times scale.

    targets: int64 (rows), or float32 (rows, classes) of rows of probabilities."""
    cdef fo_entropy job
    cdef cnp.ndarray z = _as_rows(logits, "logits"), grad = _output(gradient, "gradient", z, "logits", False)
    cdef cnp.ndarray t = targets, loss = _vector(losses, "losses", z.shape[0], cnp.NPY_FLOAT32)
    _check_out(loss, "losses")
    if z.ndim != 2:
        raise ValueError(f"logits must have shape (rows, classes), got {_shape(z)}")
    job.rows, job.classes, job.ignore, job.smoothing = z.shape[0], z.shape[1], -100, smoothing
    job.logits, job.gradient = <const float *> cnp.PyArray_DATA(z), <float *> cnp.PyArray_DATA(grad)
    job.loss, job.weight, job.soft, job.target = <float *> cnp.PyArray_DATA(loss), NULL, NULL, NULL
    if cnp.PyArray_TYPE(t) == cnp.NPY_FLOAT32:
        t = _as_rows(t, "targets")
        _check_shape(t, "targets", z, "logits")
        job.soft = <const float *> cnp.PyArray_DATA(t)
    else:
        t = _vector(t, "targets", z.shape[0], cnp.NPY_INT64)
        _check_indices(t, "target", z.shape[1])
        job.target = <const int64_t *> cnp.PyArray_DATA(t)
    _check_disjoint(grad, "gradient", t, "targets", False)
    for other, name in ((z, "logits"), (grad, "gradient"), (t, "targets")):
        _check_disjoint(loss, "losses", other, name, False)
    job.scale = scale
    job.partial = <double *> _allocate(fo_entropy_units(&job), sizeof(double))
    cdef int threads = _threads_of(z.size)
    with nogil:
        fo_run_entropy(&job, threads)
    PyMem_Free(job.partial)


def gather(list sources not None, list orders not None, int64_t start, out):
    """out[k] ← sources[k][orders[k][start : start + rows]] for out (models, rows, ...): the batches of all models.

    sources: C-contiguous arrays (n, ...) of the dtype of out; orders: int64 (n) positions in them."""
    cdef cnp.ndarray target = out, source, order
    cdef Py_ssize_t k, models = len(sources)
    if target.ndim < 2 or target.shape[0] != models or len(orders) != models:
        raise ValueError(f"out has shape {_shape(target)} for {models} sources and {len(orders)} orders")
    if not (cnp.PyArray_IS_C_CONTIGUOUS(target) and cnp.PyArray_ISWRITEABLE(target)):
        raise ValueError("out must be C-contiguous and writable")
    cdef int64_t rows = target.shape[1]
    cdef int64_t size = cnp.PyArray_NBYTES(target) // (models * rows) if models * rows else 0
    for k in range(models):
        source, order = sources[k], orders[k]
        _check_source(target, source, size, k)
        if not (cnp.PyArray_TYPE(order) == cnp.NPY_INT64 and cnp.PyArray_IS_C_CONTIGUOUS(order) and order.ndim == 1):
            raise ValueError(f"order {k} must be a contiguous int64 vector, got {order.dtype} of shape {_shape(order)}")
        if not 0 <= start <= order.shape[0] - rows:
            raise ValueError(f"rows {start} to {start + rows} are not within order {k} of {order.shape[0]}")
        _gather(<char *> cnp.PyArray_DATA(target) + k * rows * size, source,
                <const int64_t *> cnp.PyArray_DATA(order) + start, rows, size)


cdef int _check_source(cnp.ndarray target, cnp.ndarray source, int64_t size, Py_ssize_t k) except -1:
    cdef int64_t n = source.shape[0] if source.ndim else 0
    if cnp.PyArray_TYPE(source) != cnp.PyArray_TYPE(target) or not cnp.PyArray_IS_C_CONTIGUOUS(source):
        raise ValueError(f"source {k} must be C-contiguous {target.dtype}, got {source.dtype}")
    if n == 0 or cnp.PyArray_NBYTES(source) != n * size:
        raise ValueError(f"source {k} has shape {_shape(source)}, out has {_shape(target)}")
    return _check_disjoint(target, "out", source, f"source {k}", False)


cdef int _gather(char *out, cnp.ndarray source, const int64_t *order, int64_t rows, int64_t size) except -1:
    cdef const char *data = <const char *> cnp.PyArray_DATA(source)
    cdef int64_t r, n = source.shape[0]
    for r in range(rows):
        if not 0 <= order[r] < n:
            raise IndexError(f"position {order[r]} is not within the {n} samples")
    if rows * size < 4 * KEEP_GIL:
        for r in range(rows):
            memcpy(out + r * size, data + order[r] * size, size)
    else:
        with nogil:
            for r in range(rows):
                memcpy(out + r * size, data + order[r] * size, size)
    return 0


def weigh_rows(gradient, losses, weights):
    """Row r of gradient (rows, units) and losses[r] times weights[r], float32, in place."""
    cdef cnp.ndarray g = _as_rows(gradient, "gradient"), loss, w
    _check_out(g, "gradient")
    if g.ndim != 2:
        raise ValueError(f"gradient must have shape (rows, units), got {_shape(g)}")
    loss = _vector(losses, "losses", g.shape[0], cnp.NPY_FLOAT32)
    w = _vector(weights, "weights", g.shape[0], cnp.NPY_FLOAT32)
    _check_out(loss, "losses")
    _check_disjoint(g, "gradient", loss, "losses", False)
    _check_disjoint(g, "gradient", w, "weights", False)
    _check_disjoint(loss, "losses", w, "weights", False)
    cdef float *a = <float *> cnp.PyArray_DATA(g)
    cdef float *l = <float *> cnp.PyArray_DATA(loss)
    cdef const float *f = <const float *> cnp.PyArray_DATA(w)
    cdef int64_t r, i, units = g.shape[1]
    for r in range(g.shape[0]):
        l[r] *= f[r]
        for i in range(units):
            a[r * units + i] *= f[r]


def add_losses(losses, totals):
    """totals[k] += Σ losses[k] for float32 (models, rows), in double and in order."""
    cdef cnp.ndarray l = _as_rows(losses, "losses")
    if l.ndim != 2:
        raise ValueError(f"losses must have shape (models, rows), got {_shape(l)}")
    cdef cnp.ndarray t = _vector(totals, "totals", l.shape[0], cnp.NPY_FLOAT64)
    _check_out(t, "totals")
    cdef const float *x = <const float *> cnp.PyArray_DATA(l)
    cdef double *total = <double *> cnp.PyArray_DATA(t)
    cdef int64_t k, r, rows = l.shape[1]
    for k in range(l.shape[0]):
        for r in range(rows):
            total[k] += x[k * rows + r]
