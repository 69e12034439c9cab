"""What all optimizers share: params, states, the step, state to dict and back. Knows no formula."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, TypeAlias, TypedDict

import numpy as np

from fastopt._checks import LARGEST, Check, flag, nonnegative, number, writable
from fastopt._native import arrays as native_arrays
from fastopt._native import runtime
from fastopt._native import step as native_step
from fastopt._types import Array
from fastopt.conventions import CHECKS, COMMON, resolve, scheduled
from fastopt.param_groups import ParamGroup, check_values

if TYPE_CHECKING:
    from fastopt.checkpoint import File

Params: TypeAlias = Array | Iterable[Array] | Iterable[dict[str, Any]]
Grads: TypeAlias = Array | Iterable[Array] | Callable[[], Any]
LR: TypeAlias = float | Callable[[int], Any]
Hyper: TypeAlias = Mapping[str, Any]
Corrections: TypeAlias = dict[str, tuple[tuple[float, float], ...]]

STATE_VERSION = 1
LINE = 16  # floats in a cache line
UNSCALED = 1.0  # compared by identity: a grad_scale of any type may be given
MAX_STEPS = 2**53  # the largest count that is exact in double
any_number = partial(number, low=-LARGEST, high=LARGEST)
any_std = nonnegative
any_norm = partial(number, low=0.0, infinite=True)  # with infinity a step computes the norm and clips nothing


class Noise(Protocol):
    """The interface of the noise that a step can add to the gradients."""

    def draw(self, t: int) -> tuple[float, int]:
        """Return the standard deviation and the 64-bit key for a step, given the number t of earlier steps."""


class Common(TypedDict, total=False):
    """Keyword arguments of every optimizer; see Optimizer."""

    weight_decay: float
    decoupled: bool | None
    l1: float
    clip_value: float | None
    maximize: bool
    convention: str
    skip_nonfinite: bool


class Optimizer:
    """The common part of all optimizers. Use one of its subclasses.

    Parameters of every optimizer
    ----------
    params : a float32 array, or a list of them, or a list of dicts {"params": ..., "lr": ..., ...} (param groups, each
        with values of its own). Any shape; C- or Fortran-contiguous, writable, no two overlapping. Updated in place.
    lr : the learning rate η >= 0, or a schedule: a callable that gets the number of earlier steps (0, 1, ...) and
        returns η, always the same for the same number (NAG calls it twice). None: the convention's value.
    weight_decay : λ >= 0. Adds λW to the gradient; if `decoupled`, W ← W − (ηλW + update) instead.
    l1 : >= 0. Adds l1·sign(W) to the gradient, with sign(0) = 0.
    clip_value : > 0 or None. Clamps each element of the gradient (after grad_scale and max_norm, before weight decay).
    maximize : maximize the objective: the sign of the gradient is changed.
    convention : "textbook", "torch", "keras", "optax" or "sklearn": the defaults and the equations of that library.
        Explicit arguments override its defaults.
    skip_nonfinite : a step changes nothing and is counted in `skipped` if a gradient, or a new parameter or state, is
        NaN or infinite. The step is computed twice, the first time without writing. Without this option results are as
        in torch: the square of a gradient above 1.8e19 overflows float32, and a parameter whose second moment is
        infinite no longer moves.

    Raises TypeError or ValueError, before anything is written, for a buffer or a value that cannot be used.
    """

    #: rule (a row of csrc/rules.h) -> names of its states, in the row's order
    rules: ClassVar[Mapping[str, tuple[str, ...]]] = {}
    #: convention -> the hyper-parameters whose values differ from the textbook's
    conventions: ClassVar[Mapping[str, Mapping[str, Any]]] = {}
    #: rule -> hyper-parameters that have a fixed value under this rule
    implied: ClassVar[Mapping[str, Mapping[str, Any]]] = {}
    #: ranges of hyper-parameters that are not in conventions.CHECKS
    checks: ClassVar[Mapping[str, Check]] = {}

    _array_step: native_step.ArrayStep

    registry: ClassVar[dict[str, type[Optimizer]]] = {}  # rule -> class

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        if cls.__doc__ and "conventions" in cls.__dict__:
            cls.__doc__ = f"{cls.__doc__.rstrip()}\n{_defaults_section(cls.conventions)}"
        if "rules" in cls.__dict__:
            for rule in cls.rules:
                Optimizer.registry[rule] = cls

    # -- what a subclass defines ---------------------------------------------------------------------------------------

    @classmethod
    def rule_of(cls, h: Hyper) -> str:
        """The name of the rule for these hyper-parameters."""
        return next(iter(cls.rules))

    @classmethod
    def scalars(cls, h: Hyper, lr: float, t: int) -> dict[str, float]:
        """The rule's scalars in step t = 1, 2, ... with learning rate lr, without the bias corrections."""
        return {"lr": lr}

    @classmethod
    def corrections(cls, h: Hyper) -> Corrections:
        """Bias corrections, scalar -> ((β, power), ...): a step uses scalar · Π (1 − βᵗ)^power, with powers −1 or ½."""
        return {}

    @classmethod
    def depends_on_step(cls, h: Hyper) -> bool:
        """Whether scalars() depends on t even at a constant learning rate. Then every step calls it again."""
        return False

    @classmethod
    def initial(cls, h: Hyper) -> dict[str, float]:
        """The initial values of states, by name. States that are not listed start at 0."""
        return {}

    # -- construction -------------------------------------------------------------------------------------------------

    def __init__(self, params: Params, common: Common, own: dict[str, Any]) -> None:
        options: dict[str, Any] = dict(common)
        self.convention = options.pop("convention", "textbook")
        self.skip_nonfinite = flag("skip_nonfinite", options.pop("skip_nonfinite", False))
        given = {k: v for k, v in {**own, **options}.items() if v is not None}
        defaults = resolve(type(self).__name__, self.conventions, self.convention)
        self.defaults = {**defaults, **self._checker()(given, defaults)}
        self._array_step = native_step.ArrayStep([], [], isinstance(params, np.ndarray))
        for group in _as_groups(params):
            self._append(self._make_group(group))

    def _checker(self) -> Callable[..., dict[str, Any]]:
        """A function that checks hyper-parameters. It holds no optimizer: that would be a reference cycle."""
        name = type(self).__name__
        usual = resolve(name, self.conventions, self.convention)
        eps = usual.get("eps", math.inf)
        return partial(check_values, name, known=frozenset(usual), checks=self.checks, usual_eps=eps)

    def _make_group(self, group: Mapping[str, Any]) -> ParamGroup:
        values = {k: v for k, v in group.items() if k != "params"}
        params = group["params"]
        if isinstance(params, np.ndarray):
            params = (params,)
        elif not isinstance(params, Iterable) or isinstance(params, (str, bytes, dict)):
            raise TypeError(f"params must be a float32 array or a list of them, got {type(params).__name__}")
        check = self._checker()
        values = check(values, self.defaults)
        return ParamGroup(tuple(params), {**self.defaults, **values}, check, self.rule_of)

    def _append(self, group: ParamGroup) -> None:
        """Check the group, allocate its states and add it."""
        self._check_group(group)
        params, names = group["params"], ("parameter", *self.rules[group.rule])
        self._array_step.append("sgd", [(p,) for p in params], names, check_only=True)  # before states are allocated
        group.states = self._allocate(group)
        tensors = list(zip(params, *_like(params, group.states).values(), strict=True))
        self._array_step.append(group.rule, tensors, names, group, group.clock)

    def _check_group(self, group: ParamGroup) -> None:
        """Raise ValueError if the optimizer cannot have this group beside those that it has."""

    def _allocate(self, group: ParamGroup) -> dict[str, list[Array]]:
        """Allocate the states of a group, one block per state name, and return one 1-d view per parameter.

        A view has the same offset in a cache line as its parameter, so that a vector crosses a line's border in all
        arrays or in none.
        """
        initial = self.initial(group)
        states: dict[str, list[Array]] = {}
        for name in self.rules[group.rule]:
            block = np.zeros(sum(p.size + LINE for p in group["params"]), np.float32)
            if initial.get(name):
                block.fill(initial[name])
            states[name] = []
            end = 0
            for p in group["params"]:
                start = end + (_word(p) - _word(block) - end) % LINE
                end = start + p.size
                states[name].append(block[start:end])
        return states

    def add_param_group(self, group: dict[str, Any]) -> None:
        """Add a group of parameters with its own hyper-parameters. Its step count starts at 0."""
        if not isinstance(group, Mapping) or "params" not in group:
            raise TypeError(f"a param group must be a dict with 'params', got {group!r}")
        self._append(self._make_group(group))

    @property
    def skipped(self) -> int:
        """The number of steps that skip_nonfinite has skipped."""
        return self._array_step.skips

    @property
    def param_groups(self) -> tuple[ParamGroup, ...]:
        """Dicts of "params" and their hyper-parameters. An assigned value takes effect in the next step."""
        return tuple(self._groups)

    @property
    def _groups(self) -> list[ParamGroup]:
        return self._array_step.groups

    @property
    def _params(self) -> list[Array]:
        return [p for group in self._groups for p in group["params"]]

    # -- the step -----------------------------------------------------------------------------------------------------

    def step(
        self,
        grads: Grads,
        *,
        max_norm: float | None = None,
        grad_scale: float = UNSCALED,
        zero_grads: bool = False,
        noise: Noise | None = None,
    ) -> float | None:
        """Update all parameters, or on an error none.

        Parameters
        ----------
        grads : one float32 array if the params were one array, else a list of arrays for the parameters of all groups
            in order; or a function without arguments that returns these. A gradient that is not contiguous is copied.
        max_norm : clip the global L2 norm: if norm > max_norm, multiply all gradients by max_norm/norm. With infinity
            the norm is only computed. As torch's clip_grad_norm_, an infinite norm makes the factor 0: finite gradients
            become 0, infinite ones NaN.
        grad_scale : the first operation multiplies the gradients by it (1/loss_scale undoes loss scaling).
        zero_grads : set the gradients to 0 in the same pass over memory.
        noise : None, or a fastopt.regularization.GradientNoise: Gaussian noise is added after grad_scale and max_norm,
            before clip_value and the penalties, in the same pass and without writing to the gradients.

        Returns the global norm (after grad_scale, before clipping; the same bits on any thread count) if max_norm or
        skip_nonfinite is set, else None. With max_norm, a norm of NaN makes every parameter NaN.
        """
        if type(grads) is not list and callable(grads):
            grads = grads()
        if (
            max_norm is None
            and noise is None
            and zero_grads is False
            and grad_scale is UNSCALED
            and not self.skip_nonfinite
        ):
            norm: float | None = self._array_step.step_plainly(grads)
            if norm is not NotImplemented:
                return norm
        return self._step(grads, max_norm, grad_scale, zero_grads, noise)

    def _step(
        self, grads: Any, max_norm: float | None, grad_scale: float, zero_grads: bool, noise: Noise | None
    ) -> float | None:
        if max_norm is not None:
            max_norm = any_norm("max_norm", max_norm)
        if type(grad_scale) is not float or grad_scale != 1.0:
            grad_scale = any_number("grad_scale", grad_scale)
        zero_grads = flag("zero_grads", zero_grads)
        std, key = 0.0, 0
        if noise is not None:
            if not hasattr(noise, "draw"):
                raise TypeError(f"noise must be a fastopt.regularization.GradientNoise or None, got {noise!r}")
            std, key = noise.draw(self._groups[0].clock.steps)
            std = any_std("standard deviation of the noise", std)
        while True:
            norm = self._array_step.step(grads, grad_scale, max_norm, self.skip_nonfinite, zero_grads, std, key)
            if norm is not NotImplemented:
                return norm  # type: ignore[no-any-return]
            self._array_step.hold(self._form_scalars)  # they are out of date

    def _form_scalars(self) -> None:
        """Form the scalars of the next step for every group in which the previous scalars are out of date.

        All schedules are called first, because one may set hyper-parameters of any group: they count for this step.
        """
        array_step, groups = self._array_step, self._groups
        varying = [self._varies(group) for group in groups]
        rates = [scheduled(group["lr"], group.clock.steps) for group in groups]
        for i, (group, lr) in enumerate(zip(groups, rates, strict=True)):
            if not array_step.is_formed(i):
                # read first: a later change marks these scalars as out of date
                changes, steps = group.clock.changes, group.clock.steps
                array_step.set(i, *self._scalars(group, lr, steps), steps + 1, changes, varying[i])

    def _scalars_ahead(self, steps: int) -> list[list[tuple[dict[str, float], Corrections]] | None]:
        """For each group, the scalars of each of the next steps; None if only bias corrections depend on the step."""
        self._array_step.hold(self._form_scalars)
        return [self._scalars_of(group, steps) if self._varies(group) else None for group in self._groups]

    @classmethod
    def _scalars_of(cls, group: ParamGroup, steps: int) -> list[tuple[dict[str, float], Corrections]]:
        counts = range(group.clock.steps, group.clock.steps + steps)
        return [cls._scalars(group, scheduled(group["lr"], count), count) for count in counts]

    @classmethod
    def _varies(cls, group: ParamGroup) -> bool:
        return callable(group["lr"]) or cls.depends_on_step(group)

    @classmethod
    def _scalars(cls, group: ParamGroup, lr: float, steps: int) -> tuple[dict[str, float], Corrections]:
        """The scalars of the step that follows so many steps, and their bias corrections."""
        return {**cls.scalars(group, lr, steps + 1), **prelude(group, lr)}, cls.corrections(group)

    # -- state --------------------------------------------------------------------------------------------------------

    @property
    def state(self) -> list[dict[str, Any]]:
        """One dict per parameter, in order: "step", its number of steps, and views of its states by name."""
        return [
            {"step": group.clock.steps, **{name: arrays[i] for name, arrays in states.items()}}
            for group in self._groups
            for states in [_like(group["params"], group.states)]
            for i in range(len(group["params"]))
        ]

    def state_dict(self) -> dict[str, Any]:
        """Return copies of everything that a run needs to continue, as plain dicts, numbers and arrays.

        A schedule (a callable lr) is saved as None. An optimizer that loads the dict keeps its own schedule.
        """
        return self._array_step.hold(self._state_dict)  # type: ignore[no-any-return]

    def _state_dict(self) -> dict[str, Any]:
        first = 0
        groups = []
        for group in self._groups:
            values = {k: None if callable(v) else v for k, v in group.items() if k != "params"}
            indices = list(range(first, first + len(group["params"])))
            groups.append({**values, "steps": group.clock.steps, "params": indices})
            first += len(indices)
        state = [{k: v.copy(order="K") if k != "step" else v for k, v in s.items()} for s in self.state]
        return {
            "version": STATE_VERSION,
            "optimizer": type(self).__name__,
            "convention": self.convention,
            "skipped": self.skipped,
            "param_groups": groups,
            "state": state,
        }

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Copy a state_dict into this optimizer. Names, shapes, dtypes and version are checked before any write."""
        self._array_step.hold(self._load, state_dict, [])

    def _load(self, d: Mapping[str, Any], params: Sequence[Array]) -> None:
        values, steps = self._check_state_dict(d), [saved["steps"] for saved in d["param_groups"]]
        targets, sources = self._params[: len(params)], list(params)
        for own, saved in zip(self.state, d["state"], strict=True):
            names = own.keys() - {"step"}
            targets += [own[name] for name in names]
            sources += [saved[name] for name in names]
        self._array_step.load(targets, sources, values, steps, d["skipped"])

    def _check_state_dict(self, d: Mapping[str, Any]) -> list[dict[str, Any]]:
        """Check a state_dict and return the hyper-parameters for each group."""
        name = type(self).__name__
        if not isinstance(d, Mapping) or "version" not in d:
            raise ValueError("state_dict must be a dict from state_dict(), with a 'version'")
        if type(d["version"]) is not int or d["version"] != STATE_VERSION:
            raise ValueError(f"state_dict has version {d['version']!r}, this fastopt reads version {STATE_VERSION}")
        missing = {"optimizer", "convention", "skipped", "param_groups", "state"} - d.keys()
        if missing:
            raise ValueError(f"state_dict lacks {', '.join(sorted(missing))}")
        if d["optimizer"] != name:
            raise ValueError(f"state_dict is of optimizer {d['optimizer']}, this optimizer is {name}")
        if d["convention"] != self.convention:
            raise ValueError(f"state_dict has convention {d['convention']!r}, this {name} has {self.convention!r}")
        _check_count("skipped", d["skipped"])
        _check_dicts("param groups", d["param_groups"], len(self._groups))
        _check_dicts("parameters", d["state"], len(self._params))
        values = [
            self._check_saved_group(i, own, saved)
            for i, (own, saved) in enumerate(zip(self._groups, d["param_groups"], strict=True))
        ]
        steps = [g["steps"] for own, g in zip(self._groups, d["param_groups"], strict=True) for _ in own["params"]]
        for i, (own, saved) in enumerate(zip(self.state, d["state"], strict=True)):
            _check_saved_state(i, own, saved, steps[i])
        return values

    def _check_saved_group(self, index: int, own: ParamGroup, saved: Mapping[str, Any]) -> dict[str, Any]:
        _check_count(f"steps of param group {index}", saved.get("steps"))
        params = saved.get("params")
        if not isinstance(params, (list, tuple)) or len(params) != len(own["params"]):
            raise ValueError(
                f"param group {index} of state_dict has params {params!r}, this optimizer has {len(own['params'])}"
            )
        new = {k: v for k, v in saved.items() if k not in ("params", "steps")}
        missing = own.keys() - {"name", "params"} - new.keys()
        if missing:
            raise ValueError(f"param group {index} of state_dict lacks {', '.join(sorted(missing))}")
        if new["lr"] is None:
            new["lr"] = own["lr"]
            if not callable(own["lr"]):
                raise ValueError(
                    f"param group {index} was saved with a schedule for lr: create this optimizer with a schedule"
                )
        new = self._checker()(new)
        rule = self.rule_of({**own, **new})
        if rule != own.rule:
            raise ValueError(f"param group {index} of state_dict has the states of rule {rule}, not of {own.rule}")
        return new

    def save(self, path: File, *, params: bool = False) -> None:
        """Write the state, and with params=True the parameters, to one .npz file without pickle. All or nothing.

        path : a path (links are followed, a file's mode is kept; OSError if it is no regular file), or an open file.
        """
        from fastopt import checkpoint

        checkpoint.save(path, *self._array_step.hold(self._copies, params))

    def _copies(self, params: bool) -> tuple[dict[str, Any], list[Array] | None]:
        return self._state_dict(), [p.copy(order="K") for p in self._params] if params else None

    def load(self, path: File) -> None:
        """Load what save() has written, from a path or an open binary file. On an error nothing changes."""
        from fastopt import checkpoint

        self._array_step.hold(self._load_file, path, *checkpoint.load(path))

    def _load_file(self, path: File, state_dict: dict[str, Any], params: list[Array] | None) -> None:
        if params is not None:
            self._check_saved_params(path, params)
        self._load(state_dict, params or [])

    def _check_saved_params(self, path: File, params: Sequence[Array]) -> None:
        self._array_step.check()
        own = self._params
        if len(params) != len(own):
            raise ValueError(f"{path} has {len(params)} parameters, this {type(self).__name__} has {len(own)}")
        for i, (p, q) in enumerate(zip(own, params, strict=True)):
            _check_saved_array(f"parameter {i}", p, q)

    def __getstate__(self) -> dict[str, Any]:
        return self._array_step.hold(self._everything)  # type: ignore[no-any-return]

    def _everything(self) -> dict[str, Any]:
        keep = {k: v for k, v in self.__dict__.items() if not k.startswith("_")}
        groups = [({**group}, group.clock.steps) for group in self._groups]
        states = [{k: [a.copy() for a in arrays] for k, arrays in group.states.items()} for group in self._groups]
        whole = {"attributes": keep, "single": self._array_step.single, "skips": self.skipped, "groups": groups}
        return {**whole, "states": states}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state["attributes"])
        self._array_step = native_step.ArrayStep([], [], state["single"])
        for (values, steps), saved in zip(state["groups"], state["states"], strict=True):
            group = self._make_group({**values, "params": writable(values["params"])})
            group.clock.steps = steps
            self._append(group)
            for name, arrays in group.states.items():
                for a, b in zip(arrays, saved[name], strict=True):
                    a[...] = b
        self._array_step.skips = state["skips"]

    def __repr__(self) -> str:
        lines = []
        for i, group in enumerate(self._groups):
            shown = {k: v for k, v in group.items() if k != "params" and v != COMMON.get(k, math.nan)}
            tensors, elements = len(group["params"]), sum(p.size for p in group["params"])
            values = ", ".join(f"{k}={v!r}" for k, v in shown.items())
            size = f"{tensors} tensor{'' if tensors == 1 else 's'}, {elements:,} elements"
            lines.append(f"  group {i}: {size}, step {group.clock.steps}: {values}")
        return "\n".join([f"{type(self).__name__}(convention={self.convention!r},", *lines, ")"])


def prelude(h: Hyper, lr: float) -> dict[str, float]:
    """The scalars of the operations before the rule (fo_prelude in csrc/include/fastopt.h)."""
    decoupled = h["decoupled"]
    return {
        "scale": -1.0 if h["maximize"] else 1.0,
        "clip": math.inf if h["clip_value"] is None else h["clip_value"],
        "weight_decay": 0.0 if decoupled else h["weight_decay"],
        "l1": h["l1"],
        "decay": lr * h["weight_decay"] if decoupled else 0.0,
    }


def _defaults_section(table: Mapping[str, Mapping[str, Any]]) -> str:
    """The docstring's section on defaults, generated from the table of conventions."""
    lines = ["", "    Defaults", "    --------"]
    for convention, values in table.items():
        lines.append(f"    {convention} : " + (", ".join(f"{k}={v!r}" for k, v in values.items()) or "the textbook's"))
    return "\n".join([*lines, "    "])


def _as_groups(params: Any) -> Sequence[Mapping[str, Any]]:
    if isinstance(params, np.ndarray):
        return [{"params": params}]
    if isinstance(params, (dict, str, bytes)) or not isinstance(params, Iterable):
        raise TypeError(
            f"params must be a float32 array, a list of them or a list of param groups, got {type(params).__name__}"
        )
    items = list(params)
    if not items:
        raise ValueError("params is empty: there is nothing to optimize")
    if not any(isinstance(item, dict) for item in items):
        return [{"params": items}]
    for i, item in enumerate(items):
        if not isinstance(item, dict) or "params" not in item:
            raise TypeError(f"param group {i} must be a dict with 'params', got {type(item).__name__}")
    return items


def _word(a: Array) -> int:
    """The address of the array, in units of four bytes."""
    return native_arrays.address(a) // 4


def _like(params: Sequence[Array], flat: Mapping[str, Sequence[Array]]) -> dict[str, list[Array]]:
    """Views of flat states in the shapes and memory orders of the parameters."""
    return {name: [_shaped(a, p) for a, p in zip(arrays, params, strict=True)] for name, arrays in flat.items()}


def _shaped(state: Array, param: Array) -> Array:
    """A flat view if the parameter was resized: the next step will raise an error, but the state is still readable."""
    if param.size != state.size:
        return state.view()
    return state.reshape(param.shape, order="C" if param.flags.c_contiguous else "F")


def _check_count(label: str, value: Any) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= MAX_STEPS:
        raise ValueError(f"{label} must be an int in [0, 2**53], got {value!r}")


def _check_dicts(label: str, value: Any, count: int) -> None:
    if not isinstance(value, (list, tuple)) or not all(isinstance(item, Mapping) for item in value):
        raise ValueError(f"{label} of state_dict must be a list of dicts, got {value!r:.80}")
    if len(value) != count:
        raise ValueError(f"state_dict has {len(value)} {label}, this optimizer has {count}")


def _check_saved_state(index: int, own: Mapping[str, Any], saved: Mapping[str, Any], steps: int) -> None:
    if own.keys() != saved.keys():
        raise ValueError(f"parameter {index} has the states {sorted(own)}, state_dict has {sorted(saved)}")
    if saved["step"] != steps or type(saved["step"]) is not int:
        raise ValueError(f"step of parameter {index} is {saved['step']!r} in state_dict, its param group has {steps}")
    for name in own.keys() - {"step"}:
        _check_saved_array(f"{name} of parameter {index}", own[name], saved[name])


def _check_saved_array(label: str, own: Array, saved: Any) -> None:
    if not isinstance(saved, np.ndarray) or saved.dtype.str != np.dtype(np.float32).str:
        raise TypeError(
            f"{label} in the saved state must be a float32 array, got {getattr(saved, 'dtype', type(saved))}"
        )
    if saved.shape != own.shape:
        raise ValueError(f"{label} has shape {saved.shape} in the saved state, in this optimizer {own.shape}")


def check_registry() -> None:
    """Check once, at import, that every row of csrc/rules.h has a class that names its states and forms its scalars."""
    for rule, (buffers, scalars) in runtime.RULES.items():
        cls = Optimizer.registry.get(rule)
        if cls is None:
            raise ImportError(f"rule {rule} has no optimizer class: add it to the `rules` of a class")
        if len(cls.rules[rule]) != len(buffers) - 1:
            raise ImportError(f"{cls.__name__}.rules[{rule!r}] names {cls.rules[rule]}, the rule has {buffers[1:]}")
        h = {**COMMON, **cls.conventions["textbook"], **cls.implied.get(rule, {})}
        missing = (set(scalars) | cls.corrections(h).keys()) - cls.scalars(h, 0.1, 1).keys()
        if missing:
            raise ImportError(f"{cls.__name__} does not form {', '.join(sorted(missing))} for rule {rule}")
        unknown = set(h) - CHECKS.keys() - cls.checks.keys()
        if unknown:
            raise ImportError(f"{cls.__name__} has no range for {', '.join(sorted(unknown))}: add it to `checks`")
    for rule in Optimizer.registry:
        if rule not in runtime.RULES:
            raise ImportError(f"{Optimizer.registry[rule].__name__} names rule {rule!r}, which csrc/rules.h lacks")
