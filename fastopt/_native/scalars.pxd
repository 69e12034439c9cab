"""The scalars of param groups. A step over arrays and a step over tensors each have one GroupScalars."""

from libc.stdint cimport int64_t

from fastopt._native.capi cimport fo_group


cdef enum:
    MAX_CORRECTIONS = 4     # scalars of a group that are bias-corrected
    MAX_FACTORS = 2         # factors of each

cdef struct correction:
    int slot
    double value            # before the correction
    int n_factors
    double beta[MAX_FACTORS]
    double power[MAX_FACTORS]

cdef struct corrections_of_group:
    int n
    correction scalar[MAX_CORRECTIONS]


cdef class GroupScalars:
    cdef fo_group *group
    cdef corrections_of_group *corrections
    cdef int64_t n_groups, capacity
    cdef list slots                 # per group: scalar name -> its slot
    cdef list factors               # per group: the names of the scalars β that have a complement

    cdef int grow(self, int64_t capacity) except -1
    cdef int begin(self, int64_t index, str rule) except -1
    cdef int set(self, int64_t index, dict values, dict corrections, int64_t t) except -1
    cdef int set_values(self, int64_t index, dict values) except -1
    cdef int set_corrections(self, int64_t index, dict values, dict corrections) except -1
    cdef int correct(self, int64_t index, int64_t t) except -1
    cdef int slot_of(self, int64_t index, str name) except -1


cdef class Clock:
    cdef public int64_t steps
    cdef public int64_t changes


cdef int assign(list groups, list values) except -1
