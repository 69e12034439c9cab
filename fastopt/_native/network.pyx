# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False, embedsignature=False
"""The dense network: activations, losses, whole batches and whole epochs. Checks every buffer, drops the GIL, calls."""

from cpython.mem cimport PyMem_Free
from cpython.pycapsule cimport PyCapsule_GetName, PyCapsule_GetPointer
from libc.limits cimport INT_MAX
from libc.stdint cimport int64_t
from libc.string cimport strncmp, strstr

cimport numpy as cnp

import numpy as np

from fastopt._native.arrays cimport (
    allocate, as_output, as_rows, as_vector, check_disjoint, check_shape, check_writeable, floats, own_indices, own_vector,
    shape_of
)
from fastopt._native.capi cimport (
    FO_ACTIVATION_gelu, FO_ACTIVATION_identity, FO_ACTIVATION_relu, FO_ACTIVATION_tanh, KEEP_GIL, fo_dense, fo_entropy,
    fo_epoch, fo_group, fo_layer, fo_pass, fo_sgemm, fo_source, fo_squares
)
from fastopt._native.runtime cimport api
from fastopt._native.step cimport ArrayStep

cnp.import_array()

cdef dict ACTIVATIONS = {
    "identity": FO_ACTIVATION_identity, "relu": FO_ACTIVATION_relu, "tanh": FO_ACTIVATION_tanh,
    "gelu": FO_ACTIVATION_gelu,
}


cdef int _dense(fo_dense *layer, object x, object y, object bias) except -1:
    cdef cnp.ndarray a = as_rows(x, "x"), b = as_rows(y, "y"), c
    check_writeable(a, "x")
    check_writeable(b, "y")
    if a.ndim != 3:
        raise ValueError(f"x must have shape (models, rows, units), got {shape_of(a)}")
    check_shape(b, "y", a, "x")
    check_disjoint(b, "y", a, "x", True)
    layer.models, layer.rows, layer.units = a.shape[0], a.shape[1], a.shape[2]
    layer.x, layer.y, layer.bias = floats(a), floats(b), NULL
    if bias is not None:
        c = as_rows(bias, "bias")
        check_writeable(c, "bias")
        if c.ndim != 2 or c.shape[0] != a.shape[0] or c.shape[1] != a.shape[2]:
            raise ValueError(f"bias has shape {shape_of(c)}, expected ({a.shape[0]}, {a.shape[2]})")
        check_disjoint(c, "bias", a, "x", False)
        check_disjoint(c, "bias", b, "y", False)
        layer.bias = floats(c)
    return 0


def activate(str activation not None, x, y, bias=None):
    """y ← activation(x + bias). x, y: float32 (models, rows, units); bias: (models, units) or None.

    y is x itself, except for "gelu": there y is another array, and x becomes x + bias.
    """
    cdef fo_dense layer
    cdef int kernel = ACTIVATIONS[activation]
    _dense(&layer, x, y, bias)
    if (layer.x == layer.y) == (kernel == FO_ACTIVATION_gelu) and layer.models * layer.rows * layer.units:
        raise ValueError(f"y must {'not ' if kernel == FO_ACTIVATION_gelu else ''}be x for {activation!r}")
    if layer.models * layer.rows * layer.units < KEEP_GIL:
        api.network.forward(kernel, &layer)
    else:
        with nogil:
            api.network.forward(kernel, &layer)


def activate_back(str activation not None, x, y, bias=None):
    """The way back of `activate`: x holds the gradient at the output and becomes the gradient at the input.

    y: the output of `activate`, or for "gelu" its x. bias, if it is given, becomes the sum of the gradient over the rows.
    """
    cdef fo_dense layer
    cdef int kernel = ACTIVATIONS[activation]
    _dense(&layer, x, y, bias)
    if layer.models * layer.rows * layer.units < KEEP_GIL:
        api.network.back(kernel, &layer)
    else:
        with nogil:
            api.network.back(kernel, &layer)


