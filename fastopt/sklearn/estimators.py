"""MLPClassifier and MLPRegressor: scikit-learn's protocol around the training loop. Holds no formula."""

from __future__ import annotations

import copy
import warnings
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import accuracy_score, r2_score
from sklearn.model_selection import train_test_split
from sklearn.utils import check_random_state
from sklearn.utils.multiclass import check_classification_targets, unique_labels
from sklearn.utils.validation import check_is_fitted, validate_data

from fastopt.mlp import checkpoint as saved
from fastopt.mlp import settings
from fastopt.mlp.blas import threads_for
from fastopt.mlp.fit_many import fit_many
from fastopt.mlp.network import Array, Shape, Weights
from fastopt.mlp.training import Job, Stack
from fastopt.sklearn import docstrings as words
from fastopt.sklearn import progress, samples

MERGED = 4096  # samples looked through for equal ones
INTERRUPTED = "Training interrupted by user after {} epochs: the estimator is fitted, with the {} weights so far."


class _MLP(BaseEstimator, ABC):  # type: ignore[misc]
    """What both estimators share."""

    _classes: bool
    classes_: Array
    optimizer: Any

    def fit(
        self,
        X: Any,
        y: Any,
        sample_weight: Any = None,
        X_val: Any = None,
        y_val: Any = None,
        *,
        checkpoint: str | Path | None = None,
    ) -> Any:
        """Train from new weights (with warm_start from those of the last fit).

        Parameters
        ----------
        X : (n, features), an array or sparse; trained on in float32. y : (n,), for a regressor also (n, outputs).
        sample_weight : (n,), >= 0; only their ratios matter. A sample's gradient is multiplied by its weight over the
            mean weight.
        X_val, y_val : samples to look at after each epoch, all with one weight: history_["val_loss"], early stopping.
        checkpoint : a file that the state is written to after each epoch, and that an interrupted fit goes on from, to
            the bits it would have reached without interruption; also one that a callback ended, or with more epochs
            than before. A finished one is only read. Needs an int as random_state. A ValueError that names what differs
            if the file is of a fit to other samples or with other parameters than epochs, verbose and callbacks.
            Functions (lr, augment) are compared by their bytecode, which another version of Python cannot: there a
            UserWarning says so.

        Ctrl-C ends the training with a ConvergenceWarning: the estimator is fitted with the best weights so far, by
        validation where there is one. Before the first step (the search for lr included) it is a KeyboardInterrupt.
        After any error the estimator is as it was before: ValueError or TypeError for bad samples and parameters,
        ValueError where weights or losses become NaN or infinite, OSError where the checkpoint cannot be written.
        """
        with self._whole():
            job = self._job(X, y, sample_weight, (X_val, y_val), checkpoint=checkpoint)
            self._train(job, checkpoint)
        return self

    @contextmanager
    def _whole(self) -> Iterator[None]:
        """All or nothing: after an error the attributes are those of before, put back at one stroke."""
        before = dict(vars(self))
        try:
            yield
        except BaseException:
            self.__dict__ = before
            raise

    def _take(self, given: dict[str, Any]) -> None:
        """The arguments of __init__ as attributes, which is all that scikit-learn wants of it."""
        self.__dict__.update((name, value) for name, value in given.items() if name != "self")

    def set_params(self, **params: Any) -> Any:
        """scikit-learn's; optimizer__name=value is a setting of the optimizer, which becomes a functools.partial."""
        own = {name: params.pop(name) for name in list(params) if name.startswith("optimizer__")}
        super().set_params(**params)
        if own:
            values = {name.removeprefix("optimizer__"): value for name, value in own.items()}
            self.optimizer = settings.with_values(self.optimizer, values)
        return self

    def _job(
        self,
        X: Any,
        y: Any,
        sample_weight: Any,
        validation: tuple[Any, Any] = (None, None),
        *,
        again: bool = False,
        checkpoint: Any = None,
    ) -> Job:
        """Everything checked and converted; sets n_features_in_ and classes_. again: for partial_fit."""
        s = settings.resolve(self._parameters(again))
        saved.check_path(checkpoint, self.random_state)
        fitted = hasattr(self, "coefs_")
        x, target = self._samples(X, y, reset=not again or not (fitted or self._classes))
        classes, class_weight = getattr(self, "classes_", None), getattr(self, "class_weight", None)
        weight = samples.weights_of(sample_weight, class_weight, classes, x, target)
        streams = copy.deepcopy(self._streams) if again and hasattr(self, "_streams") else _streams(self.random_state)
        (x, target, weight), held_out = self._split(s, x, target, weight, validation, streams[3], again)
        shape = self._shape(x.shape[1], target)
        self._check_data(s, shape, x)
        self._check_held_out(s, held_out)
        rows = x.shape[0]
        if not _random(s, shape) and rows <= min(s.batch_size or MERGED, MERGED):
            x, target, weight = samples.merged(x, target, weight)
        start = self._start(shape, again)
        state = getattr(self, "_optimizer_state", None) if again and start is not None else None
        job = Job(shape, s, x, target, samples.over_mean(weight), held_out, self._score, streams, start, state)
        job.samples = rows
        return job

    def _given(self) -> dict[str, Any]:
        """The parameters, also those that the __init__ of a subclass does not have."""
        return {name: value for name, value in vars(self).items() if name[0] != "_" and name[-1] != "_"}

    def _parameters(self, again: bool) -> dict[str, Any]:
        """The parameters; in partial_fit, where nothing is searched, with the rate that was found."""
        params = self._given()
        if again and isinstance(params["lr"], str) and params["lr"] == "search":
            if not hasattr(self, "coefs_"):
                raise ValueError("partial_fit does not support lr='search' before a fit that has searched")
            params["lr"] = self.lr_
        if again and isinstance(params.get("class_weight"), str):
            raise ValueError(
                f"class_weight {params['class_weight']!r} is not supported for partial_fit, "
                "where it would be another one in each part: pass the weights as a dict"
            )
        return params

    def _shape(self, features: int, target: Array) -> Shape:
        outputs = len(self.classes_) if self._classes else target.shape[1]
        return Shape(
            (features, *settings.hidden_sizes(self.hidden_layer_sizes), outputs),
            settings.activation(self.activation),
            self._classes,
            settings.boolean("batch_norm", self.batch_norm),
            settings.real("dropout", self.dropout, 0.0, 1.0),
        )

    def _samples(self, X: Any, y: Any, *, reset: bool) -> tuple[Any, Array]:
        if y is None:
            raise ValueError(f"{type(self).__name__} requires y to be passed, but the target y is None.")
        multi = not self._classes
        X, y = validate_data(
            self,
            X,
            y,
            accept_sparse="csr",
            dtype=np.float32,
            order="C",
            multi_output=multi,
            y_numeric=multi,
            reset=reset,
        )
        return samples.canonical(X), self._encode(y, reset)

    @abstractmethod
    def _encode(self, y: Array, reset: bool) -> Array:
        """Targets as training takes them."""

    @abstractmethod
    def _score(self, outputs: Array, y: Array, weight: Array | None) -> float:
        """Accuracy or R² of outputs."""

    def _split(
        self, s: Any, x: Any, y: Array, w: Array | None, given: tuple[Any, Any], rng: np.random.Generator, again: bool
    ) -> tuple[tuple[Any, Array, Array | None], Any]:
        """Training samples, and those of validation: given ones, or a part where early stopping needs it."""
        X_val, y_val = given
        if (X_val is None) != (y_val is None):
            raise ValueError("X_val and y_val must be given together")
        if X_val is not None:
            x_val, target_val = self._samples(X_val, y_val, reset=False)
            if target_val.shape[1:] != y.shape[1:]:
                raise ValueError(f"y_val has {target_val.shape[1]} outputs, y has {y.shape[1]}")
            return (x, y, w), (x_val, target_val, None)
        if not s.early_stopping:
            return (x, y, w), None
        if again:
            raise ValueError("partial_fit does not support early_stopping=True without X_val")
        share = settings.real("validation_fraction", self.validation_fraction, 0.0, 1.0, open_low=True)
        if share >= 1.0:
            raise ValueError(f"validation_fraction must be < 1, got {share}")
        stratify = y if self._classes else None
        index = np.arange(x.shape[0])
        part, rest = train_test_split(index, test_size=share, random_state=int(rng.integers(2**31)), stratify=stratify)
        if w is None:
            return (x[part], y[part], None), (x[rest], y[rest], None)
        if not (w[part].any() and w[rest].any()):
            raise ValueError("early_stopping holds a part of X out, and all samples with a weight fell on one side")
        return (x[part], y[part], w[part]), (x[rest], y[rest], w[rest])

    def _check_data(self, s: Any, shape: Shape, x: Any) -> None:
        dense = isinstance(x, np.ndarray)
        for name in ("input_noise", "mixup", "cutmix", "augment"):
            if not dense and getattr(s, name):
                raise ValueError(f"{name} would make a sparse X dense: pass X.toarray()")
        if s.sample_shape is not None and int(np.prod(s.sample_shape)) != shape.sizes[0]:
            raise ValueError(
                f"sample_shape={s.sample_shape} has {np.prod(s.sample_shape)} elements, X has {shape.sizes[0]} features"
            )
        if shape.batch_norm and x.shape[0] < 2:
            raise ValueError(f"batch_norm needs at least two samples, got n_samples = {x.shape[0]}")

    def _check_held_out(self, s: Any, held_out: Any) -> None:
        """R² of a single sample is not a number, at which early stopping by it would end the first epoch."""
        by_score = getattr(s.early_stopping, "mode", "min") == "max"
        if held_out is not None and by_score and not self._classes and len(held_out[1]) < 2:
            raise ValueError(
                "early_stopping with mode='max' is by R², which needs at least two validation samples, got 1"
            )

    def _start(self, shape: Shape, again: bool) -> Weights | None:
        """The weights to go on from, if there are any that fit."""
        if not (again or settings.boolean("warm_start", self.warm_start)) or not hasattr(self, "coefs_"):
            return None
        sizes = (self.coefs_[0].shape[0], *(w.shape[1] for w in self.coefs_))
        if sizes != shape.sizes:
            raise ValueError(f"the weights to go on from are of layers {sizes}, now they would be {shape.sizes}")
        if len(sizes) > 2 and (self.batch_norms_[0] is not None) != shape.batch_norm:
            raise ValueError(
                f"the weights to go on from are of batch_norm={not shape.batch_norm}, now it is {shape.batch_norm}"
            )
        return Weights(self.coefs_, self.intercepts_, self.batch_norms_)

    # -- training -----------------------------------------------------------------------------------------------------

    def _train(self, job: Job, checkpoint: Any) -> None:
        with threads_for(job):
            mark = None if checkpoint is None else saved.marked(self, job)
            stack = saved.begin(job, checkpoint, mark)
            with progress.bar(self, job) as tick:
                stack.run(lambda stack: self._after(stack, tick, checkpoint, mark))
        self._publish(job)
        self._say(job)

    def _after(self, stack: Stack, tick: Any, checkpoint: Any, mark: Any) -> bool:
        """Behind an epoch: the checkpoint, the bar, the callbacks. Whether one of them said to end."""
        job = stack.jobs[0]
        if checkpoint is not None:
            saved.write(checkpoint, stack, mark)
        logs = {name: values[-1] for name, values in job.history.items() if values}
        tick(job.epochs_done, logs)
        callbacks = settings.callbacks(self.callbacks)
        if not callbacks:
            return False
        done = job.finished
        self._show(job, copy.deepcopy(stack.net.weights(0)) if job.weights is None else job.weights)
        ends = [callback(self, job.epochs_done, dict(logs)) for callback in callbacks]
        return not done and any(isinstance(end, (bool, np.bool_)) and bool(end) for end in ends)

    def _show(self, job: Job, weights: Weights) -> None:
        """The attributes of a fitted estimator, none of which is left of a former fit."""
        for name in ("_optimizer_state", "_streams", "lr_search_"):
            self.__dict__.pop(name, None)
        self.coefs_, self.intercepts_, self.batch_norms_ = weights.matrices, weights.biases, weights.norms
        names = [name for name in job.history if job.validation is not None or not name.startswith("val_")]
        done = min(len(job.history[name]) for name in names)  # Ctrl-C may come between two of them
        self.history_ = {name: job.history[name][:done] for name in names}
        self.n_iter_, self.t_ = done, done * job.samples
        self.loss_ = self.history_["loss"][-1] if done else float("nan")
        self.n_layers_, self.n_outputs_ = len(job.shape.sizes), job.shape.sizes[-1]
        self.out_activation_ = "softmax" if self._classes else "identity"
        self.lr_ = job.lr if not callable(job.lr) else None

    def _publish(self, job: Job) -> None:
        assert job.weights is not None
        self._show(job, job.weights)
        self._optimizer_state, self._streams = job.optimizer_state, job.streams
        if job.found is not None:
            self.lr_search_ = job.found

    def _say(self, job: Job, stacklevel: int = 4) -> None:
        """That it was interrupted; once all is as it will be."""
        if job.interrupted:
            kind = "best" if self.history_.get("val_loss") else "last"
            warnings.warn(
                INTERRUPTED.format(len(self.history_["loss"]), kind), ConvergenceWarning, stacklevel=stacklevel
            )

    def _partial(self, X: Any, y: Any, sample_weight: Any) -> Any:
        with self._whole():
            job = self._job(X, y, sample_weight, again=True)
            former = {name: getattr(self, name, 0) for name in ("n_iter_", "t_")}
            history, found = getattr(self, "history_", {}), getattr(self, "lr_search_", None)
            with threads_for(job):
                Stack([job]).run(lambda stack: True)
            job.found = found
            self._publish(job)
            for name, value in former.items():
                setattr(self, name, getattr(self, name) + value)
            self.history_ = {name: history.get(name, []) + values for name, values in self.history_.items()}
            self._say(job)
        return self

    # -- scikit-learn's names for what history_ holds -----------------------------------------------------------------

    @property
    def loss_curve_(self) -> list[float]:
        """The training loss of each epoch."""
        return list(self.history_.get("loss", []))

    @property
    def best_loss_(self) -> float | None:
        """The least of loss_curve_."""
        return min(self.loss_curve_, default=None)

    @property
    def validation_scores_(self) -> list[float] | None:
        """Accuracy or R² of the validation samples after each epoch; None without them."""
        scores = self.history_.get("val_score")
        return None if scores is None else list(scores)

    @property
    def best_validation_score_(self) -> float | None:
        """The greatest of validation_scores_."""
        return max(self.validation_scores_ or [], default=None)

    def _outputs(self, X: Any) -> Array:
        """Outputs in the precision of X."""
        check_is_fitted(self)
        X = validate_data(self, X, accept_sparse="csr", dtype=[np.float64, np.float32], reset=False)
        weights = Weights(self.coefs_, self.intercepts_, self.batch_norms_)
        with np.errstate(over="ignore"):
            return weights.infer(X, settings.activation(self.activation))

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags


