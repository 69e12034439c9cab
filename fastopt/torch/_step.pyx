# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False, embedsignature=False
"""One step over torch tensors. Holds no formula.

Nothing is written before everything is checked and allocated: a step happens wholly or not at all.
"""

from cpython.mem cimport PyMem_Free
from libc.math cimport INFINITY
from libc.stdint cimport int64_t

cimport cython

import torch

from fastopt.torch import tensors

from fastopt._native.arrays cimport allocate
from fastopt._native.capi cimport fo_span, fo_step
from fastopt._native.step cimport GroupScalars
from fastopt.torch._table cimport TensorTable, UpdateSpec, counter

cdef enum:
    LINE = 16               # floats in a cache line

# What is called after the kernel must not be Python code, in which Ctrl-C could end a step halfway. So this is not
# torch.autograd.graph.increment_version, which is a Python function around the same C function.
cdef object increment_version = torch._C._increment_version
cdef object copy_into = torch.Tensor.copy_


@cython.final
cdef class TensorStep:
    """The steps of torch parameters. new_state, advice: see TensorTable.

    A step is three calls: `with step:` keeps other steps out and undoes what failed, read() checks everything, apply()
    writes.
    """

    cdef TensorTable table
    cdef GroupScalars scalars
    cdef public list specs          # per param group its UpdateSpec, for the owner
    cdef list ready                 # per group of the table: the UpdateSpec whose scalars it has, or None
    cdef list ahead_of              # the parameters that hold the lookahead point, one per span
    cdef float *origins             # their values before
    cdef float *shift               # per group of the table
    cdef readonly bint skipped
    cdef readonly int64_t skips
    cdef public object looked_ahead # of what gradients were taken at the lookahead point that no step has used yet; or None

    def __cinit__(self, *_):
        self.origins = NULL
        self.shift = NULL

    def __dealloc__(self):
        PyMem_Free(self.origins)
        PyMem_Free(self.shift)

    def __init__(self, new_state, str advice not None):
        self.table, self.scalars = TensorTable(new_state, advice), GroupScalars()
        self.specs, self.ready = [], []

    @property
    def ahead(self):
        """Whether the parameters hold the lookahead point."""
        return self.table.spans.ahead

    def __enter__(self):
        """RuntimeError if a step is under way or the parameters hold the lookahead point."""
        self.table.spans.enter()
        self.skipped = True
        if self.table.spans.ahead:
            self.table.spans.busy = False
            self.table.spans.refuse_ahead()

    def __exit__(self, *_):
        self.table.end(self.skipped)

    def read(self, list work not None, object state not None):
        """Read and check every parameter that has a gradient, with its gradient, states and step count.

        work: per param group (UpdateSpec, group, parameters). state: the optimizer's, by parameter.
        Returns (index, UpdateSpec, t) for each group of the table whose scalars set() must be given.
        """
        self.table.read(work, state, False)
        return self._stale_groups()

    def set(self, int64_t index, UpdateSpec spec not None, dict values not None, int64_t t):
        """Give a group of the table the scalars of step t by name, before their bias corrections."""
        self.ready[index] = None
        self.scalars.set(index, values, spec.corrections, t)
        self.ready[index] = spec

    def apply(self, double grad_scale=1.0, max_norm=None, bint skip_nonfinite=False):
        """Update what was read. Returns the gradients' norm if max_norm or skip_nonfinite asks for it, else None."""
        cdef fo_step step
        self.table.spans.describe(&step)
        if step.threads > 1:
            step.threads = min(step.threads, torch.get_num_threads())
        step.group = self.scalars.group
        step.grad_scale = grad_scale
        step.max_norm = INFINITY if max_norm is None else max_norm
        step.want_norm = max_norm is not None or skip_nonfinite
        step.skip_nonfinite = skip_nonfinite
        self.table.spans.run(&step)
        self.skipped = step.skipped
        if step.skipped:
            self.skips += 1
        else:
            self._finish()
        self.looked_ahead = None
        return step.norm if step.want_norm else None

    cdef int _finish(self) except -1:
        """Write the step counts and the originals of dense copies, and tell autograd. Runs no Python code, which Ctrl-C
        could end."""
        cdef int64_t s
        cdef counter *c
        for s in range(self.table.spans.n_spans):
            c = &self.table.counters[s]
            if c.data == NULL:
                continue
            if c.bits == 32:
                (<float *> c.data)[0] = <float> c.t
            elif c.bits == 64:
                (<double *> c.data)[0] = <double> c.t
            else:
                (<int64_t *> c.data)[0] = c.t
        for original, copy in self.table.copies:
            copy_into(original, copy)
        increment_version(self.table.written)
        increment_version(self.table.written_states)
        return 0

    cdef list _stale_groups(self):
        """Update bias corrections. Return (group, UpdateSpec, t) for each group whose scalars must be formed again."""
        cdef int64_t k, t
        cdef UpdateSpec spec
        cdef list stale = []
        if self.scalars.capacity < self.table.n_groups:
            self.scalars.grow(self.table.spans.capacity)
        for k in range(self.table.n_groups):
            if k == len(self.ready):
                self.ready.append(None)
            spec = self.table.group_specs[k]
            t = max(self.table.group_step[k], 1)
            if self.ready[k] is not spec:
                self.ready[k] = None
                self.scalars.begin(k, spec.rule)
                stale.append((k, spec, t))
            elif spec.varying:
                stale.append((k, spec, t))
            else:
                self.scalars.correct(k, t)
        return stale

    # -- the lookahead ------------------------------------------------------------------------------------------------

    def look_ahead(self, tuple work not None, list shifts not None):
        """Move every w to w − shift·a, where a is its first state, and keep the old values until restore().

        work: the arguments of read(). shifts: per param group. In one call, so that no signal can come between its parts.
        """
        cdef bint failed = True
        self.table.spans.enter()
        try:
            self.table.spans.refuse_ahead()
            self.table.read(work[0], work[1], True)
            self._make_origins(shifts)
            self.ahead_of = [p for _, _, params in work[0] for p in params if tensors.looks_ahead(p)]
            increment_version(self.table.written)
            self.table.spans.move(self.shift)
            self.table.spans.ahead = True
            self.looked_ahead, failed = None, False
        finally:
            self.table.end(failed)

    cdef int _make_origins(self, list shifts) except -1:
        cdef fo_span *span = self.table.spans.span
        cdef int64_t k, s, size = 0
        if self.table.copies:
            raise ValueError("a parameter that is not dense cannot look ahead: make it contiguous")
        for s in range(self.table.spans.n_spans):
            size += (span[s].size + LINE - 1) // LINE * LINE
        PyMem_Free(self.origins)
        PyMem_Free(self.shift)
        self.origins = self.shift = NULL
        self.origins = <float *> allocate(size, sizeof(float))
        self.shift = <float *> allocate(self.table.n_groups, sizeof(float))
        size = 0
        for s in range(self.table.spans.n_spans):
            span[s].origin = self.origins + size
            size += (span[s].size + LINE - 1) // LINE * LINE
        for k in range(self.table.n_groups):
            self.shift[k] = <float> <double> shifts[self.table.param_group[k]]
        return 0

    def restore(self):
        """Restore the parameters that look_ahead moved, bit for bit.

        RuntimeError for each parameter that was given other memory meanwhile; all others have their values back then.
        """
        cdef list problems = None
        self.table.spans.enter()
        try:
            if self.table.spans.ahead:
                self.table.written, self.table.held = [], []
                problems = self.table.spans.put_back([self.table.problem(s, self.ahead_of[s]) for s in range(self.table.spans.n_spans)])
                increment_version(self.table.written)
                PyMem_Free(self.origins)
                self.ahead_of, self.origins = None, NULL
        finally:
            self.table.end(False)
        if problems:
            raise RuntimeError(f"not restored at the end of the lookahead() block, as all others are: {'; '.join(problems)}")
