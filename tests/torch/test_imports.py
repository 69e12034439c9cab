"""What importing fastopt.torch loads, and that torch and fastopt share one OpenMP runtime."""

from __future__ import annotations

import sys

import pytest

pytest.importorskip("torch", reason="torch is what fastopt.torch is for")


from tests.support import run_python


def test_fastopt_itself_loads_no_torch() -> None:
    code = "import sys, fastopt; assert 'torch' not in sys.modules; import fastopt.torch; assert 'torch' in sys.modules"
    assert run_python("-c", code).returncode == 0


@pytest.mark.parametrize("first", ["torch", "fastopt"])
@pytest.mark.skipif(sys.platform != "linux", reason="not here: reads /proc")
def test_one_openmp_runtime_in_either_order(first: str) -> None:
    """Both libraries have run in parallel, and no second libgomp (or other runtime) is in the process."""
    code = f"""
import {first}
import torch, fastopt.torch, re
names = r"lib(g|i|)omp[-.0-9a-z]*[.]so|libiomp"
p = torch.nn.Parameter(torch.ones(1_000_000)); p.grad = torch.ones(1_000_000)
torch.set_num_threads(2); fastopt.set_num_threads(2)
fastopt.torch.Adam([p]).step(); (p.detach() * 2).sum()
paths = {{line.split()[-1] for line in open("/proc/self/maps") if re.search(names, line)}}
print(*sorted(paths), sep="\\n")
"""
    found = run_python("-c", code).stdout
    assert len(found.split()) == 1, found
