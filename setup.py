"""The one extension, and the flags of each csrc/isa/<isa>.c. Nothing else: metadata is in pyproject.toml.

FASTOPT_OPENMP=0 builds without OpenMP (same results, one thread); FASTOPT_WERROR=1 makes warnings errors, as CI does;
FASTOPT_SANITIZE=address,undefined builds with these sanitizers (python -m tools.sanitize runs the tests so).
"""

import os
import platform
import sys
import sysconfig
from pathlib import Path

from Cython.Build import cythonize
from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

SOURCES = [
    "csrc/runtime/dispatch.c",
    "csrc/runtime/memory.c",
    "csrc/runtime/threads.c",
    "csrc/optimize/layout.c",
    "csrc/optimize/step.c",
    "csrc/layers/channels.c",
    "csrc/layers/cross_entropy.c",
    "csrc/layers/elementwise.c",
    "csrc/layers/images.c",
    "csrc/layers/mixing.c",
    "csrc/network/network.c",
    "csrc/resample/resample.c",
    "csrc/stump/stump.c",
    "csrc/isa/baseline.c",
]
X86_FLAGS = {
    "csrc/isa/avx2.c": ["-mavx2"],
    "csrc/isa/avx512.c": ["-mavx512f", "-mavx512vl", "-mavx512dq", "-mavx512bw", "-mprefer-vector-width=512"],
}
# Every result is bit-exact on every target: no contraction into FMA, and never fast-math. errno and trapping math are
# given up because nobody reads them and sqrtf would not vectorize; neither changes a value.
# gnu11 and not c11: strict C has s390x reckon float expressions in double.
FLAGS = [
    "-std=gnu11",
    "-O3",
    "-g0",
    "-ffp-contract=off",
    "-fno-math-errno",
    "-fno-trapping-math",
    "-fvisibility=hidden",
]

on_windows = sys.platform == "win32"
is_x86 = platform.machine().lower() in ("x86_64", "amd64") and not on_windows
# Apple's clang has no OpenMP runtime, and MSVC's is too old for this code's loops: one thread there.
use_openmp = os.environ.get("FASTOPT_OPENMP", "0" if on_windows or sys.platform == "darwin" else "1") != "0"
limited_api = not sysconfig.get_config_var("Py_GIL_DISABLED")  # the free-threaded build has no stable ABI yet


class BuildExt(build_ext):
    """Compiles each csrc/isa/<isa>.c with the flags of its instruction set."""

    def build_extension(self, ext):
        compile_one = self.compiler._compile

        def compile_with_flags(obj, src, extension, cc_args, extra_postargs, pp_opts):
            own = X86_FLAGS.get(Path(src).as_posix(), [])
            if Path(src).suffix == ".c" and Path(src).parts[0] == "csrc" and os.environ.get("FASTOPT_WERROR") == "1":
                own = [*own, "-Wall", "-Wextra", "-Werror"]
            compile_one(obj, src, extension, cc_args, [*extra_postargs, *own], pp_opts)

        if not on_windows:
            self.compiler._compile = compile_with_flags
        super().build_extension(ext)


sanitizers = os.environ.get("FASTOPT_SANITIZE")
sanitize = [f"-fsanitize={sanitizers}", "-fno-sanitize-recover=all", "-fno-omit-frame-pointer"] if sanitizers else []
flags = ["/O2", "/fp:precise", "/std:c11"] if on_windows else FLAGS + ["-fopenmp"] * use_openmp + sanitize
here = Path(__file__).resolve().parent
macros = [("NPY_NO_DEPRECATED_API", "NPY_2_0_API_VERSION"), ("NPY_TARGET_VERSION", "NPY_2_0_API_VERSION")]
macros += [("FASTOPT_BUILD_FLAGS", '"' + " ".join(flags) + '"')]
macros += [("FASTOPT_X86_KERNELS", None)] * is_x86
macros += [("Py_LIMITED_API", "0x030B0000")] * limited_api


def numpy_include() -> str:
    import numpy

    return numpy.get_include()


setup(
    ext_modules=cythonize(
        [
            Extension(
                "fastopt._core",
                ["fastopt/_core.pyx", *SOURCES, *(X86_FLAGS if is_x86 else [])],
                include_dirs=["csrc", "csrc/include", numpy_include()],
                define_macros=macros,
                extra_compile_args=flags + ([] if on_windows else [f"-ffile-prefix-map={here}=."]),
                extra_link_args=["-fopenmp"] * (use_openmp and not on_windows) + sanitize[:1],
                depends=[
                    *sorted(map(str, Path("csrc").rglob("*.h"))),
                    *sorted(map(str, Path("fastopt").glob("*.pxi"))),
                ],
                py_limited_api=limited_api,
            )
        ],
        build_dir="build",
    ),
    cmdclass={"build_ext": BuildExt},
    options={"bdist_wheel": {"py_limited_api": "cp311"}} if limited_api else {},
)
