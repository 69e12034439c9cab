"""The optimizers for torch: constructors, param groups and states of torch.optim, and fastopt's step.

Each class is a subclass of its namesake in torch.optim and names the optimizer of fastopt whose equations it follows.
No formula stands here.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping
from numbers import Real
from typing import Any, ClassVar

import numpy as np
import torch
import torch.autograd.profiler as _profiler
import torch.optim.optimizer as _of_all
from torch.overrides import _get_current_function_mode_stack, has_torch_function
from torch.utils._device import DeviceContext

from fastopt import optimizers
from fastopt.conventions import resolve
from fastopt.optimizer import Optimizer as Equations
from fastopt.optimizer import any_norm, prelude
from fastopt.torch import tensors
from fastopt.torch._step import TensorStep
from fastopt.torch._table import UpdateSpec

Group = dict[str, Any]
Work = list[tuple[Group, list[Any]]]


class TorchOptimizer(torch.optim.Optimizer):
    """What all classes here share: the step.

    Parameters are float32, bfloat16 or float16 tensors on the CPU. Arithmetic and states are float32. A bfloat16 or
    float16 parameter is rounded to nearest even once per step. `foreach` and `fused` are accepted and change nothing.
    """

    #: the optimizer of fastopt that forms the scalars
    equations: ClassVar[type[Equations]]
    #: torch's name of a hyper-parameter -> fastopt's name
    renamed: ClassVar[Mapping[str, str]] = {}
    #: more hyper-parameters that the choice of the equations depends on
    choosing: ClassVar[tuple[str, ...]] = ()
    #: whether the state has a "step"
    counts: ClassVar[bool] = True

    #: tells torch.amp.GradScaler that step() unscales the gradients and skips the step itself
    _step_supports_amp_scaling = True

    #: the global norm of the gradients before clipping, in the last step with max_norm or skip_nonfinite
    grad_norm: float | None = None

    #: the number of steps that changed nothing, because of skip_nonfinite or of a GradScaler that found an infinity
    skipped: int = 0

    # -- the step -----------------------------------------------------------------------------------------------------

    def step(
        self,
        closure: Callable[[], Any] | None = None,
        *,
        max_norm: float | None = None,
        skip_nonfinite: bool = False,
    ) -> Any:
        """Update every parameter that has a gradient, in one pass over memory. An error changes nothing.

        Parameters
        ----------
        closure : a function that computes the loss. It is called first, with gradients enabled; its result is returned.
        max_norm : clip the global L2 norm of the gradients: if norm > max_norm, the step uses the gradients times
            max_norm/norm. The gradients themselves do not change. `grad_norm` is the norm.
        skip_nonfinite : change nothing if a gradient, or a new parameter or state, is NaN or infinite. `skipped`
            is then one higher.

        If a torch mode, a torch.func transform or a trace is active, it could not see this step. Then torch's own
        operations do it, or RuntimeError says why they cannot.
        """
        try:
            if _is_watched(self):
                return _watched_step(self, closure, max_norm=max_norm, skip_nonfinite=skip_nonfinite)
            return self._step(closure, max_norm=max_norm, skip_nonfinite=skip_nonfinite)
        except BaseException:
            for name in ("grad_scale", "found_inf"):  # a GradScaler removes them after a step that succeeds
                self.__dict__.pop(name, None)
            raise

    step.hooked = True  # type: ignore[attr-defined]  # torch does not wrap it then; _is_watched looks for hooks

    def _step(
        self, closure: Callable[[], Any] | None, *, max_norm: float | None = None, skip_nonfinite: bool = False
    ) -> Any:
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        if "_in_backward" in self.__dict__:
            self._refuse_in_backward(max_norm, skip_nonfinite)
        if is_in_mode():
            self._step_in_mode(max_norm, skip_nonfinite)
        else:
            self._update([(group, group["params"]) for group in self.param_groups], max_norm, skip_nonfinite)
        if "_in_backward" in self.__dict__:
            self._in_backward.steps += 1
        return loss

    def _update(self, work: Work, max_norm: float | None = None, skip_nonfinite: bool = False) -> None:
        scale, found_inf = self.__dict__.get("grad_scale"), self.__dict__.get("found_inf")
        if max_norm is not None:
            max_norm = self._check_norm(max_norm)
        if found_inf is not None and float(found_inf) != 0.0:
            self.skipped += 1
            return
        if scale is not None and not 0.0 < float(scale) < math.inf:
            raise ValueError(f"grad_scale must be > 0 and finite, got {float(scale)}")
        grad_scale = 1.0 if scale is None else 1.0 / float(scale)
        norm = self._take_step(self._native, work, self.state, grad_scale, max_norm, skip_nonfinite)
        self.skipped += self._native.skipped
        if norm is not None:
            self.grad_norm = norm

    def _step_in_mode(self, max_norm: float | None, skip_nonfinite: bool) -> None:
        """Step by the operations of torch, which the mode sees."""
        base = super().step
        if base.__func__ is torch.optim.Optimizer.step:
            refuse_modes(f"{type(self).__name__} has no operations of torch")
        scaled = self.__dict__.get("found_inf") is not None or self.__dict__.get("grad_scale") is not None
        if max_norm is not None or skip_nonfinite or scaled:
            refuse_modes("max_norm, skip_nonfinite and a GradScaler have no operations of torch")
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is not None and p.dtype in tensors.TYPES[1:]:
                    refuse_modes(f"a parameter is {p.dtype}, and its float32 states have no operations of torch")
        while getattr(base, "hooked", False):  # without torch's hooks, which this step has called already
            base = base.__wrapped__.__get__(self)
        base()

    def _take_step(
        self,
        native: TensorStep,
        work: Work,
        state: dict[Any, Any],
        grad_scale: float = 1.0,
        max_norm: float | None = None,
        skip_nonfinite: bool = False,
    ) -> float | None:
        """Check everything, form the scalars, then write. Returns the gradients' norm if it was asked for."""
        with native:
            for index, spec, t in native.read(self._with_specs(native, work), state):
                native.set(index, spec, spec.scalars(t), t)
            norm = native.apply(grad_scale, max_norm, skip_nonfinite)
        return norm  # noqa: RET504  # with a return inside the block, Ctrl-C could come before its end is called

    def _with_specs(self, native: TensorStep, work: Work) -> list[tuple[UpdateSpec, Group, list[Any]]]:
        """(UpdateSpec, group, parameters) of each group, with a new UpdateSpec if a hyper-parameter has changed."""
        specs = native.specs
        for i, (group, _) in enumerate(work):
            if i == len(specs) or not specs[i].matches(group):
                specs[i : i + 1] = [self._spec(group)]
        return [(spec, *item) for spec, item in zip(specs, work, strict=False)]

    @classmethod
    def _new_step(cls) -> TensorStep:
        return TensorStep(cls._new_state, tensors.instead(cls))

    @property
    def _native(self) -> TensorStep:
        """The native step. It is made when first needed, and copies and pickles of the optimizer do not have it."""
        native = self.__dict__.get("_tensor_step")
        if native is None:
            native = self.__dict__["_tensor_step"] = self._new_step()
        return native

    def _check_norm(self, max_norm: Any) -> float:
        if any(tensors.is_distributed(p) for group in self.param_groups for p in group["params"]):
            raise ValueError(
                "max_norm would clip by the norm of this process's shards: use torch.nn.utils.clip_grad_norm_"
            )
        return float(any_norm("max_norm", max_norm))

    def _refuse_in_backward(self, max_norm: Any, skip_nonfinite: bool) -> None:
        if max_norm is not None or skip_nonfinite:
            raise RuntimeError(
                "max_norm and skip_nonfinite need all gradients at once, step_in_backward frees each as it comes: "
                "remove() it"
            )
        if self.__dict__.get("found_inf") is not None or self.__dict__.get("grad_scale") is not None:
            raise RuntimeError("a GradScaler needs all gradients at once, step_in_backward frees each: remove() it")

    # -- how a group is updated ---------------------------------------------------------------------------------------

    @classmethod
    def _equations(cls, group: Group) -> type[Equations]:
        """The optimizer of fastopt whose equations a group with these hyper-parameters follows."""
        return cls.equations

    def _spec(self, group: Group) -> UpdateSpec:
        """How the group is updated by its present hyper-parameters. Keys that the constructor does not know are notes
        of the user's own, as for torch."""
        cls, own = type(self), {k: group[k] for k in self.defaults if k in group}
        self._check_keys(group, "a param group")
        _refuse_options(tensors.instead(cls), own)
        equations = cls._equations(own)
        known = resolve(equations.__name__, equations.conventions, "torch")
        names = tuple(k for k in own if cls.renamed.get(k, k) in known or k in (*cls.choosing, *OPTIONS))
        given = {cls.renamed.get(k, k): _value(k, own[k], known.get(k)) for k in names}
        h = {**known, **cls.fixed(), **given}
        rule, lr = equations.rule_of(h), float(h["lr"])

        def scalars(t: int) -> dict[str, float]:
            return {**equations.scalars(h, lr, t), **prelude(h, lr)}

        changing, corrections = equations.depends_on_step(h), equations.corrections(h)
        return UpdateSpec(rule, equations.rules[rule], cls.counts, scalars, corrections, changing, names, group)

    def _check_keys(self, group: Mapping[str, Any], label: str) -> None:
        """ValueError if the group lacks a hyper-parameter. A flag that is missing is off, as in files of old torch."""
        missing = [k for k, v in self.defaults.items() if k not in group and v is not None and not isinstance(v, bool)]
        if missing:
            raise ValueError(
                f"{label} has no {', '.join(missing)}, which {type(self).__name__} needs. It holds "
                f"{', '.join(k for k in group if k != 'params')}: is it of another optimizer?"
            )

    @classmethod
    def fixed(cls) -> dict[str, Any]:
        """Hyper-parameters of the equations that torch has no name for."""
        return {}

    @classmethod
    @torch.no_grad()
    def _new_state(cls, spec: UpdateSpec, group: Group, p: Any) -> dict[str, Any]:
        """The states of a parameter that has none yet: float32, in its memory layout."""
        made: dict[str, Any] = {}
        if cls.counts:
            default = torch.get_default_dtype()
            wide = default == torch.float64 and not group.get("fused")
            made["step"] = torch.zeros((), dtype=default if wide else torch.float32, device="cpu")
        initial = cls.equations.initial(group)
        for name in spec.states:
            made[name] = tensors.filled_like(p, initial.get(name, 0.0))
        return made

    # -- param groups and checkpoints ---------------------------------------------------------------------------------

    def add_param_group(self, param_group: Group) -> None:
        """See torch.optim.Optimizer. TypeError for a parameter whose type, layout or device no step can take.

        A frozen parameter (requires_grad=False) may be of any kind. The step refuses it when it has a gradient.
        """
        first = len(self.param_groups)
        super().add_param_group(param_group)
        try:
            group = self.param_groups[-1]
            _refuse_options(tensors.instead(type(self)), {k: group.get(k) for k in self.defaults})
            for i, p in enumerate(group["params"]):
                if p.requires_grad and not tensors.is_possible(p):
                    tensors.refuse(p, f"parameter {i} of group {first}", tensors.instead(type(self)))
        except BaseException:
            del self.param_groups[first:]
            raise
        if "_in_backward" in self.__dict__:
            self._in_backward.watch(group)

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """See torch.optim.Optimizer. States stay float32; torch would convert them to the parameter's type.

        ValueError for a step count that is negative or not a whole number, and for param groups that lack a
        hyper-parameter, as those of another optimizer; the optimizer then keeps its state.
        """
        loaded: list[Mapping[str, Any]] = []

        def check(_: Any, state_dict: Mapping[str, Any]) -> None:
            """Runs after the user's own hooks, which may have changed the dict."""
            loaded.append(state_dict)
            for i, group in enumerate(state_dict["param_groups"]):
                self._check_keys(group, f"param group {i} of the state_dict")
            for i, state in state_dict["state"].items() if self.counts else ():
                tensors.check_count(state.get("step"), f"step {i}")

        before = self.register_load_state_dict_pre_hook(check)
        after = self.register_load_state_dict_post_hook(lambda _: self._widen_states(loaded[0]), prepend=True)
        try:
            super().load_state_dict(state_dict)
        finally:
            before.remove()
            after.remove()

    @torch.no_grad()
    def _widen_states(self, loaded: Mapping[str, Any]) -> None:
        """Give 16-bit parameters the loaded states as float32."""
        numbers = [i for group in loaded["param_groups"] for i in group["params"]]
        params = [p for group in self.param_groups for p in group["params"]]
        for i, p in zip(numbers, params, strict=True):
            if p.dtype == torch.float32:
                continue
            for name, value in loaded["state"].get(i, {}).items():
                if name != "step" and isinstance(value, torch.Tensor) and value.is_floating_point():
                    self.state[p][name] = value.to(device=p.device, dtype=torch.float32)


