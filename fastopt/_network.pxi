# The network's part of the binding, included by _core.pyx: checks every buffer, drops the GIL, calls. Holds no formula.

from cpython.pycapsule cimport PyCapsule_GetName
from libc.limits cimport INT_MAX
from libc.string cimport strncmp, strstr

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

    ctypedef void fo_sgemm(const char *, const char *, const int *, const int *, const int *, const float *, const float *,
                           const int *, const float *, const int *, const float *, float *, const int *)

    struct fo_layer:
        const float *weight
        const float *bias
        float *weight_gradient
        float *bias_gradient
        float *product
        float *active
        float *gradient
        int inputs, outputs

    struct fo_pass:
        fo_sgemm *sgemm
        const fo_layer *layer
        const float *x
        const int64_t *target
        const float *soft
        const float *weight
        float *loss
        double *total
        double smoothing
        int64_t models
        int layers, rows, activation, classes

    struct fo_source:
        const void *all
        void *batch
        int64_t size

    struct fo_epoch:
        fo_pass pass_ "pass"
        fo_step step
        int64_t cost
        const fo_group *group
        const float *shift
        int64_t n_groups
        fo_source source[3]
        const int64_t *order
        int64_t samples

    int FO_ACTIVATION_identity, FO_ACTIVATION_relu, FO_ACTIVATION_tanh, FO_ACTIVATION_gelu

    void fo_run_forward(int activation, const fo_dense *layer)
    void fo_run_back(int activation, const fo_dense *layer)
    void fo_run_squares(const fo_squares *job)
    void fo_run_pass(const fo_pass *job)
    void fo_run_epoch(const fo_epoch *epoch)

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


# -- a whole batch ----------------------------------------------------------------------------------------------------

cdef fo_sgemm *_sgemm_of(object capsule) except NULL:
    """The function in scipy.linalg.cython_blas.__pyx_capi__["sgemm"]; its name is its signature, where "…_s" is SciPy's
    name for float."""
    cdef const char *name = PyCapsule_GetName(capsule)
    cdef const char *known = b"void (char *, char *, int *, int *, int *, "
    if name == NULL or strncmp(name, known, 42) != 0 or strstr(name, b"_s *") == NULL:
        raise ValueError(f"sgemm has the signature {name if name != NULL else None}, expected {known}...")
    return <fo_sgemm *> PyCapsule_GetPointer(capsule, name)


def is_sgemm(capsule):
    """Whether NetworkPass knows the signature of what is in this capsule."""
    try:
        return _sgemm_of(capsule) != NULL
    except ValueError:
        return False


