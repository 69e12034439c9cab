"""What the C library is built from and with which flags: plain constants, read by setup.py and by tools/.

Results are bit-exact on every target: no contraction into fused multiply-add, and never fast-math. Nobody reads errno
or floating-point traps, and without them the sqrtf loops vectorize; neither changes a value. The standard is gnu11 and
not c11, because strict C lets s390x compute float expressions in double.
"""

FLAGS = [
    "-std=gnu11",
    "-O3",
    "-g0",
    "-ffp-contract=off",
    "-fno-math-errno",
    "-fno-trapping-math",
    "-fvisibility=hidden",
]
WINDOWS_FLAGS = ["/O2", "/fp:precise", "/std:c11"]
INCLUDE = ["csrc", "csrc/include", "fastopt/torch"]
SOURCES = [
    "csrc/runtime/api.c",
    "csrc/runtime/dispatch.c",
    "csrc/runtime/threads.c",
    "csrc/optimize/layout.c",
    "csrc/optimize/step.c",
    "csrc/layers/drivers.c",
    "csrc/network/network.c",
    "csrc/resample/resample.c",
    "csrc/stump/stump.c",
    "csrc/isa/baseline.c",
]
#: more sources on x86, each with the flags of its instruction set
X86_FLAGS = {
    "csrc/isa/avx2.c": ["-mavx2"],
    "csrc/isa/avx512.c": ["-mavx512f", "-mavx512vl", "-mavx512dq", "-mavx512bw", "-mprefer-vector-width=512"],
}
#: the module that holds the C library and alone links OpenMP
RUNTIME = "fastopt._native.runtime"
#: modules that reach the C library through the runtime's table of functions
MODULES = [
    "fastopt._native.arrays",
    "fastopt._native.spans",
    "fastopt._native.scalars",
    "fastopt._native.step",
    "fastopt._native.layers",
    "fastopt._native.network",
    "fastopt._native.resample",
    "fastopt._native.stump",
    "fastopt._native._testing",
    "fastopt.torch._table",
    "fastopt.torch._step",
]
