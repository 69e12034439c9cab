# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False, embedsignature=False
"""The decision stump: checks every buffer, drops the GIL, calls. Holds no formula but the units of the results."""

from libc.stdint cimport int32_t, int64_t, uint32_t

cimport numpy as cnp

import numpy as np

from fastopt._native.arrays cimport own_vector, shape_of
from fastopt._native.capi cimport FO_STUMP_BINARY, FO_STUMP_CLASSES, FO_STUMP_SQUARES, fo_split, fo_stump
from fastopt._native.runtime cimport api

cnp.import_array()


cdef cnp.ndarray _as_column(object x, str label, int type_number, int64_t rows):
    """x itself if it is a contiguous array (rows,) of this type number."""
    if not cnp.PyArray_CheckExact(x):
        raise TypeError(f"{label} must be a numpy.ndarray, got {type(x).__name__}")
    cdef cnp.ndarray a = x
    if cnp.PyArray_TYPE(a) != type_number or not cnp.PyArray_ISCARRAY_RO(a):
        raise TypeError(f"{label} must be a block of {np.dtype(cnp.PyArray_DescrFromType(type_number))}, "
                        f"got dtype {a.dtype}, strides {(<object> a).strides}")
    if cnp.PyArray_NDIM(a) != 1 or cnp.PyArray_DIM(a, 0) != rows:
        raise ValueError(f"{label} has shape {shape_of(a)}, the order has {rows} rows")
    return a


cdef class StumpSearch:
    """The best split of a node over all features, from their sorted orders.

    Its buffers are used again by each search, so that two threads must not share one object: every fit makes its own.

    order : (features, rows) uint32, per feature 2·row + (1 if the next value is greater), rows in ascending order.
    """
    cdef fo_stump job
    cdef cnp.ndarray order, pairs, split, sums

    def __cinit__(self, cnp.ndarray order not None):
        if cnp.PyArray_TYPE(order) != cnp.NPY_UINT32 or cnp.PyArray_NDIM(order) != 2 or \
                not cnp.PyArray_ISCARRAY_RO(order):
            raise TypeError(f"order must be a (features, rows) block of uint32, got {order.dtype} {shape_of(order)}")
        order = self.order = own_vector(order, "order", cnp.PyArray_SIZE(order), cnp.NPY_UINT32)
        self.job.features, self.job.rows = cnp.PyArray_DIM(order, 0), cnp.PyArray_DIM(order, 1)
        if self.job.rows < 1 or self.job.features < 1 or self.job.rows >= 2**31:
            raise ValueError(f"order has shape {shape_of(order)}: there must be a feature and 1 to 2³¹ − 1 rows")
        if (order >> 1).max() >= self.job.rows:
            raise ValueError(f"order names row {(order >> 1).max()} of {self.job.rows}")
        self.pairs = np.empty((self.job.rows, 2))
        self.split = np.empty(self.job.features * sizeof(fo_split), np.uint8)
        self.sums = np.empty(0)
        self.job.order = <const uint32_t *> cnp.PyArray_DATA(order)
        self.job.pairs = <double *> cnp.PyArray_DATA(self.pairs)
        self.job.split = <fo_split *> cnp.PyArray_DATA(self.split)

    def squares(self, weight, y):
        """The split that reduces the weighted squared error most, or None if there is none.

        Returns (feature, row below the threshold, row above, left weight, left mean, right weight, right mean, reduction
        of the error). Rows of weight 0 are not counted. weight: (rows,) float64 >= 0, not all 0; y: (rows,) float64, finite.
        """
        cdef cnp.ndarray w = _as_column(weight, "weight", cnp.NPY_FLOAT64, self.job.rows)
        cdef cnp.ndarray v = _as_column(y, "y", cnp.NPY_FLOAT64, self.job.rows)
        cdef fo_stump *job = &self.job
        job.kind = FO_STUMP_SQUARES
        job.y = <const double *> cnp.PyArray_DATA(v)
        feature = self._run(w)
        return None if feature < 0 else (feature, *self._rows(feature, w), *self._means(&job.split[feature]))

    cdef tuple _rows(self, int64_t feature, cnp.ndarray weight):
        """The rows next to the threshold. The one below has a weight > 0: of equal scores the kernel takes the lowest."""
        cdef const uint32_t *order = self.job.order + feature * self.job.rows
        cdef const double *w = <const double *> cnp.PyArray_DATA(weight)
        cdef int64_t place = self.job.split[feature].at, after = place + 1
        while after < self.job.rows - 1 and w[order[after] >> 1] == 0:      # another thread may change the weights
            after += 1
        return order[place] >> 1, order[after] >> 1

    cdef tuple _means(self, const fo_split *split):
        cdef fo_stump *job = &self.job
        cdef double left = split.left[0], right = job.total[0] - left
        cdef double low = split.left[1] / left, high = (job.total[1] - split.left[1]) / right
        cdef double gain = left / job.total[0] * right * (low - high) ** 2
        return (left / job.scale, job.mean + low / job.unit, right / job.scale, job.mean + high / job.unit,
                gain / job.unit / job.unit / job.scale)

    def classes(self, weight, label, int64_t classes):
        """The split that reduces the weighted Gini impurity most, or None if there is none.

        Returns (feature, row below the threshold, row above, weights of the classes below, weights of those above).
        weight: as in squares(); label: (rows,) int32, 0 … classes − 1.
        """
        cdef cnp.ndarray w = _as_column(weight, "weight", cnp.NPY_FLOAT64, self.job.rows)
        cdef cnp.ndarray k = _as_column(label, "label", cnp.NPY_INT32, self.job.rows)
        k = own_vector(k, "label", self.job.rows, cnp.NPY_INT32)
        if classes < 2 or k.min() < 0 or k.max() >= classes:
            raise ValueError(f"label must be 0 … {classes - 1}, got {k.min()} … {k.max()}")
        cdef fo_stump *job = &self.job
        job.kind = FO_STUMP_BINARY if classes == 2 else FO_STUMP_CLASSES
        job.label = <const int32_t *> cnp.PyArray_DATA(k)
        self._room(classes)
        feature = self._run(w)
        return None if feature < 0 else (feature, *self._rows(feature, w), *self._weights(feature))

    cdef int _room(self, int64_t classes) except -1:
        cdef fo_stump *job = &self.job
        if job.classes == classes:
            return 0
        self.sums = np.empty((1 + 2 * job.features, classes))
        job.classes = classes
        job.all = <double *> cnp.PyArray_DATA(self.sums)
        job.left = job.all + classes
        job.best = job.left + job.features * classes
        return 0

    cdef tuple _weights(self, int64_t feature):
        cdef fo_stump *job = &self.job
        if job.kind == FO_STUMP_BINARY:
            left = np.array([job.split[feature].left[0], job.split[feature].left[1]])
            every = np.array([job.total[0], job.total[1]])
        else:
            left, every = self.sums[1 + job.features + feature].copy(), self.sums[0]
        return left / job.scale, np.maximum(every - left, 0.0) / job.scale

    cdef int64_t _run(self, cnp.ndarray weight):
        cdef int threads = api.runtime.threads_for(self.job.rows * self.job.features)
        cdef int64_t feature
        self.job.weight = <const double *> cnp.PyArray_DATA(weight)
        with nogil:
            feature = api.stump(&self.job, threads)
        return feature
