# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False, embedsignature=False
"""The table of parameters that a step works on: their memory, their names in messages, and that no two overlap.

It knows addresses and sizes only. Its owner checks the arrays or tensors at these addresses before each step.
"""

from cpython.mem cimport PyMem_Free, PyMem_Realloc
from libc.math cimport INFINITY
from libc.stdint cimport int64_t, uintptr_t
from libc.string cimport memcpy, memmove, memset

import numpy as np

from fastopt._native.arrays cimport first_overlap, interval
from fastopt._native.capi cimport FO_FLOAT, FO_MAX_BUFFERS, FO_SPAN_COST, KEEP_GIL, fo_span, fo_step
from fastopt._native.runtime cimport api


cdef class SpanTable:
    """Spans and their groups' buffer names. The owner fills `span` up to `n_spans`, then calls take_owned and lay_out."""

    def __cinit__(self):
        self.names = []
        self.gradient_name = "gradient"

    def __dealloc__(self):
        PyMem_Free(self.span)
        PyMem_Free(self.number)
        PyMem_Free(self.owned)
        PyMem_Free(self.others)
        PyMem_Free(self.partial)

    cdef int enter(self) except -1:
        """Begin a step; the owner sets `busy` to False at its end. A step that runs during a fork continues in the parent only."""
        cdef int forks = api.runtime.forks()
        if self.busy and self.forks == forks:
            raise RuntimeError("this optimizer is in the middle of a step, on another thread or in a caller of this function")
        self.busy = True
        self.forks = forks
        return 0

    cdef int refuse_ahead(self) except -1:
        if self.ahead:
            raise RuntimeError("the parameters hold the lookahead point already")
        return 0

    cdef int grow(self, int64_t capacity) except -1:
        """Make room for this many spans. New spans are zero and numbered in order."""
        cdef int64_t s, old = self.capacity
        self.span = <fo_span *> grown(self.span, old, capacity, sizeof(fo_span))
        self.number = <int64_t *> grown(self.number, old, capacity, sizeof(int64_t))
        self.owned = <interval *> grown(self.owned, FO_MAX_BUFFERS * old, FO_MAX_BUFFERS * capacity, sizeof(interval))
        self.others = <interval *> grown(self.others, old, capacity, sizeof(interval))
        for s in range(old, capacity):
            self.number[s] = s
        self.capacity = capacity
        return 0

    # -- names --------------------------------------------------------------------------------------------------------

    cdef str label(self, int64_t s, int buffer):
        name = self.names[self.span[s].group][buffer]
        return name if self.single else f"{name} {self.number[s]}"

    cdef str gradient_label(self, int64_t s):
        return self.gradient_name if self.single else f"{self.gradient_name} {self.number[s]}"

    cdef str origin_label(self, int64_t s):
        return "origin" if self.single else f"origin {self.number[s]}"

    cdef tuple list_gradients(self, object grads):
        """The gradients as a new tuple, which no other code can change."""
        cdef int64_t n = self.n_spans
        if self.single:
            return (grads,)
        if type(grads) is tuple:
            gradients = grads
        elif isinstance(grads, (list, tuple)):
            gradients = tuple(grads)
        elif isinstance(grads, (np.ndarray, dict, str)) or not hasattr(grads, "__iter__"):
            raise TypeError(f"gradients must be a list of {n} arrays, one per parameter, got {type(grads).__name__}")
        else:
            gradients = tuple(grads)
        if len(gradients) != n:
            raise ValueError(f"expected {n} gradients, one per parameter, got {len(gradients)}")
        return gradients

    # -- memory -------------------------------------------------------------------------------------------------------

    cdef int take_owned(self) except -1:
        """Collect parameters and states, sorted by address. ValueError if two overlap."""
        self.n_owned = 0
        cdef int64_t n = self.collect(self.owned, 0, self.n_spans)
        self.check_apart(self.owned, n)
        self.n_owned = n
        return 0

    cdef int64_t collect(self, interval *found, int64_t first, int64_t end) noexcept:
        """The parameters and states of the spans from first to end. Returns their number."""
        cdef int64_t s, n = 0
        cdef int k
        cdef fo_span *span
        for s in range(first, end):
            span = &self.span[s]
            for k in range(FO_MAX_BUFFERS):
                if span.size > 0 and span.buffer[k] != NULL:
                    found[n] = interval_of(span.buffer[k], span.size, span.w_type if k == 0 else FO_FLOAT, s, k)
                    n += 1
        return n

    cdef int check_apart(self, interval *found, int64_t n) except -1:
        """Sort these by address. ValueError if one of them overlaps another one or the memory that this table owns."""
        cdef const interval *other = NULL
        cdef int64_t i = first_overlap(found, n)
        if i > 0:
            other = &found[i - 1]
        else:
            while other == NULL and i < n:
                other = self.owner_of(found[i].start, found[i].end)
                i += other == NULL
        if other != NULL:
            raise ValueError(f"{self.label(found[i].span, found[i].buffer)} overlaps "
                             f"{self.label(other.span, other.buffer)} in memory")
        return 0

    cdef void insert(self, const interval *found, int64_t n) noexcept:
        """Add what check_apart has checked to the memory that this table owns."""
        cdef int64_t i, at, end = self.n_owned
        for i in range(n - 1, -1, -1):
            at = self.first_behind(found[i].start, end)
            memmove(&self.owned[at + i + 1], &self.owned[at], (end - at) * sizeof(interval))
            self.owned[at + i], end = found[i], at
        self.n_owned += n

    cdef int64_t first_behind(self, uintptr_t start, int64_t high) noexcept:
        """The first of the first `high` intervals that ends behind this address."""
        cdef int64_t low = 0, middle
        while low < high:
            middle = (low + high) // 2
            if self.owned[middle].end > start:
                high = middle
            else:
                low = middle + 1
        return low

    cdef const interval *owner_of(self, uintptr_t start, uintptr_t end) noexcept:
        """A parameter or state that overlaps these addresses, or NULL."""
        cdef int64_t low = self.first_behind(start, self.n_owned)
        return &self.owned[low] if low < self.n_owned and self.owned[low].start < end else NULL

    cdef int check_gradient_apart(self, int64_t s, uintptr_t start, uintptr_t end) except -1:
        """ValueError if the gradient at these addresses overlaps a parameter or a state."""
        cdef const interval *owner = self.owner_of(start, end)
        if owner != NULL:
            raise ValueError(f"{self.gradient_label(s)} overlaps {self.label(owner.span, owner.buffer)} in memory")
        return 0

    cdef int check_origins(self) except -1:
        """ValueError if the origin of a span overlaps a parameter, a state or another origin."""
        cdef int64_t s, n = 0
        cdef const interval *owner
        for s in range(self.n_spans):
            if self.span[s].size > 0:
                self.others[n] = interval_of(self.span[s].origin, self.span[s].size, self.span[s].w_type, s, 0)
                owner = self.owner_of(self.others[n].start, self.others[n].end)
                if owner != NULL:
                    raise ValueError(f"{self.origin_label(s)} overlaps {self.label(owner.span, owner.buffer)} in memory")
                n += 1
        n = first_overlap(self.others, n)
        if n > 0:
            raise ValueError(f"{self.origin_label(self.others[n].span)} overlaps "
                             f"{self.origin_label(self.others[n - 1].span)} in memory")
        return 0

    # -- the work -----------------------------------------------------------------------------------------------------

    cdef int lay_out(self) except -1:
        """Give every span its place in the total work."""
        self.cost = api.steps.lay_out(self.span, self.n_spans, &self.tiles)
        self.elements = self.cost - self.n_spans * FO_SPAN_COST
        return 0

    cdef int describe(self, fo_step *step) except -1:
        """A step over all spans without options. The owner sets `group` and the options, then calls run."""
        step.span = self.span
        step.n_spans = self.n_spans
        step.group = NULL
        step.partial = NULL
        step.grad_scale, step.max_norm = 1.0, INFINITY
        step.want_norm = step.skip_nonfinite = step.zero_gradients = False
        step.noise = 0
        step.threads = api.runtime.threads_for(self.elements)
        if 0 < self.most_threads < step.threads:
            step.threads = self.most_threads
        return 0

    cdef int run(self, fo_step *step) except -1:
        """Run the step; a small one keeps the GIL. The only possible error is a MemoryError before the first write."""
        if step.want_norm:
            if self.partials < self.tiles:
                self.partial = <double *> grown(self.partial, self.partials, self.tiles, sizeof(double))
                self.partials = self.tiles
            step.partial = self.partial
        if self.elements < KEEP_GIL:
            api.steps.run(step, self.cost)
        else:
            with nogil:
                api.steps.run(step, self.cost)
        return 0

    cdef int move(self, const float *shift) except -1:
        """origin ← w and w ← w − shift·a, with a shift per group; with shift NULL the way back, w ← origin."""
        cdef fo_step step
        self.describe(&step)
        with nogil:
            api.steps.look_ahead(&step, self.cost, shift)
        return 0

    cdef list put_back(self, list problems):
        """Restore the parameters from the lookahead point. problems: per span the reason why it cannot be written, or None.

        Every span without a problem gets its origin's bits. Returns the problems.
        """
        cdef int64_t s
        cdef fo_span *span
        cdef list found = [problem for problem in problems if problem is not None]
        if not found:
            self.move(NULL)
        else:
            for s in range(self.n_spans):
                span = &self.span[s]
                if problems[s] is None and span.size > 0:
                    memcpy(span.buffer[0], span.origin, span.size * item_bytes(span.w_type))
        self.ahead = False
        return found


