# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False, embedsignature=False
"""Checks of the arrays that C code reads or writes: type, byte order, alignment, strides, shape, overlap.

Each function returns the array itself, except for own_vector and own_indices, which return a copy. An error names the
argument, the expected value and the actual one.
"""

cimport numpy as cnp
from libc.stdint cimport int64_t, uintptr_t
from libc.stdlib cimport qsort
from libc.string cimport memmove

import numpy as np

cnp.import_array()

# how to turn arrays of other libraries into NumPy's
ADVICE = {
    "torch": ": pass tensor.numpy() (or use fastopt.torch)",
    "jax": ": pass numpy.array(x)",
    "jaxlib": ": pass numpy.array(x)",
    "cupy": ": pass x.get()",
}


cdef object type_error(object x, str label):
    module = type(x).__module__.partition(".")[0]
    advice = ADVICE.get(module, "")
    if isinstance(x, np.ma.MaskedArray):
        advice = ", whose mask would be ignored: pass x.filled(...)"
    elif isinstance(x, (list, tuple, int, float)):
        advice = ": pass numpy.asarray(x, dtype=numpy.float32)"
    name = type(x).__name__ if module in ("builtins", "numpy") else f"{type(x).__module__}.{type(x).__name__}"
    return TypeError(f"{label} must be a float32 numpy.ndarray, got {name}{advice}")


cdef cnp.ndarray as_float32(object x, str label):
    """An aligned float32 array in native byte order, of any strides."""
    if not cnp.PyArray_CheckExact(x) and not isinstance(x, np.memmap):
        raise type_error(x, label)
    cdef cnp.ndarray a = x
    if is_float32(a):
        return a
    if cnp.PyArray_TYPE(a) != cnp.NPY_FLOAT32:
        raise TypeError(f"{label} has dtype {a.dtype}, expected float32")
    if not cnp.PyArray_ISNOTSWAPPED(a):
        raise ValueError(f"{label} has byte order {a.dtype.str!r}, expected the native {np.dtype('f4').str!r}")
    raise ValueError(f"{label} is not aligned: its address {address_of(a):#x} is no multiple of 4 bytes")


cdef cnp.ndarray as_buffer(object x, str label):
    """One contiguous block of float32, in C or Fortran order, that may be updated in place."""
    cdef cnp.ndarray a = as_float32(x, label)
    if not is_contiguous(a):
        raise ValueError(f"{label} is not contiguous (shape {shape_of(a)}, strides {(<object> a).strides} bytes): "
                         "it is updated in place and never through a copy")
    check_writeable(a, label)
    return a


cdef cnp.ndarray as_rows(object x, str label):
    """A float32 array in C order; it may be read-only."""
    cdef cnp.ndarray a = as_float32(x, label)
    check_c_order(a, label)
    return a


cdef int check_c_order(cnp.ndarray a, str label) except -1:
    if not cnp.PyArray_IS_C_CONTIGUOUS(a):
        raise ValueError(f"{label} is not C-contiguous (shape {shape_of(a)}, strides {(<object> a).strides} bytes): "
                         "pass numpy.ascontiguousarray(x)")
    return 0


cdef cnp.ndarray as_pixels(object x, str label, int dtype=-1):
    """A float32 or uint8 array in C order; dtype: the NumPy type number of the one that is allowed, -1 for both."""
    cdef bint is_array = cnp.PyArray_CheckExact(x)
    if is_array and cnp.PyArray_TYPE(<cnp.ndarray> x) == cnp.NPY_UINT8 and dtype != cnp.NPY_FLOAT32:
        check_c_order(x, label)
        return x
    if dtype == cnp.NPY_UINT8:
        raise TypeError(f"{label} must be a uint8 numpy.ndarray like its input, "
                        f"got {getattr(x, 'dtype', type(x).__name__)}")
    if dtype == -1 and is_array and cnp.PyArray_TYPE(<cnp.ndarray> x) != cnp.NPY_FLOAT32:
        raise TypeError(f"{label} has dtype {x.dtype}, expected float32 or uint8")
    return as_rows(x, label)


cdef cnp.ndarray as_output(object out, str label, cnp.ndarray x, str name, bint same_allowed):
    """Check that out has the type and shape of x and does not overlap it; make a new array if out is None."""
    if out is None:
        return cnp.PyArray_EMPTY(cnp.PyArray_NDIM(x), cnp.PyArray_DIMS(x), cnp.PyArray_TYPE(x), 0)
    cdef cnp.ndarray a = as_pixels(out, label, cnp.PyArray_TYPE(x))
    check_writeable(a, label)
    check_shape(a, label, x, name)
    check_disjoint(a, label, x, name, same_allowed)
    return a


cdef cnp.ndarray as_vector(object x, str label, int64_t size, int dtype):
    """A contiguous array of this type number and size, of any shape. Only fastopt's own code passes such arrays."""
    cdef cnp.ndarray a = x
    if not (cnp.PyArray_TYPE(a) == dtype and cnp.PyArray_ISNOTSWAPPED(a) and cnp.PyArray_ISALIGNED(a)
            and cnp.PyArray_IS_C_CONTIGUOUS(a) and cnp.PyArray_SIZE(a) == size):
        raise ValueError(f"{label} must be {size} contiguous elements, got {x.dtype} of shape {x.shape}")
    return a


