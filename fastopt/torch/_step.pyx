# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False, embedsignature=False
"""One step over torch tensors: read every tensor, check it, then call the kernel. Holds no formula.

Nothing is written before everything is checked and allocated: a step happens wholly or not at all.
"""

from cpython.dict cimport PyDict_GetItemWithError, PyDict_Next
from cpython.mem cimport PyMem_Free
from cpython.pycapsule cimport PyCapsule_GetPointer
from cpython.ref cimport Py_DECREF, Py_INCREF, PyObject
from libc.math cimport INFINITY, floor
from libc.stdint cimport int32_t, int64_t, uint8_t

cimport cython

import torch

from fastopt.torch import tensors

from fastopt._native.arrays cimport allocate, interval
from fastopt._native.capi cimport FO_FLOAT, FO_MAX_BUFFERS, fo_span, fo_step
from fastopt._native.spans cimport SpanTable, grown, interval_of
from fastopt._native.step cimport GroupScalars
from fastopt.torch._views cimport (
    FO_DL_BFLOAT, FO_DL_FLOAT, FO_DL_INT, FO_DL_MAJOR, REFUSED, ask, fo_dl_api, forget, is_dense, is_unchanged,
    no_argument_method, read_view, remember, same_dims, same_layout, shape_of, tensor_record, tensor_view, torch_calls
)

cdef extern from "Python.h":
    no_argument_method PyCFunction_GetFunction(PyObject *method) except NULL
    int PyCFunction_GetFlags(PyObject *method) except -1
    const int METH_NOARGS

cdef enum:
    RECORDS_PER_SPAN = 5    # of the parameter, its three states, its step count
    STEP = 4
    LINE = 16               # floats in a cache line

cdef double MAX_STEPS = 2.0 ** 53       # a double counts exactly below this number

cdef torch_calls calls
cdef object tensor_type = torch.Tensor
cdef object parameter_type = torch.nn.Parameter
# What is called after the kernel must not be Python code, in which Ctrl-C could end a step halfway. So this is not
# torch.autograd.graph.increment_version, which is a Python function around the same C function.
cdef object increment_version = torch._C._increment_version
cdef object copy_into = torch.Tensor.copy_


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

    cdef readonly str rule
    cdef readonly tuple states
    cdef readonly bint counts, varying
    cdef readonly object scalars
    cdef readonly dict corrections
    cdef readonly tuple names
    cdef tuple values
    cdef int64_t number             # 1, 2, ...: unique in the process
    cdef int n_states
    cdef PyObject *state[4]         # borrowed from `states`
    cdef Py_ssize_t n_keys          # of the group: a key that is added later may be a hyper-parameter

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


# -- the step ---------------------------------------------------------------------------------------------------------

cdef struct counter:
    char *data      # of a "step" tensor, or NULL
    int bits        # 32 or 64 for a float, -64 for an integer
    int64_t t       # the step under way: 1, 2, ...


