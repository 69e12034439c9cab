"""MLPClassifier and MLPRegressor: scikit-learn's protocol around the training loop. Holds no formula."""

from __future__ import annotations

import inspect
import warnings
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import accuracy_score, r2_score
from sklearn.model_selection import train_test_split
from sklearn.utils import check_random_state
from sklearn.utils.class_weight import compute_class_weight
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data

from fastopt.sklearn import progress, saved, settings
from fastopt.sklearn.blas import threads_for
from fastopt.sklearn.many import fit_many
from fastopt.sklearn.network import Array, Shape, Weights
from fastopt.sklearn.search import search
from fastopt.sklearn.training import Job, Stack

MERGED = 4096  # samples looked through for equal ones
INTERRUPTED = "Training interrupted by user after {} epochs: the estimator is fitted, with the {} weights so far."


class _MLP(BaseEstimator, ABC):  # type: ignore[misc]
    """What both estimators share."""

    _classes: bool
    classes_: Array

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
        X_val, y_val : samples to look at after each epoch: history_["val_loss"], early stopping.
        checkpoint : a file that the state is written to after each epoch, and that an interrupted fit goes on from, to
            the bits it would have reached without interruption. A ValueError if it is of another fit: other data or
            other parameters.

        Ctrl-C ends the training with a ConvergenceWarning: the estimator is fitted with the best weights so far, by
        validation where there is one. After any other error it is as it was before.
        """
        before = dict(vars(self))
        try:
            job = self._job(X, y, sample_weight, (X_val, y_val), checkpoint=checkpoint)
            self._train(job, checkpoint)
        except BaseException:
            self.__dict__.clear()
            self.__dict__.update(before)
            raise
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
        s = settings.resolve(self.get_params(deep=False))
        if checkpoint is not None and not isinstance(self.random_state, (int, np.integer)):
            raise ValueError(f"checkpoint needs an int as random_state to go on from, got {self.random_state!r}")
        x, target = self._samples(X, y, reset=not again)
        weight = self._weights(sample_weight, x, y, target)
        streams = self._streams if again and hasattr(self, "_streams") else _streams(self.random_state)
        (x, target, weight), held_out = self._split(s, x, target, weight, validation, streams[3], again)
        outputs = len(self.classes_) if self._classes else target.shape[1]
        sizes = (x.shape[1], *settings.hidden_sizes(self.hidden_layer_sizes), outputs)
        shape = Shape(
            sizes,
            settings.activation(self.activation),
            self._classes,
            settings.boolean("batch_norm", self.batch_norm),
            settings.real("dropout", self.dropout, 0.0, 1.0),
        )
        self._check_data(s, shape, x)
        if not _random(s, shape) and x.shape[0] <= min(s.batch_size or MERGED, MERGED):
            x, target, weight = merged(x, target, weight)
        weight = None if weight is None else np.ascontiguousarray(weight / weight.mean(), np.float32)
        start = self._start(shape, again)
        state = getattr(self, "_optimizer_state", None) if again and start is not None else None
        return Job(shape, s, x, target, weight, held_out, self._score, streams, start, state)

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
        return X, self._encode(y, reset)

    @abstractmethod
    def _encode(self, y: Array, reset: bool) -> Array:
        """Targets as training takes them."""

    @abstractmethod
    def _score(self, outputs: Array, y: Array, weight: Array | None) -> float:
        """Accuracy or R² of outputs."""

    def _weights(self, sample_weight: Any, x: Any, y: Any, target: Array) -> Array | None:
        """Sample weights times class weights, over their mean; None if there are neither."""
        class_weight = getattr(self, "class_weight", None)
        if sample_weight is None and class_weight is None:
            return None
        w = _check_sample_weight(sample_weight, x, dtype=np.float64, ensure_non_negative=True)
        if class_weight is not None:
            w = w * compute_class_weight(class_weight, classes=self.classes_, y=self.classes_[target])[target]
        if not w.sum() > 0:
            raise ValueError("Sample weights must contain at least one non-zero number.")
        return np.asarray(w, np.float64)

    def _split(
        self, s: Any, x: Any, y: Array, w: Array | None, given: tuple[Any, Any], rng: np.random.Generator, again: bool
    ) -> tuple[tuple[Any, Array, Array | None], Any]:
        """Training samples, and those of validation: given ones, or a part where early stopping needs it."""
        X_val, y_val = given
        if (X_val is None) != (y_val is None):
            raise ValueError("X_val and y_val must be given together")
        if X_val is not None:
            return (x, y, w), (*self._samples(X_val, y_val, reset=False), None)
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
        held_out = (x[rest], y[rest], None if w is None else w[rest])
        if w is None:
            return (x[part], y[part], None), held_out
        return (x[part], y[part], w[part]), held_out

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

    def _start(self, shape: Shape, again: bool) -> Weights | None:
        """The weights to go on from, if there are any that fit."""
        if not (again or settings.boolean("warm_start", self.warm_start)) or not hasattr(self, "coefs_"):
            return None
        sizes = (self.coefs_[0].shape[0], *(w.shape[1] for w in self.coefs_))
        if sizes != shape.sizes:
            raise ValueError(f"warm_start: the weights are of layers {sizes}, now they would be {shape.sizes}")
        return Weights(self.coefs_, self.intercepts_, self.batch_norms_)

    # -- training -----------------------------------------------------------------------------------------------------

    def _train(self, job: Job, checkpoint: Any = None) -> None:
        found: dict[str, list[float]] | None = None
        with threads_for(job):
            mark = None if checkpoint is None else saved.fingerprint(self, job)
            if job.lr == "search" and not (checkpoint is not None and Path(checkpoint).exists()):
                job.lr, found = search(job)
            stack = saved.begin(job, checkpoint, mark)
            with progress.bar(self, job) as tick:
                stack.run(lambda stack: self._after(stack, tick, checkpoint, mark))
        self._publish(job)
        if found is not None:
            self.lr_search_ = found

    def _after(self, stack: Stack, tick: Any, checkpoint: Any, mark: Any) -> bool:
        """Behind an epoch: the checkpoint, the bar, the callbacks. Whether one of them said to end."""
        job = stack.jobs[0]
        if checkpoint is not None:
            saved.write(checkpoint, stack, mark)
        logs = {name: values[-1] for name, values in job.history.items() if values}
        tick(job.epochs_done, logs)
        if not self.callbacks:
            return False
        done = job.finished
        self._show(job, stack.net.weights(0) if job.weights is None else job.weights)
        ends = [callback(self, job.epochs_done, dict(logs)) for callback in _callbacks(self.callbacks)]
        return not done and any(end is True for end in ends)

    def _show(self, job: Job, weights: Weights) -> None:
        """The attributes of a fitted estimator."""
        self.coefs_, self.intercepts_, self.batch_norms_ = weights.matrices, weights.biases, weights.norms
        self.history_ = {name: list(values) for name, values in job.history.items() if values}
        self.n_iter_ = job.epochs_done
        self.loss_ = job.history["loss"][-1] if job.history["loss"] else float("nan")
        self.n_layers_, self.n_outputs_ = len(job.shape.sizes), job.shape.sizes[-1]
        self.out_activation_ = "softmax" if self._classes else "identity"
        self.lr_ = job.lr if not callable(job.lr) else None

    def _publish(self, job: Job) -> None:
        assert job.weights is not None
        self._show(job, job.weights)
        self._optimizer_state, self._streams = job.optimizer_state, job.streams
        if job.interrupted:
            kind = "best" if job.validation is not None and job.history["val_loss"] else "last"
            warnings.warn(INTERRUPTED.format(job.epochs_done, kind), ConvergenceWarning, stacklevel=4)

    def _partial(self, X: Any, y: Any, sample_weight: Any) -> Any:
        before = dict(vars(self))
        try:
            job = self._job(X, y, sample_weight, again=hasattr(self, "coefs_") or self._classes)
            history = getattr(self, "history_", {})
            done = getattr(self, "n_iter_", 0)
            with threads_for(job):
                stack = Stack([job])
                stack.run(lambda stack: True)
            self._publish(job)
        except BaseException:
            self.__dict__.clear()
            self.__dict__.update(before)
            raise
        self.n_iter_ = done + job.epochs_done
        self.history_ = {name: history.get(name, []) + values for name, values in self.history_.items()}
        return self

    def _outputs(self, X: Any) -> Array:
        """Outputs in the precision of X."""
        check_is_fitted(self)
        X = validate_data(self, X, accept_sparse="csr", dtype=[np.float64, np.float32], reset=False)
        weights = Weights(self.coefs_, self.intercepts_, self.batch_norms_)
        with np.errstate(over="ignore"):
            return weights.infer(X, self.activation)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags


def _random(s: Any, shape: Shape) -> bool:
    """Whether a sample repeated is more than the sample with twice the weight."""
    noise = s.input_noise or s.mixup or s.cutmix or s.augment is not None
    return bool(noise or shape.dropout or shape.batch_norm)


def merged(x: Any, y: Array, w: Array | None) -> tuple[Any, Array, Array | None]:
    """Samples that are trained on as one batch, in an order of their own: equal ones are one with their weights' sum.

    The gradient is the same, and weights have to the last bit the effect of samples repeated or left out.
    """
    if not isinstance(x, np.ndarray):
        x.sum_duplicates()
    index: dict[bytes, int] = {}
    total: dict[bytes, float] = {}
    for i, b in enumerate(y):
        weight = 1.0 if w is None else float(w[i])
        if weight > 0.0:
            row = x[i] if isinstance(x, np.ndarray) else x[[i]]
            key = b.tobytes() + (
                row.tobytes() if isinstance(x, np.ndarray) else row.indices.tobytes() + row.data.tobytes()
            )
            index.setdefault(key, i)
            total[key] = total.get(key, 0.0) + weight
    keys = sorted(index)
    chosen = [index[key] for key in keys]
    sums = np.array([total[key] for key in keys])
    equal = bool((sums == sums[0]).all())
    return x[chosen], y[chosen], None if equal else sums


def _callbacks(callbacks: Any) -> Sequence[Any]:
    return [callbacks] if callable(callbacks) else list(callbacks)


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


PARAMETERS = """
    Parameters
    ----------
    hidden_layer_sizes : units of the hidden layers; () for {without}.
    activation : "relu", "tanh", "gelu" (the form with tanh) or "identity".
    optimizer : "sgd", "momentum", "nag", "adagrad", "adadelta", "rmsprop", "adam" or "adamw"; or an optimizer whose
        class, convention and settings are taken over; or a class; or a functools.partial of one.
    lr : a number; a schedule (steps done -> number); "search": by a learning-rate range test (Smith 2017) before the
        training, see lr_ and lr_search_; None: the optimizer's own.
    batch_size : 1 (stochastic), n (mini-batches) or None (the full batch).
    epochs : passes over the samples, if early stopping does not end them.
    l1, l2 : penalties l1·|W| + l2/2·W² of the weights, not of biases; None: the optimizer's own.
    decoupled : l2 as decoupled weight decay, W ← (1 − η l2) W.
    dropout : chance of each hidden unit to be dropped.
    batch_norm : normalize each hidden layer's products before its activation.
    input_noise, weight_noise : standard deviations of Gaussian noise on inputs and weights.{smoothing}
    mixup, cutmix : the α of Beta(α, α), 0 without; with both, one of them for each batch.
    augment : a transform of fastopt.regularization, or a function (samples, rng=) that returns new ones.
    sample_shape : what a row of X is for augment and cutmix, such as (channels, height, width).
    early_stopping : True, or an EarlyStopping with its own patience: stop when the validation does not improve, and
        keep the best weights. It watches the loss, or with mode="max" the score. Without X_val a part of X is held out.
    validation_fraction : that part.
    max_norm : of the weights into each unit; longer ones are scaled back after each step.{class_weight}
    warm_start : fit goes on from the weights of the last one.
    random_state : None, an int, a RandomState or a numpy.random.Generator.
    verbose : a progress bar on stderr (needs rich).
    callbacks : functions (estimator, epoch, logs), called behind each epoch, when the estimator can already predict;
        one that returns True ends the training.

    Attributes
    ----------
    coefs_, intercepts_, batch_norms_ : per layer (float32). history_ : lists by epoch: loss, lr, seconds and, with
        validation, val_loss and val_score. n_iter_ : epochs. loss_ : of the last one. lr_, lr_search_ : what was found.

    Samples are float32 in training; predictions have the precision of the X they are made for.
