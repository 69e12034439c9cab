"""The training loop: networks of one shape, each on its own samples, in one stack of arrays. Knows no estimator.

A `Job` is one network to train; a `Stack` trains some together, with the bits that each would have alone: products run
matrix by matrix, every other kernel row by row, and whatever is random comes from the job's own streams. A stack of one
plain network is trained an epoch at a time in C (`NetworkEpoch`); whatever else there is, step by step from here.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np

from fastopt._native import network as network_kernels
from fastopt.mlp.blas import sgemm_for
from fastopt.mlp.network import Array, Network, Pass, Shape, Weights, initial
from fastopt.mlp.settings import Settings, optimizer_for
from fastopt.regularization import EarlyStopping, Mix, add_noise, cutmix, max_norm_, mixup, perturbed

DIVERGED = (
    "Solver produced non-finite parameter weights. The input data may contain large values and need to be preprocessed."
)
CALL = 2**30  # multiplications of one call into C, 20 ms: Ctrl-C is answered behind it
STEP = 2**16  # what a step costs beside its products, in multiplications
FIELDS = ("loss", "val_loss", "val_score", "lr", "seconds")


@dataclass
class Job:
    """One network to train, and what has come of it.

    x : float32 (n, features) in C order, or CSR. y : int64 (n,) classes, or float32 (n, outputs).
    weight : float32 (n,) with mean 1, or None. validation : x, y and weight to look at after each epoch, or None.
    score : of outputs, targets and weights. streams : generators for start, order and noise.
    start : weights to go on from. optimizer_state : of a state_dict, to go on with.
    """

    shape: Shape
    settings: Settings
    x: Any
    y: Array
    weight: Array | None
    validation: tuple[Any, Array, Array | None] | None
    score: Callable[[Array, Array, Array | None], float]
    streams: list[np.random.Generator]
    start: Weights | None = None
    optimizer_state: dict[str, Any] | None = None
    epochs_done: int = 0
    history: dict[str, list[float]] = field(default_factory=lambda: {name: [] for name in FIELDS})
    stopper: EarlyStopping | None = None
    weights: Weights | None = None
    finished: bool = False
    interrupted: bool = False
    lr: Any = None  # found by search
    found: dict[str, list[float]] | None = None  # what the search tried
    samples: int = 0  # those of an epoch, before equal ones were merged

    def __post_init__(self) -> None:
        self.lr = self.settings.lr if self.lr is None else self.lr
        wanted = self.settings.early_stopping
        if self.validation is not None and self.stopper is None:
            self.stopper = _stopper(wanted)

    @property
    def n(self) -> int:
        return int(self.x.shape[0])

    @property
    def batch_size(self) -> int:
        return min(self.settings.batch_size or self.n, self.n)

    @property
    def sgemm(self) -> Any:
        """What batches in one call into C take, if this network's are; alike in a network alone and among others."""
        return sgemm_for(self.shape, self.batch_size) if isinstance(self.x, np.ndarray) else None

    @property
    def plain(self) -> bool:
        """Whether nothing is done to samples and weights but training on them."""
        s = self.settings
        changed = s.input_noise or s.weight_noise or s.mixup or s.cutmix or s.augment is not None or s.max_norm
        return self.sgemm is not None and not changed

    @property
    def batches(self) -> list[tuple[int, int]]:
        """(start, rows) of the batches of an epoch; with batch norm no rest of one sample, which has no variance."""
        size = self.batch_size
        cuts = [(i, min(size, self.n - i)) for i in range(0, self.n, size)]
        return cuts[:-1] if self.shape.batch_norm and len(cuts) > 1 and cuts[-1][1] == 1 else cuts


def _stopper(wanted: Any) -> EarlyStopping:
    """A new one with these settings; without early stopping one that never stops, for Ctrl-C's sake."""
    if isinstance(wanted, EarlyStopping):
        names = ("patience", "min_delta", "relative", "mode", "baseline", "start_from", "cooldown", "restore_best")
        own = {name: getattr(wanted, name) for name in (*names, "check_finite", "reduce")}
        return EarlyStopping(own.pop("patience"), **own)
    return EarlyStopping() if wanted else EarlyStopping(2**62, restore_best=False)


