"""The table of parameters that a step works on. A step over arrays and a step over tensors each have one."""

from libc.stdint cimport int64_t, uintptr_t

from fastopt._native.arrays cimport interval
from fastopt._native.capi cimport FO_FLOAT, fo_span, fo_step


cdef class SpanTable:
    cdef fo_span *span              # one per parameter: its buffers, gradient and origin
    cdef int64_t *number            # per span: its number in error messages
    cdef interval *owned            # parameters and states, sorted by address
    cdef interval *others           # scratch: one interval per span, to compare gradients or origins
    cdef int64_t n_spans, capacity, n_owned
    cdef int64_t cost, tiles, elements
    cdef double *partial            # one sum of squares per tile
    cdef int64_t partials
    cdef list names                 # per group: the names of its buffers, the parameter's first
    cdef str gradient_name
    cdef bint single                # there is one parameter, and error messages do not number it
    cdef bint ahead                 # the parameters hold the lookahead point
    cdef bint busy                  # a step is under way
    cdef int most_threads           # the limit of this table's steps, beside the limit of the process; 0: none
    cdef int forks                  # fo_forks() when it began

    cdef int enter(self) except -1
    cdef int refuse_ahead(self) except -1
    cdef int grow(self, int64_t capacity) except -1
    cdef str label(self, int64_t s, int buffer)
    cdef str gradient_label(self, int64_t s)
    cdef str origin_label(self, int64_t s)
    cdef tuple list_gradients(self, object grads)
    cdef int take_owned(self) except -1
    cdef int64_t collect(self, interval *found, int64_t first, int64_t end) noexcept
    cdef int check_apart(self, interval *found, int64_t n) except -1
    cdef void insert(self, const interval *found, int64_t n) noexcept
    cdef int64_t first_behind(self, uintptr_t start, int64_t high) noexcept
    cdef const interval *owner_of(self, uintptr_t start, uintptr_t end) noexcept
    cdef int check_gradient_apart(self, int64_t s, uintptr_t start, uintptr_t end) except -1
    cdef int check_origins(self) except -1
    cdef int lay_out(self) except -1
    cdef int describe(self, fo_step *step) except -1
    cdef int run(self, fo_step *step) except -1
    cdef int move(self, const float *shift) except -1
    cdef list put_back(self, list problems)


cdef inline int64_t item_bytes(int type) noexcept:
    """Bytes of an element of this fo_type."""
    return 4 if type == FO_FLOAT else 2


cdef inline interval interval_of(const void *data, int64_t size, int type, int64_t span, int buffer) noexcept:
    """The memory of `size` elements of this fo_type."""
    cdef uintptr_t start = <uintptr_t> data
    return interval(start=start, end=start + size * item_bytes(type), span=span, buffer=buffer)


cdef void *grown(void *memory, int64_t old, int64_t new, size_t size) except NULL
