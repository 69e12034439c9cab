"""One more optimizer costs three texts: its rule, its class, its reference. Shown by adding one to a copy."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest
from builds import Copy

ROW = """    X(lion,                      (w, m),       (lr, beta1, beta1c, beta2, beta2c), x.w) \\
"""
RULE = """
/* Chen et al. (2023), Symbolic Discovery of Optimization Algorithms. */
RULE(lion)
{
    const float u = h.beta1 * x->m + h.beta1c * g;
    x->w -= u > 0.0f ? h.lr : u < 0.0f ? -h.lr : 0.0f * u;
    x->m = h.beta2 * x->m + h.beta2c * g;
}

"""
CLASS = '''
class Lion(Optimizer):
    """Lion: W ← W − η sign(β₁m + (1−β₁)g);  m ← β₂m + (1−β₂)g."""

    rules: ClassVar = {"lion": ("exp_avg",)}
    conventions: ClassVar = {"textbook": {"lr": 1e-4, "betas": (0.9, 0.99)}}

    def __init__(self, params: Params, lr: LR | None = None, betas: Any = None, **common: Unpack[Common]) -> None:
        super().__init__(params, common, {"lr": lr, "betas": betas})

    @classmethod
    def scalars(cls, h: Hyper) -> dict[str, float]:
        beta1, beta2 = h["betas"]
        return {"beta1": beta1, "beta1c": 1.0 - beta1, "beta2": beta2, "beta2c": 1.0 - beta2}


'''
REFERENCE = '''
@reference
def lion(w, g, state, t, h):
    """W ← W − η sign(β₁m + (1−β₁)g);  m ← β₂m + (1−β₂)g.  Chen et al. (2023)."""
    (m,) = state
    beta1, beta2 = h["betas"]
    return w - h["lr"] * np.sign(beta1 * m + (1 - beta1) * g), (beta2 * m + (1 - beta2) * g,)


'''
TRAIN = """
import numpy as np, fastopt
w = np.ones(100, np.float32)
opt = fastopt.optimizers.Lion(w, lr=0.5)
opt.step(w.copy(), max_norm=1.0)
assert (w == 0.5).all(), w
opt.save("lion.npz"); opt.load("lion.npz")
m = np.zeros(100, np.float32)
fastopt.functional.lion_(w, w.copy(), m, step=1, lr=0.5)
assert (w == 0.0).all() and (m != 0).all()
print(opt)
"""


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Copy:
    """A copy with the rule of an eighth optimizer, built."""
    copy = Copy(tmp_path_factory.mktemp("eighth"))
    copy.insert("csrc/rules.h", "X(momentum,", ROW)
    copy.insert("csrc/rules.h", "/* Polyak (1964)", RULE)
    copy.build()
    return copy


@pytest.mark.skipif(sys.platform == "win32", reason="not here: builds with the flags of gcc and clang")
def test_three_texts_and_nothing_else(copy: Copy) -> None:
    missing_class = copy.python("-c", "import fastopt")
    assert "ImportError: rule lion has no optimizer class" in missing_class.stderr

    copy.insert("fastopt/optimizers.py", "check_registry()\n", CLASS)
    missing_reference = copy.python("-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/test_rules.py")
    assert missing_reference.returncode != 0
    assert "lion" in missing_reference.stdout

    copy.insert("tests/reference.py", "def momentum(w", REFERENCE + "@reference\n")
    path = copy.folder / "tests/reference.py"
    path.write_text(path.read_text().replace("@reference\n\n@reference\ndef lion", "@reference\ndef lion"))
    trained = copy.python("-c", TRAIN)
    assert trained.returncode == 0, trained.stderr
    tests = copy.python("-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/test_rules.py", "-k", "lion")
    assert tests.returncode == 0, tests.stdout
    passed = re.search(r"(\d+) passed", tests.stdout)
    assert passed is not None, tests.stdout
    assert int(passed[1]) >= 5
