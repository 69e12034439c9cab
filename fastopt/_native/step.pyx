# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False, embedsignature=False, binding=False
"""One step over arrays: check every buffer, then call the kernel. Holds no formula and no default.

Nothing is written before everything is checked and allocated, so a step is all or nothing.
"""

from cpython.bytes cimport PyBytes_AsString, PyBytes_FromStringAndSize
from cpython.mem cimport PyMem_Free
from cpython.ref cimport PyObject
from libc.stdint cimport int32_t, int64_t, uint32_t, uint64_t, uintptr_t
from libc.string cimport memcpy, memset

cimport numpy as cnp

import numpy as np

from fastopt._native.arrays cimport (
    address_of, allocate, as_buffer, as_float32, check_layout, copy_all, fo_fetch_header, fo_fetch_shape, fo_is_array, fo_is_unchanged,
    first_overlap, interval, is_contiguous, is_float32, order_of, ready_to_copy, same_shape, set_zero, shape_of
)
from fastopt._native.capi cimport FO_FLOAT, FO_MAX_BUFFERS, KEEP_GIL, fo_group, fo_span, fo_step
from fastopt._native.runtime cimport api
from fastopt._native.scalars cimport Clock, GroupScalars, assign
from fastopt._native.spans cimport SpanTable, grown, interval_of

cnp.import_array()

ctypedef PyObject *get_item(PyObject *items, Py_ssize_t i) except NULL

cdef extern from "Python.h":        # these functions return borrowed references, Cython's own return new ones
    PyObject *PyList_GetItem(PyObject *items, Py_ssize_t i) except NULL
    PyObject *PyTuple_GetItem(PyObject *items, Py_ssize_t i) except NULL

cdef enum:
    AHEAD = 16              # how many arrays ahead headers are fetched
    MANY = 256              # with fewer arrays there is no prefetching

# -- a step over arrays -----------------------------------------------------------------------------------------------

