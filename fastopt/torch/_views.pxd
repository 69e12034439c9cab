"""Reads the address, shape and strides of torch tensors, by DLPack's C exchange API and torch's public methods only.

How a tensor is read, and why that is safe:
1. DLPack gives the address, shape, strides and type of every tensor in every step; none of them is remembered.
2. All elements must lie inside the tensor's storage, which only UntypedStorage.resize_() can shrink below a tensor.
3. Any tensor that is not exactly as the last step found it is compared with the address and the size of its storage.
4. For all others a weak reference proves that the storage of the last step still exists. Its present size is compared
   with the last byte that the tensor reaches, which no call of resize_() changes.
5. All tensors of a step are kept alive until it is done. As with torch's own optimizers, no other thread may resize
   their storages meanwhile.

A view can be negative: torch has not yet changed the sign of its numbers. Tensors of one element are asked for it in every
step. A larger tensor is asked whenever it is not exactly as the last step found it. Only torch._neg_view(), or as_strided()
on a part of a complex tensor, can make it negative and leave its address, shape and strides as they are. is_neg() is slow,
because it releases the GIL.
"""

from cpython.exc cimport PyErr_Clear
from cpython.ref cimport PyObject
from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t, uint64_t, uintptr_t
from libc.string cimport memcmp

from fastopt._native.capi cimport FO_BFLOAT16, FO_FLOAT, FO_FLOAT16

cdef extern from "dlpack.h" nogil:
    const int FO_DL_INT, FO_DL_FLOAT, FO_DL_BFLOAT, FO_DL_CPU, FO_DL_MAJOR

    struct fo_dl_tensor:
        char *data
        int32_t device_type
        int32_t ndim
        uint8_t code
        uint8_t bits
        int64_t *shape
        int64_t *strides
        uint64_t byte_offset

    struct fo_dl_api:
        uint32_t major
        int (*view)(void *tensor, fo_dl_tensor *out)

cdef extern from "Python.h":
    ctypedef PyObject *(*no_argument_method "PyCFunction")(PyObject *x, PyObject *nothing)
    Py_ssize_t PyObject_Size(PyObject *x)
    void *PyLong_AsVoidPtr(PyObject *x)
    void Py_XDECREF(PyObject *x)
    PyObject *Py_True
    PyObject *PyWeakref_NewRef(PyObject *x, PyObject *callback) except NULL
    PyObject *PyWeakref_GetObject(PyObject *reference)      # borrowed; None if the object was freed


cdef enum:
    REFUSED = 3             # the kind of a tensor that no step can take
    RECORDED_DIMS = 4       # a tensor of more dimensions is never taken as unchanged

cdef struct torch_calls:    # the C functions behind public methods of torch
    const fo_dl_api *dlpack
    no_argument_method untyped_storage      # of a tensor
    no_argument_method is_neg
    no_argument_method is_inference
    no_argument_method data_ptr             # of a storage

cdef struct tensor_view:
    fo_dl_tensor t
    int64_t size
    int kind                # an fo_type, or REFUSED
    bint negative           # torch has yet to negate its elements (Tensor.is_neg)

cdef struct tensor_record:  # what the last step found
    PyObject *object        # compared only, because the object may have been freed
    PyObject *storage       # an owned weak reference to its storage; NULL: there is no record
    fo_dl_tensor t
    int64_t dims[2 * RECORDED_DIMS]     # shape and strides
    int64_t end             # bytes of the storage up to the end of the last element


# -- geometry ---------------------------------------------------------------------------------------------------------

cdef inline int64_t size_of(const fo_dl_tensor *t) noexcept:
    cdef int i
    cdef int64_t size = 1
    for i in range(t.ndim):
        size *= t.shape[i]
    return size


cdef inline bint same_dims(const fo_dl_tensor *a, const fo_dl_tensor *b) noexcept:
    return a.ndim == b.ndim and memcmp(a.shape, b.shape, a.ndim * sizeof(int64_t)) == 0


cdef inline bint same_layout(const fo_dl_tensor *a, const fo_dl_tensor *b) noexcept:
    """Whether two tensors of one shape have the same strides, in every dimension in which a stride matters."""
    cdef int i
    for i in range(a.ndim):
        if a.strides[i] != b.strides[i] and a.shape[i] != 1 and size_of(a) > 0:
            return False
    return True


cdef inline bint is_dense(const fo_dl_tensor *t) noexcept:
    """Whether the elements fill one block of memory, whatever the order of the dimensions."""
    cdef int i
    cdef int64_t expected = 1, filled = 1, size
    cdef bint again = True
    for i in range(t.ndim - 1, -1, -1):     # row-major order, the usual case
        if t.shape[i] != 1:
            if t.strides[i] != expected:
                break
            expected *= t.shape[i]
    else:
        return True
    size = size_of(t)
    while again and filled < size:          # from the innermost dimension outwards
        again = False
        for i in range(t.ndim):
            if t.shape[i] > 1 and t.strides[i] == filled:
                filled *= t.shape[i]
                again = True
                break
    return filled == size


