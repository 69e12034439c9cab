"""fit_all: all models by fit_many if their class has it, otherwise one after the other; never a mixture."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import pytest

from fastopt.validation.estimators import CannotFitTogether, fit_all
from tests.support.validation_cases import Array, LeastSquares, Noisy

RNG = np.random.default_rng(3)
XS = [RNG.normal(size=(20 + k, 3)) for k in range(3)]
YS = [x @ np.array([1.0, -2.0, 0.5]) + k for k, x in enumerate(XS)]
WEIGHTS = [RNG.random(len(x)) for x in XS]


class Weighted:
    """Predicts the weighted mean and records how it was fitted."""

    calls: ClassVar[list[str]] = []

    def fit(self, X: Any, y: Any = None, sample_weight: Any = None) -> Weighted:
        self.calls.append("fit")
        self.seen = (X, y, sample_weight)
        self.mean = float(np.average(np.zeros(len(X)) if y is None else y, weights=sample_weight))
        return self

    def predict(self, X: Any) -> Array:
        return np.full(len(X), self.mean)


class Together(Weighted):
    """Has fit_many, which refuses targets that begin with NaN."""

    @staticmethod
    def fit_many(estimators: Any, Xs: Any, ys: Any, sample_weights: Any = None) -> list[Any]:
        Weighted.calls.append("fit_many")
        if any(np.isnan(y[0]) for y in ys):
            raise CannotFitTogether("a NaN comes first")
        weights = sample_weights or [None] * len(ys)
        for estimator, X, y, w in zip(estimators, Xs, ys, weights, strict=True):
            Weighted.fit(estimator, X, y, w)
        return list(estimators)


@pytest.fixture(autouse=True)
def no_calls() -> None:
    Weighted.calls.clear()


def test_one_after_the_other_gives_each_its_own_samples_and_weights() -> None:
    models = fit_all([Weighted(), Weighted(), Weighted()], XS, YS, WEIGHTS)
    assert Weighted.calls == ["fit"] * 3
    for model, x, y, w in zip(models, XS, YS, WEIGHTS, strict=True):
        assert model.seen[0] is x
        assert model.seen[1] is y
        assert model.seen[2] is w
        assert model.mean == float(np.average(y, weights=w))


def test_a_fit_that_returns_nothing_and_one_without_targets() -> None:
    made = [LeastSquares(), LeastSquares()]
    models = fit_all(made, XS[:2], YS[:2])
    assert [a is b for a, b in zip(models, made, strict=True)] == [True, True]
    np.testing.assert_allclose(models[1].w, [1.0, -2.0, 0.5, 1.0], atol=1e-12)
    assert [m.seen[1] for m in fit_all([Weighted(), Weighted()], XS[:2], [None, None])] == [None, None]


def test_fit_many_is_used() -> None:
    models = fit_all([Together(), Together(), Together()], XS, YS, WEIGHTS)
    assert Weighted.calls == ["fit_many", *["fit"] * 3]
    assert [m.mean for m in models] == [float(np.average(y, weights=w)) for y, w in zip(YS, WEIGHTS, strict=True)]


def test_in_turn_after_cannot_fit_together() -> None:
    bad = np.r_[np.nan, YS[0][1:]]
    models = fit_all([Together(), Together()], XS[:2], [bad, YS[1]])
    assert Weighted.calls == ["fit_many", "fit", "fit"]
    assert np.isnan(models[0].mean)
    assert models[1].mean == float(np.mean(YS[1]))


@pytest.mark.parametrize("models", [[Together()], [Together(), Weighted()]], ids=["one", "two kinds"])
def test_one_model_or_models_of_two_kinds_are_fitted_in_turn(models: list[Any]) -> None:
    fit_all(models, XS[: len(models)], YS[: len(models)])
    assert Weighted.calls == ["fit"] * len(models)


def test_other_errors_of_fit_many_are_not_swallowed() -> None:
    class Broken(Weighted):
        @staticmethod
        def fit_many(*args: Any) -> list[Any]:
            raise ValueError("y is bad")

    with pytest.raises(ValueError, match="y is bad"):
        fit_all([Broken(), Broken()], XS[:2], YS[:2])
    assert Weighted.calls == []


def test_fit_many_must_return_every_model() -> None:
    class Loses(Weighted):
        @staticmethod
        def fit_many(estimators: Any, *args: Any) -> list[Any]:
            return list(estimators)[1:]

    with pytest.raises(ValueError, match="estimator: fit_many gives 1 models for 2"):
        fit_all([Loses(), Loses()], XS[:2], YS[:2])


def test_arguments_must_be_sequences() -> None:
    for name, arguments in (("Xs", ([Noisy()], None, YS[:1])), ("sample_weights", ([Noisy()], XS[:1], YS[:1], 5))):
        with pytest.raises(TypeError, match=f"{name} must be a sequence"):
            fit_all(*arguments)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([Noisy()] * 2, XS, YS[:2]), "Xs has 3 entries for 2 estimators"),
        (([Noisy()] * 2, XS[:2], YS[:1]), "ys has 1 entries for 2 estimators"),
        (([Noisy()] * 2, XS[:2], YS[:2], WEIGHTS), "sample_weights has 3 entries for 2 estimators"),
    ],
)
def test_lengths_that_differ(arguments: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        fit_all(*arguments)
