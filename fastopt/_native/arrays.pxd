"""Checks of the arrays that C code reads or writes. Quick tests are inline, functions that raise are compiled once."""

cimport numpy as cnp
from cpython.mem cimport PyMem_Calloc
from cpython.ref cimport PyObject
from libc.stdint cimport int64_t, uintptr_t


cdef extern from *:
    """
    #if defined(__GNUC__)
    #define FO_PREFETCH(address) __builtin_prefetch(address)
    #else
    #define FO_PREFETCH(address) ((void)(address))
    #endif

    /* Whether x has the type, flags, shape and address that it had when it was checked. */
    static inline int fo_is_unchanged(PyObject *x, const void *data, const npy_intp *shape, int ndim, int flags)
    {
        PyArrayObject *a = (PyArrayObject *)x;
        if (PyArray_DATA(a) != data || PyArray_TYPE(a) != NPY_FLOAT32 || !PyArray_ISNOTSWAPPED(a) ||
            (PyArray_FLAGS(a) & flags) != flags || PyArray_NDIM(a) != ndim)
            return 0;
        for (int i = 0; i < ndim; i++)
            if (PyArray_DIMS(a)[i] != shape[i])
                return 0;
        return 1;
    }

    static inline int fo_is_array(PyObject *x) { return Py_IS_TYPE(x, &PyArray_Type); }

    /* The headers of thousands of arrays do not fit the first caches: prefetch those that come next. */
    static inline void fo_fetch_header(PyObject *x) { FO_PREFETCH(x); FO_PREFETCH((char *)x + 64); }
    static inline void fo_fetch_shape(PyObject *x) { FO_PREFETCH(PyArray_DIMS((PyArrayObject *)x)); }
    """
    bint fo_is_unchanged(PyObject *x, const void *data, const cnp.npy_intp *shape, int ndim, int flags) noexcept
    bint fo_is_array(PyObject *x) noexcept
    void fo_fetch_header(PyObject *x) noexcept
    void fo_fetch_shape(PyObject *x) noexcept


cdef struct interval:           # the memory of one buffer: addresses [start, end), and whose it is
    uintptr_t start
    uintptr_t end
    int64_t span
    int buffer


cdef int64_t first_overlap(interval *memory, int64_t n) noexcept

cdef cnp.ndarray as_float32(object x, str label)
cdef cnp.ndarray as_buffer(object x, str label)
cdef cnp.ndarray as_rows(object x, str label)
cdef cnp.ndarray as_pixels(object x, str label, int dtype=*)
cdef cnp.ndarray as_output(object out, str label, cnp.ndarray x, str name, bint same_allowed)
cdef cnp.ndarray as_vector(object x, str label, int64_t size, int dtype)
cdef int check_writeable(cnp.ndarray a, str label) except -1
cdef int check_shape(cnp.ndarray a, str label, cnp.ndarray x, str name) except -1
cdef int check_disjoint(cnp.ndarray out, str label, cnp.ndarray x, str name, bint same_allowed) except -1
cdef cnp.ndarray own_vector(object x, str label, int64_t size, int dtype)
cdef cnp.ndarray own_indices(object x, str label, int64_t size, int64_t below)
cdef int check_layout(cnp.ndarray a, str label, cnp.ndarray x, str name) except -1
cdef list ready_to_copy(list targets, list sources)
cdef void copy_all(list targets, list ready) noexcept
cdef void set_zero(char *data, int ndim, const cnp.npy_intp *shape, const cnp.npy_intp *strides) noexcept


cdef inline void *allocate(int64_t count, size_t size) except NULL:
    """Zeroed memory for `count` elements, at least one. Free it with PyMem_Free."""
    cdef void *memory = PyMem_Calloc(count if count > 0 else 1, size)
    if memory == NULL:
        raise MemoryError(f"{count} × {size} bytes")
    return memory


cdef inline tuple shape_of(cnp.ndarray a):
    return tuple([cnp.PyArray_DIM(a, i) for i in range(cnp.PyArray_NDIM(a))])


cdef inline uintptr_t address_of(cnp.ndarray a) noexcept:
    return <uintptr_t> cnp.PyArray_DATA(a)


cdef inline float *floats(object a) noexcept:
    """The address of the data of a checked array."""
    return <float *> cnp.PyArray_DATA(<cnp.ndarray> a)


cdef inline bint is_float32(cnp.ndarray a) noexcept:
    return cnp.PyArray_TYPE(a) == cnp.NPY_FLOAT32 and cnp.PyArray_ISNOTSWAPPED(a) and cnp.PyArray_ISALIGNED(a)


cdef inline bint is_contiguous(cnp.ndarray a) noexcept:
    """One block of memory, in C or in Fortran order."""
    return cnp.PyArray_IS_C_CONTIGUOUS(a) or cnp.PyArray_IS_F_CONTIGUOUS(a)


cdef inline bint same_shape(cnp.ndarray a, cnp.ndarray b) noexcept:
    cdef int i, ndim = cnp.PyArray_NDIM(a)
    if cnp.PyArray_NDIM(b) != ndim:
        return False
    for i in range(ndim):
        if cnp.PyArray_DIM(a, i) != cnp.PyArray_DIM(b, i):
            return False
    return True


cdef inline int order_of(cnp.ndarray a) noexcept:
    """The NumPy flag of a contiguous array's memory order; C order if the array has both."""
    return cnp.NPY_ARRAY_C_CONTIGUOUS if cnp.PyArray_IS_C_CONTIGUOUS(a) else cnp.NPY_ARRAY_F_CONTIGUOUS
