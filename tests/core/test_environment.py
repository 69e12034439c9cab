"""Import, environment variables, numbers of threads, cgroups, types, CPU modes and memory."""

from __future__ import annotations

import importlib.util
import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import fastopt
from fastopt import threads
from fastopt._native import runtime
from tests.support import run_python
from tests.support.rows import fresh

ROOT = Path(fastopt.__file__).resolve().parent.parent


def test_import_loads_numpy_alone() -> None:
    code = """
        import sys, numpy
        before = set(sys.modules)
        import fastopt
        new = {name for name in set(sys.modules) - before if name.partition(".")[0] not in sys.stdlib_module_names}
        assert {name.partition(".")[0] for name in new if "cython" not in name} == {"fastopt"}, new
        assert not {"fastopt.lab", "fastopt.functional", "fastopt.regularization", "fastopt.checkpoint"} & new, new
        for name in ("layers", "network", "resample", "stump", "_testing"):  # loaded when first used
            assert f"fastopt._native.{name}" not in new, new
        for name in ("torch", "sklearn", "scipy", "matplotlib", "rich", "pandas", "jax", "Cython", "argparse"):
            assert name not in sys.modules, name
        assert fastopt.functional.adam_ and "fastopt.functional" in sys.modules
        assert fastopt.regularization.Dropout
        for name in ("torch", "sklearn", "scipy", "cv2"):
            assert name not in sys.modules, name
        assert not hasattr(fastopt, "nonsense")
        for name in fastopt.__all__:
            getattr(fastopt, name)
        from fastopt import *
    """
    result = fresh(code)
    assert result.returncode == 0, result.stderr


def test_isa_from_the_environment() -> None:
    code = "import fastopt; print(fastopt.isa())"
    for isa in fastopt.available_isas():
        result = fresh(code, {"FASTOPT_ISA": isa})
        assert (result.returncode, result.stdout.strip()) == (0, isa), result.stderr
    lacking = [isa for isa in ("avx2", "avx512") if isa not in fastopt.available_isas()]
    for bad in ["sse9", "AVX2", "baseline,avx2", *lacking]:
        result = fresh(code, {"FASTOPT_ISA": bad})
        assert result.returncode == 1
        last = result.stderr.strip().splitlines()[-1]
        assert last.startswith("ImportError: FASTOPT_ISA")
        assert repr(bad) in last
        assert all(isa in last for isa in fastopt.available_isas())
    assert fresh(code, {"FASTOPT_ISA": ""}).stdout.strip() in fastopt.available_isas()


def test_set_isa() -> None:
    before = fastopt.isa()
    for isa in fastopt.available_isas():
        runtime.set_isa(isa)
        assert fastopt.isa() == isa
    for bad in ("", "sse9", "BASELINE"):
        with pytest.raises(ValueError, match="not available"):
            runtime.set_isa(bad)
        assert fastopt.isa() == isa
    with pytest.raises(TypeError):
        runtime.set_isa(None)
    runtime.set_isa(before)
    assert fastopt.available_isas()[0] == "baseline"


def test_threads_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    default = threads.default_num_threads()
    assert 1 <= default <= (os.cpu_count() or 1)
    for text, expected in {
        "1": 1,
        " 3 ": 3,
        "5,2": 5,
        "007": 7,
        "4096": 4096,
        "5000": 4096,
        "9" * 30: 4096,
        **dict.fromkeys(("", "0", "-1", "two", "1.5", ",3", "0x4", "+2"), default),
    }.items():
        monkeypatch.setenv("OMP_NUM_THREADS", text)
        assert threads.default_num_threads() == expected, text
    result = fresh("import fastopt; print(fastopt.get_num_threads())", {"OMP_NUM_THREADS": "3"})
    assert result.stdout.strip() == "3"


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system has no affinity")
def test_threads_follow_the_affinity() -> None:
    code = """
        import os
        os.sched_setaffinity(0, list(os.sched_getaffinity(0))[:1])
        import fastopt
        print(fastopt.get_num_threads())
    """
    assert fresh(code, {"OMP_NUM_THREADS": ""}).stdout.strip() == "1"


