"""Helpers for tests of fastopt.validation and fastopt.ensemble: comparison of splits, containers, small estimators."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np

from tests.support import run_python

Array = np.ndarray[Any, Any]


def assert_same_splits(got: Iterable[Any], expected: Iterable[Any]) -> None:
    """The same number of splits, with the same positions in the same order."""
    got, expected = list(got), list(expected)
    assert len(got) == len(expected)
    for i, (a, b) in enumerate(zip(got, expected, strict=True)):
        for name, x, y in zip(("train", "test"), a, b, strict=True):
            assert np.asarray(x).dtype == np.intp, f"{name} {i} has dtype {x.dtype}"
            assert np.array_equal(x, y), f"{name} of split {i}: {x} instead of {y}"


def assert_refused(call: Callable[[], Any], error: type[Exception], fragments: list[str]) -> None:
    """Expect this error, with these fragments in its message: the argument and the reason."""
    import pytest

    with pytest.raises(error) as caught:
        call()
    for fragment in fragments:
        assert fragment in str(caught.value)


def containers(x: Array) -> dict[str, Any]:
    """The same samples in every supported container."""
    import pytest

    pandas, sparse = pytest.importorskip("pandas"), pytest.importorskip("scipy.sparse")
    frame = pandas.DataFrame(x, index=[f"row {i}" for i in range(len(x))])
    held = {"list": x.tolist(), "tuple": tuple(x.tolist()), "array": x, "frame": frame}
    return {**held, "csr": sparse.csr_array(x), "coo": sparse.coo_array(x)}


def printed(folder: Path, script: str, *arguments: str) -> str:
    """The standard output of a script that can import fastopt and tests.support; it must succeed."""
    path = folder / "script.py"
    path.write_text(textwrap.dedent(script), encoding="utf-8")
    done = run_python(path, *arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout


class LeastSquares:
    """A linear regression with fit and predict only, without scikit-learn's protocol."""

    def fit(self, X: Any, y: Any) -> None:
        x = np.asarray(X, float)
        self.w = np.linalg.lstsq(np.column_stack([x, np.ones(len(x))]), np.asarray(y, float), rcond=None)[0]

    def predict(self, X: Any) -> Array:
        x = np.asarray(X, float)
        return np.column_stack([x, np.ones(len(x))]) @ self.w


class Noisy:
    """Has get_params and set_params; its predictions depend on its seed, so that tests can tell random streams
    apart."""

    def __init__(self, scale: float = 1.0, random_state: int | None = None) -> None:
        self.scale = scale
        self.random_state = random_state

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        return {"scale": self.scale, "random_state": self.random_state}

    def set_params(self, **params: Any) -> Noisy:
        for name, value in params.items():
            if name not in ("scale", "random_state"):
                raise ValueError(f"no parameter {name!r}")
            setattr(self, name, value)
        return self

    def fit(self, X: Any, y: Any) -> Noisy:
        self.mean_ = float(np.mean(y))
        return self

    def predict(self, X: Any) -> Array:
        noise = np.random.default_rng(self.random_state).normal(size=len(X))
        return self.mean_ + self.scale * noise
