"""Does it under- or overfit? The gap between training and held-out scores, a verdict on it, and curves that show it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from fastopt.validation import parallel
from fastopt.validation.checks import Array, Rng, number, one_of, samples
from fastopt.validation.estimators import Fit, Fitted, check_estimator, example, fit_and_score, is_classifier
from fastopt.validation.evaluate import CrossValidation, Setup, best_of, check_classes, collect, name_of, setup, table
from fastopt.validation.intervals import Interval, interval
from fastopt.validation.plots import TEST, TRAIN, axes_or_new, band, numeric_axis
from fastopt.validation.scoring import SCORERS, best_value


@dataclass(repr=False, eq=False)
class GeneralizationGap:
    """Training score, held-out score, and training minus held-out, per split and with 95 % intervals of the means."""

    scoring: str
    train_scores: Array
    test_scores: Array
    test_share: float

    @property
    def gaps(self) -> Array:
        return self.train_scores - self.test_scores

    @property
    def train(self) -> Interval:
        return interval(self.train_scores, self.test_share)

    @property
    def test(self) -> Interval:
        return interval(self.test_scores, self.test_share)

    @property
    def gap(self) -> Interval:
        return interval(self.gaps, self.test_share)

    def __repr__(self) -> str:
        return f"{self.scoring}: train {self.train}, held out {self.test}, gap {self.gap} (95 % intervals)"


def generalization_gap(
    estimator: Any,
    X: Any,
    y: Any = None,
    *,
    groups: Any = None,
    cv: Any = 5,
    scoring: Any = None,
    n_jobs: int | None = None,
    rng: Rng = None,
    progress: bool = False,
) -> GeneralizationGap:
    """How much better is the model on what it was trained on than on what it was not?

    The mean over splits of (training score − held-out score), with an interval whose variance is corrected for training
    sets that overlap. Parameters: those of cross_validate; `scoring` must be a single score.
    """
    s = setup(estimator, X, y, groups, cv, scoring)
    return gap_of(validate(s, n_jobs, rng, progress))


def validate(s: Setup, n_jobs: int | None, rng: Rng, progress: bool, estimator: Any = None) -> CrossValidation:
    """With training scores; of another estimator in the same splits, if one is given."""
    one_score(s)
    made = s.estimator if estimator is None else estimator
    what = Fit(s.scorers, train_scores=True)
    items = [(made, s.X, s.y, train, test, what) for train, test in s.splits]
    return collect(
        name_of(made), parallel.run(fit_and_score, items, n_jobs=n_jobs, rng=rng, progress=progress), s.splits
    )


def one_score(s: Setup) -> str:
    if len(s.scorers) != 1:
        raise ValueError(f"scoring must be a single score, got {', '.join(s.scorers)}")
    return next(iter(s.scorers))


def gap_of(result: CrossValidation) -> GeneralizationGap:
    name = next(iter(result.test_scores))
    return GeneralizationGap(name, result.train_scores[name], result.test_scores[name], result.test_share)


# -- a verdict --------------------------------------------------------------------------------------------------------


class ConstantGuess:
    """Predicts one thing whatever it sees: y's mean or median, or its commonest class and the shares of classes."""

    def __init__(self, kind: str = "mean") -> None:
        self.kind = one_of("kind", kind, ("mean", "median", "class"))

    @property
    def _estimator_type(self) -> str:
        return "classifier" if self.kind == "class" else "regressor"

    def fit(self, X: Any, y: Any) -> ConstantGuess:
        y = np.asarray(y)
        if self.kind == "class":
            self.classes_, counts = np.unique(y, return_counts=True)
            self.shares_ = counts / counts.sum()
            self.guess_ = self.classes_[counts.argmax()]
        else:
            self.guess_ = (np.mean if self.kind == "mean" else np.median)(y, axis=0)
        return self

    def predict(self, X: Any) -> Array:
        return np.repeat(np.asarray(self.guess_)[None], samples(X), axis=0)

    def predict_proba(self, X: Any) -> Array:
        if self.kind != "class":
            raise AttributeError(f"a {self.kind} has no probabilities")
        return np.repeat(self.shares_[None], samples(X), axis=0)


@dataclass(frozen=True)
class Diagnosis:
    """What `diagnose` returns.

    verdict : "not better than a constant guess", "overfits", "underfits" or "fits".
    reasons : a sentence for every check, with its figures and its threshold.
    gap : training and held-out scores.
    baseline : the held-out score of a constant guess, with its interval.
    advantage : held-out score minus that of the constant guess, split by split.
    train_skill, test_skill : (score − constant's) / (best − constant's): 0 for a constant guess, 1 for perfect.
    thresholds : what the verdict was measured by.
    """

    verdict: str
    reasons: tuple[str, ...]
    gap: GeneralizationGap
    baseline: Interval
    advantage: Interval
    train_skill: float
    test_skill: float
    thresholds: Mapping[str, float]

    def __repr__(self) -> str:
        return "\n".join([f"{self.verdict}", *(f"  - {reason}" for reason in self.reasons)])