def squared_error(output, target, gradient, losses, double scale):
    """losses ← ½ Σ (output − target)² over the units; gradient ← (output − target)·scale.

    output, target, gradient: float32 (rows, units); losses: float32 (rows). The gradient may be the output itself.
    """
    cdef fo_squares job
    cdef cnp.ndarray z = as_rows(output, "output"), t = as_rows(target, "target")
    cdef cnp.ndarray g = as_rows(gradient, "gradient"), loss = as_rows(losses, "losses")
    check_writeable(g, "gradient")
    check_writeable(loss, "losses")
    if z.ndim != 2:
        raise ValueError(f"output must have shape (rows, units), got {shape_of(z)}")
    check_shape(t, "target", z, "output")
    check_shape(g, "gradient", z, "output")
    as_vector(loss, "losses", z.shape[0], cnp.NPY_FLOAT32)
    check_disjoint(g, "gradient", z, "output", True)
    check_disjoint(g, "gradient", t, "target", False)
    for other, name in ((z, "output"), (t, "target"), (g, "gradient")):
        check_disjoint(loss, "losses", other, name, False)
    job.output, job.target = floats(z), floats(t)
    job.gradient, job.loss = floats(g), floats(loss)
    job.rows, job.units, job.scale = z.shape[0], z.shape[1], <float> scale
    with nogil:
        api.network.squares(&job)


def entropy_rows(logits, targets, gradient, losses, double smoothing, double scale):
    """Softmax cross-entropy: losses (rows) of each row, and the gradient of their sum times scale.

    logits, gradient: float32 (rows, classes). targets: int64 (rows), or float32 (rows, classes) of probabilities.
    """
    cdef fo_entropy job
    cdef cnp.ndarray z = as_rows(logits, "logits"), grad = as_output(gradient, "gradient", z, "logits", False)
    cdef cnp.ndarray t = targets, own, loss = as_vector(losses, "losses", z.shape[0], cnp.NPY_FLOAT32)
    check_writeable(loss, "losses")
    if z.ndim != 2:
        raise ValueError(f"logits must have shape (rows, classes), got {shape_of(z)}")
    job.rows, job.classes, job.ignore, job.smoothing = z.shape[0], z.shape[1], -100, smoothing
    job.logits, job.gradient = floats(z), floats(grad)
    job.loss, job.weight, job.soft, job.target = floats(loss), NULL, NULL, NULL
    if cnp.PyArray_TYPE(t) == cnp.NPY_FLOAT32:
        t = as_rows(t, "targets")
        check_shape(t, "targets", z, "logits")
        job.soft = floats(t)
    else:
        own = own_indices(t, "target", z.shape[0], z.shape[1])
        job.target = <const int64_t *> cnp.PyArray_DATA(own)
    check_disjoint(grad, "gradient", t, "targets", False)
    for other, name in ((z, "logits"), (grad, "gradient"), (t, "targets")):
        check_disjoint(loss, "losses", other, name, False)
    job.scale = scale
    job.partial = <double *> allocate(api.layers.entropy_units(&job), sizeof(double))
    cdef int threads = api.runtime.threads_for(z.size)
    with nogil:
        api.layers.entropy(&job, threads)
    PyMem_Free(job.partial)


# -- a whole batch ----------------------------------------------------------------------------------------------------

cdef fo_sgemm *_sgemm_of(object capsule) except NULL:
    """The function in scipy.linalg.cython_blas.__pyx_capi__["sgemm"]. ValueError for another signature.

    The name of the capsule is the signature, in which SciPy's name for float ends in "_s".
    """
    cdef const char *name = PyCapsule_GetName(capsule)
    cdef const char *known = b"void (char *, char *, int *, int *, int *, "
    if name == NULL or strncmp(name, known, 42) != 0 or strstr(name, b"_s *") == NULL:
        raise ValueError(f"sgemm has the signature {name if name != NULL else None}, expected {known}...")
    return <fo_sgemm *> PyCapsule_GetPointer(capsule, name)


