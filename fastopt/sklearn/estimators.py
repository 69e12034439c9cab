"""MLPClassifier and MLPRegressor: scikit-learn's protocol around fastopt.mlp. Holds no formula."""

from __future__ import annotations

import copy
from abc import abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import accuracy_score, r2_score
from sklearn.utils import check_random_state
from sklearn.utils.multiclass import check_classification_targets, unique_labels
from sklearn.utils.validation import check_is_fitted, validate_data

from fastopt import _checks
from fastopt._types import Array
from fastopt.mlp import checkpoint as checkpoints
from fastopt.mlp import settings
from fastopt.mlp.blas import blas_threads_for
from fastopt.mlp.lr_search import search
from fastopt.mlp.network import Shape, Weights
from fastopt.mlp.training import BatchedTrainer, Streams, TrainingTask, train
from fastopt.sklearn.fit_many import fit_many
from fastopt.sklearn.progress import progress_bar
from fastopt.sklearn.samples import prepare

INTERRUPTED = "Training interrupted by user after {} epochs: the estimator is fitted, with the {} weights so far."


@dataclass(eq=False, repr=False)
class _MLP(BaseEstimator):  # type: ignore[misc]
    """The base class of both estimators. Its fields are their parameters."""

    hidden_layer_sizes: Any = (100,)
    activation: str = "relu"
    _: KW_ONLY
    optimizer: Any = "adam"
    lr: Any = None
    batch_size: int | None = 64
    epochs: int = 100
    l1: float | None = None
    l2: float | None = None
    decoupled: bool | None = None
    dropout: float = 0.0
    batch_norm: bool = False
    input_noise: float = 0.0
    weight_noise: float = 0.0
    mixup: float = 0.0
    cutmix: float = 0.0
    augment: Any = None
    sample_shape: Any = None
    early_stopping: Any = False
    validation_fraction: float = 0.1
    max_norm: float | None = None
    warm_start: bool = False
    random_state: Any = None
    verbose: bool = False
    callbacks: Any = None

    _classes = False
    fit_many = staticmethod(fit_many)

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
        """Train from new weights; with warm_start from those of the last fit.

        Parameters
        ----------
        X : (n, features), an array or sparse; trained on in float32. y : (n,), for a regressor also (n, outputs).
        sample_weight : (n,), >= 0; only their ratios matter. A sample's gradient is multiplied by its weight over the
            mean weight.
        X_val, y_val : validation samples, evaluated after each epoch, all with one weight: history_["val_loss"], early
            stopping.
        checkpoint : a file. The state is written to it after each epoch. If the file exists, the fit continues from it
            and reaches the bits of a fit without interruption. epochs may be larger than before; a finished fit is only
            read. Needs an int as random_state. Raises a ValueError that names what differs if the file is of other
            samples or of other parameters (epochs, verbose and callbacks apart). Numbers, strings, arrays, optimizers
            and the attributes of objects are compared by value, functions and classes only by module and qualified
            name: a change inside a function, or of a variable that it captures, is not noticed.

        Ctrl-C ends the training with a ConvergenceWarning: the estimator is fitted with the best weights so far, by
        validation if there is one. Before the first step (the search for lr included) it raises KeyboardInterrupt.
        After any error the estimator keeps its previous fit: ValueError or TypeError for bad samples and parameters,
        ValueError if weights or losses become NaN or infinite, OSError if the checkpoint cannot be written.
        """
        with self._all_or_nothing():
            task = self._make_task(X, y, sample_weight, X_val, y_val, checkpoint=checkpoint)
            self._train(task, checkpoint)
        return self

    @contextmanager
    def _all_or_nothing(self) -> Iterator[None]:
        """After an error the estimator has its former attributes again, by a single assignment."""
        before = dict(vars(self))
        try:
            yield
        except BaseException:
            self.__dict__ = before
            raise

    def set_params(self, **params: Any) -> Any:
        """Set parameters. optimizer__name=value sets a hyper-parameter: the optimizer becomes a functools.partial."""
        own = {name: params.pop(name) for name in list(params) if name.startswith("optimizer__")}
        super().set_params(**params)
        if own:
            values = {name.removeprefix("optimizer__"): value for name, value in own.items()}
            self.optimizer = settings.with_hyper_parameters(self.optimizer, values)
        return self

    def _make_task(
        self,
        X: Any,
        y: Any,
        sample_weight: Any,
        X_val: Any = None,
        y_val: Any = None,
        *,
        again: bool = False,
        checkpoint: Any = None,
    ) -> TrainingTask:
        """Check and convert everything; sets n_features_in_ and classes_. again: partial_fit continues the last fit."""
        s = settings.check_settings(self._training_params(again))
        checkpoints.check_path(checkpoint, self.random_state)
        hidden, activation = settings.check_hidden(self.hidden_layer_sizes), settings.check_activation(self.activation)
        batch_norm = _checks.flag("batch_norm", self.batch_norm)
        dropout = _checks.number("dropout", self.dropout, 0.0, 1.0)
        streams = copy.deepcopy(self._streams) if again and hasattr(self, "_streams") else _streams(self.random_state)
        if again and s.early_stopping:
            raise ValueError("partial_fit does not support early_stopping=True without X_val")
        reset = not again or not (hasattr(self, "coefs_") or self._classes)
        data = prepare(self, s, X, y, sample_weight, X_val, y_val, streams.split, reset=reset)
        outputs = len(self.classes_) if self._classes else data.y.shape[1]
        shape = Shape((data.x.shape[1], *hidden, outputs), activation, self._classes, batch_norm, dropout)
        start = self._start(shape, again)
        state = getattr(self, "_optimizer_state", None) if again and start is not None else None
        task = TrainingTask(shape, s, data.x, data.y, data.weight, streams, data.held_out, self._score, start, state)
        task.samples = data.n
        return task

    def _params(self) -> dict[str, Any]:
        """The parameters, also those that the __init__ of a subclass does not have."""
        return {name: value for name, value in vars(self).items() if name[0] != "_" and name[-1] != "_"}

    def _training_params(self, again: bool) -> dict[str, Any]:
        """The parameters; partial_fit replaces lr="search" by the rate that the last fit found."""
        params = self._params()
        if again and isinstance(params["lr"], str) and params["lr"] == "search":
            if not hasattr(self, "coefs_"):
                raise ValueError("partial_fit does not support lr='search' before a fit that has searched")
            params["lr"] = self.lr_
        if again and isinstance(params.get("class_weight"), str):
            raise ValueError(
                f"class_weight {params['class_weight']!r} is not supported for partial_fit, "
                "because each part would give other weights: pass the weights as a dict"
            )
        return params

    @abstractmethod
    def _encode(self, y: Array, reset: bool) -> Array:
        """The targets as training takes them: classes 0, 1, ... or float32 (n, outputs)."""

    @abstractmethod
    def _score(self, outputs: Array, y: Array, weight: Array | None) -> float:
        """Accuracy or R² of outputs (n, outputs) for encoded targets y."""

    def _start(self, shape: Shape, again: bool) -> Weights | None:
        """The weights of the last fit, if the training continues from them; checked against the new shape."""
        if not (again or _checks.flag("warm_start", self.warm_start)) or not hasattr(self, "coefs_"):
            return None
        weights = Weights(self.coefs_, self.intercepts_, self.batch_norms_)
        if weights.sizes != shape.sizes:
            raise ValueError(f"the weights of the last fit have layers {weights.sizes}, this fit needs {shape.sizes}")
        if len(shape.sizes) > 2 and (self.batch_norms_[0] is not None) != shape.batch_norm:
            raise ValueError(
                f"the weights of the last fit are of batch_norm={not shape.batch_norm}, now it is {shape.batch_norm}"
            )
        return weights

    # -- training -----------------------------------------------------------------------------------------------------

    def _train(self, task: TrainingTask, checkpoint: Any) -> None:
        with blas_threads_for(task.shape.sizes, task.batch_size):
            name, fit = type(self).__name__, None
            if checkpoint is not None:
                fit = checkpoints.describe_fit(name, self._params(), task)
            if fit is not None and Path(checkpoint).exists():
                trainer = checkpoints.resume(checkpoint, task, fit)
            else:
                if isinstance(task.lr, str):
                    task.lr, task.lr_search = search(task)
                trainer = BatchedTrainer([task])
            with progress_bar(self.verbose, name, task.settings.epochs, task.epochs_done) as update:
                train([trainer], lambda trainer: self._after_epoch(trainer, update, checkpoint, fit))
        self._set_fit(task)
        self._warn_if_interrupted(task)

    def _after_epoch(self, trainer: BatchedTrainer, update: Any, checkpoint: Any, fit: Any) -> bool:
        """Write the checkpoint, update the bar, call the callbacks. Returns whether a callback ended the training."""
        task = trainer.tasks[0]
        if checkpoint is not None:
            checkpoints.write(checkpoint, trainer, fit)
        logs = {name: values[-1] for name, values in task.history.items() if values}
        update(task.epochs_done, logs)
        callbacks = settings.check_callbacks(self.callbacks)
        if not callbacks:
            return False
        finished = task.finished
        self._set_attributes(task, copy.deepcopy(trainer.net.weights(0)) if task.weights is None else task.weights)
        ends = [callback(self, task.epochs_done, dict(logs)) for callback in callbacks]
        return not finished and any(isinstance(end, (bool, np.bool_)) and bool(end) for end in ends)

    def _set_attributes(self, task: TrainingTask, weights: Weights) -> None:
        """The public attributes of this fit; those that only the last fit had are removed."""
        for name in ("_optimizer_state", "_streams", "lr_search_"):
            self.__dict__.pop(name, None)
        self.coefs_, self.intercepts_, self.batch_norms_ = weights.matrices, weights.biases, weights.norms
        names = [name for name in task.history if task.validation is not None or not name.startswith("val_")]
        done = min(len(task.history[name]) for name in names)  # Ctrl-C may come between two appends
        self.history_ = {name: task.history[name][:done] for name in names}
        self.n_iter_, self.t_ = done, done * task.samples
        self.loss_ = self.history_["loss"][-1] if done else float("nan")
        self.n_layers_, self.n_outputs_ = len(task.shape.sizes), task.shape.sizes[-1]
        self.out_activation_ = "softmax" if self._classes else "identity"
        self.lr_ = task.lr if not callable(task.lr) else None

    def _set_fit(self, task: TrainingTask) -> None:
        """The attributes of a finished task, and what partial_fit continues from."""
        assert task.weights is not None
        self._set_attributes(task, task.weights)
        self._optimizer_state, self._streams = task.optimizer_state, task.streams
        if task.lr_search is not None:
            self.lr_search_ = task.lr_search

    def _warn_if_interrupted(self, task: TrainingTask) -> None:
        if task.interrupted:
            kind = "best" if self.history_.get("val_loss") else "last"
            _checks.warn(INTERRUPTED.format(len(self.history_["loss"]), kind), ConvergenceWarning)

    def _partial_fit(self, X: Any, y: Any, sample_weight: Any) -> Any:
        """One epoch of a trainer that continues the last fit; its counts and its history are added to the former."""
        with self._all_or_nothing():
            task = self._make_task(X, y, sample_weight, again=True)
            task.lr_search = getattr(self, "lr_search_", None)
            epochs, seen, history = getattr(self, "n_iter_", 0), getattr(self, "t_", 0), getattr(self, "history_", {})
            task.seconds = [0.0, *history.get("seconds", [])][-1]
            with blas_threads_for(task.shape.sizes, task.batch_size):
                train([BatchedTrainer([task])], lambda trainer: True)
            self._set_fit(task)
            self.n_iter_, self.t_ = self.n_iter_ + epochs, self.t_ + seen
            self.history_ = {name: history.get(name, []) + values for name, values in self.history_.items()}
            self._warn_if_interrupted(task)
        return self

    # -- scikit-learn's names for parts of history_ -------------------------------------------------------------------

    @property
    def loss_curve_(self) -> list[float]:
        """The training loss of each epoch."""
        return list(self.history_.get("loss", []))

    @property
    def best_loss_(self) -> float | None:
        """The minimum of loss_curve_."""
        return min(self.loss_curve_, default=None)

    @property
    def validation_scores_(self) -> list[float] | None:
        """Accuracy or R² of the validation samples after each epoch; None without validation."""
        scores = self.history_.get("val_score")
        return None if scores is None else list(scores)

    @property
    def best_validation_score_(self) -> float | None:
        """The maximum of validation_scores_."""
        return max(self.validation_scores_ or [], default=None)

    def _outputs(self, X: Any) -> Array:
        """(n, outputs) in the precision of X."""
        check_is_fitted(self)
        X = validate_data(self, X, accept_sparse="csr", dtype=[np.float64, np.float32], reset=False)
        weights = Weights(self.coefs_, self.intercepts_, self.batch_norms_)
        with np.errstate(over="ignore"):
            return weights.infer(X, settings.check_activation(self.activation))

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags


