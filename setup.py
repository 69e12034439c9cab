"""The extension modules. Sources and flags are in build_flags.py, metadata in pyproject.toml.

FASTOPT_OPENMP=0 builds without OpenMP (same results, one thread); FASTOPT_WERROR=1 makes warnings errors, as CI does;
FASTOPT_SANITIZE=address,undefined builds with these sanitizers (python -m tools.sanitize runs the tests with them).
"""

import os
import platform
import runpy
import sys
import sysconfig
from pathlib import Path

from Cython.Build import cythonize
from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

here = Path(__file__).resolve().parent
# read as a file: an isolated build does not have this folder on its import path
build = runpy.run_path(str(here / "build_flags.py"))

on_windows = sys.platform == "win32"
is_x86 = platform.machine().lower() in ("x86_64", "amd64") and not on_windows
# Apple's clang has no OpenMP runtime, and MSVC's is too old for this code's loops: one thread there.
use_openmp = os.environ.get("FASTOPT_OPENMP", "0" if on_windows or sys.platform == "darwin" else "1") != "0"
limited_api = not sysconfig.get_config_var("Py_GIL_DISABLED")  # the free-threaded build has no stable ABI yet
sanitizers = os.environ.get("FASTOPT_SANITIZE")
sanitize = [f"-fsanitize={sanitizers}", "-fno-sanitize-recover=all", "-fno-omit-frame-pointer"] if sanitizers else []
flags = build["WINDOWS_FLAGS"] if on_windows else [*build["FLAGS"], *sanitize]
openmp = ["-fopenmp"] * (use_openmp and not on_windows)


class BuildExt(build_ext):
    """Compiles each C file of an instruction set with the flags of that set."""

    def build_extension(self, ext):
        compile_one = self.compiler._compile

        def compile_with_flags(obj, src, extension, cc_args, extra_postargs, pp_opts):
            own = build["X86_FLAGS"].get(Path(src).as_posix(), [])
            if Path(src).parts[0] == "csrc" and os.environ.get("FASTOPT_WERROR") == "1":
                own = [*own, "-Wall", "-Wextra", "-Wframe-larger-than=3072", "-Werror"]  # stacks may have 16 KiB
            compile_one(obj, src, extension, cc_args, [*extra_postargs, *own], pp_opts)

        if not on_windows:
            self.compiler._compile = compile_with_flags
        super().build_extension(ext)


def extension(name: str) -> Extension:
    import numpy

    holds_library = name == build["RUNTIME"]
    sources = [f"{name.replace('.', '/')}.pyx"]
    own_flags = [*flags, *openmp] if holds_library else flags
    macros = [("NPY_NO_DEPRECATED_API", "NPY_2_0_API_VERSION"), ("NPY_TARGET_VERSION", "NPY_2_0_API_VERSION")]
    macros += [("Py_LIMITED_API", "0x030B0000")] * limited_api
    if holds_library:
        sources += [*build["SOURCES"], *(build["X86_FLAGS"] if is_x86 else [])]
        macros += [("FASTOPT_BUILD_FLAGS", '"' + " ".join(own_flags) + '"')]
        macros += [("FASTOPT_X86_KERNELS", None)] * is_x86
    return Extension(
        name,
        sources,
        include_dirs=[*build["INCLUDE"], numpy.get_include()],
        define_macros=macros,
        extra_compile_args=own_flags + ([] if on_windows else [f"-ffile-prefix-map={here}=."]),
        extra_link_args=(openmp if holds_library else []) + sanitize[:1],
        libraries=["m"] * (holds_library and not on_windows),
        depends=sorted(map(str, Path("csrc").rglob("*.h"))),
        py_limited_api=limited_api,
    )


setup(
    ext_modules=cythonize([extension(name) for name in [build["RUNTIME"], *build["MODULES"]]], build_dir="build"),
    cmdclass={"build_ext": BuildExt},
    options={"bdist_wheel": {"py_limited_api": "cp311"}} if limited_api else {},
)