def _is_watched(optimizer: TorchOptimizer) -> bool:
    """Whether a hook is registered or the profiler runs. torch has no public way to ask."""
    return bool(
        optimizer._optimizer_step_pre_hooks
        or optimizer._optimizer_step_post_hooks
        or _of_all._global_optimizer_pre_hooks
        or _of_all._global_optimizer_post_hooks
        or _profiler._is_profiler_enabled
    )


def is_in_mode() -> bool:
    """Whether a torch mode, a torch.func transform or a trace is active, which needs to see each operation.

    torch has no public way to ask, except for modes of __torch_function__. The one that sets the default device
    concerns new tensors only.
    """
    if torch._C._len_torch_dispatch_stack() or torch._C._functorch.maybe_current_level() or torch.jit.is_tracing():
        return True
    if not has_torch_function((None,)):
        return False
    return not all(isinstance(mode, DeviceContext) for mode in _get_current_function_mode_stack())


def refuse_modes(why: str) -> None:
    """RuntimeError if a mode is active; why: why the step cannot be visible to it."""
    if is_in_mode():
        raise RuntimeError(
            "a torch mode, a torch.func transform or a trace is active (as of make_fx, FakeTensorMode or "
            f"allow_mutation_on_saved_tensors), which could not see this step: {why}. Leave the mode for the step"
        )