@cython.final
cdef class TensorStep:
    """The steps of torch parameters. Every tensor is read anew in every step, see _views.pxd.

    new_state: new_state(spec, group, parameter) returns the states of a parameter that has none yet, by name.
    advice: the end of an error message about a tensor that no step can take: what to use for it.

    A step is three calls: `with step:` keeps other steps out and undoes what failed, read() checks everything, apply()
    writes. A span of the table is a parameter with a gradient; a group of the table is a param group at one step count.
    """

    cdef SpanTable table
    cdef GroupScalars scalars
    cdef object new_state
    cdef str advice
    cdef public list specs          # per param group its UpdateSpec, for the owner
    cdef list group_specs           # per group of the table: its UpdateSpec in this step
    cdef list ready                 # per group of the table: the UpdateSpec whose scalars it has, or None
    cdef counter *counters          # per span
    cdef bint *unchecked            # per span: whether its gradient may overlap a parameter or state
    cdef int64_t *param_group       # per group of the table
    cdef int64_t *group_step        # per group of the table: the step that its scalars are for
    cdef tensor_record *records     # per span: RECORDS_PER_SPAN
    cdef int64_t *recorded          # per span: the number of the UpdateSpec that its records are complete for, or 0
    cdef int64_t n_checked          # spans whose parameters and states were compared with each other, or -1
    cdef bint moved                 # since then an address, a size or a type in the table has changed
    cdef PyObject **held            # tensors that are kept alive until the step is done
    cdef int64_t n_held, room
    cdef list written               # the parameters of the step
    cdef list copies                # (parameter with gaps, the dense copy that the kernel updates), both plain tensors
    cdef dict fresh                 # id of a state -> (parameter, state, names): made in this step
    cdef object state               # the optimizer's
    cdef list ahead_of              # the parameters that hold the lookahead point, one per span
    cdef float *origins             # their values before
    cdef float *shift               # per group of the table
    cdef readonly bint skipped
    cdef readonly int64_t skips
    cdef public bint looked_ahead   # the gradients are those of the lookahead point, and no step has used them yet

    def __cinit__(self, *_):
        self.counters = NULL
        self.unchecked = NULL
        self.param_group = NULL
        self.group_step = NULL
        self.records = NULL
        self.recorded = NULL
        self.held = NULL
        self.origins = NULL
        self.shift = NULL
        self.table, self.scalars = SpanTable(), GroupScalars()

    def __dealloc__(self):
        cdef int64_t i
        if self.records != NULL:
            for i in range(RECORDS_PER_SPAN * self.table.capacity):
                forget(&self.records[i])
        PyMem_Free(self.counters)
        PyMem_Free(self.unchecked)
        PyMem_Free(self.param_group)
        PyMem_Free(self.group_step)
        PyMem_Free(self.records)
        PyMem_Free(self.recorded)
        PyMem_Free(self.held)
        PyMem_Free(self.origins)
        PyMem_Free(self.shift)

    def __init__(self, new_state, str advice not None):
        self.new_state, self.advice = new_state, advice
        self.specs, self.group_specs, self.ready = [], [], []
        self.moved = True

    @property
    def ahead(self):
        """Whether the parameters hold the lookahead point."""
        return self.table.ahead

    def __enter__(self):
        """RuntimeError if a step is under way or the parameters hold the lookahead point."""
        self.table.enter()
        self.skipped = True
        if self.table.ahead:
            self.table.busy = False
            self.table.refuse_ahead()

    def __exit__(self, *_):
        self._end(self.skipped)

    cdef int _end(self, bint failed) except -1:
        """Release the tensors. After a failed or skipped step, remove the states that it has made."""
        try:
            for p, states, made in self.fresh.values() if failed and self.fresh else ():
                for name in made:
                    states.pop(name, None)
                if not states:
                    self.state.pop(p, None)
        finally:
            while self.n_held > 0:
                self.n_held -= 1
                Py_DECREF(<object> self.held[self.n_held])
            self.written = self.copies = self.fresh = self.state = None
            self.table.busy = False
        return 0

    def read(self, list work not None, object state not None):
        """Read and check every parameter that has a gradient, with its gradient, states and step count.

        work: per param group (UpdateSpec, group, parameters). state: the optimizer's, by parameter.
        Returns (index, UpdateSpec, t) for each group of the table whose scalars set() must be given.
        """
        self._read(work, state, False)
        return self._stale_groups()

    def set(self, int64_t index, UpdateSpec spec not None, dict values not None, int64_t t):
        """Give a group of the table the scalars of step t by name, before their bias corrections."""
        self.ready[index] = None
        self.scalars.set(index, values, spec.corrections, t)
        self.ready[index] = spec

    def apply(self, double grad_scale=1.0, max_norm=None, bint skip_nonfinite=False):
        """Update what was read. Returns the gradients' norm if max_norm or skip_nonfinite asks for it, else None."""
        cdef fo_step step
        self.table.describe(&step)
        step.group = self.scalars.group
        step.grad_scale = grad_scale
        step.max_norm = INFINITY if max_norm is None else max_norm
        step.want_norm = max_norm is not None or skip_nonfinite
        step.skip_nonfinite = skip_nonfinite
        self.table.run(&step)
        self.skipped = step.skipped
        if step.skipped:
            self.skips += 1
        else:
            self._finish()
        self.looked_ahead = False
        return step.norm if step.want_norm else None

    cdef int _finish(self) except -1:
        """Write the step counts and the originals of dense copies, and tell autograd. Runs no Python code, which Ctrl-C
        could end."""
        cdef int64_t s
        cdef counter *c
        for s in range(self.table.n_spans):
            c = &self.counters[s]
            if c.data == NULL:
                continue
            if c.bits == 32:
                (<float *> c.data)[0] = <float> c.t
            elif c.bits == 64:
                (<double *> c.data)[0] = <double> c.t
            else:
                (<int64_t *> c.data)[0] = c.t
        for original, copy in self.copies:
            copy_into(original, copy)
        increment_version(self.written)
        return 0

    # -- the table ----------------------------------------------------------------------------------------------------

    cdef int _read(self, list work, object state, bint ahead) except -1:
        """Fill the table and check it. ahead: for a lookahead, with every parameter and without gradients."""
        cdef Py_ssize_t cursor = 0
        cdef int64_t i, place = 0
        cdef UpdateSpec spec
        self.written, self.copies, self.fresh, self.state = [], [], {}, state
        self.table.n_spans = self.scalars.n_groups = 0
        for i, (spec, group, params) in enumerate(work):
            for p in <list?> params:
                grad = None if ahead else p.grad
                if ahead or grad is not None:
                    self._add(spec, group, self._state_of(spec, p, &cursor), p, grad, place, i)
                place += 1
        self._check_overlaps(ahead)
        return self.table.lay_out()

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
        cdef int64_t s = self.table.n_spans
        cdef tensor_view w
        if s == self.table.capacity:
            self._grow(max(2 * s, 16))
        if self._is_unchanged(s, spec, states, p, place):
            self._take_unchanged(s, spec, p, grad)
        else:
            self.recorded[s] = 0
            self.table.number[s] = place
            self.counters[s].data = NULL
            self.counters[s].t = 1
            stepped = self._add_parameter(s, p, &w)
            self._add_states(s, spec, group, states, p, &w)
            if grad is not None:
                self._add_gradient(s, grad, p, stepped, &w)
            if stepped is p and self._is_recorded(s, spec):
                self.recorded[s] = spec.number
        self.table.span[s].group = <int32_t> self._group_for(g, spec, self.counters[s].t)
        self.table.n_spans = s + 1
        return 0

    cdef bint _is_unchanged(self, int64_t s, UpdateSpec spec, dict states, object p, int64_t place) except -1:
        """Whether parameter, states and step count are those of the last step, and where they were."""
        cdef tensor_record *records = &self.records[RECORDS_PER_SPAN * s]
        cdef PyObject *x
        cdef int k
        if self.recorded[s] != spec.number or self.table.number[s] != place:
            return False
        if not is_unchanged(&calls, <PyObject *> p, records):
            return False
        for k in range(1, spec.n_states + 1):
            x = PyDict_GetItemWithError(states, <object> spec.state[k - 1])
            if x == NULL or type(<object> x) is not tensor_type or not is_unchanged(&calls, x, &records[k]):
                return False
        if not spec.counts:
            return True
        x = PyDict_GetItemWithError(states, "step")
        return x != NULL and type(<object> x) is tensor_type and is_unchanged(&calls, x, &records[STEP])

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
        for k in range(spec.n_states + 1):
            self._hold(records[k].object)
        self.written.append(p)
        if spec.counts:
            self._hold(records[STEP].object)
            self._read_count(s)
        else:
            self.counters[s].t = 2 if spec.n_states > 0 else 1
        if grad is not None:
            w.t, w.size, w.kind = records.t, self.table.span[s].size, self.table.span[s].w_type
            self._add_gradient(s, grad, p, p, &w)
        return 0

    cdef object _add_parameter(self, int64_t s, object p, tensor_view *w):
        """Returns the plain tensor that the kernel updates: the parameter, its local shard, or a dense copy of it."""
        cdef fo_span *span = &self.table.span[s]
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
        self.written.append(p)
        if x is not p:
            self.written.append(x)
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
        cdef fo_span *span = &self.table.span[s]
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
            raise KeyError(f"the state of parameter {self.table.number[s]} has no {<object> name!r}: it holds "
                           f"{', '.join(map(repr, states))}, as of another optimizer or other options")
        return x

    cdef int _add_state(self, int64_t s, int k, PyObject *name, dict states, object p, tensor_view *w,
                        tensor_view *a) except -1:
        """A state is float32 in its parameter's layout. Another one is converted, in the optimizer's state, too."""
        cdef PyObject *found = self._need(s, name, states)
        cdef tensor_record *r = &self.records[RECORDS_PER_SPAN * s + k]
        label = self._name(<object> name, s)
        forget(r)
        x = <object> found
        if type(x) is not tensor_type:
            x = tensors.local(x, label)
        self._read_tensor(x, a)
        if a.kind == REFUSED:
            tensors.refuse_state(<object> found, label)
        if not same_dims(&a.t, &w.t):
            raise ValueError(f"{label} has shape {shape_of(&a.t)}, parameter has {shape_of(&w.t)}")
        if a.negative or a.kind != FO_FLOAT or not same_layout(&a.t, &w.t):
            states[<object> name] = converted = tensors.converted_state(<object> found, p)
            self._read_tensor(tensors.local(converted, label), a)
            if not same_layout(&a.t, &w.t):
                raise ValueError(f"{label} cannot be brought into the layout of its parameter")
        elif x is <object> found:
            remember(&calls, found, a, r)
        return 0

    cdef int _add_count(self, int64_t s, object x) except -1:
        """The number of steps taken, a tensor of one number. The step under way is the next one."""
        cdef tensor_view a
        cdef counter *c = &self.counters[s]
        cdef tensor_record *r = &self.records[RECORDS_PER_SPAN * s + STEP]
        forget(r)
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
        cdef fo_span *span = &self.table.span[s]
        cdef tensor_view a
        x = grad
        if type(x) is not tensor_type:
            x = tensors.local_gradient(x, p, self._name("gradient", s))
        self._read_tensor(x, &a)
        if a.kind == REFUSED:
            tensors.refuse(x, self._name("gradient", s), self.advice)
        if not same_dims(&a.t, &w.t):
            raise ValueError(f"{self._name('gradient', s)} has shape {shape_of(&a.t)}, parameter has {shape_of(&w.t)}")
        if a.negative or not same_layout(&a.t, &w.t):
            self._read_tensor(tensors.copied_gradient(x, stepped), &a)
        if span.gradient != <float *> a.t.data or span.g_type != a.kind:
            self.unchecked[s] = True
        span.gradient, span.g_type = <float *> a.t.data, <uint8_t> a.kind
        return 0

    cdef bint _read_tensor(self, object x, tensor_view *out) except -1:
        """Read it, and keep it alive until the step is done."""
        self._hold(<PyObject *> x)
        return read_view(&calls, <PyObject *> x, out)

    cdef int _hold(self, PyObject *x) except -1:
        if self.n_held == self.room:
            self.held = <PyObject **> grown(self.held, self.room, max(2 * self.room, 64), sizeof(void *))
            self.room = max(2 * self.room, 64)
        Py_INCREF(<object> x)
        self.held[self.n_held] = x
        self.n_held += 1
        return 0

    cdef str _name(self, str what, int64_t s):
        return f"{what} {self.table.number[s]}"

    cdef int _grow(self, int64_t new) except -1:
        cdef int64_t old = self.table.capacity
        self.counters = <counter *> grown(self.counters, old, new, sizeof(counter))
        self.unchecked = <bint *> grown(self.unchecked, old, new, sizeof(bint))
        self.param_group = <int64_t *> grown(self.param_group, old, new, sizeof(int64_t))
        self.group_step = <int64_t *> grown(self.group_step, old, new, sizeof(int64_t))
        self.recorded = <int64_t *> grown(self.recorded, old, new, sizeof(int64_t))
        self.records = <tensor_record *> grown(self.records, RECORDS_PER_SPAN * old, RECORDS_PER_SPAN * new,
                                               sizeof(tensor_record))
        self.scalars.grow(new)
        return self.table.grow(new)

    # -- groups -------------------------------------------------------------------------------------------------------

    cdef int64_t _group_for(self, int64_t g, UpdateSpec spec, int64_t t) except -1:
        """The group of the table for this param group at step t: nearly always that of the span before."""
        cdef int64_t k
        if not spec.varying and not spec.corrections:
            t = 0                       # its scalars are those of any step
        for k in range(self.scalars.n_groups - 1, -1, -1):
            if self.param_group[k] != g:
                break
            if self.group_step[k] == t:
                return k
        k = self.scalars.n_groups
        self.param_group[k], self.group_step[k] = g, t
        if k == len(self.ready):
            for items in (self.group_specs, self.ready, self.table.names):
                items.append(None)
        if self.ready[k] is not spec:
            self.ready[k] = None
            self.scalars.begin(k, spec.rule)
            self.table.names[k] = ("parameter", *spec.states)
        self.group_specs[k] = spec
        self.scalars.n_groups = k + 1
        return k

    cdef list _stale_groups(self):
        """Correct what depends on the step alone. Returns (group, UpdateSpec, t) where scalars must be formed anew."""
        cdef int64_t k, t
        cdef UpdateSpec spec
        cdef list stale = []
        for k in range(self.scalars.n_groups):
            spec = self.group_specs[k]
            t = max(self.group_step[k], 1)
            if self.ready[k] is not spec or spec.varying:
                stale.append((k, spec, t))
            else:
                self.scalars.correct(k, t)
        return stale

    # -- overlaps -----------------------------------------------------------------------------------------------------

    cdef int _check_overlaps(self, bint ahead) except -1:
        """ValueError if a parameter or state overlaps another one, or a gradient overlaps one of these."""
        cdef SpanTable table = self.table
        cdef int64_t s
        cdef interval g
        if self.moved or table.n_spans != self.n_checked:
            self.n_checked = -1
            for s in range(table.n_spans):
                self.unchecked[s] = True
            table.take_owned()
            self.n_checked, self.moved = table.n_spans, False
        if self.copies:
            tensors.check_apart(self.written)
        if ahead:
            return 0
        for s in range(table.n_spans):
            if self.unchecked[s]:
                if table.span[s].size > 0:
                    g = interval_of(table.span[s].gradient, table.span[s].size, table.span[s].g_type, s, 0)
                    table.check_gradient_apart(s, g.start, g.end)
                self.unchecked[s] = False
        return 0

    # -- the lookahead ------------------------------------------------------------------------------------------------

    def look_ahead(self, tuple work not None, list shifts not None):
        """Move every w to w − shift·a, a its first state, and keep what it was until restore().

        work: the arguments of read(). shifts: per param group. In one call, so that no signal can come between its parts.
        """
        cdef bint failed = True
        self.table.enter()
        try:
            self.table.refuse_ahead()
            self._read(work[0], work[1], True)
            self._make_origins(shifts)
            self.ahead_of = [p for _, _, params in work[0] for p in params]
            increment_version(self.written)
            self.table.move(self.shift)
            self.table.ahead = True
            self.looked_ahead = failed = False
        finally:
            self._end(failed)

    cdef int _make_origins(self, list shifts) except -1:
        cdef fo_span *span = self.table.span
        cdef int64_t k, s, size = 0
        if self.copies:
            raise ValueError("a parameter that is not dense cannot look ahead: make it contiguous")
        for s in range(self.table.n_spans):
            size += (span[s].size + LINE - 1) // LINE * LINE
        PyMem_Free(self.origins)
        PyMem_Free(self.shift)
        self.origins = self.shift = NULL
        self.origins = <float *> allocate(size, sizeof(float))
        self.shift = <float *> allocate(self.scalars.n_groups, sizeof(float))
        size = 0
        for s in range(self.table.n_spans):
            span[s].origin = self.origins + size
            size += (span[s].size + LINE - 1) // LINE * LINE
        for k in range(self.scalars.n_groups):
            self.shift[k] = <float> <double> shifts[self.param_group[k]]
        return 0

    def restore(self):
        """The way back from look_ahead: every parameter gets its values back, bit for bit.

        RuntimeError for each parameter that was given other memory meanwhile; all others have their values back then.
        """
        cdef list problems = None
        self.table.enter()
        try:
            if self.table.ahead:
                self.written = []
                problems = self.table.put_back([self._problem(s) for s in range(self.table.n_spans)])
                increment_version(self.written)
                PyMem_Free(self.origins)
                self.ahead_of, self.origins = None, NULL
        finally:
            self._end(False)
        if problems:
            raise RuntimeError(f"not put back behind the lookahead() block, as all others are: {'; '.join(problems)}")

    cdef str _problem(self, int64_t s):
        """Why parameter s cannot be put back; None if it can."""
        p = x = self.ahead_of[s]
        if type(p) is not parameter_type and type(p) is not tensor_type:
            try:
                x = tensors.local(p, self._name("parameter", s))
            except TypeError as error:
                return str(error)
        if not self._is_in_place(s, x):
            return f"{self._name('parameter', s)} was moved or replaced"
        self.written.append(p)
        if x is not p:
            self.written.append(x)
        return None

    cdef bint _is_in_place(self, int64_t s, object x) except -1:
        """Whether x fills the memory that the table has for its parameter."""
        cdef tensor_view w
        cdef fo_span *span = &self.table.span[s]
        return (self._read_tensor(x, &w) and <float *> w.t.data == span.buffer[0] and w.size == span.size
                and w.kind == span.w_type and is_dense(&w.t) and not w.negative)
