"""Limits and modes of the process: stacks, numbers of threads, arithmetic, and Ctrl-C during the import."""

from __future__ import annotations

import os
import platform
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import fastopt
from tests.core.test_threads import script
from tests.support import environment
from tests.support.rows import fresh

linux = pytest.mark.skipif(sys.platform != "linux", reason="not here: /proc, process limits and glibc's fenv")
openmp = pytest.mark.skipif(fastopt.build_info()["openmp"] is None, reason="not here: built without OpenMP")

STEPS = """
    import hashlib, importlib.util, threading
    import numpy as np, fastopt
    from fastopt import regularization as r
    from fastopt.ensemble import DecisionStumpClassifier
    from fastopt.validation import bootstrap
    from fastopt._native import _testing
    from tests.support.rows import ROWS, given
    _testing.set_backoff(False)
    _testing.set_serial_threshold(0)
    n = 9000
    g = np.linspace(-2, 3, n, dtype=np.float32) * np.float32(scale)

    def run():
        found = []
        for row in ROWS.values():
            for options in ({"max_norm": 1.0}, {"noise": r.GradientNoise(0.3, rng=0)}, {"zero_grads": True}):
                w = g[::-1].copy()
                opt = row.make(w)
                opt.step(given(g.copy()), **options)
                found += [w, *(v for k, v in opt.state[0].items() if k != "step")]
        x = np.sin(np.arange(90 * 100, dtype=np.float32)).reshape(90, 100) * np.float32(scale)
        found += [r.BatchNorm(100).forward(x), r.Dropout(0.5, rng=0).forward(x), r.GaussianNoise(0.1, rng=0).forward(x)]
        found += [r.cross_entropy(x[:, :c].copy(), np.arange(90) % 7)[1] for c in (10, 90)]
        images = x.reshape(10, 3, 20, 15)
        changes = [r.RandomFlip(0.5, 0.5), r.RandomCrop((18, 14), 2), r.RandomAffine(), r.RandomBrightnessContrast()]
        found += [images := change(images, rng=0) for change in [*changes, r.RandomErasing(1.0), r.Cutout(5)]]
        found += [r.mixup(x, rng=0)[0]]
        if importlib.util.find_spec("sklearn"):  # the network is reached through the estimator
            from fastopt.sklearn import MLPClassifier
            found += [*MLPClassifier((200,), epochs=1, random_state=0).fit(x, np.arange(90) % 3).coefs_]
        DecisionStumpClassifier().fit(x, np.arange(90) % 2)
        bootstrap(x[:, 0].astype(float), "mean", rng=0)
        return hashlib.sha256(b"".join(np.ascontiguousarray(a).tobytes() for a in found)).hexdigest()

    def same(prepare):
        for isa in fastopt.available_isas():
            fastopt._native.runtime.set_isa(isa)
            found = set()
            for threads in (1, 2, 3):
                fastopt.set_num_threads(threads)
                run()                        # the team starts with the usual modes
                leave = prepare()
                found.add(run())
                leave()
            assert len(found) == 1, isa
"""


@openmp
@linux
@pytest.mark.parametrize("mode", ["0x400", "0x800", "0xC00"])
def test_rounding_of_the_caller_holds_in_every_thread(tmp_path: Path, mode: str) -> None:
    code = f"""
    import ctypes
    fenv = ctypes.CDLL("libm.so.6")
    def prepare():
        assert fenv.fesetround({mode} if x86 else {mode} << 12) == 0
        return lambda: fenv.fesetround(0)
    same(prepare)
    """
    script(tmp_path, f"    scale, x86 = 1, {platform.machine() == 'x86_64'}\n" + STEPS + code)


@openmp
@linux
@pytest.mark.skipif(platform.machine() != "x86_64", reason="not here: writes x86's MXCSR")
def test_flushing_of_subnormal_numbers_holds_in_every_thread(tmp_path: Path) -> None:
    code = """
    import ctypes, mmap
    page = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    page.write(bytes([0x0F, 0xAE, 0x17, 0xC3]))  # ldmxcsr [rdi]; ret
    load = ctypes.CFUNCTYPE(None, ctypes.c_void_p)(ctypes.addressof(ctypes.c_char.from_buffer(page)))
    def set_modes(word):
        load(ctypes.addressof(ctypes.c_uint32(word)))
    def prepare():
        set_modes(0x9FC0)
        return lambda: set_modes(0x1F80)
    same(prepare)
    """
    script(tmp_path, "    scale = 2e-38\n" + STEPS + code)


def test_every_kernel_runs_on_a_small_stack(tmp_path: Path) -> None:
    """Python itself and NumPy need most of 64 KiB; no function of csrc takes more than 3 KiB."""
    code = """
    threading.stack_size(1 << 16)
    for isa in fastopt.available_isas():
        fastopt._native.runtime.set_isa(isa)
        for threads in (1, 2):
            fastopt.set_num_threads(threads)
            done = []
            worker = threading.Thread(target=lambda: done.append(run()))
            worker.start()
            worker.join()
            assert done
    """
    script(tmp_path, "    scale = 1\n" + STEPS + code)