def _step_of(optimizer: TorchOptimizer, *args: Any, **kwargs: Any) -> Any:
    return optimizer._step(*args, **kwargs)


#: the step with torch's hooks and its profiler record; these take longer than a small step
_watched_step = torch.optim.Optimizer.profile_hook_step(_step_of)

#: options of torch that no step here can honor
OPTIONS = ("capturable", "differentiable")


def _refuse_options(instead: str, group: Group) -> None:
    for option, why in (("capturable", "is for CUDA graphs"), ("differentiable", "records the step for autograd")):
        if group.get(option):
            fused = "`fused` does not support `differentiable`; " if option == "differentiable" else ""
            raise RuntimeError(f"{fused}{option}=True {why}: {instead} for it")


def _value(name: str, x: Any, like: Any = None) -> Any:
    """A hyper-parameter as a number, or as a tuple of numbers if its default is one. A tensor of one element is
    read."""
    if isinstance(like, tuple):
        if not isinstance(x, (tuple, list)) or len(x) != len(like):
            raise TypeError(f"{name} must be {len(like)} numbers, got {x!r}")
        numbers = tuple(_value(f"{name}[{i}]", y) for i, y in enumerate(x))
        if not all(0.0 <= y < 1.0 for y in numbers):
            raise ValueError(f"{name} must be {len(like)} numbers >= 0 and below 1, got {x!r}")
        return numbers
    number = x.item() if isinstance(x, torch.Tensor) and x.numel() == 1 else x
    if not isinstance(number, (Real, np.bool_)):
        raise TypeError(f"{name} must be a number or a tensor of one, got {x!r}")
    if not math.isfinite(number):
        raise ValueError(f"{name} must be finite, got {x!r}")
    return number


