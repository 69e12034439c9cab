# Included by _core.pyx: how a step reads torch tensors. Holds no formula; knows torch by the objects that bind_torch()
# was given and by DLPack's C exchange API, never by its headers.

from cpython.exc cimport PyErr_Clear
from cpython.mem cimport PyMem_Realloc
from cpython.pycapsule cimport PyCapsule_GetPointer
from cpython.ref cimport Py_DECREF, Py_INCREF
from libc.math cimport floor
from libc.string cimport memcmp, memcpy, memset

cdef extern from "dlpack.h" nogil:
    const int FO_DL_INT, FO_DL_FLOAT, FO_DL_BFLOAT, FO_DL_CPU, FO_DL_MAJOR

    struct fo_dl_tensor:
        char *data
        int32_t device_type
        int32_t ndim
        uint8_t code
        uint8_t bits
        int64_t *shape
        int64_t *strides
        uint64_t byte_offset

    struct fo_dl_api:
        uint32_t major
        int (*look)(void *tensor, fo_dl_tensor *out)

cdef enum:
    FO_FLOAT = 0
    FO_BFLOAT16 = 1
    FO_FLOAT16 = 2
    REFUSED = 3             # whatever a step cannot take: the caller's words say what it is
    SLOTS_OF_SPAN = 6       # tensors that are looked at per span: parameter, three states, gradient, step
    GRADIENT = 4
    STEP = 5
    MAX_DIMS = 64           # of a tensor that is looked at through Python; torch's operations take no more
    OF_TENSOR = 160         # bytes of torch's record of a tensor, from its storage on, that say how its numbers lie
    OF_MEMORY = 40          # and of its record of the storage, from the address on, that say where; its bytes come last

cdef double MAX_STEPS = 2.0 ** 53       # from here on a double no longer counts

# What bind_torch() was given.
cdef object torch_tools = None
cdef object tensor_type = None
cdef object parameter_type = None
cdef object is_neg = None
cdef object is_inference = None
cdef object copy_into = None
cdef object increment_version = None
cdef const fo_dl_api *dl_api = NULL
RECORD_BYTES = (OF_TENSOR, OF_MEMORY)
cdef bint remembers = False
cdef size_t record_at = 0           # of a Python object: the pointer to torch's record of the tensor
cdef size_t storage_at = 0          # of that: the pointer to the record of its storage
cdef size_t address_at = 0          # of that: the address of the numbers


def bind_torch(tools, tensor, parameter, negative, inference, copy, version, capsule=None, records=None):
    """How tensors are looked at from now on: through DLPack's C exchange API, or by Python calls if there is none.

    tools: what _core asks the adapter for when a tensor is not a plain one (fastopt.torch.tools).
    tensor, parameter: the classes whose objects are what they seem. negative: tells a view with a pending sign.
    inference: tells a tensor made under torch.inference_mode. copy: gives one the numbers of another.
    version: tells autograd that tensors of a list have changed.
    capsule: torch.Tensor.__dlpack_c_exchange_api__, or None. Returns whether the API is in use.
    records: where in torch's records a tensor can be recognized, see tensors.records; None: each is looked at anew.
    """
    global torch_tools, tensor_type, parameter_type, is_neg, is_inference, copy_into, increment_version, dl_api
    global remembers, record_at, storage_at, address_at
    cdef const fo_dl_api *api = NULL
    if capsule is not None:
        api = <const fo_dl_api *> PyCapsule_GetPointer(capsule, b"dlpack_exchange_api")
    torch_tools, tensor_type, parameter_type = tools, tensor, parameter
    is_neg, is_inference, copy_into, increment_version = negative, inference, copy, version
    dl_api = api if api != NULL and api.major == FO_DL_MAJOR else NULL
    remembers = dl_api != NULL and records is not None
    if remembers:
        record_at, storage_at, address_at = records
    return dl_api != NULL


def ask_for_huge_pages(uintptr_t address, size_t size):
    """For memory that nobody has touched yet, as NumPy does for its own: streams over it miss the TLB less often."""
    api.runtime.huge_pages(<void *> address, size)


cdef struct looked:
    fo_dl_tensor t
    int64_t size
    int kind                        # a type, or REFUSED
    bint negative                   # a view whose sign is still to be turned (Tensor.is_neg)
    int64_t dims[2 * MAX_DIMS]      # of a tensor that was looked at through Python


cdef struct memory:
    # What was seen at the last look, and the bytes of torch's own records that it was seen by.
    PyObject *object        # its address alone: a reference would keep a gradient alive, a weak one forbids swap_tensors
    char *data
    fo_dl_tensor t
    int64_t size
    int kind
    char *record            # NULL: to be looked at anew
    char *storage
    char of_tensor[OF_TENSOR]
    char of_memory[OF_MEMORY]


cdef inline char *_pointer(const void *start, size_t at) noexcept:
    return (<char **> (<const char *> start + at))[0]