"""


class MLPClassifier(ClassifierMixin, _MLP):  # type: ignore[misc]
    """A network of dense layers that tells classes apart: cross-entropy, with any optimizer of fastopt.

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
        self.hidden_layer_sizes = hidden_layer_sizes
        self.activation = activation
        self.optimizer = optimizer
        self.lr = lr
        self.batch_size = batch_size
        self.epochs = epochs
        self.l1 = l1
        self.l2 = l2
        self.decoupled = decoupled
        self.dropout = dropout
        self.batch_norm = batch_norm
        self.input_noise = input_noise
        self.weight_noise = weight_noise
        self.label_smoothing = label_smoothing
        self.mixup = mixup
        self.cutmix = cutmix
        self.augment = augment
        self.sample_shape = sample_shape
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.max_norm = max_norm
        self.class_weight = class_weight
        self.warm_start = warm_start
        self.random_state = random_state
        self.verbose = verbose
        self.callbacks = callbacks

    def _encode(self, y: Array, reset: bool) -> Array:
        check_classification_targets(y)
        y = np.asarray(y)
        y = y.ravel() if y.ndim == 2 and y.shape[1] == 1 else y
        if y.ndim != 1:
            raise ValueError(f"y should be a 1d array, got an array of shape {y.shape} instead.")
        if reset:
            classes = np.unique(y)
            if len(classes) < 2:
                raise ValueError(
                    f"This solver needs samples of at least 2 classes in the data, but the data contains "
                    f"only one class: {classes[0]!r}"
                )
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
        """One more epoch, over these samples. classes : all labels there will be; needed in the first call."""
        if not hasattr(self, "coefs_"):
            if classes is None:
                raise ValueError("classes must be passed on the first call to partial_fit.")
            before = dict(vars(self))
            try:
                self.classes_ = np.unique(np.asarray(classes))
                validate_data(self, X, accept_sparse="csr", dtype=np.float32, reset=True)
                return self._partial(X, y, sample_weight)  # type: ignore[no-any-return]
            except BaseException:
                self.__dict__.clear()
                self.__dict__.update(before)
                raise
        if classes is not None and not np.array_equal(np.unique(np.asarray(classes)), self.classes_):
            raise ValueError(f"`classes={classes!r}` is not the same as on last call to partial_fit: {self.classes_!r}")
        return self._partial(X, y, sample_weight)  # type: ignore[no-any-return]

    def predict_proba(self, X: Any) -> Array:
        """(n, classes), in the order of classes_."""
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
        """The most probable class of each sample."""
        outputs = self._outputs(X)
        labels: Array = self.classes_[outputs.argmax(axis=1)]
        return labels