def test_set_num_threads() -> None:
    before = fastopt.get_num_threads()
    try:
        for n in (1, 2, 4096, np.int64(3), np.uint8(5)):
            fastopt.set_num_threads(n)
            assert fastopt.get_num_threads() == n
        for bad, error in [
            *((bad, ValueError) for bad in (0, -1, 4097, 10**30, np.int64(-3))),
            *((bad, TypeError) for bad in (1.0, "2", True, [2], np.float32(2), 2j)),
        ]:
            with pytest.raises(error, match="threads must be") as caught:
                fastopt.set_num_threads(bad)
            assert str(bad) in str(caught.value)
            assert fastopt.get_num_threads() == 5
        fastopt.set_num_threads(None)
        assert fastopt.get_num_threads() == threads.default_num_threads()
    finally:
        fastopt.set_num_threads(before)


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({}, 4096),
        ({"cpu.max": "max 100000\n"}, 4096),
        ({"cpu.max": "200000 100000\n"}, 2),
        ({"cpu.max": "250000 100000\n"}, 3),
        ({"cpu.max": "50000 100000\n"}, 1),
        ({"cpu.max": "1 100000\n"}, 1),
        ({"cpu.max": "100001 100000\n"}, 2),
        ({"cpu.max": ""}, 4096),
        ({"cpu.max": "nonsense"}, 4096),
        ({"cpu.max": "1 2 3"}, 4096),
        ({"cpu.max": "100000 0\n"}, 4096),
        ({"cpu.max": "-1 100000\n"}, 4096),
        ({"cpu/cpu.cfs_quota_us": "300000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 3),
        ({"cpu/cpu.cfs_quota_us": "50000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 1),
        ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, 4096),
        ({"cpu/cpu.cfs_quota_us": "300000\n"}, 4096),
        ({"cpu/cpu.cfs_quota_us": "300000\n", "cpu/cpu.cfs_period_us": "0\n"}, 4096),
        ({"cpu.max": "200000 100000\n", "cpu/cpu.cfs_quota_us": "5\n", "cpu/cpu.cfs_period_us": "5\n"}, 1),
        ({"own": "0::/a/b\n", "a/b/cpu.max": "300000 100000\n"}, 3),
        ({"own": "0::/a/b\n", "a/cpu.max": "200000 100000\n", "a/b/cpu.max": "300000 100000\n"}, 2),
        ({"own": "0::/a/b\n", "a/cpu.max": "max 100000\n", "c/cpu.max": "100000 100000\n"}, 4096),
        ({"own": "3:memory:/m\n", "cpu/m/cpu.cfs_quota_us": "1\n", "cpu/m/cpu.cfs_period_us": "1\n"}, 4096),
        ({"own": "4:cpu,cpuacct:/s\n", "cpu/s/cpu.cfs_quota_us": "2\n", "cpu/s/cpu.cfs_period_us": "1\n"}, 2),
        ({"own": "nonsense\n:\n", "cpu.max": "200000 100000\n"}, 2),
    ],
)
def test_quota_of_the_cgroup(tmp_path: Path, files: dict[str, str], expected: int) -> None:
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    assert threads._quota(str(tmp_path), str(tmp_path / "own")) == expected


def test_quota_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "cpu.max").mkdir()
    assert threads._quota(str(tmp_path), "") == 4096
    (tmp_path / "cpu").write_bytes(b"\xff")
    assert threads._quota(str(tmp_path), "") == 4096
    other = tmp_path / "other"
    other.mkdir()
    (other / "cpu.max").write_bytes(b"\xff\xfe 100000")
    assert threads._quota(str(other), "") == 4096


# -- typing -----------------------------------------------------------------------------------------------------------