cdef inline int kind_of(const tensor_view *v) noexcept:
    """The fo_type of an aligned tensor, or REFUSED."""
    cdef int kind = REFUSED
    if v.t.code == FO_DL_FLOAT and v.t.bits == 32:
        kind = FO_FLOAT
    elif v.t.code == FO_DL_BFLOAT and v.t.bits == 16:
        kind = FO_BFLOAT16
    elif v.t.code == FO_DL_FLOAT and v.t.bits == 16:
        kind = FO_FLOAT16
    if (v.t.data == NULL and v.size > 0) or <uintptr_t> v.t.data % (v.t.bits // 8 if v.t.bits > 8 else 1) != 0:
        return REFUSED
    return kind


cdef inline tuple shape_of(const fo_dl_tensor *t):
    cdef int i
    return tuple([t.shape[i] for i in range(t.ndim)])


# -- reading ----------------------------------------------------------------------------------------------------------

cdef inline bint ask(no_argument_method question, PyObject *x) except -1:
    """Call a method that returns a bool."""
    cdef PyObject *answer = question(x, NULL)
    if answer == NULL:
        return -1
    Py_XDECREF(answer)
    return answer == Py_True


cdef inline int64_t end_in(const torch_calls *calls, PyObject *storage, const fo_dl_tensor *t) noexcept:
    """Bytes from the start of the storage to the end of the tensor's last element; -1 if the tensor starts before it."""
    cdef PyObject *address = calls.data_ptr(storage, NULL)
    cdef char *start = NULL
    cdef int64_t elements = 1
    cdef int i
    if address != NULL:
        start = <char *> PyLong_AsVoidPtr(address)
    Py_XDECREF(address)
    if start == NULL or start > t.data:
        return -1
    for i in range(t.ndim):
        elements += (t.shape[i] - 1) * t.strides[i]
    return (t.data - start) + elements * (t.bits // 8)


cdef inline bint is_in_storage(const torch_calls *calls, PyObject *x, const fo_dl_tensor *t) noexcept:
    """Whether the present storage of x holds all its elements; x has at least one."""
    cdef PyObject *storage = calls.untyped_storage(x, NULL)
    cdef int64_t end = -1
    if storage != NULL:
        end = end_in(calls, storage, t)
        if end > PyObject_Size(storage):
            end = -1
    Py_XDECREF(storage)
    if end < 0:
        PyErr_Clear()
    return end >= 0


cdef inline bint read_view(const torch_calls *calls, PyObject *x, tensor_view *v) except -1:
    """Read where the elements of x are. False for a tensor that cannot be read: sparse, of a type that DLPack does not know,
    on another device, or not inside its storage."""
    v.kind, v.negative = REFUSED, False
    if calls.dlpack.view(<void *> x, &v.t) != 0:
        PyErr_Clear()
        return False
    v.t.data += v.t.byte_offset
    v.size = size_of(&v.t)
    if v.t.device_type != FO_DL_CPU or not (v.size == 0 or is_in_storage(calls, x, &v.t)):
        return False
    v.kind = kind_of(v)
    v.negative = ask(calls.is_neg, x)
    return True


# -- records ----------------------------------------------------------------------------------------------------------

cdef inline void forget(tensor_record *r) noexcept:
    cdef PyObject *storage = r.storage
    r.storage = NULL
    Py_XDECREF(storage)


cdef inline int remember(const torch_calls *calls, PyObject *x, const tensor_view *v, tensor_record *r) except -1:
    """Record a checked tensor. Tensors without elements, or with many dimensions, get no record."""
    cdef int i
    cdef PyObject *storage
    forget(r)
    if v.size == 0 or v.negative or v.t.ndim > RECORDED_DIMS:
        return 0
    for i in range(v.t.ndim):
        r.dims[i], r.dims[v.t.ndim + i] = v.t.shape[i], v.t.strides[i]
    storage = calls.untyped_storage(x, NULL)
    if storage == NULL:
        PyErr_Clear()
        return 0
    try:
        r.object, r.t, r.end = x, v.t, end_in(calls, storage, &v.t)
        r.storage = PyWeakref_NewRef(storage, NULL)
    finally:
        Py_XDECREF(storage)
    return 0


cdef inline bint is_unchanged(const torch_calls *calls, PyObject *x, const tensor_record *r, bint ask_sign) except -1:
    """Whether x is the recorded tensor, lies where it lay, and still fits its storage; if asked, also with its sign."""
    cdef fo_dl_tensor t
    cdef PyObject *storage
    cdef int i
    if r.storage == NULL or r.object != x:
        return False
    if calls.dlpack.view(<void *> x, &t) != 0:
        PyErr_Clear()
        return False
    if (t.data + t.byte_offset != r.t.data or t.ndim != r.t.ndim or t.code != r.t.code or t.bits != r.t.bits
            or t.device_type != FO_DL_CPU):
        return False
    for i in range(t.ndim):
        if t.shape[i] != r.dims[i] or t.strides[i] != r.dims[t.ndim + i]:
            return False
    storage = PyWeakref_GetObject(r.storage)
    return storage != <PyObject *> None and PyObject_Size(storage) >= r.end and not (ask_sign and ask(calls.is_neg, x))
