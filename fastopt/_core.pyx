# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False, embedsignature=False
"""The only file that touches C: checks every buffer, drops the GIL, calls. Holds no formula and no default.

Nothing is written before everything is checked and allocated: a step happens wholly or not at all.
"""

from libc.math cimport INFINITY, NAN, isfinite, pow, sqrt
from libc.stdint cimport int16_t, int32_t, int64_t, uint8_t, uint32_t, uint64_t, uintptr_t
from libc.stdlib cimport qsort
from libc.string cimport memcpy

from cpython.dict cimport PyDict_GetItemWithError, PyDict_Next
from cpython.mem cimport PyMem_Calloc, PyMem_Free
from cpython.ref cimport PyObject

ctypedef PyObject *get_item(PyObject *items, Py_ssize_t i) except NULL

cdef extern from "Python.h":
    PyObject *PyList_GetItem(PyObject *items, Py_ssize_t i) except NULL     # borrowed, as Cython's own are not
    PyObject *PyTuple_GetItem(PyObject *items, Py_ssize_t i) except NULL

cimport cython
cimport numpy as cnp

import numpy as np

from fastopt._native.capi cimport (
    FO_MAX_BUFFERS, FO_MAX_SCALARS, FO_SPAN_COST, fo_group, fo_prelude, fo_span, fo_step
)
from fastopt._native.runtime cimport api

from fastopt._native.runtime import PRELUDE, RULES

cdef extern from *:
    """
    #if defined(__GNUC__)
    #define FO_PREFETCH(address) __builtin_prefetch(address)
    #else
    #define FO_PREFETCH(address) ((void)(address))
    #endif

    /* What an array of native float32 must be, besides, to be used without a further look: these flags, this shape. */
    typedef struct {
        const npy_intp *shape;
        int ndim, flags;
    } fo_form;

    /* Whether x still is what was checked before: the same memory in the same form. */
    static inline int fo_unchanged(PyObject *x, const void *data, const fo_form *form, int flags)
    {
        PyArrayObject *a = (PyArrayObject *)x;
        if (PyArray_DATA(a) != data || PyArray_TYPE(a) != NPY_FLOAT32 || !PyArray_ISNOTSWAPPED(a) ||
            (PyArray_FLAGS(a) & flags) != flags || PyArray_NDIM(a) != form->ndim)
            return 0;
        for (int i = 0; i < form->ndim; i++)
            if (PyArray_DIMS(a)[i] != form->shape[i])
                return 0;
        return 1;
    }

    static inline int fo_is_array(PyObject *x) { return Py_IS_TYPE(x, &PyArray_Type); }

    /* With thousands of tensors their headers lie beyond the first caches: ask for those that come. */
    static inline void fo_fetch_header(PyObject *x) { FO_PREFETCH(x); FO_PREFETCH((char *)x + 64); }
    static inline void fo_fetch_shape(PyObject *x) { FO_PREFETCH(PyArray_DIMS((PyArrayObject *)x)); }
    """
    ctypedef struct fo_form:
        const cnp.npy_intp *shape
        int ndim
        int flags
    bint fo_unchanged(PyObject *x, const void *data, const fo_form *form, int flags) noexcept
    bint fo_is_array(PyObject *x) noexcept
    void fo_fetch_header(PyObject *x) noexcept
    void fo_fetch_shape(PyObject *x) noexcept

cnp.import_array()

# Below this many elements, some microseconds of work, the GIL is kept: giving it up and waiting for it again would cost
# more than others could gain.
cdef int64_t KEEP_GIL = 16384

cdef int CLIP = 1       # the slot whose absence is an infinity
cdef dict RULE_INDEX = {name: i for i, name in enumerate(RULES)}
# Per rule: name of a scalar -> slot, those of the prelude first.
cdef dict SLOTS = {rule: {name: i for i, name in enumerate((*PRELUDE, *scalars))}
                   for rule, (_, scalars) in RULES.items()}


# -- checks -----------------------------------------------------------------------------------------------------------

cdef object _explain_type(object x, str label):
    module = type(x).__module__.partition(".")[0]
    advice = {
        "torch": ": pass tensor.numpy() (or use fastopt.torch)",
        "jax": ": pass numpy.array(x)",
        "jaxlib": ": pass numpy.array(x)",
        "cupy": ": pass x.get()",
        "NoneType": "",
    }.get(module, "")
    if isinstance(x, np.ma.MaskedArray):
        advice = ", whose mask would be ignored: pass x.filled(...)"
    elif isinstance(x, (list, tuple, int, float)):
        advice = ": pass numpy.asarray(x, dtype=numpy.float32)"
    name = type(x).__name__ if module in ("builtins", "numpy") else f"{type(x).__module__}.{type(x).__name__}"
    return TypeError(f"{label} must be a float32 numpy.ndarray, got {name}{advice}")