def diagnose(
    estimator: Any,
    X: Any,
    y: Any,
    *,
    groups: Any = None,
    cv: Any = 5,
    scoring: str | None = None,
    best: float | None = None,
    max_gap: float = 0.1,
    min_skill: float = 0.5,
    n_jobs: int | None = None,
    rng: Rng = None,
    progress: bool = False,
) -> Diagnosis:
    """Underfits, overfits, fits, or no better than a constant guess: a verdict with its reasons.

    Scores are measured as skill = (score − constant's) / (best − constant's) on the same split. In this order:

    1. not better than a constant guess: the 95 % interval of the held-out advantage over it reaches down to 0;
    2. overfits: training skill exceeds held-out skill by more than `max_gap`, and the gap's interval excludes 0;
    3. underfits: training skill itself is below `min_skill`;
    4. fits.

    Parameters
    ----------
    estimator, X, y, groups, cv, n_jobs, rng, progress : as in cross_validate.
    scoring : a name or a function; None: accuracy for a classifier, r2 otherwise.
    best : the best possible score, where it is not known from the name (1 for accuracy and r2, 0 for neg_…). If noise
        sets a limit that you know, give that.
    max_gap, min_skill : the thresholds, in (0, 1). That of underfitting depends on the noise: data that are half noise
        allow no better, and then only a more flexible model can tell.
    """
    thresholds = {"max_gap": number("max_gap", max_gap, 0, 1), "min_skill": number("min_skill", min_skill, 0, 1)}
    s = setup(estimator, X, y, groups, cv, scoring or _default_scoring(estimator, y))
    name = one_score(s)
    ceiling = best_value(name) if best is None else float(best)
    if ceiling is None:
        raise ValueError(f"best is None, and the best possible value of scoring={name!r} is not known")
    seeds = parallel.seed_sequence(rng).spawn(2)
    model = validate(s, n_jobs, seeds[0], progress)
    constant = validate(s, None, seeds[1], False, _constant(s, name))
    return _judge(name, model, constant, ceiling, thresholds)


def _default_scoring(estimator: Any, y: Any) -> str:
    if y is None:
        raise ValueError("y is None: there is nothing to guess")
    return "accuracy" if is_classifier(check_estimator(estimator)) else "r2"


def _constant(s: Setup, name: str) -> Any:
    """Ours for our scores; scikit-learn's scorers want one that speaks its protocol."""
    scorer = s.scorers[name]
    if name not in SCORERS and type(scorer).__module__.startswith("sklearn"):
        from sklearn.dummy import DummyClassifier, DummyRegressor

        return DummyClassifier(strategy="prior") if s.classifier else DummyRegressor()
    kind = "class" if s.classifier else "median" if name == "neg_mean_absolute_error" else "mean"
    return ConstantGuess(kind)


def _judge(
    name: str, model: CrossValidation, constant: CrossValidation, best: float, thresholds: Mapping[str, float]
) -> Diagnosis:
    gap, guess = gap_of(model), gap_of(constant)
    rooms = best - guess.train_scores.mean(), best - guess.test_scores.mean()
    if min(rooms) <= 0:
        raise ValueError(
            f"a constant guess scores {guess.test.mean:.4g} of at most {best:g}: y does not vary, or best is wrong"
        )
    train = float((gap.train_scores - guess.train_scores).mean() / rooms[0])
    test = float((gap.test_scores - guess.test_scores).mean() / rooms[1])
    advantage = interval(gap.test_scores - guess.test_scores, gap.test_share)
    useless = not advantage.low > 0
    over = train - test > thresholds["max_gap"] and gap.gap.low > 0
    under = train < thresholds["min_skill"]
    verdict = "overfits" if over else "underfits" if under else "fits"
    reasons = (
        f"held-out {name} {gap.test} is {_not(useless)}better than a constant guess's {guess.test.mean:.4g}: "
        f"the advantage is {advantage}, and its interval {'reaches' if useless else 'stays above'} 0",
        f"training skill {train:.3g} and held-out skill {test:.3g} differ by {train - test:.3g}, "
        f"{'more' if train - test > thresholds['max_gap'] else 'not more'} than max_gap={thresholds['max_gap']:g}; "
        f"the gap in {name} is {gap.gap}",
        f"training skill {train:.3g} is {'below' if under else 'not below'} min_skill={thresholds['min_skill']:g}",
    )
    verdict = "not better than a constant guess" if useless else verdict
    return Diagnosis(verdict, reasons, gap, guess.test, advantage, train, test, thresholds)


def _not(negated: bool) -> str:
    return "not " if negated else ""


# -- curves -----------------------------------------------------------------------------------------------------------


