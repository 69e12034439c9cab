# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False, embedsignature=False
"""The scalars of param groups for a kernel: set by name, bias-corrected, rounded to float32 once.

Holds no formula of an optimizer: its class forms the scalars, and says which of them are corrected. Each scalar is
either within 6e-8 of its value in double, relatively, or refused:

| scalar | what the kernel gets |
|---|---|
| eps, eps_in, eps_out, weight_decay, l1, clip, c, cu, 1 − β | 0, or 1.2e-38 to 3.4e38; another value is an error |
| lr, gain, shift | 0 to 3.4e38. Below 1.2e-38, the end of a long schedule, it is rounded to a multiple of 1.4e-45 |
| β up to 1 − 2⁻¹⁰ | β. The 1 − β that β·s implies is within 3e-8/(1 − β): 3e-5 at 0.999, as in torch |
| β above it | 1 − β instead: s + (x − (1 − β)·s) for β·s + x |
| decay (decoupled) | lr·weight_decay, added to the update before either is rounded to an ulp of the parameter |
| scale (grad_scale · clip coefficient) | outside 1.2e-38 to 3.4e38, the product with the gradient is formed in double |
"""

from cpython.dict cimport PyDict_DelItem, PyDict_GetItemWithError, PyDict_Next, PyDict_SetItem
from cpython.mem cimport PyMem_Free
from cpython.ref cimport PyObject
from libc.float cimport FLT_MIN
from libc.math cimport INFINITY, NAN, fabs, isfinite, pow, sqrt
from libc.stdint cimport int64_t

cimport cython

from fastopt._native.runtime import PRELUDE, RULES

from fastopt._native.capi cimport FO_MAX_SCALARS, FO_NEAR_ONE, fo_group, fo_prelude
from fastopt._native.spans cimport grown

cdef dict RULE_INDEX = {name: i for i, name in enumerate(RULES)}
# rule -> name of a scalar -> slot; the slots of the prelude come first
cdef dict SLOTS = {rule: {name: i for i, name in enumerate((*PRELUDE, *scalars))} for rule, (_, scalars) in RULES.items()}

# rule -> its scalars β that have a complement βc
cdef dict FACTORS = {rule: [name for name in scalars if f"{name}c" in scalars] for rule, (_, scalars) in RULES.items()}
cdef frozenset MAY_VANISH = frozenset(("lr", "gain", "shift", "decay"))


cdef int set_scalar(fo_group *group, int slot, double value) except -1:
    """Slots 0 to 4 are those of PRELUDE, the others the rule's."""
    if slot > 4:
        group.scalars[slot - 5] = <float> value
    elif slot == 0:
        group.prelude.scale = value
    elif slot == 1:
        group.prelude.clip = <float> value
    elif slot == 2:
        group.prelude.weight_decay = <float> value
    elif slot == 3:
        group.prelude.l1 = <float> value
    else:
        group.prelude.decay = <float> value
    return 0


@cython.cdivision(True)
cdef double corrected(const correction *c, double t) noexcept nogil:
    """value · Π (1 − βᵗ)^power, power −1 or ½, in this order and in double. It is not finite where β is 1."""
    cdef double value = c.value
    cdef int i
    for i in range(c.n_factors):
        if c.power[i] > 0:
            value *= sqrt(1.0 - pow(c.beta[i], t))
        else:
            value /= 1.0 - pow(c.beta[i], t)
    return value


cdef int check_scalar(str name, double value) except -1:
    if not isfinite(<float> value) and name != "clip":
        raise ValueError(f"{name} of the step is {value!r}, beyond float32: a hyper-parameter is too large")
    if 0.0 < fabs(value) < FLT_MIN and name not in MAY_VANISH:
        raise ValueError(f"{name} of the step is {value!r}: it must be 0 or at least {FLT_MIN:.3g}, because float32 "
                         "holds no smaller number exactly")
    return 0