cdef class NetworkPass:
    """Batches of some models from x to the gradients of all parameters, in one call.

    sgemm: the capsule of a BLAS's sgemm. x: float32 (models, rows, features). layers: per layer the arrays (weight,
    bias, their gradients, product, active, gradient), of which the last three have the shape (models, rows, outputs);
    active is product itself unless the activation is "gelu", and in the last layer. losses: float32 (models, rows).
    All are held, and checked once: they must not be resized.
    """

    cdef fo_pass job
    cdef fo_layer *table
    cdef object held, sgemm
    cdef cnp.ndarray last

    def __cinit__(self, sgemm, x, list layers not None, losses, str activation not None, bint classes):
        self.sgemm, self.held = sgemm, [x, losses, *[tuple(layer) for layer in layers]]
        self.job.sgemm, self.job.activation, self.job.classes = _sgemm_of(sgemm), ACTIVATIONS[activation], classes
        self.table = <fo_layer *> _allocate(max(1, len(layers)), sizeof(fo_layer))
        self.job.layer, self.job.layers = self.table, <int> len(layers)
        cdef cnp.ndarray a = _as_rows(x, "x"), below = a, loss
        if a.ndim != 3 or not layers or max(x.shape) > INT_MAX or x.size == 0:
            raise ValueError(f"x must have shape (models, rows, features) and there must be layers, got {x.shape}")
        self.job.models, self.job.rows = a.shape[0], <int> a.shape[1]
        self.job.x = <const float *> cnp.PyArray_DATA(a)
        for i in range(len(layers)):
            below = self._lay(i, tuple(layers[i]), below, i == len(layers) - 1)
        self.last = below
        loss = _vector(losses, "losses", a.shape[0] * a.shape[1], cnp.NPY_FLOAT32)
        _check_out(loss, "losses")
        self.job.loss = <float *> cnp.PyArray_DATA(loss)
        self._check_apart()

    def __dealloc__(self):
        PyMem_Free(self.table)

    cdef cnp.ndarray _lay(self, Py_ssize_t i, tuple layer, cnp.ndarray below, bint is_last):
        """Layer i on top of what lies below; its activations."""
        weight, bias, weight_gradient, bias_gradient, product, active, gradient = layer
        cdef int64_t models = self.job.models, rows = self.job.rows, inputs = below.shape[2]
        cdef cnp.ndarray top = _as_rows(product, "product")
        if top.ndim != 3 or top.shape[2] > INT_MAX:
            raise ValueError(f"product {i} must have shape (models, rows, outputs), got {_shape(top)}")
        cdef int64_t outputs = top.shape[2]
        for array, shape in ((weight, (models, inputs, outputs)), (bias, (models, outputs)),
                             (weight_gradient, (models, inputs, outputs)), (bias_gradient, (models, outputs)),
                             (product, (models, rows, outputs)), (active, (models, rows, outputs)),
                             (gradient, (models, rows, outputs))):
            _check_out(_as_rows(array, f"layer {i}"), f"layer {i}")
            if array.shape != shape:
                raise ValueError(f"layer {i} has an array of shape {array.shape}, expected {shape}")
        if (product is active) == (self.job.activation == FO_ACTIVATION_gelu and not is_last):
            raise ValueError(f"active {i} must be product for all activations but gelu")
        self.table[i] = fo_layer(
            weight=_floats(weight), bias=_floats(bias), weight_gradient=_floats(weight_gradient),
            bias_gradient=_floats(bias_gradient), product=_floats(product), active=_floats(active),
            gradient=_floats(gradient), inputs=<int> inputs, outputs=<int> outputs)
        return active

    cdef int _check_apart(self) except -1:
        """No two of the arrays share a byte, but for activations in place of products."""
        arrays = self.held[:2]
        for layer in self.held[2:]:
            arrays += [a for j, a in enumerate(layer) if j != 5 or a is not layer[4]]
        for i in range(len(arrays)):
            for j in range(i):
                _check_disjoint(arrays[i], "an array", arrays[j], "another one", False)
        return 0

    def run(self, targets, totals, weights=None, double smoothing=0.0):
        """Gradients of the mean loss from what is in x. targets: int64 (models, rows) classes, or float32 (models, rows,
        outputs); totals: float64 (models), to which the losses are added; weights: float32 (models, rows) or None."""
        cdef fo_pass job = self.job
        cdef int64_t samples = job.models * job.rows
        cdef cnp.ndarray t = targets, total = _vector(totals, "totals", job.models, cnp.NPY_FLOAT64), w
        _check_out(total, "totals")
        job.target, job.soft, job.weight, job.smoothing = NULL, NULL, NULL, smoothing
        if job.classes and cnp.PyArray_TYPE(t) == cnp.NPY_INT64:
            t = _vector(t, "targets", samples, cnp.NPY_INT64)
            _check_indices(t, "target", self.last.shape[2])
            job.target = <const int64_t *> cnp.PyArray_DATA(t)
        else:
            t = _vector(t, "targets", samples * self.last.shape[2], cnp.NPY_FLOAT32)
            job.soft = <const float *> cnp.PyArray_DATA(t)
        if weights is not None:
            w = _vector(weights, "weights", samples, cnp.NPY_FLOAT32)
            job.weight = <const float *> cnp.PyArray_DATA(w)
        job.total = <double *> cnp.PyArray_DATA(total)
        with nogil:
            fo_run_pass(&job)


# -- a whole epoch ----------------------------------------------------------------------------------------------------