class Stack:
    """Jobs of one shape and one count of batches, in training. by_step: `plan` is there, whatever the jobs are."""

    def __init__(self, jobs: Sequence[Job], *, by_step: bool = False) -> None:
        self.jobs = sorted(jobs, key=lambda job: job.n)  # batches of one size side by side
        self.settings, self.shape = jobs[0].settings, jobs[0].shape
        self.mixing = bool(self.settings.mixup or self.settings.cutmix)
        rows = max(job.batch_size for job in jobs)
        sgemm = jobs[0].sgemm
        self.net = Network(self.shape, len(jobs), rows, [job.streams[2] for job in self.jobs], sgemm)
        for k, job in enumerate(self.jobs):
            self._begin(k, job)
        self.optimizer = self._make_optimizer()
        if jobs[0].optimizer_state is not None:
            self._go_on(jobs[0].optimizer_state)
        looks_ahead = self.optimizer.param_groups[0].get("lookahead", False)
        self.lookahead: Any = self.optimizer.lookahead if looks_ahead else contextlib.nullcontext
        self.totals = np.zeros(len(jobs))
        self.trained = [sum(rows for _, rows in job.batches) for job in self.jobs]
        whole = len(jobs) == 1 and jobs[0].plain and not (by_step or self.optimizer.skip_nonfinite)
        self.whole = self._make_whole() if whole else None
        self.plan = [] if whole else self._make_plan()
        self.xs = [job.x for job in self.jobs]
        self.ys = [job.y for job in self.jobs]
        self.ws = [job.weight if job.weight is not None else np.ones(job.n, np.float32) for job in self.jobs]
        self.weighted = any(job.weight is not None for job in jobs)
        self.sparse = not isinstance(jobs[0].x, np.ndarray)
        self.noise = (
            [
                perturbed(self.net.of_model(k)[: len(self.net.params)], self.settings.weight_noise, job.streams[2])
                for k, job in enumerate(self.jobs)
            ]
            if self.settings.weight_noise
            else []
        )
        self.here = not (self.settings.weight_noise or looks_ahead)  # gradients are taken at the weights as they stand
        self.changes = bool(self.mixing or self.settings.input_noise or self.settings.augment is not None)

    # -- construction -------------------------------------------------------------------------------------------------

    def _begin(self, k: int, job: Job) -> None:
        """The weights that model k starts with."""
        net = self.net
        if job.start is None:
            for mine, theirs in zip(net.params, initial(self.shape, job.streams[0]), strict=False):
                mine[k] = theirs
            return
        for i, norm in enumerate(job.start.norms):
            net.matrices[i][k], net.biases[i][k] = job.start.matrices[i], job.start.biases[i]
            if norm is not None:
                net.scales[i][k] = norm["weight"]
                mine_norm = net.norms[i][k]
                assert mine_norm.running_mean is not None
                assert mine_norm.running_var is not None
                mine_norm.running_mean[...], mine_norm.running_var[...] = norm["running_mean"], norm["running_var"]

    def _make_optimizer(self) -> Any:
        rates = [(job.lr, job.settings.l1, job.settings.l2) for job in self.jobs]
        same = all(rate == rates[0] for rate in rates)
        others = [*self.net.biases, *self.net.scales]
        optimizer = optimizer_for(self.settings, self.net.matrices, others, rates[:1] if same else rates)
        slopes = {id(p): g for p, g in zip(self.net.params, self.net.gradients, strict=True)}
        order = [slopes[id(p)] for p in (*self.net.matrices, *others)]
        self.gradients = order if same else [g[k] for k in range(len(self.jobs)) for g in order]
        return optimizer

    def _go_on(self, state: dict[str, Any]) -> None:
        """With the states and steps of a former optimizer; rates and penalties are those that are asked for now."""
        pairs = zip(self.optimizer.state_dict()["param_groups"], state["param_groups"], strict=True)
        groups = [{**mine, "steps": theirs["steps"]} for mine, theirs in pairs]
        self.optimizer.load_state_dict({**state, "param_groups": groups})

    def _make_whole(self) -> network_kernels.NetworkEpoch:
        """Its epochs as calls into C."""
        job, plan = self.jobs[0], self.optimizer._array_step
        one = self.net.batch(0, 1, job.batch_size)
        assert one.fused is not None
        return network_kernels.NetworkEpoch(one.fused, plan, self.gradients, job.x, job.y, job.weight, self._smoothing)

    @property
    def _smoothing(self) -> float:
        return self.settings.label_smoothing if self.shape.classes and not self.mixing else 0.0

    def _make_plan(self) -> list[list[tuple[Pass, list[int], int, Array]]]:
        """Per step the passes of it, one for each size of batch: the pass, its models, its start, its targets."""
        steps = []
        for cuts in zip(*(job.batches for job in self.jobs), strict=True):
            passes, first = [], 0
            while first < len(cuts):
                last = first + 1
                while last < len(cuts) and cuts[last] == cuts[first]:
                    last += 1
                start, rows = cuts[first]
                passes.append((self.net.batch(first, last, rows), list(range(first, last)), start))
                first = last
            steps.append(passes)
        return [[(p, models, start, self._targets(p)) for p, models, start in passes] for passes in steps]

    def _targets(self, p: Pass) -> Array:
        """A buffer for the targets of a pass; it is shared by those of one size."""
        if not hasattr(p, "targets"):
            y = self.jobs[0].y
            p.targets = np.empty((p.last - p.first, p.rows, *y.shape[1:]), y.dtype)  # type: ignore[attr-defined]
            p.weights = np.empty((p.last - p.first, p.rows), np.float32)  # type: ignore[attr-defined]
        return p.targets  # type: ignore[attr-defined, no-any-return]

    # -- an epoch -----------------------------------------------------------------------------------------------------

    def epoch(self, stop: Callable[[], bool] = lambda: False) -> None:
        """One pass over all samples. stop: asked before each call; True ends the epoch by a KeyboardInterrupt."""
        full = self.settings.batch_size is None
        orders = [np.arange(job.n) if full else job.streams[1].permutation(job.n) for job in self.jobs]
        self.totals[:] = 0.0
        if self.whole is None:
            self._by_step(orders, stop)
        else:
            self._by_call(self.whole, orders[0], stop)

    def _by_call(self, whole: network_kernels.NetworkEpoch, order: Array, stop: Callable[[], bool]) -> None:
        rows = self.jobs[0].batch_size
        products = 3 * rows * sum(a * b for a, b in pairwise(self.shape.sizes))
        samples = rows * max(1, CALL // (products + STEP))
        for start in range(0, len(order), samples):
            if stop():
                raise KeyboardInterrupt
            end = min(start + samples, len(order))
            ahead = self.optimizer._scalars_ahead(-(-(end - start) // rows))
            whole.run(order, start, end, self.totals, ahead)

    def _by_step(self, orders: list[Array], stop: Callable[[], bool]) -> None:
        for passes in self.plan:
            if stop():
                raise KeyboardInterrupt
            if self.here:
                self._gradients(passes, orders)
            else:
                self._gradients_elsewhere(passes, orders)
            self.optimizer.step(self.gradients)
            if self.settings.max_norm is not None:
                self._constrain(self.settings.max_norm)

    def _gradients(self, passes: list[Any], orders: list[Array]) -> None:
        for one, models, start, targets in passes:
            self._fill(one, models, start, targets, orders)
            self._slopes(one, models, targets)

    def _gradients_elsewhere(self, passes: list[Any], orders: list[Array]) -> None:
        """At the point that the optimizer looks ahead to, with noisy weights, or both."""
        with contextlib.ExitStack() as stack:
            stack.enter_context(self.lookahead())
            for block in self.noise:
                stack.enter_context(block)
            self._gradients(passes, orders)

    def _fill(self, one: Pass, models: list[int], start: int, targets: Array, orders: list[Array]) -> None:
        chosen = [orders[k] for k in models]
        if self.sparse:
            rows = chosen[0][start : start + one.rows]
            one.sparse = self.xs[models[0]][rows]
        else:
            network_kernels.gather([self.xs[k] for k in models], chosen, start, one.x)
        network_kernels.gather([self.ys[k] for k in models], chosen, start, targets)
        if self.weighted:
            network_kernels.gather([self.ws[k] for k in models], chosen, start, one.weights)  # type: ignore[attr-defined]

    def _slopes(self, one: Pass, models: list[int], targets: Array) -> None:
        if self.changes:
            targets = self._change(one, models, targets)
        if one.fused is not None:
            weights = one.weights if self.weighted else None  # type: ignore[attr-defined]
            one.fused.run(targets, self.totals[one.first : one.last], weights, self._smoothing)
            return
        one.forward()
        one.loss(targets, self._smoothing)
        if self.weighted:
            network_kernels.weigh_rows(one.flat_slopes, one.flat_losses, one.weights.reshape(-1))  # type: ignore[attr-defined]
        network_kernels.add_losses(one.losses, self.totals[one.first : one.last])
        one.back()

    def _change(self, one: Pass, models: list[int], targets: Array) -> Array:
        """Augmented, noisy and mixed samples in place of those of the batch; the targets that go with them."""
        s = self.settings
        mixes: list[Mix] = []
        for x, k in zip(one.x, models, strict=True):
            rng = self.jobs[k].streams[2]
            samples = x if s.sample_shape is None else x.reshape(-1, *s.sample_shape)
            if s.augment is not None:
                samples[...] = _augmented(s.augment, samples, rng)
            if s.input_noise:
                add_noise(x, s.input_noise, rng=rng, out=x)
            if self.mixing:
                mixed, mix = self._mix(samples, rng)
                samples[...] = mixed
                mixes.append(mix)
        return self._mixed_targets(one, mixes, targets) if mixes else targets

    def _mix(self, samples: Array, rng: np.random.Generator) -> tuple[Array, Mix]:
        """By mixup or cutmix; where both are asked for, by either, with even chances."""
        s = self.settings
        if s.cutmix and (not s.mixup or rng.random() < 0.5):
            return cutmix(samples, s.cutmix, rng=rng)
        return mixup(samples, s.mixup, rng=rng)

    def _mixed_targets(self, one: Pass, mixes: list[Mix], targets: Array) -> Array:
        if self.weighted:
            for w, mix in zip(one.weights, mixes, strict=True):  # type: ignore[attr-defined]
                w[:] = mix.lam * w + (1.0 - mix.lam) * w[mix.partner]
        if self.shape.classes:
            classes, eps = self.shape.sizes[-1], self.settings.label_smoothing
            pairs = zip(mixes, targets, strict=True)
            return np.stack([mix.targets(y, num_classes=classes, smoothing=eps) for mix, y in pairs])
        both = zip(mixes, targets, strict=True)
        parts = [mix.lam[:, None] * y + (1.0 - mix.lam[:, None]) * y[mix.partner] for mix, y in both]
        return np.stack(parts).astype(np.float32)

    def _constrain(self, limit: float) -> None:
        for stacked in self.net.matrices:
            for w in stacked:
                max_norm_(w, limit, axis=0)

    # -- after an epoch -----------------------------------------------------------------------------------------------

    def record(self, seconds: float) -> None:
        """Losses, validation and early stopping of every job that still runs."""
        for k, job in enumerate(self.jobs):
            if job.finished:
                continue
            loss = float(self.totals[k]) / self.trained[k]
            if not math.isfinite(loss):
                raise ValueError(DIVERGED)
            job.epochs_done += 1
            job.history["loss"].append(loss)
            job.history["lr"].append(self.current_lr(k))
            job.history["seconds"].append(seconds)
            if job.validation is not None:
                self._validate(k, job)
            if job.finished or job.epochs_done >= job.settings.epochs:
                self.finish(k)

    def current_lr(self, k: int) -> float:
        """The learning rate of the last step."""
        groups = self.optimizer.param_groups
        group = groups[2 * k if len(groups) > 2 else 0]
        return float(group["lr"](max(0, group.clock.steps - 1)) if callable(group["lr"]) else group["lr"])

    def _validate(self, k: int, job: Job) -> None:
        assert job.validation is not None
        assert job.stopper is not None
        x, y, weight = job.validation
        outputs = self.net.weights(k).infer(x, self.shape.activation).astype(np.float64)
        loss, score = loss_of(outputs, y, weight, self.shape.classes), job.score(outputs, y, weight)
        job.history["val_loss"].append(loss)
        job.history["val_score"].append(score)
        if job.stopper.update(loss if job.stopper.mode == "min" else score, self.net.of_model(k)):
            job.finished = bool(job.settings.early_stopping)

    def finish(self, k: int, *, interrupted: bool = False) -> None:
        """The job's weights, apart from the stack, which may train on; the best ones, if stopping restores them."""
        job = self.jobs[k]
        job.finished, job.interrupted = True, interrupted
        tensors = [a.copy() for a in self.net.of_model(k)]
        keeps_best = job.stopper is not None and (interrupted or job.stopper.restore_best)
        if keeps_best and job.stopper is not None:
            job.stopper.restore(tensors)
        if not interrupted and not all(np.isfinite(a).all() for a in tensors):
            raise ValueError(DIVERGED)
        job.weights = self._weights(k, tensors)
        job.optimizer_state = self._state_of(k)

    def _state_of(self, k: int) -> dict[str, Any]:
        """The optimizer's state as that of an optimizer of model k alone."""
        if len(self.jobs) == 1:
            return self.optimizer.state_dict()  # type: ignore[no-any-return]
        net, job = self.net, self.jobs[k]
        own = [[a[k : k + 1] for a in arrays] for arrays in (net.matrices, [*net.biases, *net.scales])]
        alone = optimizer_for(self.settings, own[0], own[1], [(job.lr, job.settings.l1, job.settings.l2)])
        alike, count = len(self.optimizer.param_groups) == 2, len(net.params)
        theirs = self.optimizer.state if alike else self.optimizer.state[k * count : (k + 1) * count]
        for mine, former in zip(alone.state, theirs, strict=True):
            for name in mine.keys() - {"step"}:
                mine[name][...] = former[name][k : k + 1] if alike else former[name]
        for group, former in zip(
            alone.param_groups, self.optimizer.param_groups[0 if alike else 2 * k :], strict=False
        ):
            group.clock.steps = former.clock.steps
        return alone.state_dict()

    def _weights(self, k: int, tensors: list[Array]) -> Weights:
        layers, scales = len(self.net.matrices), len(self.net.scales)
        gammas, statistics = tensors[2 * layers : 2 * layers + scales], tensors[2 * layers + scales :]
        norms: list[dict[str, Any] | None] = [
            {
                "running_mean": statistics[2 * i],
                "running_var": statistics[2 * i + 1],
                "weight": gamma,
                "eps": self.net.norms[i][k].eps,
            }
            for i, gamma in enumerate(gammas)
        ]
        return Weights(tensors[0 : 2 * layers : 2], tensors[1 : 2 * layers : 2], norms + [None] * (layers - scales))

    def run(self, after: Callable[[Stack], bool] = lambda stack: False) -> None:
        """`train` this one."""
        train([self], after)

    @property
    def finished(self) -> bool:
        return all(job.finished for job in self.jobs)

    def finish_all(self, *, interrupted: bool) -> None:
        for k, job in enumerate(self.jobs):
            if not job.finished or job.weights is None:
                self.finish(k, interrupted=interrupted)


def _augmented(augment: Any, samples: Array, rng: np.random.Generator) -> Array:
    """What a transform makes of the samples; none of it is broadcast over them, nothing but real numbers is taken."""
    made = augment(samples, rng=rng)
    if np.shape(made) != samples.shape:
        raise ValueError(
            f"augment returned {type(made).__name__} of shape {np.shape(made)} for samples {samples.shape}"
        )
    array = np.asarray(made)
    if array.dtype.kind not in "biuf":
        raise TypeError(f"augment returned samples of dtype {array.dtype}, expected real numbers")
    return array


def train(stacks: Sequence[Stack], after: Callable[[Stack], bool] = lambda stack: False) -> None:
    """Until every job is finished. after: called behind every epoch of a stack; True ends its training.

    Ctrl-C ends it too: each job keeps its best weights so far and is marked `interrupted`.
    """
    with contextlib.suppress(KeyboardInterrupt):
        take_turns(deque(stacks), after)
    for stack in stacks:
        stack.finish_all(interrupted=True)


def take_turns(
    waiting: deque[Stack],
    after: Callable[[Stack], bool] = lambda stack: False,
    stop: Callable[[], bool] = lambda: False,
) -> None:
    """Train an epoch of the first stack, put it behind the others, and so on until none is left that is not finished.
    Several threads may take from the same ones. stop: True ends it by a KeyboardInterrupt."""
    started = time.perf_counter()
    with np.errstate(all="ignore"):
        while (stack := _next(waiting)) is not None:
            if not stack.finished:
                stack.epoch(stop)
                stack.record(time.perf_counter() - started)
                if after(stack):
                    stack.finish_all(interrupted=False)
                waiting.append(stack)


def _next(waiting: deque[Stack]) -> Stack | None:
    try:
        return waiting.popleft()
    except IndexError:  # another thread may have taken the last one
        return None


def loss_of(outputs: Array, y: Array, weight: Array | None, classes: bool) -> float:
    """The mean loss in double: cross-entropy, or half the squared error summed over the outputs."""
    if classes:
        top = outputs.max(axis=1)
        rows = np.log(np.exp(outputs - top[:, None]).sum(axis=1)) + top - outputs[np.arange(len(y)), y]
    else:
        rows = 0.5 * ((outputs - y) ** 2).sum(axis=1)
    return float(np.average(rows, weights=weight))