cdef inline bint _is_unchanged(PyObject *x, const memory *m) noexcept:
    """Whether a look at x would see what the last one saw: torch's records of it, sizes, strides, type, pending sign,
    storage and its memory, are the same byte for byte. Reads what a live tensor owns, at places that were verified."""
    return (
        m.object == x and m.record != NULL and m.record == _pointer(x, record_at)
        and memcmp(m.record + storage_at, m.of_tensor, OF_TENSOR) == 0
        and memcmp(m.storage + address_at, m.of_memory, OF_MEMORY) == 0
    )


cdef inline void _remember(PyObject *x, const looked *a, memory *m) noexcept:
    """After a look; the sizes must lie in the record itself, which they do up to five dimensions."""
    cdef char *record
    cdef char *end
    m.object, m.data, m.record = x, a.t.data, NULL
    if not remembers or a.kind == REFUSED:
        return
    record = _pointer(x, record_at) + storage_at
    end = record + OF_TENSOR
    if a.t.ndim > 0 and not (
        record <= <char *> a.t.shape and <char *> (a.t.shape + a.t.ndim) <= end
        and record <= <char *> a.t.strides and <char *> (a.t.strides + a.t.ndim) <= end
    ):
        return
    m.t, m.size, m.kind = a.t, a.size, a.kind
    m.record = record - storage_at
    m.storage = _pointer(m.record, storage_at)
    if m.storage == NULL:
        m.record = NULL
        return
    memcpy(m.of_tensor, record, OF_TENSOR)
    memcpy(m.of_memory, m.storage + address_at, OF_MEMORY)


cdef inline int64_t _size_of(const fo_dl_tensor *t) noexcept:
    cdef int i
    cdef int64_t size = 1
    for i in range(t.ndim):
        size *= t.shape[i]
    return size


cdef bint _look_slowly(object x, looked *out) except -1:
    """The same by Python calls, for a torch without the API."""
    cdef int i
    seen = torch_tools.describe(x)
    if seen is None:
        return False
    shape, strides, data, out.t.code, out.t.bits = seen
    if len(shape) > MAX_DIMS:
        raise ValueError(f"a tensor has {len(shape)} dimensions, at most {MAX_DIMS} can be stepped")
    out.t.ndim = len(shape)
    out.t.shape, out.t.strides = out.dims, out.dims + MAX_DIMS
    for i in range(out.t.ndim):
        out.t.shape[i] = shape[i]
        out.t.strides[i] = strides[i]
    out.t.data = <char *> <uintptr_t> data
    out.t.device_type = FO_DL_CPU
    out.size = _size_of(&out.t)
    return True


cdef inline bint _look(PyObject *x, looked *out) except -1:
    """False for what has no address or a type unknown to DLPack: a sparse tensor, one of another device. And for one
    whose elements do not all lie in its storage, which was resized since."""
    if dl_api == NULL:
        if not _look_slowly(<object> x, out):
            return False
    elif dl_api.look(<void *> x, &out.t) != 0:
        PyErr_Clear()
        return False
    else:
        out.t.data += out.t.byte_offset
        out.size = _size_of(&out.t)
    return _is_in_storage(x, &out.t) if remembers else torch_tools.is_in_storage(<object> x)


cdef inline bint _is_in_storage(PyObject *x, const fo_dl_tensor *t) noexcept:
    """By torch's records; what has none there, such as a tensor of another device, is left to others."""
    cdef char *storage = _pointer(_pointer(x, record_at), storage_at)
    cdef char *start
    cdef int64_t elements = 1
    cdef int i
    if storage == NULL:
        return True
    for i in range(t.ndim):
        if t.shape[i] == 0:
            return True
        elements += (t.shape[i] - 1) * t.strides[i]
    start = _pointer(storage, address_at)
    return start <= t.data and (t.data - start) + elements * (t.bits // 8) <= (
        <int64_t *> (storage + address_at + OF_MEMORY - sizeof(int64_t)))[0]


cdef inline int _kind_of(const looked *a) noexcept:
    if a.t.device_type != FO_DL_CPU or (a.t.data == NULL and a.size > 0):
        return REFUSED
    if <uintptr_t> a.t.data % (4 if a.t.bits == 32 else 2) != 0:
        return REFUSED
    if a.t.code == FO_DL_FLOAT and a.t.bits == 32:
        return FO_FLOAT
    if a.t.code == FO_DL_BFLOAT and a.t.bits == 16:
        return FO_BFLOAT16
    if a.t.code == FO_DL_FLOAT and a.t.bits == 16:
        return FO_FLOAT16
    return REFUSED


cdef bint _is_dense(const fo_dl_tensor *t) noexcept:
    """The elements fill one block, in whatever order of the dimensions."""
    cdef int i, found
    cdef int64_t expected = 1, elements = 1, size
    cdef bint again = True
    for i in range(t.ndim - 1, -1, -1):     # row-major: the usual case
        if t.shape[i] != 1:
            if t.strides[i] != expected:
                break
            expected *= t.shape[i]
    else:
        return True
    size = _size_of(t)
    while again and elements < size:        # the dimension whose stride is what lies inside it, from the inside out
        again = False
        for i in range(t.ndim):
            if t.shape[i] > 1 and t.strides[i] == elements:
                elements *= t.shape[i]
                again = True
                break
    return elements == size