def _streams(random_state: Any) -> Streams:
    """A generator per purpose. A Generator or RandomState is drawn from for the seed."""
    if isinstance(random_state, np.random.Generator):
        seed: Any = [int(word) for word in random_state.integers(2**32, size=4, dtype=np.uint64)]
    elif isinstance(random_state, (int, np.integer)) and not isinstance(random_state, bool):
        check_random_state(int(random_state))
        seed = int(random_state)
    else:
        seed = [int(word) for word in check_random_state(random_state).randint(2**31, size=4)]
    return Streams(*map(np.random.default_rng, np.random.SeedSequence(seed).spawn(4)))


@dataclass(eq=False, repr=False)
class MLPClassifier(ClassifierMixin, _MLP):  # type: ignore[misc]
    """A network of dense layers for classification. Minimizes −Σ_k t_k log softmax(z)_k with any optimizer of fastopt.

    Parameters
    ----------
    hidden_layer_sizes : a sequence of ints >= 1, the units of the hidden layers. () is logistic or softmax regression
        (two classes are a softmax of two logits).
    activation : "relu", "tanh", "gelu" (the form with tanh) or "identity".
    optimizer : "sgd", "momentum", "nag", "adagrad", "adadelta", "rmsprop", "adam" or "adamw"; or a class; or a
        functools.partial of a class; or an optimizer, whose class, convention and hyper-parameters are used. set_params
        and GridSearchCV take hyper-parameters as optimizer__momentum and the like.
    lr : a number >= 0; a schedule (steps done -> number); "search": by a learning-rate range test (Smith 2017) before
        the training, see lr_ and lr_search_; None: the optimizer's default.
    batch_size : 1 (stochastic), n (mini-batches, the last one may be smaller) or None (the full batch).
    epochs : >= 1, passes over the samples. Early stopping may end the training earlier.
    l1, l2 : >= 0, penalties l1·|W| + l2/2·W² of the weights, not of biases; None: the optimizer's default. The losses
        in history_ do not contain them.
    decoupled : True applies l2 as decoupled weight decay, W ← (1 − η l2) W.
    dropout : in [0, 1], the probability that a hidden unit is dropped (Srivastava et al. 2014).
    batch_norm : normalize each hidden layer's products before its activation (Ioffe and Szegedy 2015). A last batch of
        one sample is left out, since it has no variance.
    input_noise, weight_noise : >= 0, standard deviations of Gaussian noise on inputs and weights.
    label_smoothing : ε in [0, 1]; targets are (1 − ε) t + ε/K. Only MLPClassifier has it.
    mixup, cutmix : the α >= 0 of Beta(α, α); 0 is off. With both, each batch uses one of them at random. The weight of
        a mixture is the mixture of its samples' weights.
    augment : a transform of fastopt.regularization, or a function (samples, rng=) that returns as many new ones.
    sample_shape : the shape of a row of X for augment and cutmix, such as (channels, height, width).
    early_stopping : True, or an EarlyStopping with its own patience: stop when the validation does not improve, and
        keep the best weights. It watches the loss, or with mode="max" the score. Without X_val a part of X is held out.
    validation_fraction : in (0, 1), the size of that part.
    max_norm : > 0, the largest norm of the weights into each unit; longer ones are scaled back after each step.
    class_weight : None, "balanced" or a dict {label: weight >= 0} (1 for labels that are not in it). Multiplies the
        sample weights. Only MLPClassifier has it.
    warm_start : fit continues from the weights of the last fit, with a new optimizer (partial_fit: with the old one).
    random_state : None, an int, a RandomState or a numpy.random.Generator.
    verbose : True, or an int > 0 as in scikit-learn: a progress bar on stderr (needs rich).
    callbacks : functions (estimator, epoch, logs), called after each epoch, when the estimator can already predict. If
        one returns True, the training ends. A copy of the estimator made there continues with a new optimizer.

    Attributes
    ----------
    coefs_, intercepts_, batch_norms_ : per layer (float32). history_ : lists by epoch: loss, lr, seconds and, with
        validation, val_loss and val_score (accuracy or R²). loss_curve_, best_loss_, validation_scores_,
        best_validation_score_ : scikit-learn's names for parts of it. n_iter_ : epochs. t_ : samples seen. loss_ : of
        the last epoch. lr_, lr_search_ : the rate, and the rates and losses of the search for it.

    Training uses float32; predictions have the precision of their X.

    >>> from sklearn.datasets import load_digits
    >>> from fastopt.sklearn import MLPClassifier
    >>> X, y = load_digits(return_X_y=True)
    >>> model = MLPClassifier((128,), epochs=30, dropout=0.1, random_state=0).fit(X[:1500] / 16, y[:1500])
    >>> model.score(X[1500:] / 16, y[1500:]) > 0.9
    True
    """

    _: KW_ONLY
    label_smoothing: float = 0.0
    class_weight: Any = None

    _classes = True

    def _encode(self, y: Array, reset: bool) -> Array:
        check_classification_targets(y)
        y = np.asarray(y)
        y = y.ravel() if y.ndim == 2 and y.shape[1] == 1 else y
        if y.ndim != 1:
            raise ValueError(f"y should be a 1d array, got an array of shape {y.shape} instead.")
        if reset:
            classes = _at_least_two(np.unique(y))
            if hasattr(self, "coefs_") and self.warm_start and not np.array_equal(self.classes_, classes):
                raise ValueError(
                    f"warm_start can only be used where `y` has the same classes as in the previous call "
                    f"to fit. Previously got {self.classes_}, `y` has {classes}"
                )
            self.classes_: Array = classes
        elif len(unseen := np.setdiff1d(y, self.classes_)):
            raise ValueError(f"y contains previously unseen labels: {unseen.tolist()}")
        return np.searchsorted(self.classes_, y).astype(np.int64)

    def _score(self, outputs: Array, y: Array, weight: Array | None) -> float:
        return float(accuracy_score(y, outputs.argmax(axis=1), sample_weight=weight))

    def partial_fit(self, X: Any, y: Any, classes: Any = None, sample_weight: Any = None) -> MLPClassifier:
        """Train for one more epoch, on these samples, with the present parameters.

        The optimizer's state and the random streams continue from the last fit or partial_fit. X, y, sample_weight : as
        in fit. classes : all labels that will occur; needed in the first call, if nothing is fitted. Raises a
        ValueError for other labels, features or layers, class_weight="balanced", early stopping, and lr="search"
        before a fit has searched. On an error the estimator keeps its previous fit.
        """
        if not hasattr(self, "coefs_"):
            if classes is None:
                raise ValueError("classes must be passed on the first call to partial_fit.")
            with self._all_or_nothing():
                self.classes_ = _at_least_two(unique_labels(np.asarray(classes)))
                validate_data(self, X, accept_sparse="csr", dtype=np.float32, reset=True)
                return self._partial_fit(X, y, sample_weight)  # type: ignore[no-any-return]
        if classes is not None and not np.array_equal(unique_labels(np.asarray(classes)), self.classes_):
            raise ValueError(f"`classes={classes!r}` is not the same as on last call to partial_fit: {self.classes_!r}")
        return self._partial_fit(X, y, sample_weight)  # type: ignore[no-any-return]

    def predict_proba(self, X: Any) -> Array:
        """softmax(z) : (n, classes), in the order of classes_; float32 for a float32 X, else float64."""
        z = self._outputs(X)
        z -= z.max(axis=1, keepdims=True)
        np.exp(z, out=z)
        z /= z.sum(axis=1, keepdims=True)
        return z

    def predict_log_proba(self, X: Any) -> Array:
        """log softmax(z), exact also where the probability rounds to 0."""
        z = self._outputs(X)
        z -= z.max(axis=1, keepdims=True)
        z -= np.log(np.exp(z).sum(axis=1, keepdims=True))
        return z

    def predict(self, X: Any) -> Array:
        """(n,), the most probable class of each sample; of equally probable ones the first."""
        outputs = self._outputs(X)
        labels: Array = self.classes_[outputs.argmax(axis=1)]
        return labels


