"""The step over arrays, for other Cython modules: checked arrays and formed scalars, ready to run in C."""

from libc.stdint cimport int64_t

cimport numpy as cnp
from cpython.ref cimport PyObject

from fastopt._native.capi cimport fo_group, fo_step
from fastopt._native.scalars cimport Clock, GroupScalars
from fastopt._native.arrays cimport interval
from fastopt._native.spans cimport SpanTable


cdef struct array_form:             # type, shape and address of an array when it was checked
    const cnp.npy_intp *shape
    int ndim
    int flags


cdef class ArrayStep:
    cdef SpanTable table
    cdef GroupScalars scalars
    cdef array_form *form           # per span
    cdef PyObject **parameter       # one array per span, borrowed
    cdef PyObject **clock           # per group its Clock, borrowed; NULL if the caller counts the steps
    cdef list keep_alive            # per group its arrays, their shapes and its clock
    cdef readonly list groups       # per group the object that append got
    cdef list origins               # the arrays that were checked as origins, or None
    cdef float *shift               # per group
    cdef int64_t *formed            # per group: clock.changes when its scalars were formed; -1: they must be formed
    cdef bint *varying              # per group: its scalars must be formed anew for each step
    cdef bint gradients_apart       # no two gradients overlap, as far as they did not move since
    cdef readonly bint skipped
    cdef public int64_t skips
    cdef public object looked_ahead # of what the gradients were taken at the lookahead point; None if they were not

    cdef bint is_stale(self) except -1
    cdef list new_origins(self)
    cdef int take_arrays(self, tuple gradients, list origins) except -1
    cdef fo_group *form_ahead(self, int64_t steps, list ahead) except NULL
    cdef float *shifts_of(self, const fo_group *rows, int64_t steps) except NULL

    cdef int _stage(self, str rule, list tensors, tuple names, Clock clock) except -1
    cdef int _make_room(self, int64_t n_spans, int64_t n_groups) except -1
    cdef int _commit(self, const interval *owned, int64_t n_owned, int64_t n_spans) except -1
    cdef cnp.npy_intp *_record_form(self, int64_t s, cnp.npy_intp *shape) noexcept
    cdef int _add_span(self, SpanTable table, int64_t s, int64_t g, tuple buffers) except -1
    cdef cnp.ndarray _buffer(self, SpanTable table, object x, int64_t s, int k)
    cdef int _correct(self) except -1
    cdef int _advance_clocks(self) except -1
    cdef bint _can_use(self, object grads, bint will_be_zeroed) except -1
    cdef list _take_gradients(self, tuple gradients, bint will_be_zeroed)
    cdef int64_t _first_changed(self, object gradients, int64_t s, bint will_be_zeroed) except -1
    cdef void _fetch_headers(self, PyObject *far, PyObject *near, int64_t s) noexcept
    cpdef int check(self) except -1
    cdef int _check_parameter(self, int64_t s) except -1
    cdef object _take_gradient(self, int64_t s, object x, bint will_be_zeroed)
    cdef object _copy_gradient(self, int64_t s, cnp.ndarray a, cnp.ndarray parameter)
    cdef int _check_gradients_apart(self, list copies) except -1
    cdef int _finish_copies(self, tuple gradients, list copies, bint zero) except -1
    cdef object _step(self, fo_step *step, object grads)
    cdef int _run(self, fo_step *step, object grads) except -1
    cdef int _take_origins(self, list origins) except -1