cdef inline bint _same_dims(const fo_dl_tensor *a, const fo_dl_tensor *b) noexcept:
    cdef int i
    if a.ndim != b.ndim:
        return False
    for i in range(a.ndim):
        if a.shape[i] != b.shape[i]:
            return False
    return True


cdef inline bint _same_layout(const fo_dl_tensor *a, const fo_dl_tensor *b) noexcept:
    """Of two tensors of one shape: the same strides, where a stride matters."""
    cdef int i
    for i in range(a.ndim):
        if a.strides[i] != b.strides[i] and a.shape[i] != 1 and _size_of(a) > 0:
            return False
    return True


cdef int64_t n_forms = 0


@cython.final
cdef class Form:
    """How a param group is updated, as its hyper-parameters stand: made anew when one of them changes.

    rule: a row of csrc/rules.h. states: the names of its states, as they stand in the optimizer's state.
    counts: whether the state has a "step". scalars(t): those of step t, before the bias corrections `corrections`.
    changing: they depend on t, and are formed in Python in each step. names: the group's values that this was made of.
    """

    cdef readonly str rule
    cdef readonly tuple states
    cdef readonly bint counts, changing
    cdef readonly object scalars
    cdef readonly dict corrections
    cdef readonly tuple names
    cdef tuple values
    cdef int64_t number             # 1, 2, ...: no two have the same
    cdef int n_states
    cdef PyObject *state[4]         # borrowed from `states`
    cdef Py_ssize_t keys            # of the group: one that came later may be another hyper-parameter

    def __init__(self, str rule, tuple states, bint counts, scalars, dict corrections, bint changing, tuple names,
                 dict group):
        cdef int k
        global n_forms
        n_forms += 1
        self.number = n_forms
        if len(states) >= FO_MAX_BUFFERS:
            raise ValueError(f"at most {FO_MAX_BUFFERS - 1} states, got {states}")
        self.n_states = len(states)
        for k in range(self.n_states):
            self.state[k] = <PyObject *> states[k]
        self.rule, self.states, self.counts = rule, states, counts
        self.scalars, self.corrections, self.changing = scalars, corrections, changing
        self.names, self.values, self.keys = names, tuple([group[name] for name in names]), len(group)

    cdef bint holds(self, dict group) except -1:
        """Whether the group's values are the very objects of then, and none of them one that can change."""
        cdef Py_ssize_t i
        cdef PyObject *now
        if len(group) != self.keys:
            return False
        for i in range(len(self.names)):
            now = PyDict_GetItemWithError(group, self.names[i])
            if now == NULL or now != <PyObject *> self.values[i] or not _is_constant(self.values[i]):
                return False
        return True


cdef bint _is_constant(object value) except -1:
    if isinstance(value, (float, int, bool)) or value is None:
        return True
    if not isinstance(value, tuple):
        return False
    for x in <tuple> value:
        if not isinstance(x, (float, int)):
            return False
    return True


cdef struct counter:
    char *data      # of a "step" tensor, or NULL
    int bits        # 32, 64: a float's; -64: an integer's
    int64_t t       # the step that is under way: 1, 2, ...


