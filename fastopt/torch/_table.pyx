# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False, embedsignature=False
"""The parameters, gradients and states of one step as a table that the kernel can use: every tensor is read and checked.

Holds no formula and writes no number: _step.pyx does.
"""

from cpython.dict cimport PyDict_GetItemWithError, PyDict_Next
from cpython.mem cimport PyMem_Free
from cpython.pycapsule cimport PyCapsule_GetPointer
from cpython.ref cimport PyObject
from libc.math cimport floor
from libc.stdint cimport int32_t, int64_t, uint8_t

cimport cython

import torch

from fastopt.torch import tensors

from fastopt._native.arrays cimport interval
from fastopt._native.capi cimport FO_FLOAT, FO_MAX_BUFFERS, fo_span
from fastopt._native.spans cimport SpanTable, grown, interval_of
from fastopt.torch._views cimport (
    FO_DL_FLOAT, FO_DL_INT, FO_DL_MAJOR, REFUSED, ask, fo_dl_api, forget, is_dense, is_unchanged, no_argument_method,
    read_view, remember, same_dims, same_layout, shape_of, tensor_record, tensor_view, torch_calls
)

cdef extern from "Python.h":
    no_argument_method PyCFunction_GetFunction(PyObject *method) except NULL
    int PyCFunction_GetFlags(PyObject *method) except -1
    const int METH_NOARGS

cdef enum:
    STEP = 4                # places of a span's records: the parameter, three states, the step count, the gradient
    GRADIENT = 5
    RECORDS_PER_SPAN = 6

cdef double MAX_STEPS = 2.0 ** 53       # a double counts exactly below this number

cdef object tensor_type = torch.Tensor
cdef object parameter_type = torch.nn.Parameter

cdef torch_calls calls


cdef no_argument_method method_of(object x, str name) except NULL:
    """The C function of a method without arguments. Calling it directly takes half the time of a call through Python."""
    method = getattr(x, name)
    if PyCFunction_GetFlags(<PyObject *> method) != METH_NOARGS:
        raise ImportError(f"fastopt.torch does not support torch {torch.__version__}: its {name}() takes arguments")
    return PyCFunction_GetFunction(<PyObject *> method)


cdef int find_calls() except -1:
    capsule = getattr(torch.Tensor, "__dlpack_c_exchange_api__", None)
    if capsule is None:
        raise ImportError(f"fastopt.torch needs DLPack's C exchange API, which torch has from 2.13 on; this is torch "
                          f"{torch.__version__}")
    calls.dlpack = <const fo_dl_api *> PyCapsule_GetPointer(capsule, b"dlpack_exchange_api")
    if calls.dlpack.major != FO_DL_MAJOR:
        raise ImportError(f"fastopt.torch needs DLPack {FO_DL_MAJOR}, torch {torch.__version__} has DLPack "
                          f"{calls.dlpack.major}")
    x = torch.Tensor()
    calls.untyped_storage = method_of(x, "untyped_storage")
    calls.is_neg = method_of(x, "is_neg")
    calls.is_inference = method_of(x, "is_inference")
    calls.data_ptr = method_of(x.untyped_storage(), "data_ptr")
    return 0


find_calls()


# -- how a group is updated -------------------------------------------------------------------------------------------

cdef int64_t n_specs = 0