def is_sgemm(capsule):
    """Whether this capsule holds an sgemm that NetworkPass can call."""
    try:
        return _sgemm_of(capsule) != NULL
    except ValueError:
        return False


cdef class NetworkPass:
    """Batches of some models from x to the gradients of all parameters, in one call.

    sgemm: the capsule of a BLAS's sgemm. x: float32 (models, rows, features). layers: per layer the arrays (weight,
    bias, their gradients, product, active, gradient), of which the last three have the shape (models, rows, outputs);
    active is product itself unless the activation is "gelu", and in the last layer. losses: float32 (models, rows).
    All of them are kept alive and checked once: they must not be resized.
    """

    cdef fo_pass job
    cdef fo_layer *table
    cdef object held, sgemm
    cdef cnp.ndarray last

    def __cinit__(self, sgemm, x, list layers not None, losses, str activation not None, bint classes):
        self.sgemm, self.held = sgemm, [x, losses, *[tuple(layer) for layer in layers]]
        self.job.sgemm, self.job.activation, self.job.classes = _sgemm_of(sgemm), ACTIVATIONS[activation], classes
        self.table = <fo_layer *> allocate(max(1, len(layers)), sizeof(fo_layer))
        self.job.layer, self.job.layers = self.table, <int> len(layers)
        cdef cnp.ndarray a = as_rows(x, "x"), below = a, loss
        if a.ndim != 3 or not layers or max(x.shape) > INT_MAX or x.size == 0:
            raise ValueError(f"x must have shape (models, rows, features) and there must be layers, got {x.shape}")
        self.job.models, self.job.rows = a.shape[0], <int> a.shape[1]
        self.job.x = floats(a)
        for i in range(len(layers)):
            below = self._add_layer(i, tuple(layers[i]), below, i == len(layers) - 1)
        self.last = below
        loss = as_vector(losses, "losses", a.shape[0] * a.shape[1], cnp.NPY_FLOAT32)
        check_writeable(loss, "losses")
        self.job.loss = floats(loss)
        self._check_apart()

    def __dealloc__(self):
        PyMem_Free(self.table)

    cdef cnp.ndarray _add_layer(self, Py_ssize_t i, tuple layer, cnp.ndarray below, bint is_last):
        """Enter layer i into the table. below: the activations that are its input. Returns its own activations."""
        weight, bias, weight_gradient, bias_gradient, product, active, gradient = layer
        cdef int64_t models = self.job.models, rows = self.job.rows, inputs = below.shape[2]
        cdef cnp.ndarray top = as_rows(product, "product")
        if top.ndim != 3 or top.shape[2] > INT_MAX:
            raise ValueError(f"product {i} must have shape (models, rows, outputs), got {shape_of(top)}")
        cdef int64_t outputs = top.shape[2]
        for array, shape in ((weight, (models, inputs, outputs)), (bias, (models, outputs)),
                             (weight_gradient, (models, inputs, outputs)), (bias_gradient, (models, outputs)),
                             (product, (models, rows, outputs)), (active, (models, rows, outputs)),
                             (gradient, (models, rows, outputs))):
            check_writeable(as_rows(array, f"layer {i}"), f"layer {i}")
            if array.shape != shape:
                raise ValueError(f"layer {i} has an array of shape {array.shape}, expected {shape}")
        if (product is active) == (self.job.activation == FO_ACTIVATION_gelu and not is_last):
            raise ValueError(f"active {i} must be product for all activations but gelu")
        self.table[i] = fo_layer(
            weight=floats(weight), bias=floats(bias), weight_gradient=floats(weight_gradient),
            bias_gradient=floats(bias_gradient), product=floats(product), active=floats(active),
            gradient=floats(gradient), inputs=<int> inputs, outputs=<int> outputs)
        return active

    cdef int _check_apart(self) except -1:
        """No two of the arrays overlap, except activations that are the products' own array."""
        arrays = self.held[:2]
        for layer in self.held[2:]:
            arrays += [a for j, a in enumerate(layer) if j != 5 or a is not layer[4]]
        for i in range(len(arrays)):
            for j in range(i):
                check_disjoint(arrays[i], "an array", arrays[j], "another one", False)
        return 0

    def run(self, targets, totals, weights=None, double smoothing=0.0):
        """Compute the gradients of the mean loss for the samples in x.

        targets: int64 (models, rows) classes, or float32 (models, rows, outputs). totals: float64 (models), to which the
        losses are added. weights: float32 (models, rows) or None.
        """
        cdef fo_pass job = self.job
        cdef int64_t samples = job.models * job.rows
        cdef cnp.ndarray t = targets, total = as_vector(totals, "totals", job.models, cnp.NPY_FLOAT64), w
        check_writeable(total, "totals")
        job.target, job.soft, job.weight, job.smoothing = NULL, NULL, NULL, smoothing
        if job.classes and cnp.PyArray_TYPE(t) == cnp.NPY_INT64:
            t = own_indices(t, "target", samples, self.last.shape[2])
            job.target = <const int64_t *> cnp.PyArray_DATA(t)
        else:
            t = as_vector(t, "targets", samples * self.last.shape[2], cnp.NPY_FLOAT32)
            job.soft = floats(t)
        if weights is not None:
            w = as_vector(weights, "weights", samples, cnp.NPY_FLOAT32)
            job.weight = floats(w)
        job.total = <double *> cnp.PyArray_DATA(total)
        with nogil:
            api.network.pass_(&job)