@dataclass(repr=False, eq=False)
class Curve:
    """Training and held-out scores along x: (len(x), splits) each."""

    title: str
    x_name: str
    x: list[Any]
    scoring: str
    train_scores: Array
    test_scores: Array

    @property
    def best(self) -> Any:
        """The x with the greatest mean held-out score."""
        return self.x[best_of(self.test_scores.mean(axis=1))]

    def plot(self, ax: Any = None) -> Any:
        """Means over the splits with one standard deviation around them. Returns the axes (ax.figure.savefig(...))."""
        with axes_or_new(ax, "plot()") as ax:
            places = numeric_axis(ax, self.x)
            band(ax, places, self.train_scores, "training", TRAIN, (0, (5, 1.5)))
            band(ax, places, self.test_scores, "held out", TEST)
            ax.set_xlabel(self.x_name)
            ax.set_ylabel(self.scoring)
            ax.set_title(self.title, loc="left")
            ax.legend(frameon=False)
        return ax

    def __repr__(self) -> str:
        gap = self.train_scores - self.test_scores
        columns = {
            f"train {self.scoring}": self.train_scores.mean(axis=1),
            f"test {self.scoring}": self.test_scores.mean(axis=1),
            "gap": gap.mean(axis=1),
        }
        return f"{self.title}\n{table(columns, self.x_name, self.x)}"


def learning_curve(
    estimator: Any,
    X: Any,
    y: Any = None,
    *,
    train_sizes: Sequence[float] = (0.1, 0.325, 0.55, 0.775, 1.0),
    keep: str = "first",
    groups: Any = None,
    cv: Any = 5,
    scoring: Any = None,
    n_jobs: int | None = None,
    rng: Rng = None,
    progress: bool = False,
) -> Curve:
    """Would more data help? Scores after training on ever larger parts of each training set.

    Parameters
    ----------
    train_sizes : shares in (0, 1] of the smallest training set, or counts.
    keep : which part of a training set: "first", "last" (the latest of a time series) or "random" (drawn from rng).
    The others as in cross_validate, with a single score.
    """
    one_of("keep", keep, ("first", "last", "random"))
    s = setup(estimator, X, y, groups, cv, scoring)
    name = one_score(s)
    sizes = _sizes(train_sizes, min(len(train) for train, _ in s.splits))
    seeds = parallel.seed_sequence(rng).spawn(2)
    order = np.random.default_rng(seeds[0])
    trains = [order.permutation(train) if keep == "random" else train for train, _ in s.splits]
    parts = [[train[-m:] if keep == "last" else train[:m] for train in trains] for m in sizes]
    if s.classifier and s.y is not None:
        check_classes(s.y, [(part, part) for row in parts for part in row])
    what = Fit(s.scorers, train_scores=True)
    tests = [test for _, test in s.splits]
    items = [(estimator, X, y, part, test, what) for row in parts for part, test in zip(row, tests, strict=True)]
    fits = parallel.run(fit_and_score, items, n_jobs=n_jobs, rng=seeds[1], progress=progress)
    train, test = _grid_of_scores(fits, len(sizes))
    return Curve(f"Learning curve of {name_of(estimator)}", "training samples", sizes, name, train, test)


def _sizes(asked: Any, most: int) -> list[int]:
    values = np.asarray(asked)
    if values.ndim != 1 or not values.size or values.dtype.kind not in "iuf":
        raise TypeError(f"train_sizes must be shares or counts, got {asked!r:.80}")
    if values.dtype.kind == "f":
        if not ((values > 0) & (values <= 1)).all():
            raise ValueError(f"train_sizes must be shares in (0, 1] or counts, got {values.tolist()}")
        values = np.maximum((values * most).astype(int), 1)
    if values.min() < 1 or values.max() > most:
        raise ValueError(f"train_sizes must be in [1, {most}], the smallest training set, got {values.tolist()}")
    return [int(m) for m in np.unique(values)]


def _grid_of_scores(fits: Sequence[Fitted], rows: int) -> tuple[Array, Array]:
    train = np.array([next(iter(f.train_scores.values())) for f in fits]).reshape(rows, -1)
    test = np.array([next(iter(f.test_scores.values())) for f in fits]).reshape(rows, -1)
    return train, test


def validation_curve(
    estimator: Any,
    X: Any,
    y: Any = None,
    *,
    param_name: str,
    param_range: Sequence[Any],
    groups: Any = None,
    cv: Any = 5,
    scoring: Any = None,
    n_jobs: int | None = None,
    rng: Rng = None,
    progress: bool = False,
) -> Curve:
    """Which value of a parameter is flexible enough and not too flexible? Scores along its values.

    Parameters
    ----------
    param_name, param_range : set by set_params; "step__alpha" for a part.
    The others as in cross_validate, with a single score.
    """
    s = setup(estimator, X, y, groups, cv, scoring)
    name = one_score(s)
    values = list(param_range)
    if not values:
        raise ValueError("param_range is empty")
    if not hasattr(example(estimator), "set_params"):
        raise TypeError(f"estimator must have set_params to vary param_name={param_name!r}: it has none")
    items = [
        (estimator, X, y, train, test, Fit(s.scorers, train_scores=True, params={param_name: value}))
        for value in values
        for train, test in s.splits
    ]
    fits = parallel.run(fit_and_score, items, n_jobs=n_jobs, rng=rng, progress=progress)
    train_scores, test_scores = _grid_of_scores(fits, len(values))
    return Curve(f"Validation curve of {name_of(estimator)}", param_name, values, name, train_scores, test_scores)