@cython.final
cdef class UpdateSpec:
    """How a param group is updated by its present hyper-parameters. A changed hyper-parameter needs a new one.

    rule: a row of csrc/rules.h. states: the names of its states in the optimizer's state.
    counts: whether the state has a "step".
    scalars: a function of t = 1, 2, ... that returns the rule's scalars in step t, before the bias corrections.
    corrections: see GroupScalars. varying: whether the scalars depend on t.
    names: the keys of the group that this was made from. group: the param group.
    """

    def __init__(self, str rule, tuple states, bint counts, scalars, dict corrections, bint varying, tuple names,
                 dict group):
        cdef int k
        global n_specs
        n_specs += 1
        self.number = n_specs
        if len(states) >= FO_MAX_BUFFERS:
            raise ValueError(f"at most {FO_MAX_BUFFERS - 1} states, got {states}")
        self.n_states = len(states)
        for k in range(self.n_states):
            self.state[k] = <PyObject *> states[k]
        self.rule, self.states, self.counts = rule, states, counts
        self.scalars, self.corrections, self.varying = scalars, corrections, varying
        self.names, self.values, self.n_keys = names, tuple([group[name] for name in names]), len(group)

    def matches(self, dict group not None):
        """Whether the group's values are the same objects as then, all of them immutable."""
        cdef Py_ssize_t i
        cdef PyObject *value
        if len(group) != self.n_keys:
            return False
        for i in range(len(self.names)):
            value = PyDict_GetItemWithError(group, self.names[i])
            if value == NULL or value != <PyObject *> self.values[i] or not is_immutable(self.values[i]):
                return False
        return True


cdef bint is_immutable(object value) except -1:
    if isinstance(value, (float, int, bool)) or value is None:
        return True
    if not isinstance(value, tuple):
        return False
    for x in <tuple> value:
        if not isinstance(x, (float, int)):
            return False
    return True


# -- the table --------------------------------------------------------------------------------------------------------

cdef int add_both(list written, object x, object plain) except -1:
    """Add a tensor, and the plain tensor whose memory holds its numbers. Most tensors are plain themselves."""
    written.append(x)
    if plain is not x:
        written.append(plain)
    return 0