# -- a whole epoch ----------------------------------------------------------------------------------------------------

cdef class NetworkEpoch:
    """Epochs of one model, or parts of them, in one call without the GIL: for batch after batch the rows, the gradients
    and the optimizer's step. The bits are those of gather, NetworkPass.run and ArrayStep.step.

    one: the pass of a full batch. step, gradients: an optimizer's, over the pass's arrays; an optimizer with a lookahead
    gets its gradients at the lookahead point. x, y: all samples and their targets, as NetworkPass takes a batch of them;
    weights: float32 (n) or None. All of them are kept alive, and must not be resized.
    """

    cdef fo_epoch job
    cdef NetworkPass one
    cdef ArrayStep step
    cdef tuple gradients
    cdef list origins, held
    cdef cnp.ndarray y, labels
    cdef int64_t n

    def __cinit__(self, NetworkPass one not None, ArrayStep step not None, list gradients not None, x,
                  cnp.ndarray y not None, weights=None, double smoothing=0.0):
        if one.job.models != 1:
            raise ValueError(f"an epoch is that of one model, the pass has {one.job.models}")
        self.one, self.step, self.gradients, self.y = one, step, step.table.list_gradients(gradients), y
        self.job.pass_, self.job.pass_.smoothing = one.job, smoothing
        self.n, self.held = len(x), []
        outputs, rows = one.last.shape[2], one.job.rows
        classes = one.job.classes and cnp.PyArray_TYPE(y) == cnp.NPY_INT64
        batch = np.empty(rows, np.int64) if classes else np.empty((rows, outputs), np.float32)
        self._add_source(0, "x", x, one.held[0][0])
        self._add_source(1, "y", y, batch)
        self.labels = y
        if classes:
            self.labels = np.empty_like(y)      # what the kernel reads: each run copies y to it before the check
            self.held[2], self.job.source[1].all = self.labels, cnp.PyArray_DATA(self.labels)
            self.job.pass_.target = <const int64_t *> self.job.source[1].batch
        else:
            self.job.pass_.soft = <const float *> self.job.source[1].batch
        if weights is not None:
            self._add_source(2, "weights", weights, np.empty(rows, np.float32))
            self.job.pass_.weight = <const float *> self.job.source[2].batch
        self.origins = step.new_origins()

    cdef int _add_source(self, int i, str label, cnp.ndarray rows, cnp.ndarray batch) except -1:
        """Rows of this array are copied to batch."""
        expected = (self.n, *shape_of(batch)[1:])
        if cnp.PyArray_TYPE(rows) != cnp.PyArray_TYPE(batch) or shape_of(rows) != expected or not self.n:
            raise ValueError(f"{label} must be {batch.dtype} of shape {expected}, got {rows.dtype} of {shape_of(rows)}")
        as_vector(rows, label, cnp.PyArray_SIZE(rows), cnp.PyArray_TYPE(batch))
        self.job.source[i] = fo_source(all=cnp.PyArray_DATA(rows), batch=cnp.PyArray_DATA(batch),
                                       size=cnp.PyArray_NBYTES(rows) // self.n)
        self.held += [rows, batch]
        return 0

    def run(self, order, int64_t start, int64_t stop, totals, list ahead=None):
        """Train on the samples at order[start:stop], in batches of the pass's rows; the last batch may have fewer.

        order: int64 positions. totals: float64 (1), to which the losses are added. ahead: Optimizer._scalars_ahead of
        as many steps as there are batches; None if no scalar but bias corrections depends on the step.
        """
        cdef cnp.ndarray total = as_vector(totals, "totals", 1, cnp.NPY_FLOAT64)
        cdef cnp.ndarray chosen = own_vector(order, "order", len(order), cnp.NPY_INT64)
        check_writeable(total, "totals")
        self.step.table.enter()         # from here on other threads are kept out
        try:
            self._choose(chosen, start, stop)
            self.job.pass_.total = <double *> cnp.PyArray_DATA(total)
            self._run((stop - start + self.one.job.rows - 1) // self.one.job.rows, ahead)
        finally:
            self.step.table.busy = False

    cdef int _choose(self, cnp.ndarray order, int64_t start, int64_t stop) except -1:
        cdef const int64_t *position = <const int64_t *> cnp.PyArray_DATA(order)
        cdef const int64_t *target = self.job.pass_.target
        cdef const int64_t *classes = <const int64_t *> cnp.PyArray_DATA(self.labels)
        cdef int64_t i, outputs = self.one.last.shape[2]
        if not 0 <= start <= stop <= cnp.PyArray_SIZE(order):
            raise ValueError(f"samples {start} to {stop} are not within an order of {cnp.PyArray_SIZE(order)}")
        for i in range(len(self.held) // 2):
            rows = self.held[2 * i]
            if cnp.PyArray_DATA(rows) != self.job.source[i].all or rows.nbytes != self.n * self.job.source[i].size:
                raise ValueError(f"{('x', 'y', 'weights')[i]} was moved or resized since this epoch was made")
        if target != NULL:
            cnp.PyArray_CopyInto(self.labels, self.y)
        for i in range(start, stop):
            if not 0 <= position[i] < self.n:
                raise IndexError(f"position {position[i]} is not within the {self.n} samples")
            if target != NULL and not 0 <= classes[position[i]] < outputs:
                raise ValueError(f"target {position[i]} is {classes[position[i]]}, expected 0 to {outputs - 1}")
        self.job.order, self.job.samples = position + start, stop - start
        return 0

    cdef int _run(self, int64_t steps, list ahead) except -1:
        cdef fo_group *group = NULL
        cdef float *shift = NULL
        self.step.take_arrays(self.gradients, self.origins)
        self.step.table.describe(&self.job.step)
        self.job.cost, self.job.n_groups = self.step.table.cost, self.step.scalars.n_groups
        try:
            self.job.group = group = self.step.form_ahead(steps, ahead)
            self.job.shift = shift = NULL if self.origins is None else self.step.shifts_of(group, steps)
            with nogil:
                api.network.epoch(&self.job)
        finally:
            PyMem_Free(group)
            PyMem_Free(shift)
        return 0