def _at_least_two(classes: Array) -> Array:
    if len(classes) < 2:
        raise ValueError(
            "This solver needs samples of at least 2 classes in the data, but the data contains "
            f"{'only one class: ' + repr(classes[0]) if len(classes) else 'none'}"
        )
    return classes


@dataclass(eq=False, repr=False)
class MLPRegressor(RegressorMixin, _MLP):  # type: ignore[misc]
    """A network of dense layers for regression. Minimizes ½ Σ_k (z_k − y_k)² over the outputs, with any optimizer.

    The parameters and attributes are those of MLPClassifier, without label_smoothing and class_weight.
    hidden_layer_sizes=() is linear regression. The score is R².

    >>> import numpy as np
    >>> from fastopt.sklearn import MLPRegressor
    >>> X = np.random.default_rng(0).normal(size=(500, 3))
    >>> y = X @ [1.0, -2.0, 0.5] + 3.0
    >>> model = MLPRegressor((), optimizer="sgd", lr=0.05, epochs=50, random_state=0).fit(X, y)
    >>> model.coefs_[0].ravel().round(2), model.intercepts_[0].round(2)
    (array([ 1. , -2. ,  0.5], dtype=float32), array([3.], dtype=float32))
    """

    def _encode(self, y: Array, reset: bool) -> Array:
        if reset:
            self._one_output = y.ndim == 1
        numbers = np.ascontiguousarray(y.reshape(len(y), -1), np.float32)
        if not np.isfinite(numbers).all():
            raise ValueError("Input y contains infinity or a value too large for dtype('float32').")
        return numbers

    def _score(self, outputs: Array, y: Array, weight: Array | None) -> float:
        return float(r2_score(y, outputs, sample_weight=weight)) if len(y) > 1 else float("nan")

    def partial_fit(self, X: Any, y: Any, sample_weight: Any = None) -> MLPRegressor:
        """Train for one more epoch, on these samples, with the present parameters; see MLPClassifier.partial_fit."""
        return self._partial_fit(X, y, sample_weight)  # type: ignore[no-any-return]

    def predict(self, X: Any) -> Array:
        """(n,), or (n, outputs) if y had that shape; float32 for a float32 X, else float64."""
        outputs = self._outputs(X)
        return outputs[:, 0] if self._one_output else outputs

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags
