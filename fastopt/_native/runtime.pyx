# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False, embedsignature=False
"""Holds the C library, the only copy in the process: instruction sets, threads, the rules, the table of functions."""

import warnings

from cpython.pycapsule cimport PyCapsule_New
from libc.stdint cimport uintptr_t

from fastopt._native.capi cimport FO_SHORT, FO_TILE, fo_api


cdef extern from "isa/kernels.h" nogil:
    struct fo_kernels_table "fo_kernels":
        const char *isa

    int FO_MOST_THREADS
    int fo_init(void (*report)() noexcept nogil)
    const fo_kernels_table *fo_kernels()
    bint fo_select(const char *isa)
    const char *fo_isa_name(int index)
    bint fo_isa_runs(int index)
    const char *fo_openmp_runtime()
    const fo_api *fo_get_api()
    int fo_num_threads()
    void fo_set_num_threads(int threads)

cdef extern from *:
    """
    #ifndef FASTOPT_BUILD_FLAGS
    #define FASTOPT_BUILD_FLAGS "unknown"
    #endif
    #if defined(__clang__)
    #define FASTOPT_COMPILER "clang " __clang_version__
    #elif defined(__GNUC__)
    #define FASTOPT_COMPILER "gcc " __VERSION__
    #elif defined(_MSC_VER)
    #define FASTOPT_COMPILER "MSVC"
    #else
    #define FASTOPT_COMPILER "unknown"
    #endif
    """
    const char *FASTOPT_BUILD_FLAGS
    const char *FASTOPT_COMPILER

cdef extern from "Python.h":
    int Py_AddPendingCall(int (*call)(void *) except -1, void *argument) nogil


cdef int warn(void *nothing) except -1:
    warnings.warn("no further thread can be started, so fastopt uses fewer threads; results do not change. A limit on "
                  "processes may be the reason: ulimit -u, or a container's", RuntimeWarning)
    return 0


cdef void report() noexcept nogil:
    """Called in the middle of a job, perhaps without the GIL. So the interpreter warns soon after, in the main thread."""
    Py_AddPendingCall(warn, NULL)


if fo_init(report) != 0:
    raise ImportError("fastopt: pthread_atfork failed")
api = fo_get_api()

#: the same table for other libraries: a capsule named "fastopt._native.runtime.C_API" with a `const struct fo_api *`
C_API = PyCapsule_New(<void *> api, "fastopt._native.runtime.C_API", NULL)


cdef tuple names_of(const char *row):
    """"(w, m, v)" -> ("w", "m", "v")."""
    return tuple([name.strip() for name in row.decode().strip("()").split(",")])


#: rule -> (names of its buffers, names of its scalars), from the rows of csrc/rules.h
RULES = {api.steps.rules[i].name.decode(): (names_of(api.steps.rules[i].buffers), names_of(api.steps.rules[i].scalars))
         for i in range(api.steps.n_rules)}
#: elements of a tile, and of the shortest span whose first elements are aligned to a cache line
TILE = FO_TILE
SHORT = FO_SHORT
#: the scalars that every rule has
PRELUDE = ("scale", "clip", "weight_decay", "l1", "decay")


def isa():
    """The instruction set of the kernels in use."""
    return fo_kernels().isa.decode()


def available_isas():
    """The instruction sets of this build that this CPU supports, from the narrowest to the widest."""
    cdef int i = 0
    found = []
    while fo_isa_name(i) != NULL:
        if fo_isa_runs(i):
            found.append(fo_isa_name(i).decode())
        i += 1
    return tuple(found)


def set_isa(str name not None):
    """Use the kernels of this instruction set from now on. The results are the same bits on each.

    Raises ValueError if this CPU or this build does not have it.
    """
    if not fo_select(name.encode()):
        raise ValueError(f"instruction set {name!r} is not available here: this CPU and build have "
                         f"{', '.join(available_isas())}")


def get_num_threads():
    """How many threads a step may use."""
    return fo_num_threads()


def set_num_threads(threads):
    """Let a step use at most this many threads. Raises TypeError or ValueError for other than an int in [1, 4096]."""
    if isinstance(threads, bool) or not hasattr(threads, "__index__"):
        raise TypeError(f"threads must be an int, got {threads!r}")
    if not 1 <= threads <= FO_MOST_THREADS:
        raise ValueError(f"threads must be between 1 and {FO_MOST_THREADS}, got {threads}")
    fo_set_num_threads(threads)


def ask_for_huge_pages(uintptr_t address, size_t size):
    """Ask for huge pages in memory that was not written yet, as NumPy does: streams over it miss the TLB less often."""
    api.runtime.huge_pages(<void *> address, size)


def build_info():
    """Compiler, flags, instruction sets and OpenMP runtime of this build, as a dict of strings."""
    cdef const char *runtime = fo_openmp_runtime()
    return {
        "compiler": FASTOPT_COMPILER.decode(),
        "flags": FASTOPT_BUILD_FLAGS.decode(),
        "isas": available_isas(),
        "openmp": None if runtime == NULL else runtime.decode(),
    }