cdef class TensorTable:
    """The parameters that have a gradient, one span each. Every tensor is read anew in every step, see _views.pxd.

    new_state: new_state(spec, group, parameter) returns the states of a parameter that has none yet, by name.
    advice: the end of an error message about a tensor that no step can take: what to use for it.

    A group of the table is a param group at one step count: parameters that have taken different numbers of steps need
    different scalars.
    """

    def __cinit__(self, *_):
        self.counters = NULL
        self.unchecked = NULL
        self.param_group = NULL
        self.group_step = NULL
        self.records = NULL
        self.recorded = NULL

    def __dealloc__(self):
        cdef int64_t i
        if self.records != NULL:
            for i in range(RECORDS_PER_SPAN * self.spans.capacity):
                forget(&self.records[i])
        PyMem_Free(self.counters)
        PyMem_Free(self.unchecked)
        PyMem_Free(self.param_group)
        PyMem_Free(self.group_step)
        PyMem_Free(self.records)
        PyMem_Free(self.recorded)

    def __init__(self, new_state, str advice not None):
        self.spans, self.group_specs = SpanTable(), []
        self.new_state, self.advice = new_state, advice
        self.moved = True

    cdef int read(self, list work, object state, bint ahead) except -1:
        """Fill the table and check it. ahead: for a lookahead, without gradients."""
        cdef Py_ssize_t cursor = 0
        cdef int64_t i, place = 0
        cdef UpdateSpec spec
        self.written, self.written_states, self.held, self.copies = [], [], [], []
        self.fresh, self.state = {}, state
        self.spans.n_spans = self.n_groups = 0
        for i, (spec, group, params) in enumerate(work):
            for p in <list?> params:
                grad = None if ahead else p.grad
                if grad is not None or (ahead and tensors.looks_ahead(p)):
                    self._add(spec, group, self._state_of(spec, p, &cursor), p, grad, place, i)
                place += 1
        self._check_overlaps(ahead)
        return self.spans.lay_out()

    cdef dict _state_of(self, UpdateSpec spec, object p, Py_ssize_t *cursor):
        """The states of p. The dict usually has the order of the parameters, so walk it along with them: to look up a
        tensor calls its __hash__, which is a Python function."""
        cdef PyObject *key = NULL
        cdef PyObject *value = NULL
        cdef Py_ssize_t at = cursor[0]
        if spec.n_states == 0:
            return None
        for _ in range(4):              # skip some parameters without a gradient
            if not PyDict_Next(self.state, &at, &key, &value):
                break
            if key == <PyObject *> p:
                cursor[0] = at
                return <dict?> <object> value
        states = self.state.get(p)
        return {} if states is None else <dict?> states

    cdef int _add(self, UpdateSpec spec, object group, dict states, object p, object grad, int64_t place,
                  int64_t g) except -1:
        """One span: its parameter, states, step count and gradient."""
        cdef int64_t s = self.spans.n_spans
        cdef tensor_view w
        if s == self.spans.capacity:
            self._grow(max(2 * s, 16))
        if self._is_unchanged(s, spec, states, p, place):
            self._take_unchanged(s, spec, p, grad)
        else:
            self.recorded[s] = 0
            forget(&self.records[RECORDS_PER_SPAN * s + GRADIENT])
            self.spans.number[s] = place
            self.counters[s].data = NULL
            self.counters[s].t = 1
            stepped = self._add_parameter(s, p, &w)
            self._add_states(s, spec, group, states, p, &w)
            if grad is not None:
                self._add_gradient(s, grad, p, stepped, &w)
            if stepped is p and self._is_recorded(s, spec):
                self.recorded[s] = spec.number
        self.spans.span[s].group = <int32_t> self._group_for(g, spec, self.counters[s].t)
        self.spans.n_spans = s + 1
        return 0

    cdef bint _is_unchanged(self, int64_t s, UpdateSpec spec, dict states, object p, int64_t place) except -1:
        """Whether parameter, states and step count are those of the last step, and where they were."""
        cdef tensor_record *records = &self.records[RECORDS_PER_SPAN * s]
        cdef PyObject *x
        cdef int k
        cdef bint one
        if self.recorded[s] != spec.number or self.spans.number[s] != place:
            return False
        one = self.spans.span[s].size == 1      # see _views.pxd
        if not is_unchanged(&calls, <PyObject *> p, records, one):
            return False
        for k in range(1, spec.n_states + 1):
            x = PyDict_GetItemWithError(states, <object> spec.state[k - 1])
            if x == NULL or type(<object> x) is not tensor_type or not is_unchanged(&calls, x, &records[k], one):
                return False
        if not spec.counts:
            return True
        x = PyDict_GetItemWithError(states, "step")
        return x != NULL and type(<object> x) is tensor_type and is_unchanged(&calls, x, &records[STEP], False)

    cdef bint _is_recorded(self, int64_t s, UpdateSpec spec) noexcept:
        cdef tensor_record *records = &self.records[RECORDS_PER_SPAN * s]
        cdef int k
        for k in range(spec.n_states + 1):
            if records[k].storage == NULL:
                return False
        return not spec.counts or records[STEP].storage != NULL

    cdef int _take_unchanged(self, int64_t s, UpdateSpec spec, object p, object grad) except -1:
        """The table already holds the parameter and its states; the gradient is another one in most steps."""
        cdef tensor_record *records = &self.records[RECORDS_PER_SPAN * s]
        cdef tensor_view w
        cdef int k
        self.written.append(p)
        for k in range(1, spec.n_states + 1):
            self.written_states.append(<object> records[k].object)
        if spec.counts:
            self.written_states.append(<object> records[STEP].object)
            self._read_count(s)
        else:
            self.counters[s].t = 2 if spec.n_states > 0 else 1
        if grad is None:
            return 0
        w.t, w.size, w.kind = records.t, self.spans.span[s].size, self.spans.span[s].w_type
        if type(grad) is tensor_type and is_unchanged(&calls, <PyObject *> grad, &records[GRADIENT], w.size == 1):
            self.held.append(grad)
            return 0
        return self._add_gradient(s, grad, p, p, &w)

    cdef object _add_parameter(self, int64_t s, object p, tensor_view *w):
        """Returns the plain tensor that the kernel updates: the parameter, its local shard, or a dense copy of it."""
        cdef fo_span *span = &self.spans.span[s]
        cdef tensor_record *r = &self.records[RECORDS_PER_SPAN * s]
        x = p
        forget(r)
        if type(p) is not parameter_type and type(p) is not tensor_type:
            x = tensors.local(p, self._name("parameter", s))
        self._read_tensor(x, w)
        if w.kind == REFUSED:
            tensors.refuse(x, self._name("parameter", s), self.advice)
        if ask(calls.is_inference, <PyObject *> x):     # whether it may be written depends on the mode of each step
            tensors.check_mode(self._name("parameter", s))
        else:
            remember(&calls, <PyObject *> x, w, r)
        add_both(self.written, p, x)
        if w.negative or not is_dense(&w.t):
            original, x = tensors.dense_copy(x, self._name("parameter", s))
            self.copies.append((original, x))
            self._read_tensor(x, w)
        if span.buffer[0] != <float *> w.t.data or span.size != w.size or span.w_type != w.kind:
            self.moved = True
        span.buffer[0], span.size, span.w_type = <float *> w.t.data, w.size, <uint8_t> w.kind
        return x

    cdef int _add_states(self, int64_t s, UpdateSpec spec, object group, dict states, object p,
                         tensor_view *w) except -1:
        cdef tensor_view a
        cdef int k
        cdef fo_span *span = &self.spans.span[s]
        for k in range(1, FO_MAX_BUFFERS):
            a.t.data = NULL
            if k <= spec.n_states:
                if k == 1 and self._has_none(spec, states):
                    self._make_states(spec, group, states, p)
                self._add_state(s, k, spec.state[k - 1], states, p, w, &a)
            if span.buffer[k] != <float *> a.t.data:
                span.buffer[k] = <float *> a.t.data
                self.moved = True
        if spec.counts:
            self._add_count(s, <object> self._need(s, <PyObject *> "step", states))
        elif spec.n_states > 0 and id(states) not in self.fresh:
            self.counters[s].t = 2
        return 0

    cdef bint _has_none(self, UpdateSpec spec, dict states) except -1:
        """Whether the parameter has no states yet. A momentum, which is its optimizer's only state, may be None."""
        cdef PyObject *first = PyDict_GetItemWithError(states, <object> spec.state[0])
        if first != NULL and first != <PyObject *> None:
            return False
        return not spec.counts or len(states) == 0

    cdef int _make_states(self, UpdateSpec spec, object group, dict states, object p) except -1:
        made = self.new_state(spec, group, p)
        self.fresh[id(states)] = p, states, made
        states.update(made)
        self.state[p] = states
        return 0

    cdef PyObject *_need(self, int64_t s, PyObject *name, dict states) except NULL:
        cdef PyObject *x = PyDict_GetItemWithError(states, <object> name)
        if x == NULL or x == <PyObject *> None:
            raise KeyError(f"the state of parameter {self.spans.number[s]} has no {<object> name!r}: it holds "
                           f"{', '.join(map(repr, states))}, as of another optimizer or other options")
        return x

    cdef int _add_state(self, int64_t s, int k, PyObject *name, dict states, object p, tensor_view *w,
                        tensor_view *a) except -1:
        """A state is float32 in its parameter's layout. Another one is converted, in the optimizer's state, too."""
        cdef tensor_record *r = &self.records[RECORDS_PER_SPAN * s + k]
        found = <object> self._need(s, name, states)
        label = self._name(<object> name, s)
        forget(r)
        x = found
        if type(x) is not tensor_type:
            x = tensors.local(x, label)
        self._read_tensor(x, a)
        if a.kind == REFUSED:
            tensors.refuse_state(found, label)
        if not same_dims(&a.t, &w.t):
            raise ValueError(f"{label} has shape {shape_of(&a.t)}, parameter has {shape_of(&w.t)}")
        if a.negative or a.kind != FO_FLOAT or not same_layout(&a.t, &w.t):
            states[<object> name] = found = tensors.converted_state(found, p)
            x = tensors.local(found, label)
            self._read_tensor(x, a)
            if not same_layout(&a.t, &w.t):
                raise ValueError(f"{label} cannot be brought into the layout of its parameter")
        elif x is found:
            remember(&calls, <PyObject *> x, a, r)
        return add_both(self.written_states, found, x)

    cdef int _add_count(self, int64_t s, object found) except -1:
        """The number of steps taken, a tensor of one number. The step under way is the next one."""
        cdef tensor_view a
        cdef counter *c = &self.counters[s]
        cdef tensor_record *r = &self.records[RECORDS_PER_SPAN * s + STEP]
        forget(r)
        x = found
        if type(x) is not tensor_type:
            x = tensors.local(x, self._name("step", s))
        if not self._read_tensor(x, &a) or a.size != 1:
            tensors.refuse_step(x, self._name("step", s))
        c.data = a.t.data
        if a.t.code == FO_DL_FLOAT and a.t.bits in (32, 64):
            c.bits = a.t.bits
        elif a.t.code == FO_DL_INT and a.t.bits == 64:
            c.bits = -64
        else:
            tensors.refuse_step(x, self._name("step", s))
        remember(&calls, <PyObject *> x, &a, r)
        add_both(self.written_states, found, x)
        return self._read_count(s)

    cdef int _read_count(self, int64_t s) except -1:
        cdef counter *c = &self.counters[s]
        cdef double taken
        if c.bits == 32:
            taken = (<float *> c.data)[0]
        elif c.bits == 64:
            taken = (<double *> c.data)[0]
        else:
            taken = <double> (<int64_t *> c.data)[0]
        if not 0 <= taken < MAX_STEPS or taken != floor(taken):     # not true of a NaN
            raise ValueError(f"{self._name('step', s)} must be a whole number >= 0 and below 2**53, got {taken!r}")
        c.t = <int64_t> taken + 1
        return 0

    cdef int _add_gradient(self, int64_t s, object grad, object p, object stepped, tensor_view *w) except -1:
        """A gradient whose layout is not its parameter's is copied."""
        cdef fo_span *span = &self.spans.span[s]
        cdef tensor_record *r = &self.records[RECORDS_PER_SPAN * s + GRADIENT]
        cdef tensor_view a
        forget(r)
        x = grad
        if type(x) is not tensor_type:
            x = tensors.local_gradient(x, p, self._name("gradient", s))
        self._read_tensor(x, &a)
        if a.kind == REFUSED:
            tensors.refuse(x, self._name("gradient", s), self.advice)
        if not same_dims(&a.t, &w.t):
            raise ValueError(f"{self._name('gradient', s)} has shape {shape_of(&a.t)}, parameter has {shape_of(&w.t)}")
        if a.negative or not same_layout(&a.t, &w.t):
            r.object = NULL
            self._read_tensor(tensors.copied_gradient(x, stepped), &a)
        elif x is grad and r.object == <PyObject *> x and r.t.data == a.t.data:
            remember(&calls, <PyObject *> x, &a, r)     # the second step with it: most gradients serve one step only
        else:
            r.object, r.t.data = <PyObject *> x, a.t.data
        if span.gradient != <float *> a.t.data or span.g_type != a.kind:
            self.unchecked[s] = True
        span.gradient, span.g_type = <float *> a.t.data, <uint8_t> a.kind
        return 0

    cdef bint _read_tensor(self, object x, tensor_view *out) except -1:
        """Read it, and keep it alive until the step is done."""
        self.held.append(x)
        return read_view(&calls, <PyObject *> x, out)

    cdef str _name(self, str what, int64_t s):
        return f"{what} {self.spans.number[s]}"

    cdef int _grow(self, int64_t new) except -1:
        cdef int64_t old = self.spans.capacity
        self.counters = <counter *> grown(self.counters, old, new, sizeof(counter))
        self.unchecked = <bint *> grown(self.unchecked, old, new, sizeof(bint))
        self.param_group = <int64_t *> grown(self.param_group, old, new, sizeof(int64_t))
        self.group_step = <int64_t *> grown(self.group_step, old, new, sizeof(int64_t))
        self.recorded = <int64_t *> grown(self.recorded, old, new, sizeof(int64_t))
        self.records = <tensor_record *> grown(self.records, RECORDS_PER_SPAN * old, RECORDS_PER_SPAN * new,
                                               sizeof(tensor_record))
        return self.spans.grow(new)

    cdef int64_t _group_for(self, int64_t g, UpdateSpec spec, int64_t t) except -1:
        """The group of the table for this param group at step t: nearly always that of the span before."""
        cdef int64_t k
        if not spec.varying and not spec.corrections:
            t = 0                       # its scalars are those of any step
        for k in range(self.n_groups - 1, -1, -1):
            if self.param_group[k] != g:
                break
            if self.group_step[k] == t:
                return k
        k = self.n_groups
        self.param_group[k], self.group_step[k] = g, t
        if k == len(self.group_specs):
            self.group_specs.append(None)
            self.spans.names.append(None)
        if self.group_specs[k] is not spec:
            self.group_specs[k] = spec
            self.spans.names[k] = ("parameter", *spec.states)
        self.n_groups = k + 1
        return k

    cdef int _check_overlaps(self, bint ahead) except -1:
        """ValueError if a parameter or state overlaps another one, or a gradient overlaps one of these."""
        cdef SpanTable spans = self.spans
        cdef int64_t s
        cdef interval g
        if self.moved or spans.n_spans != self.n_checked:
            self.n_checked = -1
            for s in range(spans.n_spans):
                self.unchecked[s] = True
            spans.take_owned()
            self.n_checked, self.moved = spans.n_spans, False
        if self.copies:
            tensors.check_apart(self.written)
        if ahead:
            return 0
        for s in range(spans.n_spans):
            if self.unchecked[s]:
                if spans.span[s].size > 0:
                    g = interval_of(spans.span[s].gradient, spans.span[s].size, spans.span[s].g_type, s, 0)
                    spans.check_gradient_apart(s, g.start, g.end)
                self.unchecked[s] = False
        return 0

    cdef int end(self, bint failed) except -1:
        """The end of a step: release the tensors. If it failed or was skipped, remove the states that it has made."""
        try:
            for p, states, made in self.fresh.values() if failed and self.fresh else ():
                for name in made:
                    states.pop(name, None)
                if not states:
                    self.state.pop(p, None)
        finally:
            self.written = self.written_states = self.held = self.copies = self.fresh = self.state = None
            self.spans.busy = False
        return 0

    cdef str problem(self, int64_t s, object p):
        """Why p cannot be put back as parameter s; None if it can, and then it is in `written`."""
        x = p
        if type(p) is not parameter_type and type(p) is not tensor_type:
            try:
                x = tensors.local(p, self._name("parameter", s))
            except TypeError as error:
                return str(error)
        if not self._is_in_place(s, x):
            return f"{self._name('parameter', s)} was moved or replaced"
        add_both(self.written, p, x)
        return None

    cdef bint _is_in_place(self, int64_t s, object x) except -1:
        """Whether x fills the memory that the table has for its parameter."""
        cdef tensor_view w
        cdef fo_span *span = &self.spans.span[s]
        return (self._read_tensor(x, &w) and <float *> w.t.data == span.buffer[0] and w.size == span.size
                and w.kind == span.w_type and is_dense(&w.t) and not w.negative)
