# The bootstrap's part of the binding, included by _core.pyx: checks every buffer, releases the GIL, calls the kernel. Its
# callers are modules of fastopt.validation, which check the user's arguments and name them in errors.

cdef extern from "fastopt_resample.h" nogil:
    struct fo_stratum:
        int64_t first, rows, draws

    struct fo_resample:
        uint32_t key[2]
        const fo_stratum *strata
        int64_t n_strata, first, resamples, rows, draws
        uint8_t *counts
        int64_t apart
        const double *x
        const uint32_t *order
        const int64_t *places
        int64_t columns
        double *out
        int64_t *index

    int FO_COUNTS_BEYOND
    int FO_RESAMPLE_sums, FO_RESAMPLE_places, FO_RESAMPLE_rows
    void fo_run_resample(int kernel, const fo_resample *job, int threads)


cdef enum:
    LINE_BYTES = 64  # the size of a cache line


cdef class _Resampling:
    """The checked arguments that all three kernels share."""

    cdef fo_resample job
    cdef object held  # the array that owns job.strata

    def __cinit__(self, strata, key, int64_t first, int64_t resamples):
        """strata: int64 (k, 3): first row, rows and draws of each. Each begins where the one before it ends."""
        cdef fo_draw draw = _draw(key, 0, 0)
        cdef cnp.ndarray table = _vector(strata, "strata", 3 * len(strata), cnp.NPY_INT64)
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
            raise ValueError(f"there are {n} strata, expected at most 2**30")
        if resamples < 0 or first < 0 or first > 0x100000000 - resamples:
            raise ValueError(f"{resamples} resamples from number {first} on are not within 2**32")
        self.held = table
        self.job.key[0], self.job.key[1] = draw.key[0], draw.key[1]
        self.job.strata, self.job.n_strata, self.job.draws = s, n, draws
        self.job.first, self.job.resamples, self.job.rows, self.job.columns = first, resamples, rows, 1

    cdef int expect(self, int64_t rows, str name) except -1:
        if self.job.rows != rows:
            raise ValueError(f"{name} has {rows} rows, the strata {self.job.rows}")
        return 0

    cdef cnp.ndarray run(self, int kernel, cnp.ndarray out):
        """Runs the kernel, which fills `out`, and returns `out`."""
        cdef int threads = _threads_of(self.job.resamples * (self.job.rows + self.job.draws + 64))
        self.job.apart = (self.job.rows + FO_COUNTS_BEYOND + 2 * LINE_BYTES) // LINE_BYTES * LINE_BYTES
        cdef cnp.ndarray counts = np.empty(threads * self.job.apart + LINE_BYTES, np.uint8)
        self.job.counts = <uint8_t *> (<uintptr_t> cnp.PyArray_DATA(counts) + LINE_BYTES - 1 & -LINE_BYTES)
        if cnp.PyArray_TYPE(out) == cnp.NPY_INT64:
            self.job.index = <int64_t *> cnp.PyArray_DATA(out)
        else:
            self.job.out = <double *> cnp.PyArray_DATA(out)
        with nogil:
            fo_run_resample(kernel, &self.job, threads)
        return out


def resample_sums(x, strata, key, int64_t first, int64_t resamples):
    """float64 (resamples, columns): the sums of x, float64 (columns, rows), over the rows that each resample draws.

    Sums are formed in float64: the error is below rows/16 + 5 roundings of the sum of the magnitudes.
    """
    cdef cnp.ndarray columns = _vector(x, "x", x.size, cnp.NPY_FLOAT64)
    if columns.ndim != 2:
        raise ValueError(f"x must have shape (columns, rows), got {_shape(columns)}")
    cdef _Resampling r = _Resampling(strata, key, first, resamples)
    r.expect(columns.shape[1], "x")
    r.job.x, r.job.columns = <const double *> cnp.PyArray_DATA(columns), columns.shape[0]
    return r.run(FO_RESAMPLE_sums, np.empty((resamples, columns.shape[0])))


def resample_places(x, order, places, strata, key, int64_t first, int64_t resamples):
    """float64 (resamples, k): order statistics of each resample.

    x: float64 (rows,), ascending; order: uint32 (rows,), x[i] is the value of row order[i]; places: int64 (k,),
    ascending, which values of the sorted resample are returned.
    """
    cdef int64_t n = len(x), i
    cdef cnp.ndarray values = _vector(x, "x", n, cnp.NPY_FLOAT64), rows = _vector(order, "order", n, cnp.NPY_UINT32)
    cdef cnp.ndarray wanted = _vector(places, "places", len(places), cnp.NPY_INT64), seen = np.zeros(n, bool)
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
