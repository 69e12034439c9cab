# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False, embedsignature=False
"""The bootstrap's kernels: checks every buffer, drops the GIL, calls. The callers are modules of fastopt.validation."""

from cpython.mem cimport PyMem_Free
from libc.stdint cimport int16_t, int64_t, uint8_t, uint32_t, uintptr_t

cimport numpy as cnp

import numpy as np

from fastopt._native.arrays cimport allocate, as_vector, shape_of
from fastopt._native.capi cimport (
    FO_DIGITS, FO_RESAMPLE_places, FO_RESAMPLE_rows, FO_RESAMPLE_sums, FO_TOGETHER, draw_of, fo_column, fo_draw,
    fo_poisson, fo_resample, fo_stratum
)
from fastopt._native.runtime cimport api

cnp.import_array()


cdef enum:
    LINE_BYTES = 64  # of the cache


cdef class _Resampling:
    """What a call of the kernel needs: the job, and whatever it points to."""

    cdef fo_resample job
    cdef fo_poisson *tables
    cdef const fo_poisson **poisson
    cdef fo_column *column
    cdef object held

    def __cinit__(self, strata, key, int64_t first, int64_t resamples):
        """strata: int64 (k, 3), first row, rows and draws of each, one after another."""
        cdef fo_draw draw = draw_of(key, 0, 0)
        cdef cnp.ndarray table = as_vector(strata, "strata", 3 * len(strata), cnp.NPY_INT64)
        cdef const fo_stratum *s = <const fo_stratum *> cnp.PyArray_DATA(table)
        cdef int64_t i, rows = 0, draws = 0, n = len(strata)
        for i in range(n):
            if s[i].first != rows or s[i].rows < 1 or s[i].draws < 0 or s[i].rows > 0xFFFFFFFF - rows:
                raise ValueError(f"stratum {i} draws {s[i].draws} of {s[i].rows} rows from row {s[i].first} on: expected "
                                 f"row {rows}, and less than 2**32 rows in all")
            if s[i].draws > max(255, s[i].rows):
                raise ValueError(f"stratum {i} draws {s[i].draws} of {s[i].rows} rows: a row is counted up to 255")
            rows, draws = rows + s[i].rows, draws + s[i].draws
        if n > 0x40000000:
            raise ValueError(f"there are {n} strata, at most 2**30 can be told apart")
        if resamples < 0 or first < 0 or first > 0x100000000 - resamples:
            raise ValueError(f"{resamples} resamples from number {first} on are not within 2**32")
        self.held = table
        self.job.key[0], self.job.key[1] = draw.key[0], draw.key[1]
        self.job.strata, self.job.n_strata, self.job.draws = s, n, draws
        self.job.first, self.job.resamples, self.job.rows, self.job.columns = first, resamples, rows, 1
        self._tell_counts()

    cdef int _tell_counts(self) except -1:
        cdef int64_t i, tables = 0
        for i in range(self.job.n_strata):
            tables += api.resample.is_counted(&self.job.strata[i])
        self.tables = <fo_poisson *> allocate(max(1, tables), sizeof(fo_poisson))
        self.poisson = <const fo_poisson **> allocate(max(1, self.job.n_strata), sizeof(fo_poisson *))
        self.job.poisson = self.poisson
        tables = 0
        for i in range(self.job.n_strata):
            self.poisson[i] = NULL
            if api.resample.is_counted(&self.job.strata[i]):
                self.tables[tables] = api.resample.poisson_for(&self.job.strata[i])
                self.poisson[i] = &self.tables[tables]
                tables += 1
        return 0

    def __dealloc__(self):
        PyMem_Free(self.tables)
        PyMem_Free(self.poisson)
        PyMem_Free(self.column)

    cdef int sum_up(self, cnp.ndarray columns) except -1:
        """What is summed, with its digits where they serve."""
        cdef int64_t c, n = columns.shape[0], rows = columns.shape[1]
        cdef cnp.ndarray digits = np.empty((n, FO_DIGITS * rows), np.int16)
        cdef const double *x = <const double *> cnp.PyArray_DATA(columns)
        cdef int16_t *d = <int16_t *> cnp.PyArray_DATA(digits)
        self.column = <fo_column *> allocate(max(1, n), sizeof(fo_column))
        self.held = self.held, columns, digits
        self.job.column, self.job.columns = self.column, n
        for c in range(n):
            self.column[c].x, self.column[c].digits = x + c * rows, d + c * FO_DIGITS * rows
            if not api.resample.digits_of(self.column[c].x, self.job.strata, self.job.n_strata,
                                <int16_t *> self.column[c].digits, &self.column[c].exponent):
                self.column[c].digits = NULL
        return 0

    cdef int expect(self, int64_t rows, str name) except -1:
        if self.job.rows != rows:
            raise ValueError(f"{name} has {rows} rows, the strata {self.job.rows}")
        return 0

    cdef cnp.ndarray run(self, int kernel, cnp.ndarray out):
        """out, filled."""
        cdef int threads = api.runtime.threads_for(self.job.resamples * (self.job.rows + self.job.draws + 64))
        self.job.apart = (FO_TOGETHER * self.job.rows + 2 * LINE_BYTES) // LINE_BYTES * LINE_BYTES
        cdef cnp.ndarray counts = np.empty(threads * self.job.apart + LINE_BYTES, np.uint8)
        self.job.counts = <uint8_t *> (<uintptr_t> cnp.PyArray_DATA(counts) + LINE_BYTES - 1 & -LINE_BYTES)
        if cnp.PyArray_TYPE(out) == cnp.NPY_INT64:
            self.job.index = <int64_t *> cnp.PyArray_DATA(out)
        else:
            self.job.out = <double *> cnp.PyArray_DATA(out)
        with nogil:
            api.resample.run(kernel, &self.job, threads)
        return out


def resample_sums(x, strata, key, int64_t first, int64_t resamples):
    """float64 (resamples, columns): the sums over the rows that each resample draws, of x, float64 (columns, rows)."""
    cdef cnp.ndarray columns = as_vector(x, "x", x.size, cnp.NPY_FLOAT64)
    if columns.ndim != 2:
        raise ValueError(f"x must have shape (columns, rows), got {shape_of(columns)}")
    cdef _Resampling r = _Resampling(strata, key, first, resamples)
    r.expect(columns.shape[1], "x")
    r.sum_up(columns)
    return r.run(FO_RESAMPLE_sums, np.empty((resamples, columns.shape[0])))


def resample_places(x, order, places, strata, key, int64_t first, int64_t resamples):
    """float64 (resamples, k): what stands at k ascending places of each sorted resample. x is sorted, order[place] is
    the row that stands at a place of x; each row at one."""
    cdef int64_t n = len(x), i
    cdef cnp.ndarray values = as_vector(x, "x", n, cnp.NPY_FLOAT64), rows = as_vector(order, "order", n, cnp.NPY_UINT32)
    cdef cnp.ndarray wanted = as_vector(places, "places", len(places), cnp.NPY_INT64), seen = np.zeros(n, bool)
    cdef _Resampling r = _Resampling(strata, key, first, resamples)
    r.expect(n, "x")
    r.job.x, r.job.order = <const double *> cnp.PyArray_DATA(values), <const uint32_t *> cnp.PyArray_DATA(rows)
    r.job.places, r.job.columns = <const int64_t *> cnp.PyArray_DATA(wanted), len(places)
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