class SGD(TorchOptimizer, torch.optim.SGD):
    """torch.optim.SGD: with momentum, dampening and torch's Nesterov form (gradient at the present parameters)."""

    equations = optimizers.Momentum
    choosing = ("momentum", "nesterov", "dampening")
    counts = False

    @classmethod
    def _equations(cls, group: Group) -> type[Equations]:
        if group["momentum"] == 0:
            return optimizers.SGD
        if not group["nesterov"]:
            return optimizers.Momentum
        if group["dampening"] != 0:
            raise ValueError("Nesterov momentum requires a momentum and zero dampening")
        return optimizers.NAG


class Adagrad(TorchOptimizer, torch.optim.Adagrad):
    """torch.optim.Adagrad."""

    equations = optimizers.Adagrad

    @functools.wraps(torch.optim.Adagrad.__init__)  # type: ignore[misc]
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        value = self.defaults["initial_accumulator_value"]
        for p, state in self.state.items():
            if p.dtype in tensors.TYPES[1:]:  # torch has given the state the parameter's type
                state["sum"] = tensors.filled_like(p, value)


class Adadelta(TorchOptimizer, torch.optim.Adadelta):
    """torch.optim.Adadelta."""

    equations = optimizers.Adadelta


class RMSprop(TorchOptimizer, torch.optim.RMSprop):
    """torch.optim.RMSprop. If centered, a variance that rounding makes negative counts as 0 (torch: NaN)."""

    equations = optimizers.RMSprop


class Adam(TorchOptimizer, torch.optim.Adam):
    """torch.optim.Adam."""

    equations = optimizers.Adam
    renamed: ClassVar = {"decoupled_weight_decay": "decoupled"}


class AdamW(TorchOptimizer, torch.optim.AdamW):
    """torch.optim.AdamW."""

    equations = optimizers.Adam
    renamed = Adam.renamed