cdef class GroupScalars:
    """Per group the rule's scalars and those of the prelude, formed in double and rounded to float32 once."""

    def __cinit__(self):
        self.group = NULL
        self.corrections = NULL
        self.slots, self.factors = [], []

    def __dealloc__(self):
        PyMem_Free(self.group)
        PyMem_Free(self.corrections)

    cdef int grow(self, int64_t capacity) except -1:
        cdef int64_t old = self.capacity
        self.group = <fo_group *> grown(self.group, old, capacity, sizeof(fo_group))
        self.corrections = <corrections_of_group *> grown(self.corrections, old, capacity, sizeof(corrections_of_group))
        self.slots += [None] * (capacity - old)
        self.factors += [None] * (capacity - old)
        self.capacity = capacity
        return 0

    cdef int begin(self, int64_t index, str rule) except -1:
        """Set the rule of a group. Its scalars must then be set."""
        cdef fo_group *group = &self.group[index]
        cdef int i
        group.rule = RULE_INDEX[rule]
        group.prelude = fo_prelude(scale=1.0, clip=INFINITY, weight_decay=0.0, l1=0.0, decay=0.0)
        for i in range(FO_MAX_SCALARS):
            group.scalars[i] = NAN
        self.corrections[index].n = 0
        self.slots[index], self.factors[index] = SLOTS[rule], FACTORS[rule]
        return 0

    cdef int set(self, int64_t index, dict values, dict corrections, int64_t t) except -1:
        """The scalars of step t by name. A name that the rule does not have is ignored: a class forms those of all its
        rules, and optimizer.py makes sure at import that none is missing.

        corrections: scalar -> ((β, power), ...), power −1 or ½: every step multiplies it by each (1 − βᵗ)^power.
        """
        self.set_values(index, values)
        self.set_corrections(index, values, corrections)
        return self.correct(index, t)

    cdef int set_values(self, int64_t index, dict values) except -1:
        cdef PyObject *slots = <PyObject *> self.slots[index]
        cdef PyObject *name
        cdef PyObject *number
        cdef PyObject *slot
        cdef Py_ssize_t position = 0
        cdef double value
        while PyDict_Next(values, &position, &name, &number):
            value = <object> number
            slot = PyDict_GetItemWithError(<object> slots, <object> name)
            if slot != NULL:
                check_scalar(<object> name, value)
                set_scalar(&self.group[index], <int> <object> slot, value)
        self.group[index].near_one = any([values[factor] > FO_NEAR_ONE for factor in self.factors[index]])
        return 0

    cdef int set_corrections(self, int64_t index, dict values, dict corrections) except -1:
        cdef corrections_of_group *own = &self.corrections[index]
        cdef correction *c
        cdef int i
        own.n = 0
        for name, factors in corrections.items():
            if name not in self.slots[index]:
                continue
            if own.n == MAX_CORRECTIONS or len(factors) > MAX_FACTORS:
                raise ValueError(f"at most {MAX_CORRECTIONS} corrected scalars with {MAX_FACTORS} factors each, "
                                 f"got {corrections}")
            c = &own.scalar[own.n]
            c.slot, c.value, c.n_factors = self.slots[index][name], values[name], len(factors)
            for i, (beta, power) in enumerate(factors):
                if power not in (-1, 0.5):
                    raise ValueError(f"the power of a bias correction must be -1 or 0.5, got {power!r} for {name}")
                c.beta[i], c.power[i] = beta, power
            own.n += 1
        return 0

    cdef int correct(self, int64_t index, int64_t t) except -1:
        """The bias-corrected scalars of step t. ValueError if t cannot be counted."""
        cdef corrections_of_group *own = &self.corrections[index]
        cdef double value
        cdef int i
        if t > <int64_t> 1 << 53:       # a double counts exactly up to here
            raise ValueError(f"a param group has taken {t - 1} steps, the most that can be counted: 2**53")
        for i in range(own.n):
            value = corrected(&own.scalar[i], <double> t)
            if not isfinite(<float> value):
                check_scalar([name for name, slot in self.slots[index].items() if slot == own.scalar[i].slot][0], value)
            set_scalar(&self.group[index], own.scalar[i].slot, value)
        return 0

    cdef int slot_of(self, int64_t index, str name) except -1:
        """Where fo_group.scalars holds this scalar of the rule. KeyError if the rule does not have it."""
        return <int> self.slots[index][name] - <int> len(PRELUDE)


# -- the hyper-parameters from which scalars are formed ----------------------------------------------------------------

cdef class Clock:
    """The steps that a group has taken, and how often its hyper-parameters were assigned.

    A step compares `changes` with its value at the time when the group's scalars were formed.
    """

    def assign(self, group not None, dict values not None):
        """Give the group all of these values or, on an error, none. In C, so that Ctrl-C cannot come in between."""
        assign([group], [values])
        self.changes += 1


cdef int assign(list groups, list values) except -1:
    """Give each group its values, all of them or, on an error, none.

    Only a new key needs memory. The new keys come first, and are taken out again if there is none left.
    """
    cdef list added = []
    cdef PyObject *key
    cdef PyObject *value
    cdef Py_ssize_t position
    try:
        for group, new in zip(groups, values, strict=True):
            for name in new.keys() - group.keys():
                added.append((group, name))
                PyDict_SetItem(group, name, new[name])
    except BaseException:
        for group, name in added:
            if name in group:
                PyDict_DelItem(group, name)
        raise
    for i in range(len(groups)):
        position = 0
        while PyDict_Next(<dict> values[i], &position, &key, &value):
            PyDict_SetItem(groups[i], <object> key, <object> value)
    return 0
