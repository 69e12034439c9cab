# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False, embedsignature=False
"""The bootstrap's kernels: checks every buffer, releases the GIL and calls C. The callers are modules of
fastopt.validation, which check the user's arguments and name them in errors."""

from libc.stdint cimport int64_t, uint8_t, uint32_t, uintptr_t

cimport numpy as cnp

import numpy as np

from fastopt._native.arrays cimport as_vector, own_vector, shape_of
from fastopt._native.capi cimport (
    FO_COUNTS_BEYOND, FO_RESAMPLE_places, FO_RESAMPLE_rows, FO_RESAMPLE_sums, draw_of, fo_draw, fo_resample, fo_stratum
)
from fastopt._native.runtime cimport api

cnp.import_array()


cdef enum:
    LINE_BYTES = 64  # the size of a cache line


cdef class _Resampling:
    """The arguments that all three kernels share, checked."""

    cdef fo_resample job
    cdef object strata  # owns the memory of job.strata

    def __cinit__(self, strata, key, int64_t first, int64_t resamples):
        """strata: int64 (k, 3): first row, rows and draws of each. Each begins where the one before it ends."""
        cdef fo_draw draw = draw_of(key, 0, 0)
        cdef int64_t i, rows = 0, draws = 0, n = len(strata)
        cdef cnp.ndarray table = own_vector(strata, "strata", 3 * n, cnp.NPY_INT64)
        cdef const fo_stratum *s = <const fo_stratum *> cnp.PyArray_DATA(table)
        for i in range(n):
            if s[i].first != rows or s[i].rows < 1 or s[i].draws < 0 or s[i].rows > 0xFFFFFFFF - rows:
                raise ValueError(f"stratum {i} draws {s[i].draws} of {s[i].rows} rows from row {s[i].first} on: expected "
                                 f"row {rows}, and less than 2**32 rows in all")
            if s[i].draws > max(255, s[i].rows):
                raise ValueError(f"stratum {i} draws {s[i].draws} of {s[i].rows} rows: expected at most 255 draws, "
                                 "or at most as many as rows")
            rows, draws = rows + s[i].rows, draws + s[i].draws
        if n > 0x40000000:
            raise ValueError(f"there are {n} strata, expected at most 2**30")
        if resamples < 0 or first < 0 or first > 0x100000000 - resamples:
            raise ValueError(f"{resamples} resamples from number {first} on are not within 2**32")
        self.strata = table
        self.job.key[0], self.job.key[1] = draw.key[0], draw.key[1]
        self.job.strata, self.job.n_strata, self.job.draws = s, n, draws
        self.job.first, self.job.resamples, self.job.rows, self.job.columns = first, resamples, rows, 1

    cdef int check_rows(self, int64_t rows) except -1:
        if self.job.rows != rows:
            raise ValueError(f"x has {rows} rows, the strata {self.job.rows}")
        return 0

    cdef cnp.ndarray run(self, int kernel, cnp.ndarray out):
        """Let the kernel fill `out`, and return it."""
        cdef int threads = api.runtime.threads_for(self.job.resamples * (self.job.rows + self.job.draws + 64))
        self.job.apart = (self.job.rows + FO_COUNTS_BEYOND + 2 * LINE_BYTES) // LINE_BYTES * LINE_BYTES
        cdef cnp.ndarray counts = np.empty(threads * self.job.apart + LINE_BYTES, np.uint8)
        self.job.counts = <uint8_t *> (<uintptr_t> cnp.PyArray_DATA(counts) + LINE_BYTES - 1 & -LINE_BYTES)
        if cnp.PyArray_TYPE(out) == cnp.NPY_INT64:
            self.job.index = <int64_t *> cnp.PyArray_DATA(out)
        else:
            self.job.out = <double *> cnp.PyArray_DATA(out)
        with nogil:
            api.resample(kernel, &self.job, threads)
        return out


def resample_sums(x, strata, key, int64_t first, int64_t resamples):
    """float64 (resamples, columns): the sums of x, float64 (columns, rows), over the rows that each resample draws.

    The error is at most rows/16 + 6 roundings of the sum of the magnitudes.
    """
    cdef cnp.ndarray columns = as_vector(x, "x", x.size, cnp.NPY_FLOAT64)
    if columns.ndim != 2:
        raise ValueError(f"x must have shape (columns, rows), got {shape_of(columns)}")
    cdef _Resampling r = _Resampling(strata, key, first, resamples)
    r.check_rows(columns.shape[1])
    r.job.x, r.job.columns = <const double *> cnp.PyArray_DATA(columns), columns.shape[0]
    return r.run(FO_RESAMPLE_sums, np.empty((resamples, columns.shape[0])))


def resample_places(x, order, places, strata, key, int64_t first, int64_t resamples):
    """float64 (resamples, k): k order statistics of each resample.

    x: float64 (rows,), ascending. order: uint32 (rows,), x[i] is the value of row order[i]. places: int64 (k,),
    ascending, the places in the sorted resample.
    """
    cdef int64_t n = len(x), k = len(places), i
    cdef cnp.ndarray values = as_vector(x, "x", n, cnp.NPY_FLOAT64), rows = own_vector(order, "order", n, cnp.NPY_UINT32)
    cdef cnp.ndarray wanted = own_vector(places, "places", k, cnp.NPY_INT64), seen = np.zeros(n, bool)
    cdef _Resampling r = _Resampling(strata, key, first, resamples)
    r.check_rows(n)
    r.job.x, r.job.order = <const double *> cnp.PyArray_DATA(values), <const uint32_t *> cnp.PyArray_DATA(rows)
    r.job.places, r.job.columns = <const int64_t *> cnp.PyArray_DATA(wanted), k
    for i in range(n):
        if r.job.order[i] >= n or (<char *> cnp.PyArray_DATA(seen))[r.job.order[i]]:
            raise ValueError(f"order {i} is {r.job.order[i]}, expected each of 0 to {n - 1} once")
        (<char *> cnp.PyArray_DATA(seen))[r.job.order[i]] = True
    for i in range(r.job.columns):
        if not (0 if i == 0 else r.job.places[i - 1]) <= r.job.places[i] < r.job.draws:
            raise ValueError(f"places must be ascending and below {r.job.draws}, got {places}")
    return r.run(FO_RESAMPLE_places, np.empty((resamples, r.job.columns)))


def resample_rows(strata, key, int64_t first, int64_t resamples):
    """int64 (resamples, draws): the rows that each resample draws, stratum by stratum, each in random order."""
    cdef _Resampling r = _Resampling(strata, key, first, resamples)
    return r.run(FO_RESAMPLE_rows, np.empty((resamples, r.job.draws), np.int64))