SAMPLE = """
import numpy as np
import fastopt

w = np.zeros(3, np.float32)
opt = fastopt.Adam([w], lr=1e-3, betas=(0.9, 0.999), weight_decay=0.01, convention="torch")
norm: float | None = opt.step([w], max_norm=1.0)
fastopt.SGD(w, lr=lambda count: 0.1 / (count + 1)).step(lambda: w)
fastopt.Momentum([{"params": [w], "lr": 0.1}], dampening=0.5)
nag = fastopt.NAG(p for p in [w])
with nag.lookahead():
    g = w.copy()
nag.step([g], grad_scale=0.5, zero_grads=True)
for x, y in fastopt.batches(w, w, batch_size=None, rng=np.random.default_rng(0)):
    pass
count: int = len(fastopt.batches(w))
opt.load_state_dict(opt.state_dict())
opt.save("x.npz", params=True)
opts: list[fastopt.Optimizer] = [opt, nag]
isas: tuple[str, ...] = fastopt.available_isas()
fastopt.functional.sgd_(w, g, step=1, lr=0.1)
"""
WRONG = """
fastopt.SGD(w, lr="fast")
fastopt.Adam(w, betas=0.9)
fastopt.Adam(w, momentum=0.9)
fastopt.SGD(3)
fastopt.SGD(w).step(w, max_norm="1")
fastopt.RMSprop(w, centered="yes")
fastopt.batches(w, batch_size="all")
text: str = opt.step([w])
"""


@pytest.mark.slow
def test_typing(tmp_path: Path) -> None:
    """mypy --strict accepts the correct uses and reports each wrong one."""
    assert (ROOT / "fastopt" / "py.typed").is_file()
    if importlib.util.find_spec("mypy") is None:
        pytest.skip("mypy is not installed")
    (tmp_path / "sample.py").write_text(SAMPLE + WRONG)
    cache = ["--cache-dir", str(ROOT / ".mypy_cache")]
    command = ["-m", "mypy", "--strict", "--no-error-summary", "--config-file", "", *cache, "sample.py"]
    result = run_python(*command, cwd=tmp_path, timeout=240, MYPYPATH=str(ROOT))
    found = {int(line.split(":")[1]) for line in result.stdout.splitlines() if line.startswith("sample.py:")}
    first = SAMPLE.count("\n") + 2
    assert found == set(range(first, first + len(WRONG.strip().splitlines()))), result.stdout + result.stderr


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="not here: counts threads as Linux does")
@pytest.mark.skipif(fastopt.build_info()["openmp"] is None, reason="not here: built without OpenMP")
def test_the_number_of_threads_grows_with_the_work() -> None:
    """A small step does not start hundreds of threads, and a large step starts several."""
    code = """
        import os
        import numpy as np, fastopt
        count = lambda: len(os.listdir("/proc/self/task"))
        before = count()
        fastopt.set_num_threads(256)
        for size, most, least in ((1000, 0, 0), (70_000, 2, 1), (400_000, 15, 4)):
            fastopt.SGD(np.zeros(size, np.float32)).step(np.ones(size, np.float32))
            assert least <= count() - before <= most, (size, count() - before)
    """
    result = fresh(code)
    assert result.returncode == 0, result.stderr


# -- the processor's modes, and OpenMP's variables --------------------------------------------------------------------

PARALLEL_STEP = """
    import hashlib
    import os
    import numpy as np, fastopt
    fastopt.set_num_threads(2)
    w = np.linspace(-1, 1, 400_000, dtype=np.float32)
    opt = fastopt.Adam(w, lr=0.1)
    for t in range(3):
        norm = opt.step(np.sin(w), max_norm=1.0)
    print(hashlib.sha256(w.tobytes()).hexdigest(), norm)
"""