cdef int check_writeable(cnp.ndarray a, str label) except -1:
    if not cnp.PyArray_ISWRITEABLE(a):
        raise ValueError(f"{label} is read-only")
    return 0


cdef int check_shape(cnp.ndarray a, str label, cnp.ndarray x, str name) except -1:
    if not same_shape(a, x):
        raise ValueError(f"{label} has shape {shape_of(a)}, {name} has {shape_of(x)}")
    return 0


cdef int check_disjoint(cnp.ndarray out, str label, cnp.ndarray x, str name, bint same_allowed) except -1:
    """Two contiguous arrays share no byte. With same_allowed they may also be the same memory from end to end."""
    cdef uintptr_t a = address_of(out), b = address_of(x)
    cdef uintptr_t a_end = a + <uintptr_t> cnp.PyArray_NBYTES(out), b_end = b + <uintptr_t> cnp.PyArray_NBYTES(x)
    if a == b and a_end == b_end and same_allowed:
        return 0
    if a < b_end and b < a_end:
        raise ValueError(f"{label} overlaps {name} in memory" + (
            ": it may be the same array, or apart" if same_allowed else ": it must be another array"))
    return 0


cdef cnp.ndarray own_vector(object x, str label, int64_t size, int dtype):
    """A copy of such a vector. Where a kernel takes addresses from an array, check and kernel both use the copy: another
    thread may change the caller's array between the two. NumPy's own copy would release the GIL meanwhile."""
    cdef cnp.ndarray a = as_vector(x, label, size, dtype), copy = np.empty_like(a)
    memmove(cnp.PyArray_DATA(copy), cnp.PyArray_DATA(a), <size_t> cnp.PyArray_NBYTES(a))
    return copy


cdef cnp.ndarray own_indices(object x, str label, int64_t size, int64_t below):
    """A copy of an int64 vector, every element of which is in [0, below)."""
    cdef cnp.ndarray a = own_vector(x, label, size, cnp.NPY_INT64)
    cdef const int64_t *index = <const int64_t *> cnp.PyArray_DATA(a)
    cdef int64_t i
    for i in range(size):
        if not 0 <= index[i] < below:
            raise ValueError(f"{label} {i} is {index[i]}, expected 0 to {below - 1}")
    return a


def address(cnp.ndarray a not None):
    """Where the array's data begin. NumPy's __array_interface__ crashes if it gets no memory."""
    return address_of(a)


cdef (uintptr_t, uintptr_t) bounds_of(cnp.ndarray a) noexcept:
    """The addresses of an array of any strides, from the first byte to behind the last one."""
    cdef uintptr_t start = address_of(a), end = start + <uintptr_t> cnp.PyArray_ITEMSIZE(a)
    cdef int64_t reach
    cdef int i
    if cnp.PyArray_SIZE(a) == 0:
        return start, start
    for i in range(cnp.PyArray_NDIM(a)):
        reach = (cnp.PyArray_DIM(a, i) - 1) * cnp.PyArray_STRIDE(a, i)
        if reach < 0:
            start += <uintptr_t> reach
        else:
            end += <uintptr_t> reach
    return start, end


cdef int by_start(const void *a, const void *b) noexcept nogil:
    cdef uintptr_t x = (<const interval *> a).start, y = (<const interval *> b).start
    return (x > y) - (x < y)


cdef int64_t first_overlap(interval *memory, int64_t n) noexcept:
    """Sorts by address. Returns the index of the first interval that overlaps the one before it, or 0."""
    cdef int64_t i
    qsort(memory, n, sizeof(interval), by_start)
    for i in range(1, n):
        if memory[i].start < memory[i - 1].end:
            return i
    return 0


cdef int check_layout(cnp.ndarray a, str label, cnp.ndarray x, str name) except -1:
    check_shape(a, label, x, name)
    if order_of(a) != order_of(x):
        raise ValueError(f"{label} and {name} differ in memory order (C and F)")
    return 0


cdef list ready_to_copy(list targets, list sources):
    """The float32 sources as copy_all needs them: checked, and in the memory order of their targets."""
    cdef list ready = []
    cdef cnp.ndarray a, b
    for i, (target, source) in enumerate(zip(targets, sources, strict=True)):
        a, b = as_buffer(target, f"target {i}"), source
        check_shape(a, f"target {i}", b, f"source {i}")
        ready.append(np.asarray(b, np.float32, order="C" if order_of(a) == cnp.NPY_ARRAY_C_CONTIGUOUS else "F"))
    return ready


cdef void copy_all(list targets, list ready) noexcept:
    """Copy each array that ready_to_copy returned into its target. Allocates nothing, and so cannot fail."""
    cdef Py_ssize_t i
    for i in range(len(targets)):
        memmove(cnp.PyArray_DATA(<cnp.ndarray> targets[i]), cnp.PyArray_DATA(<cnp.ndarray> ready[i]),
                cnp.PyArray_NBYTES(<cnp.ndarray> targets[i]))


cdef void set_zero(char *data, int ndim, const cnp.npy_intp *shape, const cnp.npy_intp *strides) noexcept:
    """Set a float32 array of any strides to 0. Allocates nothing, and so cannot fail."""
    cdef cnp.npy_intp i
    if ndim == 0:
        (<float *> data)[0] = 0
        return
    for i in range(shape[0]):
        set_zero(data + i * strides[0], ndim - 1, shape + 1, strides + 1)
