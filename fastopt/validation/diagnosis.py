"""Does a model under- or overfit? The gap between training and held-out scores, and a verdict with its reasons."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Unpack

import numpy as np

from fastopt._checks import number, one_of
from fastopt._optional import require
from fastopt._types import Array, Rng
from fastopt.validation import parallel
from fastopt.validation._samples import samples
from fastopt.validation.cross_validation import CrossValidation, Options, Setup, collect, setup
from fastopt.validation.estimators import check_estimator, example, is_classifier, name_of
from fastopt.validation.intervals import Interval, interval
from fastopt.validation.scoring import best_value


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
    **options: Unpack[Options],
) -> GeneralizationGap:
    """How much better is the model on its training samples than on held-out samples?

    The mean over splits of (training score − held-out score), with an interval whose variance is corrected for training
    sets that overlap. Parameters: those of cross_validate; `scoring` must be a single score.
    """
    s = setup(estimator, X, y, options)
    return gap_of(validate(s, s.rng))


def validate(s: Setup, rng: Rng, estimator: Any = None) -> CrossValidation:
    """Cross-validate with training scores; `estimator` replaces the estimator if it is given."""
    s.single_score()
    made = s.estimator if estimator is None else estimator
    tasks = [s.task(train, test, train_scores=True) for train, test in s.splits]
    return collect(name_of(made), s.run(tasks, rng=rng, estimator=made), s.splits)


def gap_of(result: CrossValidation) -> GeneralizationGap:
    name = next(iter(result.test_scores))
    return GeneralizationGap(name, result.train_scores[name], result.test_scores[name], result.test_share)


class ConstantGuess:
    """A model that ignores X: it predicts the mean or median of y, or the most frequent class and the class shares."""

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
    reasons : one sentence per check, with its figures and its threshold.
    gap : training and held-out scores.
    baseline : the held-out score of a constant guess, with its interval.
    advantage : held-out score minus that of the constant guess, split by split.
    train_skill, test_skill : (score − constant's) / (best − constant's): 0 for a constant guess, 1 for perfect.
    thresholds : max_gap and min_skill.
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
    best: float | None = None,
    max_gap: float = 0.1,
    min_skill: float = 0.5,
    **options: Unpack[Options],
) -> Diagnosis:
    """Underfits, overfits, fits, or no better than a constant guess: a verdict with its reasons.

    Scores are measured as skill = (score − constant's) / (best − constant's) on the same split. In this order:

    1. not better than a constant guess: the 95 % interval of the held-out advantage over it reaches down to 0;
    2. overfits: training skill exceeds held-out skill by more than `max_gap`, and the gap's interval excludes 0;
    3. underfits: training skill itself is below `min_skill`;
    4. fits.

    Parameters
    ----------
    estimator, X, y, groups, cv, error_score, n_jobs, rng, progress : as in cross_validate.
    scoring : a name or a function; None: accuracy for a classifier, r2 otherwise. ValueError if it is not defined for
        a test set, as r2 of one sample.
    best : the best possible score. None: 1 for accuracy and r2, 0 for neg_…; other names need it. If noise limits the
        score and the limit is known, give the limit.
    max_gap, min_skill : the thresholds, in (0, 1). If half of y's variance is noise, no model reaches a higher skill
        than 0.5. Compare with a more flexible model before you believe that a model underfits.
    """
    inside = {"above": True, "below": True}
    thresholds = {
        "max_gap": number("max_gap", max_gap, 0, 1, **inside),
        "min_skill": number("min_skill", min_skill, 0, 1, **inside),
    }
    options["scoring"] = options.get("scoring") or _default_scoring(estimator, y)
    s = setup(estimator, X, y, options)
    name = s.single_score()
    ceiling = best_value(name) if best is None else float(best)
    if ceiling is None:
        raise ValueError(f"best is None, and the best possible value of scoring={name!r} is not known")
    seeds = parallel.seed_sequence(s.rng).spawn(2)
    model, constant = validate(s, seeds[0]), validate(s, seeds[1], _constant(s, name))
    if undefined := int(np.isnan(model.scores() + constant.scores()).sum()):
        raise ValueError(f"scoring: {name} is not defined in {undefined} of {len(s.splits)} splits: choose another cv")
    return _judge(name, model, constant, ceiling, thresholds)


def _default_scoring(estimator: Any, y: Any) -> str:
    if y is None:
        raise ValueError("y is None: there is nothing to predict")
    return "accuracy" if is_classifier(check_estimator(estimator)) else "r2"


def _constant(s: Setup, name: str) -> Any:
    """ConstantGuess, or the dummy of scikit-learn for its own estimators."""
    strategy = "prior" if s.classifier else "median" if name == "neg_mean_absolute_error" else "mean"
    if hasattr(example(s.estimator), "__sklearn_tags__"):
        dummies = require("sklearn.dummy", "diagnose", "sklearn")
        return (dummies.DummyClassifier if s.classifier else dummies.DummyRegressor)(strategy=strategy)
    return ConstantGuess("class" if s.classifier else strategy)


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
    useless = not advantage.low > 0  # True for NaN, too
    over = train - test > thresholds["max_gap"] and gap.gap.low > 0
    under = train < thresholds["min_skill"]
    verdict = "overfits" if over else "underfits" if under else "fits"
    reasons = (
        f"held-out {name} {gap.test} is {'not ' if useless else ''}better than a constant guess's "
        f"{guess.test.mean:.4g}: the advantage is {advantage}, "
        f"and its interval {'reaches' if useless else 'stays above'} 0",
        f"training skill {train:.3g} and held-out skill {test:.3g} differ by {train - test:.3g}, "
        f"{'more' if train - test > thresholds['max_gap'] else 'not more'} than max_gap={thresholds['max_gap']:g}; "
        f"the gap in {name} is {gap.gap}",
        f"training skill {train:.3g} is {'below' if under else 'not below'} min_skill={thresholds['min_skill']:g}",
    )
    verdict = "not better than a constant guess" if useless else verdict
    return Diagnosis(verdict, reasons, gap, guess.test, advantage, train, test, thresholds)