def _random(s: Any, shape: Shape) -> bool:
    """Whether a sample repeated is more than the sample with twice the weight."""
    noise = s.input_noise or s.mixup or s.cutmix or s.augment is not None
    return bool(noise or shape.dropout or shape.batch_norm)


def _several(classes: Array) -> Array:
    if len(classes) < 2:
        raise ValueError(
            "This solver needs samples of at least 2 classes in the data, but the data contains "
            f"{'only one class: ' + repr(classes[0]) if len(classes) else 'none'}"
        )
    return classes


def _streams(random_state: Any) -> list[np.random.Generator]:
    """Start, order, noise and the rest: a generator each."""
    if isinstance(random_state, np.random.Generator):
        seed: Any = [int(word) for word in random_state.integers(2**32, size=4, dtype=np.uint64)]
    elif isinstance(random_state, (int, np.integer)) and not isinstance(random_state, bool):
        check_random_state(int(random_state))
        seed = int(random_state)
    else:
        seed = [int(word) for word in check_random_state(random_state).randint(2**31, size=4)]
    return [np.random.default_rng(s) for s in np.random.SeedSequence(seed).spawn(4)]


class MLPClassifier(ClassifierMixin, _MLP):  # type: ignore[misc]
    """A network of dense layers that tells classes apart: −Σ_k t_k log softmax(z)_k, with any optimizer of fastopt.

    >>> from sklearn.datasets import load_digits
    >>> from fastopt.sklearn import MLPClassifier
    >>> X, y = load_digits(return_X_y=True)
    >>> model = MLPClassifier((128,), epochs=30, dropout=0.1, random_state=0).fit(X[:1500] / 16, y[:1500])
    >>> model.score(X[1500:] / 16, y[1500:]) > 0.9
    True
    """

    _classes = True
    fit_many = staticmethod(fit_many)

    def __init__(
        self,
        hidden_layer_sizes: Any = (100,),
        activation: str = "relu",
        *,
        optimizer: Any = "adam",
        lr: Any = None,
        batch_size: int | None = 64,
        epochs: int = 100,
        l1: float | None = None,
        l2: float | None = None,
        decoupled: bool | None = None,
        dropout: float = 0.0,
        batch_norm: bool = False,
        input_noise: float = 0.0,
        weight_noise: float = 0.0,
        label_smoothing: float = 0.0,
        mixup: float = 0.0,
        cutmix: float = 0.0,
        augment: Any = None,
        sample_shape: Any = None,
        early_stopping: Any = False,
        validation_fraction: float = 0.1,
        max_norm: float | None = None,
        class_weight: Any = None,
        warm_start: bool = False,
        random_state: Any = None,
        verbose: bool = False,
        callbacks: Any = None,
    ) -> None:
        self._take(locals())

    def _encode(self, y: Array, reset: bool) -> Array:
        check_classification_targets(y)
        y = np.asarray(y)
        y = y.ravel() if y.ndim == 2 and y.shape[1] == 1 else y
        if y.ndim != 1:
            raise ValueError(f"y should be a 1d array, got an array of shape {y.shape} instead.")
        if reset:
            classes = _several(np.unique(y))
            if hasattr(self, "coefs_") and self.warm_start and not np.array_equal(self.classes_, classes):
                raise ValueError(
                    f"warm_start can only be used where `y` has the same classes as in the previous call "
                    f"to fit. Previously got {self.classes_}, `y` has {classes}"
                )
            self.classes_ = classes
        elif len(unseen := np.setdiff1d(y, self.classes_)):
            raise ValueError(f"y contains previously unseen labels: {unseen.tolist()}")
        return np.searchsorted(self.classes_, y).astype(np.int64)

    def _score(self, outputs: Array, y: Array, weight: Array | None) -> float:
        return float(accuracy_score(y, outputs.argmax(axis=1), sample_weight=weight))

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """The accuracy: scikit-learn's to the last bit, without its checks where labels are whole numbers."""
        predicted = self.predict(X)
        plain = sample_weight is None and isinstance(y, np.ndarray) and y.dtype == predicted.dtype
        if plain and y.shape == predicted.shape and y.dtype.kind in "biu":
            return float((y == predicted).mean())
        return float(accuracy_score(y, predicted, sample_weight=sample_weight))

    def partial_fit(self, X: Any, y: Any, classes: Any = None, sample_weight: Any = None) -> MLPClassifier:
        """One more epoch, over these samples, by the parameters of now.

        The optimizer's state and the random streams go on from the last fit or partial_fit. X, y, sample_weight : as in
        fit. classes : all labels there will be, needed in the first call, where nothing is fitted yet. ValueError for
        labels not among them, other features or layers, class_weight="balanced", early stopping, lr="search" (unless a
        fit has searched); the estimator is then as it was before.
        """
        if not hasattr(self, "coefs_"):
            if classes is None:
                raise ValueError("classes must be passed on the first call to partial_fit.")
            with self._whole():
                self.classes_ = _several(unique_labels(np.asarray(classes)))
                validate_data(self, X, accept_sparse="csr", dtype=np.float32, reset=True)
                return self._partial(X, y, sample_weight)  # type: ignore[no-any-return]
        if classes is not None and not np.array_equal(unique_labels(np.asarray(classes)), self.classes_):
            raise ValueError(f"`classes={classes!r}` is not the same as on last call to partial_fit: {self.classes_!r}")
        return self._partial(X, y, sample_weight)  # type: ignore[no-any-return]

    def predict_proba(self, X: Any) -> Array:
        """softmax(z) : (n, classes), in the order of classes_; float32 for a float32 X, else float64."""
        z = self._outputs(X)
        z -= z.max(axis=1, keepdims=True)
        np.exp(z, out=z)
        z /= z.sum(axis=1, keepdims=True)
        return z

    def predict_log_proba(self, X: Any) -> Array:
        """The logarithm of predict_proba, exact where that is 0."""
        z = self._outputs(X)
        z -= z.max(axis=1, keepdims=True)
        z -= np.log(np.exp(z).sum(axis=1, keepdims=True))
        return z

    def predict(self, X: Any) -> Array:
        """(n,), the most probable class of each sample; of equal ones the first."""
        outputs = self._outputs(X)
        labels: Array = self.classes_[outputs.argmax(axis=1)]
        return labels


