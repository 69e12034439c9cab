# The bootstrap's part of the binding, included by _core.pyx: checks every buffer, drops the GIL, calls. Its callers are
# fastopt.validation's own modules, which name the arguments of the user.

cdef extern from "fastopt_resample.h" nogil:
    struct fo_stratum:
        int64_t first, rows, draws

    struct fo_resample:
        uint32_t key[2]
        const fo_stratum *strata
        int64_t n_strata, first, resamples, draws
        const double *x
        int64_t columns
        const uint32_t *rank
        uint32_t *counts
        int64_t rows
        const int64_t *places
        double *out
        int64_t *index

    int FO_RESAMPLE_sums, FO_RESAMPLE_places, FO_RESAMPLE_rows
    void fo_run_resample(int kernel, const fo_resample *job, int threads)
    int fo_draws_per_word(int64_t n)


def draws_per_word(int64_t n):
    """How many rows of n a 64-bit word draws."""
    return fo_draws_per_word(n)


cdef fo_resample _resample(cnp.ndarray strata, key, int64_t first, int64_t resamples, int64_t rows) except *:
    """Which rows: strata is int64 (k, 3), first row, rows and draws of each, all within `rows` (-1: no limit)."""
    cdef fo_resample job
    cdef fo_draw draw = _draw(key, 0, 0)
    cdef cnp.ndarray table = _vector(strata, "strata", 3 * len(strata), cnp.NPY_INT64)
    cdef const fo_stratum *s = <const fo_stratum *> cnp.PyArray_DATA(table)
    cdef int64_t i
    job.key[0], job.key[1] = draw.key[0], draw.key[1]
    job.strata, job.n_strata, job.draws = s, len(strata), 0
    for i in range(job.n_strata):
        if s[i].first < 0 or s[i].rows < 1 or s[i].draws < 0 or (rows >= 0 and s[i].rows > rows - s[i].first):
            raise ValueError(f"stratum {i} draws {s[i].draws} of {s[i].rows} rows from row {s[i].first} on: "
                             f"there are {rows}")
        if s[i].rows > 0xFFFFFFFF or job.n_strata > 0x40000000:
            raise ValueError(f"there are {s[i].rows} rows in stratum {i} of {job.n_strata}: more than 32 bits can tell")
        job.draws += s[i].draws
    if resamples < 0 or first < 0 or first + resamples > 0x100000000:
        raise ValueError(f"resamples {first} to {first + resamples} are not within 2**32")
    job.first, job.resamples, job.rows, job.columns = first, resamples, rows, 1
    job.x, job.rank, job.counts, job.places, job.out, job.index = NULL, NULL, NULL, NULL, NULL, NULL
    return job


cdef int _resample_threads(const fo_resample *job) noexcept:
    return _threads_of(job.resamples * (job.draws + 64))


def resample_sums(x, strata, key, int64_t first, int64_t resamples):
    """float64 (resamples, columns): the sums of the rows of x, float64 (rows, columns), that each resample draws."""
    cdef cnp.ndarray rows = _vector(x, "x", x.size, cnp.NPY_FLOAT64)
    if rows.ndim != 2:
        raise ValueError(f"x must have shape (rows, columns), got {_shape(rows)}")
    cdef fo_resample job = _resample(strata, key, first, resamples, rows.shape[0])
    cdef cnp.ndarray out = np.empty((resamples, rows.shape[1]))
    job.x, job.columns, job.out = <const double *> cnp.PyArray_DATA(rows), rows.shape[1], <double *> cnp.PyArray_DATA(out)
    cdef int threads = _resample_threads(&job)
    with nogil:
        fo_run_resample(FO_RESAMPLE_sums, &job, threads)
    return out


def resample_places(x, rank, places, strata, key, int64_t first, int64_t resamples):
    """float64 (resamples, k): what stands at k ascending places of each sorted resample. x is sorted, rank[row] says
    where in x a row stands."""
    cdef int64_t n = len(x), i
    cdef cnp.ndarray values = _vector(x, "x", n, cnp.NPY_FLOAT64), ranks = _vector(rank, "rank", n, cnp.NPY_UINT32)
    cdef cnp.ndarray wanted = _vector(places, "places", len(places), cnp.NPY_INT64)
    cdef fo_resample job = _resample(strata, key, first, resamples, n)
    job.x, job.rank = <const double *> cnp.PyArray_DATA(values), <const uint32_t *> cnp.PyArray_DATA(ranks)
    job.places, job.columns = <const int64_t *> cnp.PyArray_DATA(wanted), len(places)
    for i in range(n):
        if job.rank[i] >= n:
            raise ValueError(f"rank {i} is {job.rank[i]}, expected 0 to {n - 1}")
    for i in range(job.columns):
        if not (0 if i == 0 else job.places[i - 1]) <= job.places[i] < job.draws:
            raise ValueError(f"places must be ascending and below {job.draws}, got {places}")
    cdef cnp.ndarray out = np.empty((resamples, job.columns))
    cdef int threads = _resample_threads(&job)
    cdef cnp.ndarray counts = np.empty((threads, n), np.uint32)
    job.out, job.counts = <double *> cnp.PyArray_DATA(out), <uint32_t *> cnp.PyArray_DATA(counts)
    with nogil:
        fo_run_resample(FO_RESAMPLE_places, &job, threads)
    return out


def resample_rows(strata, key, int64_t first, int64_t resamples):
    """int64 (resamples, draws): the rows that each resample draws."""
    cdef fo_resample job = _resample(strata, key, first, resamples, -1)
    cdef cnp.ndarray out = np.empty((resamples, job.draws), np.int64)
    job.index = <int64_t *> cnp.PyArray_DATA(out)
    cdef int threads = _resample_threads(&job)
    with nogil:
        fo_run_resample(FO_RESAMPLE_rows, &job, threads)
    return out
