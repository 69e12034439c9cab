"""A new optimizer needs three texts: its rule, its class and its reference function. This adds one to a copy."""

from __future__ import annotations

import re
import sys

import pytest

from tests.support.builds import Copy

ROW = """    X(adamax,                    (w, m, u),    (lr, beta1, beta1c, beta2, eps), x.w) \\
"""
RULE = """
/* Kingma & Ba (2015), algorithm 2. */
RULE(adamax)
{
    const float size = fabsf(g), decayed = h.beta2 * x->u;
    x->m = h.beta1 * x->m + h.beta1c * g;
    x->u = decayed > size || decayed != decayed ? decayed : size; /* NaN stays */
    x->w -= h.lr * x->m / (x->u + h.eps);
}

"""
CLASS = '''
class Adamax(Optimizer):
    """Adamax: m ← β₁m + (1−β₁)g;  u ← max(β₂u, |g|);  W ← W − η/(1−β₁ᵗ) · m / (u + ε)."""

    rules: ClassVar = {"adamax": ("exp_avg", "exp_inf")}
    conventions: ClassVar = {
        "textbook": {"lr": 2e-3, "betas": (0.9, 0.999), "eps": 1e-8},
        "torch": {},
        "keras": {"lr": 1e-3, "eps": 1e-7},
    }

    def __init__(
        self, params: Params, lr: LR | None = None, betas: Any = None, eps: Any = None, **common: Unpack[Common]
    ) -> None:
        super().__init__(params, common, {"lr": lr, "betas": betas, "eps": eps})

    @classmethod
    def scalars(cls, h: Hyper, lr: float, t: int) -> dict[str, float]:
        beta1, beta2 = h["betas"]
        return {"lr": lr, "beta1": beta1, "beta1c": 1.0 - beta1, "beta2": beta2, "eps": h["eps"]}

    @classmethod
    def corrections(cls, h: Hyper) -> Corrections:
        return {"lr": ((h["betas"][0], -1),)}


'''
REFERENCE = '''@reference
def adamax(w, g, state, t, h):
    """m ← β₁m + (1−β₁)g;  u ← max(β₂u, |g|);  W ← W − η/(1−β₁ᵗ) · m / (u + ε).  Kingma & Ba (2015), algorithm 2."""
    m, u = state
    beta1, beta2 = h["betas"]
    m, u = beta1 * m + (1 - beta1) * g, np.maximum(beta2 * u, np.abs(g))
    return w - h["lr"] / (1 - beta1**t) * (m / (u + h["eps"])), (m, u)


'''
TRAIN = """
import numpy as np, fastopt
w = np.ones(100, np.float32)
opt = fastopt.Adamax(w, lr=0.5)
opt.step(w.copy(), max_norm=1.0)
assert np.allclose(w, 0.5), w
opt.save("adamax.npz"); opt.load("adamax.npz")
m, u = np.zeros(100, np.float32), np.zeros(100, np.float32)
fastopt.functional.adamax_(w, w.copy(), m, u, step=1, lr=0.5)
assert np.allclose(w, 0.0, atol=1e-6) and (m != 0).all()
from fastopt.mlp.settings import available_optimizers
assert "Adamax" in fastopt.__all__ and available_optimizers()["Adamax"] is fastopt.Adamax
print(opt)
"""


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Copy:
    """A copy of the sources, built with the rule of an eighth optimizer."""
    copy = Copy(tmp_path_factory.mktemp("eighth"))
    copy.insert("csrc/rules.h", "X(momentum,", ROW)
    copy.insert("csrc/rules.h", "/* Polyak (1964)", RULE)
    copy.build()
    return copy


@pytest.mark.skipif(sys.platform == "win32", reason="not here: builds with the flags of gcc and clang")
@pytest.mark.slow
def test_three_texts_and_nothing_else(copy: Copy) -> None:
    missing_class = copy.python("-c", "import fastopt")
    assert "ImportError: rule adamax has no optimizer class" in missing_class.stderr

    copy.insert("fastopt/optimizers.py", "check_registry()\n", CLASS)
    missing_reference = copy.python("-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/core/test_rules.py")
    assert missing_reference.returncode != 0
    assert "adamax" in missing_reference.stdout

    copy.insert("tests/support/reference.py", "def average(beta", REFERENCE)
    trained = copy.python("-c", TRAIN)
    assert trained.returncode == 0, trained.stderr
    tests = copy.python("-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/core/test_rules.py", "-k", "adamax")
    assert tests.returncode == 0, tests.stdout
    passed = re.search(r"(\d+) passed", tests.stdout)
    assert passed is not None, tests.stdout
    assert int(passed[1]) >= 5