cdef class ArrayStep:
    """Steps over groups of arrays. States are checked once, parameters in every step.

    groups, names: per group (rule, tensors) and the names of its buffers; see append.
    single: there is one tensor, and messages do not number it.

    States belong to the optimizer, so their addresses do not change. Parameters belong to the caller and are checked
    again in every step.
    """

    def __cinit__(self, *_):
        self.table, self.scalars = SpanTable(), GroupScalars()
        self.groups, self.keep_alive = [], []

    def __dealloc__(self):
        PyMem_Free(self.form)
        PyMem_Free(self.parameter)
        PyMem_Free(self.clock)
        PyMem_Free(self.shift)
        PyMem_Free(self.formed)
        PyMem_Free(self.varying)

    def __init__(self, list groups not None, list names not None, bint single=False):
        if self.groups:
            raise RuntimeError("an ArrayStep cannot be initialized twice")
        self.table.single = single
        if names and names[0][0] == "param":
            self.table.gradient_name = "grad"       # fastopt.functional's name of the argument
        for (rule, tensors), of_group in zip(groups, names, strict=True):
            self.append(rule, tensors, of_group)

    @property
    def single(self):
        """Whether messages do not number the parameter, because there is one."""
        return self.table.single

    def append(self, str rule not None, list tensors not None, tuple names not None, group=None, Clock clock=None,
               bint check_only=False):
        """Add a group: all of it or, on an error, nothing.

        tensors: a tuple (parameter, *states) each: arrays of one shape and order. names: those of the buffers for messages,
        the parameter's first. group: what `groups` gets. clock: every step that is not skipped advances it; None: the
        caller sets the scalars itself. check_only: raise what adding the group would raise.
        """
        cdef SpanTable table = self.table
        cdef bint single = table.single
        cdef interval *owned = NULL
        cdef int64_t n_owned
        table.enter()
        try:
            table.refuse_ahead()
            table.single = single and not self.groups
            self._stage(rule, tensors, names, clock)
            owned = <interval *> allocate(len(tensors) * FO_MAX_BUFFERS, sizeof(interval))
            n_owned = table.collect(owned, table.n_spans, table.n_spans + len(tensors))
            table.check_apart(owned, n_owned)
            if not check_only:
                self.groups.append(group)           # the last operation that can fail
                self._commit(owned, n_owned, len(tensors))
                single = table.single
        finally:
            PyMem_Free(owned)
            table.single, table.busy = single, False

    cdef int _stage(self, str rule, list tensors, tuple names, Clock clock) except -1:
        """Check the arrays of a new group and write them behind those that steps use."""
        cdef SpanTable table = self.table
        cdef int64_t s = table.n_spans, g = self.scalars.n_groups
        cdef Py_ssize_t n_dims = sum([buffers[0].ndim for buffers in tensors if isinstance(buffers[0], np.ndarray)])
        cdef bytes shapes = PyBytes_FromStringAndSize(NULL, n_dims * sizeof(cnp.npy_intp))
        cdef cnp.npy_intp *shape = <cnp.npy_intp *> PyBytes_AsString(shapes)
        self._make_room(s + len(tensors), g + 1)
        del table.names[g:], self.keep_alive[g:]    # of a group that was refused
        table.names.append(names)
        self.keep_alive.append((tuple(tensors), shapes, clock))
        self.scalars.begin(g, rule)
        self.formed[g], self.varying[g], self.clock[g] = -1, False, NULL if clock is None else <PyObject *> clock
        for buffers in tensors:
            self._add_span(table, s, g, buffers)
            shape = self._record_form(s, shape)
            s += 1
        return 0

    cdef int _make_room(self, int64_t n_spans, int64_t n_groups) except -1:
        """Grow by half at least, so that groups can be added one by one in linear time."""
        cdef int64_t old = self.table.capacity, more = max(n_spans, old + old // 2)
        if old < n_spans:
            self.form = <array_form *> grown(self.form, old, more, sizeof(array_form))
            self.parameter = <PyObject **> grown(self.parameter, old, more, sizeof(PyObject *))
            self.table.grow(more)
        old = self.scalars.capacity
        more = max(n_groups, old + old // 2)
        if old < n_groups:
            self.clock = <PyObject **> grown(self.clock, old, more, sizeof(PyObject *))
            self.shift = <float *> grown(self.shift, old, more, sizeof(float))
            self.formed = <int64_t *> grown(self.formed, old, more, sizeof(int64_t))
            self.varying = <bint *> grown(self.varying, old, more, sizeof(bint))
            self.scalars.grow(more)
        return 0

    cdef int _commit(self, const interval *owned, int64_t n_owned, int64_t n_spans) except -1:
        """Let steps use the group that was staged. Cannot fail."""
        cdef SpanTable table = self.table
        cdef int64_t s
        for s in range(table.n_spans):
            table.span[s].gradient = NULL           # it was not compared with the new arrays
        table.insert(owned, n_owned)
        table.n_spans += n_spans
        table.lay_out()
        self.scalars.n_groups += 1
        self.gradients_apart = False
        self.origins = self.looked_ahead = None
        return 0

    cdef int _add_span(self, SpanTable table, int64_t s, int64_t g, tuple buffers) except -1:
        cdef fo_span *span = &table.span[s]
        cdef int k, n_buffers = api.steps.rules[self.scalars.group[g].rule].n_buffers
        cdef cnp.ndarray a, parameter
        memset(span, 0, sizeof(fo_span))
        span.group = <int32_t> g
        parameter = self._buffer(table, buffers[0], s, 0)
        if len(buffers) != n_buffers:
            raise ValueError(f"{table.label(s, 0)} needs {n_buffers - 1} state buffers, got {len(buffers) - 1}")
        span.size = cnp.PyArray_SIZE(parameter)
        for k, x in enumerate(buffers):
            a = self._buffer(table, x, s, k)
            if not same_shape(a, parameter) or order_of(a) != order_of(parameter):
                check_layout(a, table.label(s, k), parameter, table.label(s, 0))
            span.buffer[k] = <float *> cnp.PyArray_DATA(a)
        self.parameter[s] = <PyObject *> parameter
        return 0

    cdef cnp.ndarray _buffer(self, SpanTable table, object x, int64_t s, int k):
        if cnp.PyArray_CheckExact(x) and is_float32(<cnp.ndarray> x) and is_contiguous(<cnp.ndarray> x) \
                and cnp.PyArray_ISWRITEABLE(<cnp.ndarray> x):
            return <cnp.ndarray> x
        return as_buffer(x, table.label(s, k))

    cdef cnp.npy_intp *_record_form(self, int64_t s, cnp.npy_intp *shape) noexcept:
        """Keep the parameter's shape at this address. Returns the address behind it."""
        cdef cnp.ndarray a = <cnp.ndarray> self.parameter[s]
        cdef int i
        self.form[s] = array_form(shape=shape, ndim=cnp.PyArray_NDIM(a), flags=order_of(a) | cnp.NPY_ARRAY_ALIGNED)
        for i in range(cnp.PyArray_NDIM(a)):
            shape[i] = cnp.PyArray_DIM(a, i)
        return shape + cnp.PyArray_NDIM(a)

    # -- scalars ------------------------------------------------------------------------------------------------------

    def set(self, int64_t index, dict values not None, dict corrections not None, int64_t t, int64_t changes=0,
            bint varying=False):
        """The scalars of one group in step t, by name, before their bias corrections: see GroupScalars.set.

        changes: the clock's `changes`, read before the values were. varying: they hold for this step alone.
        """
        if not 0 <= index < self.scalars.n_groups:
            raise IndexError(f"group {index} of {self.scalars.n_groups}")
        self.formed[index] = -1
        self.scalars.set(index, values, corrections, t)
        self.formed[index], self.varying[index] = changes, varying

    def is_formed(self, int64_t index):
        """Whether this group has the scalars of its next step, apart from bias corrections."""
        return self.formed[index] == (<Clock> self.clock[index]).changes

    cdef bint is_stale(self) except -1:
        cdef int64_t g
        for g in range(self.scalars.n_groups):
            if self.clock[g] != NULL and self.formed[g] != (<Clock> self.clock[g]).changes:
                return True
        return False

    cdef int _correct(self) except -1:
        """The bias corrections of the next step."""
        cdef int64_t g
        for g in range(self.scalars.n_groups):
            if self.clock[g] != NULL:
                self.scalars.correct(g, (<Clock> self.clock[g]).steps + 1)
        return 0

    cdef int _advance_clocks(self) except -1:
        cdef int64_t g
        for g in range(self.scalars.n_groups):
            if self.clock[g] != NULL:
                (<Clock> self.clock[g]).steps += 1
            if self.varying[g]:
                self.formed[g] = -1
        return 0

    cdef fo_group *form_ahead(self, int64_t steps, list ahead) except NULL:
        """The groups of each of the next steps, (steps, groups); the clocks then stand after the last one.

        ahead: per group the scalars of each step, or None where only the bias corrections depend on it. An error leaves
        the clocks as they were. The caller frees the memory.
        """
        cdef int64_t i, g, t, n = self.scalars.n_groups
        if self.is_stale():
            raise RuntimeError("a hyper-parameter was set, or a step taken, since these steps' scalars were formed")
        cdef fo_group *rows = <fo_group *> allocate(steps * n, sizeof(fo_group))
        try:
            for i in range(steps):
                for g in range(n):
                    t = (<Clock> self.clock[g]).steps + 1 + i
                    if ahead is None or ahead[g] is None:
                        self.scalars.correct(g, t)
                    else:
                        values, corrections = (<list> ahead[g])[i]
                        self.scalars.set(g, values, corrections, t)
                memcpy(rows + i * n, self.scalars.group, n * sizeof(fo_group))
        except BaseException:
            PyMem_Free(rows)
            for g in range(n):
                self.formed[g] = -1
            raise
        for i in range(steps):
            self._advance_clocks()
        return rows

    cdef float *shifts_of(self, const fo_group *rows, int64_t steps) except NULL:
        """The scalar "shift" of each step and group, the distance of the lookahead. The caller frees the memory."""
        cdef int64_t i, g, n = self.scalars.n_groups
        cdef int slot
        cdef float *shift = <float *> allocate(steps * n, sizeof(float))
        for g in range(n):
            slot = self.scalars.slot_of(g, "shift")
            for i in range(steps):
                shift[i * n + g] = rows[i * n + g].scalars[slot]
        return shift

    # -- gradients ----------------------------------------------------------------------------------------------------

    cdef bint _can_use(self, object grads, bint will_be_zeroed) except -1:
        """Whether a small step can read this list directly: no array moved, and the GIL keeps other threads from changing it.

        The rest of such a step creates no container, because that could start the garbage collector, and a finalizer might
        change the list.
        """
        cdef SpanTable table = self.table
        return (type(grads) is list and not table.single and table.elements < KEEP_GIL
                and len(<list> grads) == table.n_spans and self._first_changed(grads, 0, will_be_zeroed) == table.n_spans)

    cdef list _take_gradients(self, tuple gradients, bint will_be_zeroed):
        """Check every parameter and gradient, and write the gradients' addresses into the table.

        Returns the copies that had to be made as (span, copy), or None. Only what changed is checked in full.
        """
        cdef int64_t s = self._first_changed(gradients, 0, will_be_zeroed)
        cdef list copies = None
        while s < self.table.n_spans:
            self._check_parameter(s)
            copy = self._take_gradient(s, gradients[s], will_be_zeroed)
            if copy is not None:
                copies = copies or []
                copies.append((s, copy))
            s = self._first_changed(gradients, s + 1, will_be_zeroed)
        return copies

    cdef int64_t _first_changed(self, object gradients, int64_t s, bint will_be_zeroed) except -1:
        """The first span from s on whose parameter or gradient changed since the last step, or n_spans.

        gradients: a list or a tuple of n_spans items. Runs no Python code.
        """
        cdef get_item *item = PyList_GetItem if type(gradients) is list else PyTuple_GetItem
        cdef PyObject *items = <PyObject *> gradients
        cdef int written = cnp.NPY_ARRAY_WRITEABLE, zeroed = cnp.NPY_ARRAY_WRITEABLE if will_be_zeroed else 0
        cdef int64_t n = self.table.n_spans, fetched = n - AHEAD if n >= MANY else 0
        cdef fo_span *span = self.table.span
        cdef PyObject *g
        cdef array_form *form
        while s < n:
            if s < fetched:
                self._fetch_headers(item(items, s + AHEAD), item(items, s + AHEAD // 2), s)
            form, g = &self.form[s], item(items, s)
            if not (fo_is_array(g)
                    and fo_is_unchanged(g, span[s].gradient, form.shape, form.ndim, form.flags | zeroed)
                    and fo_is_unchanged(self.parameter[s], span[s].buffer[0], form.shape, form.ndim,
                                        form.flags | written)):
                return s
            s += 1
        return n

    cdef void _fetch_headers(self, PyObject *far, PyObject *near, int64_t s) noexcept:
        """Prefetch the headers of a far gradient and parameter, and the shapes of nearer ones, whose headers came."""
        fo_fetch_header(far)
        fo_fetch_header(self.parameter[s + AHEAD])
        if fo_is_array(near):
            fo_fetch_shape(near)
        fo_fetch_shape(self.parameter[s + AHEAD // 2])

    cpdef int check(self) except -1:
        """Raise if a parameter is not where it was, or cannot be written."""
        cdef int64_t s
        for s in range(self.table.n_spans):
            self._check_parameter(s)
        return 0

    cdef int _check_parameter(self, int64_t s) except -1:
        """The parameter is where it was. Otherwise the error says what changed: address, size, dtype or flags."""
        cdef cnp.ndarray a = <cnp.ndarray> self.parameter[s]
        cdef fo_span *span = &self.table.span[s]
        if (address_of(a) != <uintptr_t> span.buffer[0] or cnp.PyArray_SIZE(a) != span.size
                or not (is_float32(a) and is_contiguous(a) and cnp.PyArray_ISWRITEABLE(a))):
            label = self.table.label(s, 0)
            as_buffer(a, label)
            raise ValueError(f"{label} was moved or resized since the optimizer was made: it now has shape "
                             f"{shape_of(a)} at another address; make a new optimizer for it")
        return 0

    cdef object _take_gradient(self, int64_t s, object x, bint will_be_zeroed):
        """Check gradient s and write its address into the table. Returns the copy to keep alive, or None."""
        cdef fo_span *span = &self.table.span[s]
        cdef cnp.ndarray a, parameter = <cnp.ndarray> self.parameter[s]
        cdef float *data
        if cnp.PyArray_CheckExact(x) and is_float32(<cnp.ndarray> x):
            a = <cnp.ndarray> x
        elif isinstance(x, np.float32) and cnp.PyArray_NDIM(parameter) == 0 and not will_be_zeroed:
            a = np.asarray(x)           # NumPy's arithmetic turns 0-d arrays into scalars
        else:
            a = as_float32(x, self.table.gradient_label(s))
        if not same_shape(a, parameter):
            raise ValueError(f"{self.table.gradient_label(s)} has shape {shape_of(a)}, "
                             f"{self.table.names[0][0]} has {shape_of(parameter)}")
        if will_be_zeroed and not cnp.PyArray_ISWRITEABLE(a):
            raise ValueError(f"{self.table.gradient_label(s)} is read-only: zero_grads has to write it")
        if a is not x or not cnp.PyArray_CHKFLAGS(a, order_of(parameter)):
            return self._copy_gradient(s, a, parameter)
        data = <float *> cnp.PyArray_DATA(a)
        if data != span.gradient:
            span.gradient = NULL        # until it is known to overlap nothing
            self.gradients_apart = False
            if span.size > 0:
                self.table.check_gradient_apart(s, <uintptr_t> data, <uintptr_t> (data + span.size))
            span.gradient = data
        return None

    cdef object _copy_gradient(self, int64_t s, cnp.ndarray a, cnp.ndarray parameter):
        cdef fo_span *span = &self.table.span[s]
        span.gradient = NULL
        self.gradients_apart = False
        start, end = np.lib.array_utils.byte_bounds(a)
        if span.size > 0:
            self.table.check_gradient_apart(s, start, end)
        order = "C" if order_of(parameter) == cnp.NPY_ARRAY_C_CONTIGUOUS else "F"
        cdef cnp.ndarray copy = np.array(a, order=order, copy=True)
        span.gradient = <float *> cnp.PyArray_DATA(copy)
        return copy

    cdef int _check_gradients_apart(self, list copies) except -1:
        """Gradients that will be zeroed overlap no other gradient. Remembered until one of them moves.

        A copied gradient was read already, and is zeroed after the step.
        """
        cdef SpanTable table = self.table
        cdef int64_t s, n = 0
        if self.gradients_apart:
            return 0
        copied = () if copies is None else {s for s, _ in copies}
        for s in range(table.n_spans):
            if table.span[s].size > 0 and s not in copied:
                table.others[n] = interval_of(table.span[s].gradient, table.span[s].size, FO_FLOAT, s, 0)
                n += 1
        n = first_overlap(table.others, n)
        if n > 0:
            raise ValueError(f"{table.gradient_label(table.others[n].span)} overlaps "
                             f"{table.gradient_label(table.others[n - 1].span)} in memory: "
                             "zero_grads would clear one before the other is read")
        self.gradients_apart = True
        return 0

    cdef int _finish_copies(self, tuple gradients, list copies, bint zero) except -1:
        """Runs after the kernel, and so must not fail: it allocates nothing."""
        cdef cnp.ndarray a
        for s, _ in copies:
            self.table.span[<int64_t> s].gradient = NULL    # the copy's memory is freed
            if zero:
                a = <cnp.ndarray> gradients[s]
                set_zero(<char *> cnp.PyArray_DATA(a), cnp.PyArray_NDIM(a), cnp.PyArray_DIMS(a), cnp.PyArray_STRIDES(a))
        return 0

    # -- the step -----------------------------------------------------------------------------------------------------

    def hold(self, function, *arguments):
        """Call the function while no thread can step. RuntimeError if a step is under way.

        Not a `with` block: CPython handles Ctrl-C between the end of a block and the call of its __exit__, and the optimizer
        would stay locked.
        """
        self.table.enter()
        try:
            return function(*arguments)
        finally:
            self.table.busy = False

    def load(self, list targets not None, list sources not None, list values not None, list steps not None,
             int64_t skips):
        """Copy each source into its target, assign each group its values, and set its number of steps.

        All of it or, on an error, nothing: what can fail comes first. In C, so that Ctrl-C cannot come in between.
        targets: parameters and states. sources: float32 arrays of the same shapes.
        """
        cdef int64_t g
        cdef list ready = ready_to_copy(targets, sources)
        assign(self.groups, values)
        copy_all(targets, ready)
        for g in range(self.scalars.n_groups):
            (<Clock> self.clock[g]).steps = steps[g]
            (<Clock> self.clock[g]).changes += 1
        self.skips, self.looked_ahead = skips, None

    def step_plainly(self, grads):
        """The same as step(grads). One argument is passed several times faster than keywords with defaults."""
        cdef fo_step step
        self.table.describe(&step)
        return self._step(&step, grads)

    def step(self, grads, double grad_scale=1.0, max_norm=None, bint skip_nonfinite=False, bint zero_gradients=False,
             double noise=0.0, uint64_t noise_key=0):
        """One step. Returns NotImplemented, having done nothing, if scalars must be formed first: see is_formed and set.

        Otherwise the gradients' norm if max_norm or skip_nonfinite asked for one, else None. noise: the standard
        deviation of what is added to the scaled gradients, drawn under the key.
        """
        cdef fo_step step
        self.table.describe(&step)
        step.grad_scale = grad_scale
        if max_norm is not None:
            step.max_norm = max_norm
        step.want_norm = max_norm is not None or skip_nonfinite
        step.skip_nonfinite, step.zero_gradients = skip_nonfinite, zero_gradients
        step.noise = noise
        step.noise_key[0], step.noise_key[1] = <uint32_t> (noise_key & 0xFFFFFFFF), <uint32_t> (noise_key >> 32)
        return self._step(&step, grads)

    cdef object _step(self, fo_step *step, object grads):
        self.table.enter()
        try:
            self.table.refuse_ahead()
            if self.is_stale():
                return NotImplemented
            self._correct()
            step.group = self.scalars.group
            self._run(step, grads)
            self.skipped = step.skipped
            if step.skipped:
                self.skips += 1
            else:
                self._advance_clocks()
            self.looked_ahead = None
            return step.norm if step.want_norm else None
        finally:
            self.table.busy = False

    cdef int _run(self, fo_step *step, object grads) except -1:
        cdef tuple gradients = None
        cdef list copies = None
        if not self._can_use(grads, step.zero_gradients):
            gradients = self.table.list_gradients(grads)
            copies = self._take_gradients(gradients, step.zero_gradients)
        if step.zero_gradients and not self.table.single:
            self._check_gradients_apart(copies)
        self.table.run(step)
        if copies is not None:
            self._finish_copies(gradients, copies, step.zero_gradients and not step.skipped)
        return 0

    cdef int take_arrays(self, tuple gradients, list origins) except -1:
        """Check parameters, gradients and origins (or None), and write their addresses into the table.

        ValueError for a gradient that a step would copy.
        """
        copies = self._take_gradients(gradients, False)
        if copies is not None:
            self._finish_copies(gradients, copies, False)
            raise ValueError("gradients must be in the memory order of their parameters: a step would read copies")
        self.table.refuse_ahead()
        if origins is not None and origins is not self.origins:
            self._take_origins(origins)
        return 0

    # -- the lookahead ------------------------------------------------------------------------------------------------

    cdef list new_origins(self):
        """Arrays to keep the parameters in during a lookahead; None if no rule here has one."""
        cdef int64_t s
        if "shift" not in self.scalars.slots[0]:
            return None
        return [np.empty_like(<object> self.parameter[s]) for s in range(self.table.n_spans)]

    @property
    def ahead(self):
        """Whether the parameters hold the lookahead point."""
        return self.table.ahead

    def limit_threads(self, int most):
        """Let the steps of this object use at most so many threads, and at most those of the process."""
        self.table.most_threads = most

    def look_ahead(self, list origins not None, list shifts not None):
        """w ← w − shift·a, where a is the first state. origins, one array per parameter, keep the old w.

        shifts: one per group.
        """
        cdef SpanTable table = self.table
        cdef int64_t g
        table.enter()
        try:
            table.refuse_ahead()
            self.check()
            if origins is not self.origins:     # the list of the last lookahead was checked, and nobody else has it
                self._take_origins(origins)
            if len(shifts) != self.scalars.n_groups:
                raise ValueError(f"expected {self.scalars.n_groups} shifts, got {len(shifts)}")
            for g in range(self.scalars.n_groups):
                self.shift[g] = <float> <double> shifts[g]
            table.move(self.shift)
            table.ahead = True
            self.looked_ahead = None
        finally:
            table.busy = False

    cdef int _take_origins(self, list origins) except -1:
        cdef SpanTable table = self.table
        cdef int64_t s
        cdef cnp.ndarray a, parameter
        self.origins = None
        if len(origins) != table.n_spans:
            raise ValueError(f"expected {table.n_spans} origins, got {len(origins)}")
        for s in range(table.n_spans):
            label = table.origin_label(s)
            parameter = <cnp.ndarray> self.parameter[s]
            a = as_buffer(origins[s], label)
            check_layout(a, label, parameter, "parameter")
            table.span[s].origin = <float *> cnp.PyArray_DATA(a)
        table.check_origins()
        self.origins = origins
        return 0

    def restore(self):
        """Undo look_ahead: every parameter gets its old bits back. Does nothing if the parameters are not ahead.

        A parameter that was moved or made read-only meanwhile is left, and a RuntimeError names it after all others
        have their bits back.
        """
        cdef SpanTable table = self.table
        cdef list problems = None
        table.enter()
        try:
            if table.ahead:
                problems = table.put_back([self._problem(s) for s in range(table.n_spans)])
        finally:
            table.busy = False
        if problems:
            raise RuntimeError(f"not put back behind the lookahead() block, as all others are: {'; '.join(problems)}")

    def _problem(self, int64_t s):
        """Why a parameter cannot be written where it was; None if it can."""
        try:
            self._check_parameter(s)
        except (TypeError, ValueError) as error:
            return str(error)
        return None