@pytest.mark.skipif(platform.machine() != "x86_64" or sys.platform != "linux", reason="not here: reads x86's MXCSR")
def test_import_and_step_do_not_change_the_modes_of_arithmetic() -> None:
    """Rounding, flushing and masks of x86's MXCSR register. Its low six bits are flags that any operation may set."""
    code = """
        import ctypes, mmap
        import numpy as np
        page = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
        page.write(bytes([0x0F, 0xAE, 0x1F, 0xC3]))  # stmxcsr [rdi]; ret
        store = ctypes.CFUNCTYPE(None, ctypes.c_void_p)(ctypes.addressof(ctypes.c_char.from_buffer(page)))
        def modes():
            word = ctypes.c_uint32()
            store(ctypes.addressof(word))
            return word.value & 0xFFC0
        before = modes()
        assert before == 0x1F80, hex(before)
        import fastopt
        assert modes() == before
        fastopt.set_num_threads(2)
        for isa in fastopt.available_isas():
            for size in (7, 400_000):
                w = np.full(size, 1e-39, np.float32)
                fastopt.Adam(w, lr=1e-3).step(np.full(size, 1e-30, np.float32), max_norm=1.0)
                assert modes() == before
    """
    result = fresh(code)
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize(
    "variable", ["OMP_DYNAMIC=true", "OMP_THREAD_LIMIT=1", "OMP_PROC_BIND=close", "OMP_NESTED=true"]
)
def test_openmp_variables_change_no_bit(variable: str) -> None:
    name, _, value = variable.partition("=")
    plain, other = fresh(PARALLEL_STEP), fresh(PARALLEL_STEP, {name: value})
    assert (other.returncode, other.stdout) == (0, plain.stdout), other.stderr


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="not here: reads affinity as Linux shows it")
@pytest.mark.skipif(fastopt.build_info()["openmp"] is None, reason="not here: built without OpenMP")
def test_threads_are_bound_where_gomp_cpu_affinity_says() -> None:
    cpu = min(os.sched_getaffinity(0))
    code = f"""{PARALLEL_STEP}
    bound = [os.sched_getaffinity(int(task)) for task in os.listdir("/proc/self/task")]
    assert sum(cpus == {{{cpu}}} for cpus in bound) >= 2, bound
    """
    result = fresh(code, {"GOMP_CPU_AFFINITY": str(cpu)})
    assert result.returncode == 0, result.stderr


@pytest.mark.skipif(sys.platform != "linux", reason="not here: /proc")
def test_memory_stays_flat_over_many_steps() -> None:
    """The resident set grows by less than 1 MB in 100,000 steps with errors, norms and copied gradients."""
    code = """
        import contextlib
        import numpy as np
        import fastopt

        def resident():
            with open("/proc/self/statm") as file:
                return int(file.read().split()[1]) * 4096

        params = [np.ones((8, 8), np.float32), np.ones(100, np.float32)]
        grads = [np.ones((8, 8), np.float32), np.ones(100, np.float32)]
        strided = [np.ones((8, 16), np.float32)[:, ::2], grads[1]]
        wrong = [grads[0], np.ones(99, np.float32)]
        opt = fastopt.Adam(params, weight_decay=0.1)
        def some(n):
            for i in range(n):
                opt.step(grads, max_norm=1.0)
                opt.step(strided)
                opt.step(grads, zero_grads=True)
                with contextlib.suppress(ValueError):
                    opt.step(wrong)
                opt.step([g.copy() for g in grads])
        some(4000)
        before = resident()
        some(20000)
        print(resident() - before)
    """
    result = fresh(code)
    assert result.returncode == 0, result.stderr
    assert int(result.stdout) < 1 << 20


def test_a_clone_without_the_extension_says_so(tmp_path: Path) -> None:
    here = Path(fastopt.__file__).parent
    shutil.copytree(here, tmp_path / "fastopt", ignore=shutil.ignore_patterns("*.so", "*.pyd", "__pycache__"))
    # the finder of an editable install would still find the extension
    code = "import sys; sys.meta_path[:] = [f for f in sys.meta_path if 'ditable' not in repr(f)]; import fastopt"
    found = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert found.returncode == 1
    assert f"extension is not in {tmp_path / 'fastopt'}" in found.stderr.splitlines()[-1]
    assert "another folder" in found.stderr
