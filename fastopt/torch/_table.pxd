"""What _step.pyx uses of a table of tensors."""

from cpython.ref cimport PyObject
from libc.stdint cimport int64_t

from fastopt._native.spans cimport SpanTable
from fastopt.torch._views cimport tensor_record, tensor_view


cdef class UpdateSpec:
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


cdef struct counter:
    char *data      # of a "step" tensor, or NULL
    int bits        # 32 or 64 for a float, -64 for an integer
    int64_t t       # the step under way: 1, 2, ...


cdef class TensorTable:
    cdef SpanTable spans
    cdef object new_state
    cdef str advice
    cdef int64_t n_groups
    cdef list group_specs           # per group: its UpdateSpec
    cdef int64_t *param_group       # per group
    cdef int64_t *group_step        # per group: the step that its scalars are for; 0: its scalars are those of any step
    cdef counter *counters          # per span
    cdef bint *unchecked            # per span: whether its gradient may overlap a parameter or state
    cdef tensor_record *records     # per span: RECORDS_PER_SPAN
    cdef int64_t *recorded          # per span: the number of the UpdateSpec that its records are complete for, or 0
    cdef int64_t n_checked          # spans whose parameters and states were compared with each other, or -1
    cdef bint moved                 # since then an address, a size or a type in the table has changed
    cdef list written               # the parameters of the step
    cdef list written_states        # their states and step counts
    cdef list held                  # other tensors that are kept alive until the step is done
    cdef list copies                # (parameter with gaps, the dense copy that the kernel updates), both plain tensors
    cdef dict fresh                 # id of a state -> (parameter, state, names): made in this step
    cdef object state               # the optimizer's

    cdef int read(self, list work, object state, bint ahead) except -1
    cdef int end(self, bint failed) except -1
    cdef str problem(self, int64_t s, object p)

    cdef dict _state_of(self, UpdateSpec spec, object p, Py_ssize_t *cursor)
    cdef int _add(self, UpdateSpec spec, object group, dict states, object p, object grad, int64_t place, int64_t g) except -1
    cdef bint _is_unchanged(self, int64_t s, UpdateSpec spec, dict states, object p, int64_t place) except -1
    cdef bint _is_recorded(self, int64_t s, UpdateSpec spec) noexcept
    cdef int _take_unchanged(self, int64_t s, UpdateSpec spec, object p, object grad) except -1
    cdef object _add_parameter(self, int64_t s, object p, tensor_view *w)
    cdef int _add_states(self, int64_t s, UpdateSpec spec, object group, dict states, object p, tensor_view *w) except -1
    cdef bint _has_none(self, UpdateSpec spec, dict states) except -1
    cdef int _make_states(self, UpdateSpec spec, object group, dict states, object p) except -1
    cdef PyObject *_need(self, int64_t s, PyObject *name, dict states) except NULL
    cdef int _add_state(self, int64_t s, int k, PyObject *name, dict states, object p, tensor_view *w, tensor_view *a) except -1
    cdef int _add_count(self, int64_t s, object found) except -1
    cdef int _read_count(self, int64_t s) except -1
    cdef int _add_gradient(self, int64_t s, object grad, object p, object stepped, tensor_view *w) except -1
    cdef bint _read_tensor(self, object x, tensor_view *out) except -1
    cdef str _name(self, str what, int64_t s)
    cdef int _grow(self, int64_t new) except -1
    cdef int64_t _group_for(self, int64_t g, UpdateSpec spec, int64_t t) except -1
    cdef int _check_overlaps(self, bint ahead) except -1
    cdef bint _is_in_place(self, int64_t s, object x) except -1