cdef class NetworkEpoch:
    """Epochs of one model, or parts of them, in one call without the GIL: of batch after batch the rows, the gradients
    and the optimizer's step, with the bits of gather, NetworkPass.run and Plan.step.

    one: the pass of a full batch. plan, gradients: an optimizer's, of the pass's arrays; an optimizer that looks ahead
    gets its gradients there. x, y: all samples and their targets, as NetworkPass takes a batch of them; weights: float32
    (n) or None. All are held: they must not be resized.
    """

    cdef fo_epoch job
    cdef NetworkPass one
    cdef Plan plan
    cdef tuple gradients
    cdef list origins, held
    cdef cnp.ndarray y
    cdef int64_t n

    def __cinit__(self, NetworkPass one not None, Plan plan not None, list gradients not None, x, cnp.ndarray y not None,
                  weights=None, double smoothing=0.0):
        if one.job.models != 1:
            raise ValueError(f"an epoch is that of one model, the pass has {one.job.models}")
        self.one, self.plan, self.gradients, self.y = one, plan, plan._list_gradients(gradients), y
        self.job.pass_, self.job.pass_.smoothing = one.job, smoothing
        self.n, self.held = len(x), []
        outputs, rows = one.last.shape[2], one.job.rows
        named = one.job.classes and cnp.PyArray_TYPE(y) == cnp.NPY_INT64
        batch = np.empty(rows, np.int64) if named else np.empty((rows, outputs), np.float32)
        self._take(0, "x", x, one.held[0][0])
        self._take(1, "y", y, batch)
        if named:
            self.job.pass_.target = <const int64_t *> self.job.source[1].batch
        else:
            self.job.pass_.soft = <const float *> self.job.source[1].batch
        if weights is not None:
            self._take(2, "weights", weights, np.empty(rows, np.float32))
            self.job.pass_.weight = <const float *> self.job.source[2].batch
        looks_ahead = any(["shift" in slots for slots in plan.slots])
        self.origins = [np.empty_like(p) for p in plan.parameters] if looks_ahead else None

    cdef int _take(self, int i, str label, cnp.ndarray rows, cnp.ndarray batch) except -1:
        """Rows of this array go to batch."""
        expected = (self.n, *_shape(batch)[1:])
        if cnp.PyArray_TYPE(rows) != cnp.PyArray_TYPE(batch) or _shape(rows) != expected or not self.n:
            raise ValueError(f"{label} must be {batch.dtype} of shape {expected}, got {rows.dtype} of {_shape(rows)}")
        _vector(rows, label, cnp.PyArray_SIZE(rows), cnp.PyArray_TYPE(batch))
        self.job.source[i] = fo_source(all=cnp.PyArray_DATA(rows), batch=cnp.PyArray_DATA(batch),
                                       size=cnp.PyArray_NBYTES(rows) // self.n)
        self.held += [rows, batch]
        return 0

    def run(self, order, int64_t start, int64_t stop, totals):
        """Train on the samples at order[start:stop], int64 positions, in batches; totals, float64 (1), to which the
        losses are added."""
        cdef cnp.ndarray total = _vector(totals, "totals", 1, cnp.NPY_FLOAT64)
        cdef cnp.ndarray chosen = _vector(order, "order", len(order), cnp.NPY_INT64)
        _check_out(total, "totals")
        self.plan._enter()              # from here on no other thread is at this object
        try:
            self._choose(chosen, start, stop)
            self.job.pass_.total = <double *> cnp.PyArray_DATA(total)
            self._steps((stop - start + self.one.job.rows - 1) // self.one.job.rows)
        finally:
            self.plan.busy = False

    cdef int _choose(self, cnp.ndarray order, int64_t start, int64_t stop) except -1:
        cdef const int64_t *position = <const int64_t *> cnp.PyArray_DATA(order)
        cdef const int64_t *target = self.job.pass_.target
        cdef int64_t i, outputs = self.one.last.shape[2], *classes = <int64_t *> cnp.PyArray_DATA(self.y)
        if not 0 <= start <= stop <= cnp.PyArray_SIZE(order):
            raise ValueError(f"samples {start} to {stop} are not within an order of {cnp.PyArray_SIZE(order)}")
        for i in range(start, stop):
            if not 0 <= position[i] < self.n:
                raise IndexError(f"position {position[i]} is not within the {self.n} samples")
            if target != NULL and not 0 <= classes[position[i]] < outputs:
                raise ValueError(f"target {position[i]} is {classes[position[i]]}, expected 0 to {outputs - 1}")
        self.job.order, self.job.samples = position + start, stop - start
        return 0

    cdef int _steps(self, int64_t steps) except -1:
        cdef fo_group *group = NULL
        cdef float *shift = NULL
        self._take_arrays()
        self.plan._describe(&self.job.step)
        self.job.cost, self.job.n_groups = self.plan.cost, self.plan.n_groups
        try:
            self.job.group = group = self.plan._form_ahead(steps)
            self.job.shift = shift = NULL if self.origins is None else self._shifts(group, steps)
            with nogil:
                fo_run_epoch(&self.job)
        finally:
            PyMem_Free(group)
            PyMem_Free(shift)
        return 0

    cdef int _take_arrays(self) except -1:
        """The table of the plan holds parameters, gradients and origins."""
        copies = self.plan._take_gradients(self.gradients, False)
        if copies is not None:
            self.plan._finish_copies(self.gradients, copies, False)
            raise ValueError("gradients must be in the memory order of their parameters: a step would read copies")
        self.plan._refuse_ahead()
        if self.origins is not None and self.origins is not self.plan.origins:
            self.plan._take_origins(self.origins)
        return 0

    cdef float *_shifts(self, const fo_group *group, int64_t steps) except NULL:
        """How far each step of each group looks ahead: a scalar of its rule."""
        cdef int64_t i, g
        cdef float *shift = <float *> _allocate(steps * self.plan.n_groups, sizeof(float))
        for g in range(self.plan.n_groups):
            slot = <int> self.plan.slots[g]["shift"] - len(PRELUDE)
            for i in range(steps):
                shift[i * self.plan.n_groups + g] = group[i * self.plan.n_groups + g].scalars[slot]
        return shift


cdef float *_floats(object array) noexcept:
    return <float *> cnp.PyArray_DATA(<cnp.ndarray> array)