class MLPRegressor(RegressorMixin, _MLP):  # type: ignore[misc]
    """A network of dense layers that predicts numbers: half the squared error, summed over the outputs.

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
        self.hidden_layer_sizes = hidden_layer_sizes
        self.activation = activation
        self.optimizer = optimizer
        self.lr = lr
        self.batch_size = batch_size
        self.epochs = epochs
        self.l1 = l1
        self.l2 = l2
        self.decoupled = decoupled
        self.dropout = dropout
        self.batch_norm = batch_norm
        self.input_noise = input_noise
        self.weight_noise = weight_noise
        self.mixup = mixup
        self.cutmix = cutmix
        self.augment = augment
        self.sample_shape = sample_shape
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.max_norm = max_norm
        self.warm_start = warm_start
        self.random_state = random_state
        self.verbose = verbose
        self.callbacks = callbacks

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
        """One more epoch, over these samples."""
        return self._partial(X, y, sample_weight)  # type: ignore[no-any-return]

    def predict(self, X: Any) -> Array:
        """(n,), or (n, outputs) if y was."""
        outputs = self._outputs(X)
        return outputs[:, 0] if self._single else outputs

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags


for _class, _words in (
    (
        MLPClassifier,
        {
            "without": "logistic or softmax regression (two classes are a softmax of two logits)",
            "smoothing": "\n    label_smoothing : ε; targets are (1 − ε) t + ε/K.",
            "class_weight": '\n    class_weight : None, "balanced" or {label: weight}, times the sample weights.',
        },
    ),
    (MLPRegressor, {"without": "linear regression", "smoothing": "", "class_weight": ""}),
):
    _head, _, _example = inspect.cleandoc(_class.__doc__ or "").partition("\n\n")
    _class.__doc__ = _head + "\n" + inspect.cleandoc("x" + PARAMETERS.format(**_words))[1:] + "\n\n" + _example