@openmp
@linux
@pytest.mark.parametrize("before", [1, 2])
@pytest.mark.parametrize("most", [1, 5])
def test_a_limit_on_processes_costs_threads_and_one_warning(before: int, most: int) -> None:
    code = f"""
        import os, resource, warnings
        import numpy as np, fastopt
        if os.getuid() == 0:
            os.setuid(65534)
        w, g = np.zeros(1 << 20, np.float32), np.ones(1 << 20, np.float32)
        opt = fastopt.SGD(w, lr=1.0)
        fastopt.set_num_threads({before})
        opt.step(g)
        resource.setrlimit(resource.RLIMIT_NPROC, ({most}, {most}))
        fastopt.set_num_threads(9)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            for _ in range(20):
                opt.step(g)
        assert [c.category for c in caught] == [RuntimeWarning] and "thread" in str(caught[0].message), caught
        assert (w == -21).all()
    """
    result = fresh(code, {"OPENBLAS_NUM_THREADS": "1"})
    assert result.returncode == 0, result.stderr


LIMITS = """
    import contextlib, ctypes, os
    import numpy as np, fastopt
    omp = ctypes.CDLL(fastopt.build_info()["openmp"])
    count = lambda: len(os.listdir("/proc/self/task"))
    w, g = np.zeros(1 << 20, np.float32), np.ones(1 << 20, np.float32)
    step = lambda opt=fastopt.SGD(w): opt.step(g)
    fastopt.set_num_threads(5)

    @contextlib.contextmanager
    def limit(n):
        usual = omp.omp_get_max_threads()
        omp.omp_set_num_threads(n)
        yield
        omp.omp_set_num_threads(usual)
"""
PYTORCH = """
    import torch, fastopt.torch
    torch.set_num_threads(1)
    p = torch.nn.Parameter(torch.ones(1 << 20, dtype=torch.{dtype}))
    p.grad = torch.ones_like(p)
    step = fastopt.torch.SGD([p], lr=0.1).step

    @contextlib.contextmanager
    def limit(n):
        torch.set_num_threads(n)
        yield
        torch.set_num_threads(4)
"""
LIMITERS = {
    "omp_set_num_threads": "",
    "threadpoolctl": "    import threadpoolctl\n    limit = lambda n: threadpoolctl.threadpool_limits(n, 'openmp')\n",
    "torch": PYTORCH.format(dtype="float32"),
    "torch, 16 bits": PYTORCH.format(dtype="bfloat16"),
}


@openmp
@linux
@pytest.mark.parametrize("limiter", LIMITERS)
def test_a_limit_that_another_library_sets_holds(tmp_path: Path, limiter: str) -> None:
    if limiter != "omp_set_num_threads":
        pytest.importorskip(limiter.split(",")[0], reason="it sets the limit")
    code = """
    before = count()
    for n in (1, 3):
        with limit(n):
            step()
        assert count() == before + n - 1, (n, count())
    step()
    assert count() == before + (3 if "torch" in globals() else 4), "set_num_threads is the upper bound"
    """
    env = {"OMP_NUM_THREADS": "4", "OPENBLAS_NUM_THREADS": "1", "FASTOPT_BACKOFF": "0"}
    script(tmp_path, LIMITS + LIMITERS[limiter] + code, **env)


@openmp
@linux
def test_within_a_parallel_region_of_another_library_a_step_has_one_thread(tmp_path: Path) -> None:
    code = """
    if not hasattr(omp, "GOMP_parallel"):
        raise SystemExit
    found = []

    @ctypes.CFUNCTYPE(None, ctypes.c_void_p)
    def region(_):
        if omp.omp_get_thread_num() == 0:
            step()
            found.append(count())

    before = count()
    omp.GOMP_parallel(region, None, 2, 0)
    assert found == [before + 1]
    """
    env = {"OPENBLAS_NUM_THREADS": "1", "OMP_MAX_ACTIVE_LEVELS": "2"}
    script(tmp_path, LIMITS + code, **env)


def test_workers_of_joblib_use_as_many_threads_as_joblib_gives_them(tmp_path: Path) -> None:
    pytest.importorskip("joblib", reason="it starts the workers")
    code = """
    import joblib

    def threads():
        from fastopt._native import runtime
        return runtime.get_num_threads()

    if __name__ == "__main__":
        with joblib.parallel_config("loky", inner_max_num_threads=3):
            assert joblib.Parallel(n_jobs=2)(joblib.delayed(threads)() for _ in range(2)) == [3, 3]
    """
    script(tmp_path, code)


IMPORTS = ["fastopt", "fastopt._native.layers", "fastopt.regularization"]


@pytest.mark.parametrize("error", ["KeyboardInterrupt", "MemoryError", "ImportError('x')"])
@pytest.mark.parametrize("module", IMPORTS)
def test_a_failure_of_the_import_of_inspect_is_an_exception(module: str, error: str) -> None:
    """Cython's code imports it without a check, so fastopt imports it first."""
    code = f"""
        import sys
        class Hook:
            def find_spec(self, name, path=None, target=None):
                if name == "inspect":
                    raise {error}
        sys.meta_path.insert(0, Hook())
        sys.modules.pop("inspect", None)
        import {module}
    """
    assert fresh(code).returncode in (1, -signal.SIGINT)


@linux
def test_ctrl_c_during_the_import_never_crashes() -> None:
    code = "import sys; sys.stdout.write('x'); sys.stdout.flush(); import fastopt, fastopt.regularization"
    for k in range(int(os.environ.get("FASTOPT_INTERRUPTIONS", "20"))):
        child = subprocess.Popen(
            [sys.executable, "-c", code], env=environment(), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
        assert child.stdout is not None
        child.stdout.read(1)
        time.sleep(k * 0.618034 % 1 * 0.25)  # spread over the import
        child.send_signal(signal.SIGINT)
        child.communicate(timeout=60)
        assert child.returncode in (0, 1, -signal.SIGINT), k