cdef class LookaheadBlock:
    """In C, so that no signal can come between the move and the promise to move back."""

    cdef object step
    cdef object arguments
    cdef object values
    cdef bint inside

    def __init__(self, arguments not None):
        if self.arguments is not None:
            raise RuntimeError("a lookahead() block cannot be initialized twice")
        self.arguments = arguments

    def __enter__(self):
        step, first, second, values = self.arguments()
        step.look_ahead(first, second)
        self.step, self.values, self.inside = step, values, True

    def __exit__(self, kind, value, traceback):
        if not self.inside:
            raise RuntimeError("this lookahead() block was not entered")
        self.abandon()
        self.step.looked_ahead = self.values if kind is None else None

    def abandon(self, *_):
        """Leave the block if it was entered."""
        if self.inside:
            try:
                self.step.restore()
            finally:
                self.inside = self.step.ahead


class Lookahead(LookaheadBlock):
    """The block of NAG.lookahead().

    arguments: called at entry; returns an object with look_ahead and restore, the two arguments of look_ahead, and the value
    of its `looked_ahead` once the block has ended without an exception.
    """

    __slots__ = ()
    __del__ = LookaheadBlock.abandon    # before the garbage collector clears the parts of a cycle; __dealloc__ is too late


cdef void *grown(void *memory, int64_t old, int64_t new, size_t size) except NULL:
    """The same memory with room for `new` elements, at least one; the new ones are zero."""
    cdef char *more = <char *> PyMem_Realloc(memory, max(new, 1) * size)
    if more == NULL:
        raise MemoryError(f"{new} × {size} bytes")
    memset(more + old * size, 0, (new - old) * size)
    return more