class MLPRegressor(RegressorMixin, _MLP):  # type: ignore[misc]
    """A network of dense layers that predicts numbers: ½ Σ_k (z_k − y_k)² over the outputs, with any optimizer.

    >>> import numpy as np
    >>> from fastopt.sklearn import MLPRegressor
    >>> X = np.random.default_rng(0).normal(size=(500, 3))
    >>> y = X @ [1.0, -2.0, 0.5] + 3.0
    >>> model = MLPRegressor((), optimizer="sgd", lr=0.05, epochs=50, random_state=0).fit(X, y)
    >>> model.coefs_[0].ravel().round(2), model.intercepts_[0].round(2)
    (array([ 1. , -2. ,  0.5], dtype=float32), array([3.], dtype=float32))
    """

    _classes = False
    fit_many = staticmethod(fit_many)

    def __init__(
        self,
        hidden_layer_sizes: Any = (100,),
        activation: str = "relu",
        *,
        optimizer: Any = "adam",
        lr: Any = None,
        batch_size: int | None = 64,
        epochs: int = 100,
        l1: float | None = None,
        l2: float | None = None,
        decoupled: bool | None = None,
        dropout: float = 0.0,
        batch_norm: bool = False,
        input_noise: float = 0.0,
        weight_noise: float = 0.0,
        mixup: float = 0.0,
        cutmix: float = 0.0,
        augment: Any = None,
        sample_shape: Any = None,
        early_stopping: Any = False,
        validation_fraction: float = 0.1,
        max_norm: float | None = None,
        warm_start: bool = False,
        random_state: Any = None,
        verbose: bool = False,
        callbacks: Any = None,
    ) -> None:
        self._take(locals())

    def _encode(self, y: Array, reset: bool) -> Array:
        if reset:
            self._single = y.ndim == 1
        numbers = np.ascontiguousarray(y.reshape(len(y), -1), np.float32)
        if not np.isfinite(numbers).all():
            raise ValueError("Input y contains infinity or a value too large for dtype('float32').")
        return numbers

    def _score(self, outputs: Array, y: Array, weight: Array | None) -> float:
        return float(r2_score(y, outputs, sample_weight=weight)) if len(y) > 1 else float("nan")

    def partial_fit(self, X: Any, y: Any, sample_weight: Any = None) -> MLPRegressor:
        """One more epoch, over these samples, by the parameters of now; see MLPClassifier.partial_fit."""
        return self._partial(X, y, sample_weight)  # type: ignore[no-any-return]

    def predict(self, X: Any) -> Array:
        """(n,), or (n, outputs) if y was; float32 for a float32 X, else float64."""
        outputs = self._outputs(X)
        return outputs[:, 0] if self._single else outputs

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags


for _class in (MLPClassifier, MLPRegressor):
    words.complete(_class, classes=_class._classes)