@cython.final
cdef class TensorPlan(Plan):
    """One step of torch tensors: everything is looked at anew, and only what follows from equal addresses is remembered.

    cls: the optimizer's class: cls._form(group) makes a Form, cls._new_state(group, parameter) a dict of states.
    A span is a parameter that has a gradient; a group of the span table is a param group at one step count.
    """

    cdef object cls
    cdef counter *counters
    cdef int64_t *places            # per span: the number of its parameter among all
    cdef bint *unchecked            # per span: whether its gradient may overlap a parameter or state
    cdef int64_t *group_of          # per group: its param group
    cdef int64_t *group_at          # per group: the step that its scalars are for
    cdef int64_t capacity, room, partials, n_before
    cdef bint moved                 # a parameter or state is not where the one before it in the table was
    cdef memory *known              # per slot: what was seen there, if it had no pending sign
    cdef int64_t *settled           # per span: the number of the form it was taken in with nothing copied, or 0;
                                    # the table then holds what `known` says, the gradient included
    cdef PyObject **held            # tensors that are kept alive until the step is done
    cdef int64_t n_held
    cdef list forms                 # per param group
    cdef list formed                # per group: the Form whose constants are in the table
    cdef list written               # parameters
    cdef list stand_ins             # (parameter as a plain tensor, dense copy that is stepped in its stead)
    cdef dict fresh                 # id -> (parameter, state, names): made in this step, and gone with it if it fails
    cdef object block               # the origins' memory
    cdef list ahead_of              # the parameters that hold the lookahead point, one per span

    def __cinit__(self, *_):
        self.counters = NULL
        self.places = NULL
        self.unchecked = NULL
        self.group_of = NULL
        self.group_at = NULL
        self.known = NULL
        self.settled = NULL
        self.held = NULL

    def __dealloc__(self):
        PyMem_Free(self.known)
        PyMem_Free(self.settled)
        PyMem_Free(self.held)
        PyMem_Free(self.counters)
        PyMem_Free(self.places)
        PyMem_Free(self.unchecked)
        PyMem_Free(self.group_of)
        PyMem_Free(self.group_at)

    def __init__(self, cls):
        self.cls = cls
        self.forms, self.formed, self.slots, self.clocks = [], [], [], []
        self.moved = True

    def update(self, list work not None, object state not None, double grad_scale=1.0, max_norm=None,
               bint skip_nonfinite=False):
        """Step every parameter that has a gradient. work: per param group (group, parameters).

        Returns the gradients' norm if max_norm or skip_nonfinite asked for one, else None; see Plan.step.
        """
        self._enter()
        self.skipped = True
        try:
            self._refuse_ahead()
            self._fill(work, state, False)
            norm = self._run(grad_scale, max_norm, skip_nonfinite)
            self.looked_ahead = False
            return norm
        finally:
            if self.skipped:
                self._forget_fresh(state)
            self._let_go()
            self.busy = False

    cdef int _let_go(self) except -1:
        while self.n_held > 0:
            self.n_held -= 1
            Py_DECREF(<object> self.held[self.n_held])
        self.written = self.stand_ins = self.fresh = None
        return 0

    cdef int _forget_fresh(self, object state) except -1:
        for p, mine, made in (self.fresh or {}).values():
            for name in made:
                mine.pop(name, None)
            if not mine:
                state.pop(p, None)
        return 0

    cdef object _run(self, double grad_scale, object max_norm, bint skip_nonfinite):
        cdef fo_step step
        self._form_groups()
        self._describe(&step)
        step.grad_scale = grad_scale
        step.max_norm = INFINITY if max_norm is None else max_norm
        step.want_norm = max_norm is not None or skip_nonfinite
        step.skip_nonfinite = skip_nonfinite
        step.zero_gradients = False
        if step.want_norm and self.partials < self.tiles:
            PyMem_Free(self.partial)
            self.partial = NULL
            self.partials = 0
            self.partial = <double *> _allocate(self.tiles, sizeof(double))
            self.partials = self.tiles
            step.partial = self.partial
        if self.elements < KEEP_GIL:
            api.steps.run(&step, self.cost)
        else:
            with nogil:
                api.steps.run(&step, self.cost)
        self.skipped = step.skipped
        if step.skipped:
            self.skips += 1
        else:
            self._finish()
        return step.norm if step.want_norm else None

    cdef int _finish(self) except -1:
        """What stands beside the numbers: the step counts, the stand-ins' originals, autograd's versions. Runs no Python
        code, which Ctrl-C could end."""
        cdef int64_t s
        cdef counter *c
        for s in range(self.n_spans):
            c = &self.counters[s]
            if c.data == NULL:
                continue
            if c.bits == 32:
                (<float *> c.data)[0] = <float> c.t
            elif c.bits == 64:
                (<double *> c.data)[0] = <double> c.t
            else:
                (<int64_t *> c.data)[0] = c.t
        for original, stepped in self.stand_ins:
            copy_into(original, stepped)
        increment_version(self.written)
        return 0

    # -- the table ----------------------------------------------------------------------------------------------------

    cdef int _fill(self, list work, object state, bint ahead) except -1:
        """All spans and groups, checked. ahead: for a lookahead, of every parameter and without gradients."""
        self._fill_once(work, state, ahead)
        if self.moved or self.n_spans != self.n_before:
            self._take_owned()
        if self.stand_ins:
            torch_tools.check_apart(self.written)
        if not ahead:
            self._check_gradients()
        self.cost = api.steps.lay_out(self.span, self.n_spans, &self.tiles)
        self.elements = self.cost - self.n_spans * FO_SPAN_COST
        return 0

    cdef int _fill_once(self, list work, object state, bint ahead) except -1:
        cdef Py_ssize_t cursor = 0
        cdef int64_t i, place = 0
        cdef Form form
        cdef object group
        self.written, self.stand_ins, self.fresh = [], [], {}
        self.n_spans = self.n_groups = 0
        for i, (group, params) in enumerate(work):
            form = self._form_of(i, group)
            for p in <list?> params:
                grad = None if ahead else p.grad
                if ahead or grad is not None:
                    self._add(form, group, state, self._state_of(form, state, p, &cursor), p, grad, place, i)
                place += 1
        return 0

    cdef Form _form_of(self, int64_t i, dict group):
        cdef Form form
        if i == len(self.forms):
            self.forms.append(self.cls._form(group))
        else:
            form = self.forms[i]
            if not form.holds(group):
                self.forms[i] = self.cls._form(group)
        return self.forms[i]

    cdef dict _state_of(self, Form form, object state, object p, Py_ssize_t *cursor):
        """The states of p. The dict is walked along with the parameters, in whose order it usually is: hashing a tensor
        is a call into Python."""
        cdef PyObject *key = NULL
        cdef PyObject *value = NULL
        cdef Py_ssize_t at = cursor[0]
        if form.n_states == 0:
            return None
        for _ in range(4):              # a parameter without a gradient stands between, now and then
            if not PyDict_Next(state, &at, &key, &value):
                break
            if key == <PyObject *> p:
                cursor[0] = at
                return <dict?> <object> value
        mine = state.get(p)
        return {} if mine is None else <dict?> mine

    cdef int _add(self, Form form, object group, object state, dict mine, object p, object grad, int64_t place,
                  int64_t g) except -1:
        """One span: its parameter, states, step count and gradient."""
        cdef int64_t s = self.n_spans
        cdef looked w
        if s == self.capacity:
            self._grow()
        if self._is_settled(s, form, mine, p, place):
            self._take_settled(s, form, p, grad)
        else:
            self.settled[s] = 0
            self.places[s] = place
            self.counters[s].data = NULL
            self.counters[s].t = 1
            plain = self._add_parameter(s, p, &w)
            self._add_states(s, form, group, state, mine, p, &w)
            if grad is None:
                self.known[SLOTS_OF_SPAN * s + GRADIENT].record = NULL   # the table has another parameter's
            else:
                self._add_gradient(s, grad, p, plain, &w)
            if plain is p and self._can_settle(s, form):
                self.settled[s] = form.number
        self.span[s].group = <int32_t> self._group_at(g, form, self.counters[s].t)
        self.n_spans = s + 1
        return 0

    cdef bint _is_settled(self, int64_t s, Form form, dict mine, object p, int64_t place) except -1:
        """Whether parameter, states and count are those of the last step, and where they were."""
        cdef memory *known = &self.known[SLOTS_OF_SPAN * s]
        cdef PyObject *x
        cdef int k
        if self.settled[s] != form.number or self.places[s] != place or not _is_unchanged(<PyObject *> p, known):
            return False
        for k in range(1, form.n_states + 1):
            x = PyDict_GetItemWithError(mine, <object> form.state[k - 1])
            if x == NULL or type(<object> x) is not tensor_type or not _is_unchanged(x, &known[k]):
                return False
        if not form.counts:
            return True
        x = PyDict_GetItemWithError(mine, "step")
        return x != NULL and type(<object> x) is tensor_type and _is_unchanged(x, &known[STEP])

    cdef bint _can_settle(self, int64_t s, Form form) noexcept:
        cdef memory *known = &self.known[SLOTS_OF_SPAN * s]
        cdef int k
        for k in range(form.n_states + 1):
            if known[k].record == NULL:
                return False
        return not form.counts or known[STEP].record != NULL

    cdef int _take_settled(self, int64_t s, Form form, object p, object grad) except -1:
        """What a look would see is in the table; the gradient is another one in most steps."""
        cdef memory *known = &self.known[SLOTS_OF_SPAN * s]
        cdef looked w
        cdef int k
        for k in range(form.n_states + 1):
            self._hold(known[k].object)
        self.written.append(p)
        if form.counts:
            self._hold(known[STEP].object)
            self._count(s)
        else:
            self.counters[s].t = 2 if form.n_states > 0 else 1
        if grad is None:
            return 0
        if type(grad) is tensor_type and _is_unchanged(<PyObject *> grad, &known[GRADIENT]):
            return self._hold(<PyObject *> grad)
        w.t, w.size, w.kind = known.t, known.size, known.kind
        self.settled[s] = 0             # a gradient that is refused has been seen, too, and is not in the table
        self._add_gradient(s, grad, p, p, &w)
        self.settled[s] = form.number
        return 0

    cdef object _add_parameter(self, int64_t s, object p, looked *w):
        """The tensor that is stepped: the parameter, its local shard, or a stand-in.

        An inference tensor is not remembered: whether it may be written is a matter of the mode at the time.
        """
        cdef fo_span *span = &self.span[s]
        x = p
        if type(p) is not parameter_type and type(p) is not tensor_type:
            x = torch_tools.local(p, self._name("parameter", s))
        self._see(<PyObject *> x, w, SLOTS_OF_SPAN * s)
        if w.kind == REFUSED:
            torch_tools.refuse(x, self._name("parameter", s), self.cls)
        if is_inference(x):
            torch_tools.check_mode(self._name("parameter", s))
            self.known[SLOTS_OF_SPAN * s].record = NULL
        self.written.append(p)
        if x is not p:
            self.written.append(x)
        if w.negative or not _is_dense(&w.t):
            original, x = torch_tools.stand_in(x, self._name("parameter", s))
            self.stand_ins.append((original, x))
            self._see_other(x, w, SLOTS_OF_SPAN * s)
        if span.buffer[0] != <float *> w.t.data or span.size != w.size or span.w_type != w.kind:
            self.moved = True
        span.buffer[0], span.size, span.w_type = <float *> w.t.data, w.size, <uint8_t> w.kind
        return x

    cdef int _add_states(self, int64_t s, Form form, object group, object state, dict mine, object p,
                         looked *w) except -1:
        cdef looked a
        cdef int k
        cdef fo_span *span = &self.span[s]
        for k in range(1, FO_MAX_BUFFERS):
            a.t.data = NULL
            if k <= form.n_states:
                if k == 1 and self._is_fresh(form, mine):
                    self._make_states(form, group, state, mine, p)
                self._see_state(s, k, form.state[k - 1], mine, p, w, &a)
            if span.buffer[k] != <float *> a.t.data:
                span.buffer[k] = <float *> a.t.data
                self.moved = True
        if form.counts:
            self._see_step(s, self._need(s, <PyObject *> "step", mine))
        elif form.n_states > 0 and id(mine) not in self.fresh:
            self.counters[s].t = 2
        return 0

    cdef bint _is_fresh(self, Form form, dict mine) except -1:
        """No state yet, or not the one that is all: a momentum."""
        cdef PyObject *first = PyDict_GetItemWithError(mine, <object> form.state[0])
        if first != NULL and first != <PyObject *> None:
            return False
        return not form.counts or len(mine) == 0

    cdef int _make_states(self, Form form, object group, object state, dict mine, object p) except -1:
        made = self.cls._new_state(form, group, p)
        self.fresh[id(mine)] = p, mine, made
        mine.update(made)
        state[p] = mine
        return 0

    cdef inline PyObject *_need(self, int64_t s, PyObject *name, dict mine) except NULL:
        cdef PyObject *x = PyDict_GetItemWithError(mine, <object> name)
        if x == NULL or x == <PyObject *> None:
            self._lacks(s, <object> name, mine)
        return x

    cdef int _lacks(self, int64_t s, str name, dict mine) except -1:
        raise KeyError(f"the state of parameter {self.places[s]} has no {name!r}: it holds "
                       f"{', '.join(map(repr, mine))}, as of another optimizer or other options")

    cdef int _see_state(self, int64_t s, int k, PyObject *name, dict mine, object p, looked *w, looked *a) except -1:
        """A state, float32 in its parameter's layout. One that is not is converted, in the optimizer's state, too."""
        cdef int64_t slot = SLOTS_OF_SPAN * s + k
        cdef PyObject *x = self._need(s, name, mine)
        if type(<object> x) is tensor_type:
            self._see(x, a, slot)
        else:
            self._see_other(torch_tools.local(<object> x, self._name(<object> name, s)), a, slot)
        if a.kind == REFUSED:
            torch_tools.refuse_state(<object> x, self._name(<object> name, s))
        if not _same_dims(&a.t, &w.t):
            raise ValueError(f"{self._name(<object> name, s)} has shape {_dims(&a.t)}, parameter has {_dims(&w.t)}")
        if a.negative or a.kind != FO_FLOAT or not _same_layout(&a.t, &w.t):
            relaid = mine[<object> name] = torch_tools.relaid(<object> x, p)
            self._see_other(torch_tools.local(relaid, self._name(<object> name, s)), a, slot)
            if not _same_layout(&a.t, &w.t):
                raise ValueError(f"{self._name(<object> name, s)} cannot be brought into the layout of its parameter")
        return 0

    cdef int _see_step(self, int64_t s, PyObject *found) except -1:
        """The count of steps taken, a tensor of one number; the step that is under way is the next."""
        cdef looked a
        cdef counter *c = &self.counters[s]
        x = <object> found
        if type(x) is not tensor_type:
            x = torch_tools.local(x, self._name("step", s))
        self._hold(<PyObject *> x)
        if not _look(<PyObject *> x, &a) or a.t.device_type != FO_DL_CPU or a.size != 1 or a.t.data == NULL:
            torch_tools.refuse_step(x, self._name("step", s))
        c.data = a.t.data
        if a.t.code == FO_DL_FLOAT and a.t.bits in (32, 64):
            c.bits = a.t.bits
        elif a.t.code == FO_DL_INT and a.t.bits == 64:
            c.bits = -64
        else:
            torch_tools.refuse_step(x, self._name("step", s))
        a.kind = FO_FLOAT
        _remember(<PyObject *> x, &a, &self.known[SLOTS_OF_SPAN * s + STEP])
        return self._count(s)

    cdef int _count(self, int64_t s) except -1:
        cdef counter *c = &self.counters[s]
        cdef double taken
        if c.bits == 32:
            taken = (<float *> c.data)[0]
        elif c.bits == 64:
            taken = (<double *> c.data)[0]
        else:
            taken = <double> (<int64_t *> c.data)[0]
        if not 0 <= taken < MAX_STEPS or taken != floor(taken):     # a NaN is neither
            raise ValueError(f"{self._name('step', s)} must be a whole number >= 0 and below 2**53, got {taken!r}")
        c.t = <int64_t> taken + 1
        return 0

    cdef int _add_gradient(self, int64_t s, object grad, object p, object plain, looked *w) except -1:
        """A gradient that does not lie as its parameter does is copied."""
        cdef fo_span *span = &self.span[s]
        cdef looked a
        x = grad
        if type(x) is not tensor_type:
            x = torch_tools.local_gradient(x, p, self._name("gradient", s))
        self._see(<PyObject *> x, &a, SLOTS_OF_SPAN * s + GRADIENT)
        if a.kind == REFUSED:
            torch_tools.refuse(x, self._name("gradient", s), self.cls)
        if not _same_dims(&a.t, &w.t):
            raise ValueError(f"{self._name('gradient', s)} has shape {_dims(&a.t)}, parameter has {_dims(&w.t)}")
        if a.negative or not _same_layout(&a.t, &w.t):
            x = torch_tools.copied(x, plain)
            self._see_other(x, &a, SLOTS_OF_SPAN * s + GRADIENT)
        if span.gradient != <float *> a.t.data or span.g_type != a.kind:
            self.unchecked[s] = True
        span.gradient, span.g_type = <float *> a.t.data, <uint8_t> a.kind
        return 0

    cdef int _see_other(self, object x, looked *out, int64_t slot) except -1:
        """The same of a tensor that nobody else holds."""
        self._see(<PyObject *> x, out, slot)
        return 0

    cdef inline int _see(self, PyObject *x, looked *out, int64_t slot) except -1:
        """Look at it, and keep it alive until the step is done.

        Without torch's records, the sign is asked of what is new in its place, and always of one element: a dense view
        of more elements that has a sign pending comes from torch's private functions alone, and one that is not dense
        is copied in any case.
        """
        cdef memory *known = &self.known[slot]
        self._hold(x)
        if _is_unchanged(x, known):
            out.t, out.size, out.kind, out.negative = known.t, known.size, known.kind, False
            return 0
        out.kind, out.negative = REFUSED, False
        if not _look(x, out):
            return 0
        out.kind = _kind_of(out)
        if remembers or known.object != x or known.data != out.t.data or out.size == 1:
            out.negative = is_neg(<object> x)
        if out.negative:
            known.object = known.record = NULL
        else:
            _remember(x, out, known)
        return 0

    cdef inline int _hold(self, PyObject *x) except -1:
        if self.n_held == self.room:
            self._make_room()
        Py_INCREF(<object> x)
        self.held[self.n_held] = x
        self.n_held += 1
        return 0

    cdef int _make_room(self) except -1:
        cdef int64_t room = max(2 * self.room, 64)
        self.held = <PyObject **> _grown(self.held, self.room, room, sizeof(void *))
        self.room = room
        return 0

    cdef int64_t _group_at(self, int64_t g, Form form, int64_t t) except -1:
        """The group of the table for this param group at this step: nearly always the one of the span before."""
        cdef int64_t k
        if not form.changing and not form.corrections:
            t = 0
        for k in range(self.n_groups - 1, -1, -1):
            if self.group_of[k] != g:
                break
            if self.group_at[k] == t:
                return k
        k = self.n_groups
        self.group_of[k], self.group_at[k] = g, t
        self.n_groups += 1
        return k

    cdef int _form_groups(self) except -1:
        """The scalars of every group; what does not depend on the step, only when it changed."""
        cdef int64_t k, t
        cdef Form form
        for k in range(self.n_groups):
            form = self.forms[self.group_of[k]]
            t = self.group_at[k]
            if k == len(self.formed):
                self.formed.append(None)
                self.slots.append(None)
            if self.formed[k] is not form:
                self.formed[k] = None
                self._add_group(k, form.rule)
                self.slots[k] = self.slots.pop()
                self.set(k, form.scalars(max(t, 1)), form.corrections, max(t, 1))
                self.formed[k] = form
            elif form.changing:
                self.set(k, form.scalars(t), form.corrections, t)
            else:
                self._correct(k, t)
        return 0

    # -- checks -------------------------------------------------------------------------------------------------------

    cdef int _take_owned(self) except -1:
        """Sort parameters and states by address, and see that no two overlap."""
        cdef int64_t s
        cdef int k
        cdef fo_span *span
        self.n_before = -1
        self.n_owned = 0
        for s in range(self.n_spans):
            span = &self.span[s]
            self.unchecked[s] = True
            for k in range(FO_MAX_BUFFERS):
                if span.size > 0 and span.buffer[k] != NULL:
                    self.owned[self.n_owned] = _bytes(span.buffer[k], span.size, span.w_type if k == 0 else FO_FLOAT,
                                                      s, k)
                    self.n_owned += 1
        self._check_owned()
        self.n_before = self.n_spans
        self.moved = False
        return 0

    cdef int _check_gradients(self) except -1:
        cdef int64_t s
        cdef interval g
        for s in range(self.n_spans):
            if self.unchecked[s]:
                g = _bytes(self.span[s].gradient, self.span[s].size, self.span[s].g_type, s, 0)
                if self.span[s].size > 0:
                    self._check_apart(False, s, g.start, g.end)
                self.unchecked[s] = False
        return 0

    cdef str _name(self, str what, int64_t s):
        return f"{what} {self.places[s]}"

    cdef str _label(self, int64_t g, int k, int64_t s):
        cdef Form form = self.forms[self.group_of[g]]
        return self._name("parameter" if k == 0 else form.states[k - 1], s)

    cdef str _gradient_label(self, int64_t s):
        return self._name("gradient", s)

    cdef int _grow(self) except -1:
        cdef int64_t old = self.capacity, new = max(2 * old, 16)
        self.span = <fo_span *> _grown(self.span, old, new, sizeof(fo_span))
        self.group = <fo_group *> _grown(self.group, old, new, sizeof(fo_group))
        self.counters = <counter *> _grown(self.counters, old, new, sizeof(counter))
        self.places = <int64_t *> _grown(self.places, old, new, sizeof(int64_t))
        self.unchecked = <bint *> _grown(self.unchecked, old, new, sizeof(bint))
        self.moves = <moving *> _grown(self.moves, old, new, sizeof(moving))
        self.group_of = <int64_t *> _grown(self.group_of, old, new, sizeof(int64_t))
        self.group_at = <int64_t *> _grown(self.group_at, old, new, sizeof(int64_t))
        self.settled = <int64_t *> _grown(self.settled, old, new, sizeof(int64_t))
        self.known = <memory *> _grown(self.known, SLOTS_OF_SPAN * old, SLOTS_OF_SPAN * new, sizeof(memory))
        self.owned = <interval *> _grown(self.owned, FO_MAX_BUFFERS * old, FO_MAX_BUFFERS * new, sizeof(interval))
        self.capacity = new
        return 0

    # -- the lookahead ------------------------------------------------------------------------------------------------

    def look_ahead(self, list work not None, object state not None):
        """Every w moves to w − shift·a, a its first state; what it was is kept until restore()."""
        self._enter()
        try:
            self._refuse_ahead()
            self._fill(work, state, True)
            self._form_groups()
            self._make_origins()
            self.ahead_of = [p for _, params in work for p in params]
            increment_version(self.written)
            self._move(self.shift)
            self.ahead = True
            self.looked_ahead = False
        except BaseException:
            self._forget_fresh(state)
            raise
        finally:
            self._let_go()
            self.busy = False

    cdef int _make_origins(self) except -1:
        cdef int64_t k, s, size = 0
        cdef Form form
        if self.stand_ins:
            raise ValueError("a parameter that is not dense cannot look ahead: make it contiguous")
        for s in range(self.n_spans):
            size += self.span[s].size + 16
        cdef cnp.ndarray block = np.empty(size, np.float32)
        self.block = block
        size = 0
        for s in range(self.n_spans):
            self.span[s].origin = <float *> cnp.PyArray_DATA(block) + size
            size += (self.span[s].size + 15) // 16 * 16
        PyMem_Free(self.shift)
        self.shift = NULL
        self.shift = <float *> _allocate(self.n_groups, sizeof(float))
        for k in range(self.n_groups):
            form = self.forms[self.group_of[k]]
            self.shift[k] = <float> <double> form.scalars(max(self.group_at[k], 1))["shift"]
        return 0

    cdef list _go_back(self):
        cdef list lost
        self.written = []
        lost = Plan._go_back(self)
        increment_version(self.written)
        self.ahead_of = self.block = None
        return lost

    cdef str _why_gone(self, int64_t s):
        p = x = self.ahead_of[s]
        if type(p) is not parameter_type and type(p) is not tensor_type:
            try:
                x = torch_tools.local(p, self._name("parameter", s))
            except TypeError as error:
                return str(error)
        self._hold(<PyObject *> x)
        if not (_is_unchanged(<PyObject *> x, &self.known[SLOTS_OF_SPAN * s])
                or self._lies_there(s, <PyObject *> x)):
            return f"{self._name('parameter', s)} was moved or replaced"
        self.written.append(p)
        if x is not p:
            self.written.append(x)
        return None

    cdef bint _lies_there(self, int64_t s, PyObject *x) except -1:
        """Whether the numbers of x fill the memory that the table has for its parameter."""
        cdef looked w
        cdef fo_span *span = &self.span[s]
        return (_look(x, &w) and <float *> w.t.data == span.buffer[0] and w.size == span.size
                and _kind_of(&w) == span.w_type and _is_dense(&w.t) and not is_neg(<object> x))


cdef inline interval _bytes(float *data, int64_t size, int type, int64_t span, int buffer) noexcept:
    cdef uintptr_t start = <uintptr_t> data
    return interval(start=start, end=start + size * (4 if type == FO_FLOAT else 2), span=span, buffer=buffer)


cdef tuple _dims(const fo_dl_tensor *t):
    cdef int i
    return tuple([t.shape[i] for i in range(t.ndim)])


cdef void *_grown(void *memory, int64_t old, int64_t new, size_t size) except NULL:
    """The same memory with room for more, which is zeroed."""
    cdef char *grown = <char *> PyMem_Realloc(memory, new * size)
    if grown == NULL:
        raise MemoryError(f"{new} × {size} bytes")
    memset(grown + old * size, 0, (new - old) * size)
    return grown