cdef inline bint _is_float32(cnp.ndarray a) noexcept:
    return cnp.PyArray_TYPE(a) == cnp.NPY_FLOAT32 and cnp.PyArray_ISNOTSWAPPED(a) and cnp.PyArray_ISALIGNED(a)


cdef inline bint _is_block(cnp.ndarray a) noexcept:
    """One contiguous block, in either order, that may be written."""
    return (cnp.PyArray_IS_C_CONTIGUOUS(a) or cnp.PyArray_IS_F_CONTIGUOUS(a)) and cnp.PyArray_ISWRITEABLE(a)


cdef cnp.ndarray _as_float32(object x, str label):
    """x itself, known to be an aligned float32 array in native byte order; of any strides."""
    if not cnp.PyArray_CheckExact(x) and not (isinstance(x, np.memmap)):
        raise _explain_type(x, label)
    cdef cnp.ndarray a = x
    if not _is_float32(a):
        if cnp.PyArray_TYPE(a) != cnp.NPY_FLOAT32:
            raise TypeError(f"{label} has dtype {a.dtype}, expected float32")
        if not cnp.PyArray_ISNOTSWAPPED(a):
            raise ValueError(f"{label} has byte order {a.dtype.str!r}, expected the native {np.dtype('f4').str!r}")
        raise ValueError(f"{label} is not aligned: its address {_address(a):#x} is no multiple of 4 bytes")
    return a


cdef cnp.ndarray _as_buffer(object x, str label):
    """x itself, known to be one block of float32 that may be updated in place."""
    cdef cnp.ndarray a = _as_float32(x, label)
    if not (cnp.PyArray_IS_C_CONTIGUOUS(a) or cnp.PyArray_IS_F_CONTIGUOUS(a)):
        raise ValueError(f"{label} is not contiguous (shape {_shape(a)}, strides {(<object> a).strides} bytes): "
                         "it is updated in place and never through a copy")
    if not cnp.PyArray_ISWRITEABLE(a):
        raise ValueError(f"{label} is read-only")
    return a


cdef inline tuple _shape(cnp.ndarray a):
    return tuple([cnp.PyArray_DIM(a, i) for i in range(cnp.PyArray_NDIM(a))])


cdef inline uintptr_t _address(cnp.ndarray a) noexcept:
    return <uintptr_t> cnp.PyArray_DATA(a)


cdef inline bint _same_shape(cnp.ndarray a, cnp.ndarray b) noexcept:
    cdef int i, ndim = cnp.PyArray_NDIM(a)
    if cnp.PyArray_NDIM(b) != ndim:
        return False
    for i in range(ndim):
        if cnp.PyArray_DIM(a, i) != cnp.PyArray_DIM(b, i):
            return False
    return True


cdef inline int _layout(cnp.ndarray a) noexcept:
    """The flag of the order in which a's elements lie: C where it is both."""
    return cnp.NPY_ARRAY_C_CONTIGUOUS if cnp.PyArray_IS_C_CONTIGUOUS(a) else cnp.NPY_ARRAY_F_CONTIGUOUS


# -- the plan ---------------------------------------------------------------------------------------------------------

cdef int _set_scalar(fo_group *group, int slot, double value) except -1:
    """Slots 0-4 are those of PRELUDE, the others the rule's."""
    if slot > 4:
        group.scalars[slot - 5] = <float> value
    elif slot == 0:
        group.prelude.scale = value
    elif slot == 1:
        group.prelude.clip = <float> value
    elif slot == 2:
        group.prelude.weight_decay = <float> value
    elif slot == 3:
        group.prelude.l1 = <float> value
    else:
        group.prelude.decay = <float> value
    return 0


cdef struct interval:
    uintptr_t start
    uintptr_t end
    int64_t span
    int buffer


cdef int _by_start(const void *a, const void *b) noexcept nogil:
    cdef uintptr_t x = (<const interval *> a).start, y = (<const interval *> b).start
    return (x > y) - (x < y)


cdef inline interval _interval(float *data, int64_t size, int64_t span, int buffer) noexcept:
    return interval(start=<uintptr_t> data, end=<uintptr_t> (data + size), span=span, buffer=buffer)


cdef int64_t _first_overlap(interval *taken, int64_t n) noexcept:
    """Sort by address; the index of the first that overlaps the one before it, or 0."""
    cdef int64_t i
    qsort(taken, n, sizeof(interval), _by_start)
    for i in range(1, n):
        if taken[i].start < taken[i - 1].end:
            return i
    return 0


cdef enum:
    MAX_CORRECTIONS = 4     # scalars of a group that are bias-corrected
    MAX_FACTORS = 2         # of each
    AHEAD = 16              # tensors; how far ahead headers are fetched
    MANY = 256              # tensors, from which on they are

cdef struct correction:
    int slot
    double value            # before the correction
    int n_factors
    double beta[MAX_FACTORS]
    double power[MAX_FACTORS]

cdef struct moving:
    int n
    correction scalar[MAX_CORRECTIONS]


@cython.cdivision(True)
cdef double _corrected(const correction *c, double t) noexcept nogil:
    """value · Π (1 − βᵗ)^power, power −1 or ½, in this order and in double. Not finite where β is 1: _correct refuses it."""
    cdef double value = c.value
    cdef int i
    for i in range(c.n_factors):
        if c.power[i] > 0:
            value *= sqrt(1.0 - pow(c.beta[i], t))
        else:
            value /= 1.0 - pow(c.beta[i], t)
    return value


cdef class _Clock:
    """The steps that a group has taken, and whether its scalars must be formed anew for the next one.

    stale: because a value changed since, or the learning rate is a schedule. Bias corrections do not make it so.
    """

    cdef public int64_t steps
    cdef public bint stale

    def __cinit__(self):
        self.stale = True


cdef class Plan:
    """What every step of some groups touches: a table of spans in C, checked once and re-checked where it can change.

    groups: a list of (rule, buffers): per tensor a tuple (parameter, *states), arrays of one shape and layout.
    names: per group the names of its buffers, for messages ("parameter" first).
    single: there is one tensor and messages shall not number it.
    param_groups, scalars: per group an object with a `clock`, and a function from it to what set() takes for its next
    step.
    Every step that is not skipped advances the clocks.

    States are private to their owner, so their addresses do not move (short of a resize(refcheck=False) of their base);
    parameters belong to the caller and are looked at again in every step.
    """

    cdef fo_span *span
    cdef fo_group *group
    cdef interval *owned            # parameters and states by address, disjoint
    cdef interval *taken            # room for one per span: gradients or origins that are being compared
    cdef double *partial
    cdef float *shift
    cdef double noise               # of the step that is under way
    cdef uint64_t noise_key
    cdef moving *moves              # per group
    cdef fo_form *form              # per span: what its arrays looked like when they were checked
    cdef cnp.npy_intp *shapes       # what the forms point to
    cdef int64_t n_spans, n_groups, n_owned, cost, tiles, elements
    cdef bint busy, single, gradients_apart
    cdef int forks                  # of the process that is busy
    cdef list parameters            # one array per span
    cdef PyObject **parameter       # the same, borrowed
    cdef list keep_alive
    cdef list origins
    cdef list clocks, param_groups
    cdef object scalars
    cdef list names                 # per group
    cdef list slots                 # per group: scalar name -> place in fo_group.scalars
    cdef readonly bint skipped
    cdef public int64_t skips       # steps that were skipped so far
    cdef readonly bint ahead        # the parameters hold the lookahead point
    cdef public bint looked_ahead   # they did, and no step has used the gradients yet

    def __cinit__(self):
        self.span = NULL
        self.group = NULL
        self.owned = NULL
        self.taken = NULL
        self.partial = NULL
        self.shift = NULL
        self.moves = NULL
        self.form = NULL
        self.shapes = NULL
        self.parameter = NULL

    def __dealloc__(self):
        PyMem_Free(self.span)
        PyMem_Free(self.group)
        PyMem_Free(self.owned)
        PyMem_Free(self.taken)
        PyMem_Free(self.partial)
        PyMem_Free(self.shift)
        PyMem_Free(self.moves)
        PyMem_Free(self.form)
        PyMem_Free(self.shapes)
        PyMem_Free(self.parameter)

    def __init__(self, list groups not None, list names not None, bint single=False, list param_groups=None,
                 scalars=None):
        if self.span != NULL:
            raise RuntimeError("a plan is made once")
        cdef int64_t g, s = 0
        self.single = single
        self.param_groups = param_groups or []
        self.clocks = [group.clock for group in self.param_groups]
        self.scalars = scalars
        self.names = names
        self.slots = []
        self.parameters = []
        self.keep_alive = []
        cdef int64_t n_spans = sum([len(buffers) for _, buffers in groups])
        self.span = <fo_span *> _allocate(n_spans, sizeof(fo_span))
        self.group = <fo_group *> _allocate(len(groups), sizeof(fo_group))
        self.owned = <interval *> _allocate(n_spans * FO_MAX_BUFFERS, sizeof(interval))
        self.taken = <interval *> _allocate(n_spans, sizeof(interval))
        self.moves = <moving *> _allocate(len(groups), sizeof(moving))
        for g, (rule, tensors) in enumerate(groups):
            self._add_group(g, rule)
            for buffers in tensors:
                self._add_span(s, g, buffers)
                s += 1
        self._check_owned()
        self._remember_forms()
        self.n_groups, self.n_spans = len(groups), n_spans      # from here on there is something to step
        self.cost = api.steps.lay_out(self.span, self.n_spans, &self.tiles)
        self.elements = self.cost - self.n_spans * FO_SPAN_COST

    cdef int _add_group(self, int64_t g, str rule) except -1:
        cdef fo_group *group = &self.group[g]
        cdef int i
        group.rule = RULE_INDEX[rule]
        group.prelude = fo_prelude(scale=1.0, clip=INFINITY, weight_decay=0.0, l1=0.0, decay=1.0)
        for i in range(FO_MAX_SCALARS):
            group.scalars[i] = NAN
        self.slots.append(SLOTS[rule])
        return 0

    cdef int _add_span(self, int64_t s, int64_t g, tuple buffers) except -1:
        cdef fo_span *span = &self.span[s]
        cdef int k
        cdef cnp.ndarray a, parameter = self._buffer(buffers[0], g, 0, s)
        if len(buffers) != api.steps.rules[self.group[g].rule].n_buffers:
            raise ValueError(f"{self._label(g, 0, s)} needs {api.steps.rules[self.group[g].rule].n_buffers - 1} state buffers,"
                             f" got {len(buffers) - 1}")
        span.group = <int32_t> g
        span.size = cnp.PyArray_SIZE(parameter)
        for k, x in enumerate(buffers):
            a = self._buffer(x, g, k, s)
            if not _same_shape(a, parameter):
                raise ValueError(f"{self._label(g, k, s)} has shape {_shape(a)}, "
                                 f"{self._label(g, 0, s)} has {_shape(parameter)}")
            if _layout(a) != _layout(parameter):
                raise ValueError(f"{self._label(g, k, s)} and {self._label(g, 0, s)} differ in memory order (C and F)")
            span.buffer[k] = <float *> cnp.PyArray_DATA(a)
            if span.size > 0:
                self.owned[self.n_owned] = _interval(span.buffer[k], span.size, s, k)
                self.n_owned += 1
        self.parameters.append(parameter)
        self.keep_alive.append(buffers)
        return 0

    cdef int _remember_forms(self) except -1:
        cdef int64_t s, at = 0, n = len(self.parameters)
        cdef int i
        cdef cnp.ndarray a
        self.form = <fo_form *> _allocate(n, sizeof(fo_form))
        self.parameter = <PyObject **> _allocate(n, sizeof(PyObject *))
        self.shapes = <cnp.npy_intp *> _allocate(sum([(<object> a).ndim for a in self.parameters]), sizeof(cnp.npy_intp))
        for s in range(n):
            a = <cnp.ndarray> self.parameters[s]
            self.parameter[s] = <PyObject *> a
            self.form[s] = fo_form(shape=&self.shapes[at], ndim=cnp.PyArray_NDIM(a),
                                   flags=_layout(a) | cnp.NPY_ARRAY_ALIGNED)
            for i in range(cnp.PyArray_NDIM(a)):
                self.shapes[at + i] = cnp.PyArray_DIM(a, i)
            at += cnp.PyArray_NDIM(a)
        return 0

    cdef cnp.ndarray _buffer(self, object x, int64_t g, int k, int64_t s):
        if cnp.PyArray_CheckExact(x) and _is_float32(<cnp.ndarray> x) and _is_block(<cnp.ndarray> x):
            return <cnp.ndarray> x
        return _as_buffer(x, self._label(g, k, s))

    cdef str _label(self, int64_t g, int k, int64_t s):
        return self.names[g][k] if self.single else f"{self.names[g][k]} {s}"

    cdef str _gradient_label(self, int64_t s):
        name = "grad" if self.names[0][0] == "param" else "gradient"    # fastopt.functional's argument, or a step's
        return name if self.single else f"{name} {s}"

    cdef str _origin_label(self, int64_t s):
        return "origin" if self.single else f"origin {s}"

    cdef str _owner(self, const interval *owner):
        return self._label(self.span[owner.span].group, owner.buffer, owner.span)

    cdef int _check_owned(self) except -1:
        """No parameter or state overlaps another; leaves `owned` sorted by address."""
        cdef int64_t i = _first_overlap(self.owned, self.n_owned)
        if i > 0:
            raise ValueError(f"{self._owner(&self.owned[i])} overlaps {self._owner(&self.owned[i - 1])} in memory")
        return 0

    cdef int _check_apart(self, bint origin, int64_t s, uintptr_t start, uintptr_t end) except -1:
        """This gradient, or origin, overlaps no parameter and no state."""
        cdef int64_t low = 0, high = self.n_owned, middle
        while low < high:               # the first owner that ends after start
            middle = (low + high) // 2
            if self.owned[middle].end > start:
                high = middle
            else:
                low = middle + 1
        if low < self.n_owned and self.owned[low].start < end:
            label = self._origin_label(s) if origin else self._gradient_label(s)
            raise ValueError(f"{label} overlaps {self._owner(&self.owned[low])} in memory")
        return 0

    cdef int _check_parameters(self) except -1:
        """The parameters are where they were. One that moved (resize, dtype, shape, flags) is named."""
        cdef int64_t s
        for s in range(self.n_spans):
            self._check_parameter(s)
        return 0

    cdef int _check_parameter(self, int64_t s) except -1:
        cdef cnp.ndarray a = <cnp.ndarray> self.parameters[s]
        if (_address(a) != <uintptr_t> self.span[s].buffer[0] or cnp.PyArray_SIZE(a) != self.span[s].size
                or not _is_float32(a) or not _is_block(a)):
            label = self._label(self.span[s].group, 0, s)
            _as_buffer(a, label)
            raise ValueError(f"{label} was moved or resized since the optimizer was made: it now has shape "
                             f"{_shape(a)} at another address; make a new optimizer for it")
        return 0

    cdef list _take_gradients(self, tuple gradients, bint will_be_zeroed):
        """Check every parameter and gradient; the gradients' addresses are in the table then.

        Returns the copies that had to be made as (span, copy), or None. Looks closely only at what is not as it was.
        """
        cdef int64_t s = self._first_changed(gradients, 0, will_be_zeroed)
        cdef object copy
        cdef list copies = None
        while s < self.n_spans:
            self._check_parameter(s)
            copy = self._take_gradient(s, gradients[s], will_be_zeroed)
            if copy is not None:
                copies = copies or []
                copies.append((s, copy))
            s = self._first_changed(gradients, s + 1, will_be_zeroed)
        return copies

    cdef int64_t _first_changed(self, object gradients, int64_t s, bint will_be_zeroed) except -1:
        """The first tensor from s on whose parameter or gradient is not what the last step found, or n_spans.

        gradients: a list or a tuple of n_spans items. Runs no Python code.
        """
        cdef get_item *item = PyList_GetItem if type(gradients) is list else PyTuple_GetItem
        cdef PyObject *items = <PyObject *> gradients
        cdef int written = cnp.NPY_ARRAY_WRITEABLE, zeroed = cnp.NPY_ARRAY_WRITEABLE if will_be_zeroed else 0
        cdef int64_t n = self.n_spans, fetched = n - AHEAD if n >= MANY else 0
        cdef PyObject *g
        cdef fo_form *form
        while s < n:
            if s < fetched:
                self._fetch_headers(item(items, s + AHEAD), item(items, s + AHEAD // 2), s)
            form, g = &self.form[s], item(items, s)
            if not (fo_is_array(g) and fo_unchanged(g, self.span[s].gradient, form, form.flags | zeroed)
                    and fo_unchanged(self.parameter[s], self.span[s].buffer[0], form, form.flags | written)):
                return s
            s += 1
        return n

    cdef inline void _fetch_headers(self, PyObject *far, PyObject *near, int64_t s) noexcept:
        """Ask for the headers of a tensor ahead; the shapes of one half as far ahead can be asked for by now."""
        fo_fetch_header(far)
        fo_fetch_header(self.parameter[s + AHEAD])
        if fo_is_array(near):
            fo_fetch_shape(near)
        fo_fetch_shape(self.parameter[s + AHEAD // 2])

    cdef object _take_gradient(self, int64_t s, object x, bint will_be_zeroed):
        """Check gradient s and write its address into the table. Returns the copy to keep alive, if there is one."""
        cdef fo_span *span = &self.span[s]
        cdef cnp.ndarray a, parameter = <cnp.ndarray> self.parameters[s]
        cdef float *data
        if cnp.PyArray_CheckExact(x) and _is_float32(<cnp.ndarray> x):
            a = <cnp.ndarray> x
        elif isinstance(x, np.float32) and cnp.PyArray_NDIM(parameter) == 0 and not will_be_zeroed:
            # what NumPy makes of arithmetic on a 0-d array
            a = np.asarray(x)
        else:
            a = _as_float32(x, self._gradient_label(s))
        if not _same_shape(a, parameter):
            raise ValueError(f"{self._gradient_label(s)} has shape {_shape(a)}, "
                             f"{self.names[0][0]} has {_shape(parameter)}")
        if will_be_zeroed and not cnp.PyArray_ISWRITEABLE(a):
            raise ValueError(f"{self._gradient_label(s)} is read-only: zero_grads has to write it")
        if a is not x or not cnp.PyArray_CHKFLAGS(a, _layout(parameter)):
            return self._copy_gradient(s, a, parameter)
        data = <float *> cnp.PyArray_DATA(a)
        if data != span.gradient:
            span.gradient = NULL        # known to be apart only once it was checked
            self.gradients_apart = False
            if span.size > 0:
                self._check_apart(False, s, <uintptr_t> data, <uintptr_t> (data + span.size))
            span.gradient = data
        return None

    cdef object _copy_gradient(self, int64_t s, cnp.ndarray a, cnp.ndarray parameter):
        self.span[s].gradient = NULL
        self.gradients_apart = False
        start, end = np.lib.array_utils.byte_bounds(a)
        if self.span[s].size > 0:
            self._check_apart(False, s, start, end)
        order = "C" if _layout(parameter) == cnp.NPY_ARRAY_C_CONTIGUOUS else "F"
        cdef cnp.ndarray copy = np.array(a, order=order, copy=True)
        self.span[s].gradient = <float *> cnp.PyArray_DATA(copy)
        return copy

    cdef int _check_gradients_apart(self, list copies) except -1:
        """Gradients that are going to be zeroed overlap no other that is read. Remembered while none moves.

        One that was copied is read already, and zeroed when all is done.
        """
        cdef int64_t s, n = 0
        if self.gradients_apart:
            return 0
        copied = () if copies is None else {s for s, _ in copies}
        for s in range(self.n_spans):
            if self.span[s].size > 0 and s not in copied:
                self.taken[n] = _interval(self.span[s].gradient, self.span[s].size, s, 0)
                n += 1
        s = _first_overlap(self.taken, n)
        if s > 0:
            raise ValueError(f"{self._gradient_label(self.taken[s].span)} overlaps "
                             f"{self._gradient_label(self.taken[s - 1].span)} in memory: "
                             "zero_grads would clear one before the other is read")
        self.gradients_apart = True
        return 0

    cdef bint _same_list(self, object grads, bint will_be_zeroed) except -1:
        """Whether a small step can use this list as it is: nothing moved, and nobody can change it under the GIL.

        What comes after it in the step makes no container: that could set off the garbage collector, whose finalizers
        might change the list.
        """
        return (type(grads) is list and not self.single and self.elements < KEEP_GIL and len(<list> grads) == self.n_spans
                and self._first_changed(grads, 0, will_be_zeroed) == self.n_spans)

    cdef tuple _list_gradients(self, object grads):
        if self.single:
            return (grads,)
        if type(grads) is tuple:
            gradients = grads
        elif isinstance(grads, (list, tuple)):
            gradients = tuple(grads)
        elif isinstance(grads, (np.ndarray, dict, str)) or not hasattr(grads, "__iter__"):
            raise TypeError(f"gradients must be a list of {self.n_spans} arrays, one per parameter, "
                            f"got {type(grads).__name__}")
        else:
            gradients = tuple(grads)
        if len(gradients) != self.n_spans:
            raise ValueError(f"expected {self.n_spans} gradients, one per parameter, got {len(gradients)}")
        return gradients

    def __enter__(self):
        """Keep others from stepping within the block; RuntimeError if one is at it."""
        self._enter()

    def __exit__(self, *_):
        self.busy = False

    cdef int _enter(self) except -1:
        if self.busy and self.forks == api.runtime.forks():      # a step that was under way at a fork goes on in the parent alone
            raise RuntimeError("this optimizer is in the middle of a step, on another thread or in what called this")
        self.busy = True
        self.forks = api.runtime.forks()
        return 0

    def set(self, int64_t index, dict values not None, dict corrections not None, int64_t t):
        """Set scalars of the rule and of the prelude of one group, by name; doubles, rounded to float here.

        corrections: scalar -> ((β, power), ...), power −1 or ½: it is multiplied by each (1 − βᵗ)^power, in every step.
        A name that this rule has no use for is passed over: a class forms the scalars of all its rules, and base.py
        has made sure at import that none is missing.
        """
        if not 0 <= index < self.n_groups:
            raise IndexError(f"group {index} of {self.n_groups}")
        self._set_values(index, values)
        self._set_corrections(index, values, corrections)
        self._correct(index, t)

    cdef int _set_corrections(self, int64_t index, dict values, dict corrections) except -1:
        cdef moving *moves = &self.moves[index]
        cdef correction *c
        cdef int i
        moves.n = 0
        for name, factors in corrections.items():
            if name not in self.slots[index]:
                continue
            if moves.n == MAX_CORRECTIONS or len(factors) > MAX_FACTORS:
                raise ValueError(f"at most {MAX_CORRECTIONS} corrected scalars with {MAX_FACTORS} factors each, "
                                 f"got {corrections}")
            c = &moves.scalar[moves.n]
            c.slot, c.value, c.n_factors = self.slots[index][name], values[name], len(factors)
            for i, (beta, power) in enumerate(factors):
                if power not in (-1, 0.5):
                    raise ValueError(f"the power of a bias correction must be -1 or 0.5, got {power!r} for {name}")
                c.beta[i], c.power[i] = beta, power
            moves.n += 1
        return 0

    cdef int _correct(self, int64_t index, int64_t t) except -1:
        """The bias-corrected scalars of step t."""
        cdef moving *moves = &self.moves[index]
        cdef double value
        cdef int i
        for i in range(moves.n):
            value = _corrected(&moves.scalar[i], <double> t)
            if not isfinite(<float> value):
                self._refuse_scalar([name for name, slot in self.slots[index].items() if slot == moves.scalar[i].slot][0],
                                    value)
            _set_scalar(&self.group[index], moves.scalar[i].slot, value)
        return 0

    cdef int _refuse_scalar(self, str name, double value) except -1:
        raise ValueError(f"{name} of the step comes to {value!r}, which no float32 holds: "
                         "a hyper-parameter is too large")

    cdef int _set_values(self, int64_t index, dict values) except -1:
        cdef fo_group *group = &self.group[index]
        cdef PyObject *slots = <PyObject *> self.slots[index]
        cdef PyObject *name
        cdef PyObject *number
        cdef PyObject *slot
        cdef Py_ssize_t position = 0
        cdef double value
        while PyDict_Next(values, &position, &name, &number):
            value = <object> number
            slot = PyDict_GetItemWithError(<object> slots, <object> name)
            if slot != NULL:
                if not isfinite(<float> value) and <int> <object> slot != CLIP:
                    self._refuse_scalar(<object> name, value)
                _set_scalar(group, <int> <object> slot, value)
        return 0

    def step(self, grads, double grad_scale=1.0, max_norm=None, bint skip_nonfinite=False, bint zero_gradients=False,
             double noise=0.0, uint64_t noise_key=0):
        """One step. noise: the standard deviation of what is added to the scaled gradients under a key. Returns the
        gradients' norm if max_norm or skip_nonfinite asked for one, else None."""
        self._enter()
        try:
            self._refuse_ahead()
            self._form_scalars()
            self.noise, self.noise_key = noise, noise_key
            norm = self._step(grads, grad_scale, INFINITY if max_norm is None else max_norm,
                              max_norm is not None or skip_nonfinite, skip_nonfinite, zero_gradients)
            if self.skipped:
                self.skips += 1
            else:
                self._advance_clocks()
            self.looked_ahead = False
            return norm
        finally:
            self.busy = False

    cdef int _form_scalars(self) except -1:
        cdef int64_t g
        cdef _Clock clock
        for g, clock in enumerate(self.clocks):
            if clock.stale:
                clock.stale = False     # before the values are read: one that is set meanwhile makes it stale again
                try:
                    self.set(g, *self.scalars(self.param_groups[g]), clock.steps + 1)
                except BaseException:
                    clock.stale = True
                    raise
            elif self.moves[g].n > 0:
                self._correct(g, clock.steps + 1)
        return 0

    cdef int _advance_clocks(self) except -1:
        cdef _Clock clock
        for clock in self.clocks:
            clock.steps += 1
        return 0

    cdef fo_group *_form_ahead(self, int64_t steps) except NULL:
        """The groups of as many steps, each formed as step() would; the clocks stand behind the last one then. An error
        leaves them where they were."""
        cdef int64_t i
        cdef _Clock clock
        cdef list before = [clock.steps for clock in self.clocks]
        cdef fo_group *ahead = <fo_group *> _allocate(steps * self.n_groups, sizeof(fo_group))
        try:
            for i in range(steps):
                self._form_scalars()
                memcpy(ahead + i * self.n_groups, self.group, self.n_groups * sizeof(fo_group))
                self._advance_clocks()
        except BaseException:
            PyMem_Free(ahead)
            for i, clock in enumerate(self.clocks):
                clock.steps, clock.stale = before[i], True
            raise
        return ahead

    cdef object _step(self, object grads, double grad_scale, double max_norm, bint want_norm, bint skip_nonfinite,
                      bint zero_gradients):
        cdef fo_step step
        cdef tuple gradients = None
        cdef list copies = None
        if not self._same_list(grads, zero_gradients):
            gradients = self._list_gradients(grads)
            copies = self._take_gradients(gradients, zero_gradients)
        if zero_gradients and not self.single:
            self._check_gradients_apart(copies)
        if want_norm and self.partial == NULL:
            self.partial = <double *> _allocate(self.tiles, sizeof(double))
        self._describe(&step)
        step.grad_scale = grad_scale
        step.max_norm = max_norm
        step.want_norm = want_norm
        step.skip_nonfinite = skip_nonfinite
        step.zero_gradients = zero_gradients
        step.noise = self.noise
        step.noise_key[0], step.noise_key[1] = <uint32_t> (self.noise_key & 0xFFFFFFFF), <uint32_t> (self.noise_key >> 32)
        if self.elements < KEEP_GIL:
            api.steps.run(&step, self.cost)
        else:
            with nogil:
                api.steps.run(&step, self.cost)
        self.skipped = step.skipped
        if copies is not None:
            self._finish_copies(gradients, copies, zero_gradients and not step.skipped)
        return step.norm if want_norm else None

    cdef int _describe(self, fo_step *step) except -1:
        step.span = self.span
        step.n_spans = self.n_spans
        step.group = self.group
        step.partial = self.partial
        step.grad_scale, step.max_norm = 1.0, INFINITY
        step.want_norm = step.skip_nonfinite = step.zero_gradients = False
        step.noise = 0
        step.threads = api.runtime.threads_for(self.elements)
        return 0

    cdef int _finish_copies(self, tuple gradients, list copies, bint zero) except -1:
        for s, _ in copies:
            self.span[<int64_t> s].gradient = NULL     # the copy goes away: its address means nothing in the next step
            if zero:
                gradients[s][...] = 0
        return 0

    def look_ahead(self, list origins not None, list shifts not None):
        """Every w moves to w − shift·a, a its first state; what it was goes to the origins, one array per parameter."""
        self._enter()
        try:
            self._look_ahead(origins, shifts)
        finally:
            self.busy = False

    cdef int _look_ahead(self, list origins, list shifts) except -1:
        cdef int64_t g
        self._refuse_ahead()
        self._check_parameters()
        if origins is not self.origins:         # a list that was checked before and is nobody else's
            self._take_origins(origins)
        if len(shifts) != self.n_groups:
            raise ValueError(f"expected {self.n_groups} shifts, got {len(shifts)}")
        if self.shift == NULL:
            self.shift = <float *> _allocate(self.n_groups, sizeof(float))
        for g in range(self.n_groups):
            self.shift[g] = <float> <double> shifts[g]
        self._move(self.shift)
        self.ahead = True
        self.looked_ahead = False
        return 0

    cdef int _refuse_ahead(self) except -1:
        if self.ahead:
            raise RuntimeError("the parameters hold the lookahead point already")
        return 0

    cdef int _take_origins(self, list origins) except -1:
        cdef int64_t s, n = 0
        cdef cnp.ndarray a, parameter
        self.origins = None             # the table holds none of those, once it begins to change
        if len(origins) != self.n_spans:
            raise ValueError(f"expected {self.n_spans} origins, got {len(origins)}")
        for s in range(self.n_spans):
            label = self._origin_label(s)
            parameter = <cnp.ndarray> self.parameters[s]
            a = _as_buffer(origins[s], label)
            if not _same_shape(a, parameter):
                raise ValueError(f"{label} has shape {_shape(a)}, parameter has {_shape(parameter)}")
            if _layout(a) != _layout(parameter):
                raise ValueError(f"{label} and its parameter differ in memory order (C and F)")
            self.span[s].origin = <float *> cnp.PyArray_DATA(a)
            if self.span[s].size > 0:
                self.taken[n] = _interval(self.span[s].origin, self.span[s].size, s, 0)
                self._check_apart(True, s, self.taken[n].start, self.taken[n].end)
                n += 1
        s = _first_overlap(self.taken, n)
        if s > 0:
            raise ValueError(f"origin {self.taken[s].span} overlaps origin {self.taken[s - 1].span} in memory")
        self.origins = origins
        return 0

    def check(self):
        """Raises if a parameter is not where and what it was, or cannot be written."""
        self._check_parameters()

    def restore(self):
        """The way back from look_ahead: every parameter holds its origin's bits again, save one that is not where it
        was: a RuntimeError tells of it when all others are back. Either way this is over."""
        cdef list lost = None
        self._enter()
        try:
            if self.ahead:
                lost = self._go_back()
        finally:
            self._let_go()
            self.busy = False
        if lost:
            raise RuntimeError(f"not put back behind the lookahead() block, as all others are: {'; '.join(lost)}")

    cdef list _go_back(self):
        """Returns what is to be said of the parameters that cannot be put back."""
        cdef int64_t s
        cdef fo_span *span
        cdef list gone = [self._why_gone(s) for s in range(self.n_spans)]
        cdef list lost = [why for why in gone if why is not None]
        if not lost:
            self._move(NULL)
        else:
            for s in range(self.n_spans):
                span = &self.span[s]
                if gone[s] is None and span.size > 0:
                    memcpy(span.buffer[0], span.origin, span.size * (4 if span.w_type == FO_FLOAT else 2))
        self.ahead = False
        return lost

    cdef str _why_gone(self, int64_t s):
        """Why a parameter cannot be written where it was; None if it can."""
        try:
            self._check_parameter(s)
        except (TypeError, ValueError) as error:
            return str(error)
        return None

    cdef int _let_go(self) except -1:
        """What was held for the time of a step."""
        return 0

    cdef int _move(self, const float *shift) except -1:
        cdef fo_step step
        self._describe(&step)
        with nogil:
            api.steps.look_ahead(&step, self.cost, shift)
        return 0


cdef void *_allocate(int64_t count, size_t size) except NULL:
    """Zeroed memory, at least one element of it."""
    cdef void *memory = PyMem_Calloc(count if count > 0 else 1, size)
    if memory == NULL:
        raise MemoryError(f"{count} × {size} bytes")
    return memory


include "_tensors.pxi"
