"""What torch.optim's users expect of an optimizer beside its numbers: groups, hooks, schedulers, checkpoints, AMP."""

from __future__ import annotations

import copy
import gc
import io
import pickle
import sys
import weakref
from collections.abc import Callable
from typing import Any

import pytest

pytest.importorskip("torch", reason="torch is what fastopt.torch is for")

import torch
from torch.optim.optimizer import register_optimizer_step_post_hook, register_optimizer_step_pre_hook

import fastopt.torch as ours
from fastopt._native import _testing, runtime
from tests.support import run_python
from tests.support.torch_rows import NAMES, assert_same, gradients, pair, parameters, walk

#: options with every state that a class has
FULL: dict[str, dict[str, Any]] = {
    "SGD": {"momentum": 0.9, "dampening": 0.3, "weight_decay": 0.1},
    "Adagrad": {"lr_decay": 0.1, "weight_decay": 0.1, "initial_accumulator_value": 0.2},
    "Adadelta": {"rho": 0.8, "weight_decay": 0.1},
    "RMSprop": {"momentum": 0.5, "centered": True, "weight_decay": 0.1},
    "Adam": {"amsgrad": True, "weight_decay": 0.1, "betas": (0.8, 0.95)},
    "AdamW": {"amsgrad": True, "weight_decay": 0.1, "maximize": True},
}


def stepped(opt: Any, params: list[Any], steps: int = 1, seed: int = 1) -> list[torch.Tensor]:
    for grads in gradients(params, steps, seed):
        for p, g in zip(params, grads, strict=True):
            p.grad = g
        opt.step()
    return [p.detach().clone() for p in params]


def equal(a: list[Any], b: list[Any]) -> bool:
    return all(torch.equal(p, q) for p, q in zip(a, b, strict=True))


# -- imports ----------------------------------------------------------------------------------------------------------


def test_fastopt_itself_loads_no_torch() -> None:
    code = "import sys, fastopt; assert 'torch' not in sys.modules; import fastopt.torch; assert 'torch' in sys.modules"
    assert run_python("-c", code).returncode == 0


@pytest.mark.parametrize("first", ["torch", "fastopt"])
@pytest.mark.skipif(sys.platform != "linux", reason="not here: reads /proc")
def test_one_openmp_runtime_in_either_order(first: str) -> None:
    """Both libraries have run in parallel, and no second libgomp (or other runtime) is in the process."""
    code = f"""
import {first}
import torch, fastopt.torch, re
names = r"lib(g|i|)omp[-.0-9a-z]*[.]so|libiomp"
p = torch.nn.Parameter(torch.ones(1_000_000)); p.grad = torch.ones(1_000_000)
torch.set_num_threads(2); fastopt.set_num_threads(2)
fastopt.torch.Adam([p]).step(); (p.detach() * 2).sum()
paths = {{line.split()[-1] for line in open("/proc/self/maps") if re.search(names, line)}}
print(*sorted(paths), sep="\\n")
"""
    found = run_python("-c", code).stdout
    assert len(found.split()) == 1, found


# -- hyper-parameters -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_every_value_is_read_again_in_each_step(name: str) -> None:
    a, b, mine, peers = pair(name, **FULL[name])
    changes: list[dict[str, Any]] = [{"lr": 0.02}, {"weight_decay": 0.3}, {"maximize": not FULL[name].get("maximize")}]
    changes += [{k: v} for k, v in {"eps": 1e-3, "momentum": 0.7, "alpha": 0.9, "rho": 0.5}.items() if k in a.defaults]
    changes += [{"betas": (0.5, 0.6)}] if "betas" in a.defaults else []
    changes += [{"dampening": 0.6}] if "dampening" in a.defaults else []
    changes += [{"lr_decay": 0.7}] if "lr_decay" in a.defaults else []

    def change(step: int) -> None:
        for opt in (a, b):
            opt.param_groups[0].update(changes[step % len(changes)])

    assert_same(mine, peers, walk(a, b, mine, peers, 2 * len(changes), each=change))


@pytest.mark.parametrize("name", NAMES)
def test_tensor_hyper_parameters(name: str) -> None:
    """A tensor lr counts as it is at the step, also when it is changed in place."""
    a, b, mine, peers = pair(name)
    rates = torch.tensor(0.01), torch.tensor([0.01])
    for opt, rate in zip((a, b), rates, strict=True):
        opt.param_groups[0]["lr"] = rate
    if "betas" in a.defaults:
        for opt in (a, b):
            opt.param_groups[0]["betas"] = (torch.tensor(0.8), torch.tensor(0.9))

    def change(step: int) -> None:
        for rate in rates:
            rate.mul_(0.8)

    assert_same(mine, peers, walk(a, b, mine, peers, 6, each=change))
    getattr(ours, name)(parameters(), lr=torch.tensor(0.1))


SCHEDULERS = {
    "StepLR": lambda s, o: s.StepLR(o, 2, 0.5),
    "MultiStepLR": lambda s, o: s.MultiStepLR(o, [2, 4], 0.5),
    "ConstantLR": lambda s, o: s.ConstantLR(o, 0.3, 3),
    "LinearLR": lambda s, o: s.LinearLR(o, 0.3, 0.9, 5),
    "ExponentialLR": lambda s, o: s.ExponentialLR(o, 0.8),
    "PolynomialLR": lambda s, o: s.PolynomialLR(o, 6),
    "CosineAnnealingLR": lambda s, o: s.CosineAnnealingLR(o, 5),
    "CosineAnnealingWarmRestarts": lambda s, o: s.CosineAnnealingWarmRestarts(o, 3),
    "LambdaLR": lambda s, o: s.LambdaLR(o, lambda t: 1 / (t + 1)),
    "MultiplicativeLR": lambda s, o: s.MultiplicativeLR(o, lambda t: 0.9),
    "OneCycleLR": lambda s, o: s.OneCycleLR(o, 0.1, total_steps=12),
    "CyclicLR": lambda s, o: s.CyclicLR(o, 0.001, 0.1, 2, cycle_momentum="momentum" in o.defaults),
    "SequentialLR": lambda s, o: s.SequentialLR(o, [s.ConstantLR(o, 0.1, 2), s.ExponentialLR(o, 0.9)], [2]),
    "ChainedScheduler": lambda s, o: s.ChainedScheduler([s.ConstantLR(o, 0.1, 2), s.ExponentialLR(o, 0.9)]),
    "ReduceLROnPlateau": lambda s, o: s.ReduceLROnPlateau(o, patience=1),
    "SWALR": lambda s, o: torch.optim.swa_utils.SWALR(o, 0.05, 3),
}


@pytest.mark.parametrize("scheduler", SCHEDULERS)
@pytest.mark.parametrize("name", ["SGD", "AdamW"])
def test_schedulers(name: str, scheduler: str) -> None:
    a, b, mine, peers = pair(name, **FULL[name])
    made = [SCHEDULERS[scheduler](torch.optim.lr_scheduler, opt) for opt in (a, b)]
    rates = set()

    def change(step: int) -> None:
        if step > 0:
            for x in made:
                x.step(*[1.0] if scheduler == "ReduceLROnPlateau" else [])
        assert a.param_groups[0]["lr"] == b.param_groups[0]["lr"]
        rates.add(a.param_groups[0]["lr"])

    assert_same(mine, peers, walk(a, b, mine, peers, 10, each=change))
    assert len(rates) > 1


def test_all_of_torchs_schedulers_are_here() -> None:
    theirs = {name for name in torch.optim.lr_scheduler.__all__ if name not in ("LRScheduler",)}
    assert theirs <= SCHEDULERS.keys()


@pytest.mark.parametrize("name", NAMES)
def test_lr_of_zero_moves_nothing(name: str) -> None:
    params = parameters()
    before = [p.detach().clone() for p in params]
    opt = getattr(ours, name)(params, lr=0.0, **{k: v for k, v in FULL[name].items() if k != "lr"})
    assert equal(stepped(opt, params, 3), before)


# -- param groups and gradients ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_groups_and_steps_of_their_own(name: str) -> None:
    """Groups with other values, one that is added later; parameters without a gradient are left out, step count too."""
    mine, peers = parameters(), parameters()
    opts = []
    for module, params in ((ours, mine), (torch.optim, peers)):
        some = [{"params": params[:4]}, {"params": params[4:9], "lr": 0.03, "weight_decay": 0.2}]
        opts.append(getattr(module, name)(some, lr=0.01))
    way = [torch.zeros_like(p) for p in peers]
    for step, grads in enumerate(gradients(mine, 12)):
        if step == 3:
            for opt, params in zip(opts, (mine, peers), strict=True):
                opt.add_param_group({"params": params[9:], "lr": 0.005})
        before = [p.detach().clone() for p in peers]
        for i, (p, q, g) in enumerate(zip(mine, peers, grads, strict=True)):
            missing = (step + i) % 4 == 0
            p.grad, q.grad = (None, None) if missing else (g, g.clone())
        for opt in opts:
            opt.step()
        for w, q, old in zip(way, peers, before, strict=True):
            w += (q.detach() - old).abs()
    assert_same(mine, peers, way)
    counts = [[float(s["step"]) for s in opt.state_dict()["state"].values() if "step" in s] for opt in opts]
    assert counts[0] == counts[1]
    if name != "SGD":
        assert len(set(counts[0])) > 1


def test_hundreds_of_step_counts() -> None:
    mine, peers = ([torch.nn.Parameter(torch.ones(3)) for _ in range(300)] for _ in range(2))
    a, b = ours.Adam(mine), torch.optim.Adam(peers)
    for params, opt in ((mine, a), (peers, b)):
        for p in params:
            p.grad = torch.full((3,), 0.5)
        opt.step()
        for i, p in enumerate(params):
            opt.state[p]["step"].fill_(i)
        opt.step()
    for p, q in zip(mine, peers, strict=True):
        torch.testing.assert_close(p, q, rtol=1e-6, atol=1e-6)
    assert [float(a.state[p]["step"]) for p in mine] == list(range(1, 301))


@pytest.mark.parametrize("name", NAMES)
def test_no_gradient_skips_and_zero_steps(name: str) -> None:
    p, q = torch.nn.Parameter(torch.ones(5)), torch.nn.Parameter(torch.ones(5))
    opt = getattr(ours, name)([p, q], **FULL[name])
    opt.step()
    assert torch.equal(p.detach(), torch.ones(5))
    q.grad = torch.zeros(5)
    opt.step()
    assert torch.equal(p.detach(), torch.ones(5))
    assert not torch.equal(q.detach(), torch.ones(5)), "weight decay alone"
    if name != "SGD":
        assert float(opt.state[q]["step"]) == 1
    opt.zero_grad()
    assert q.grad is None
    q.grad = torch.ones(5)
    opt.zero_grad(set_to_none=False)
    assert torch.equal(q.grad, torch.zeros(5))


def test_named_parameters() -> None:
    model = torch.nn.Linear(3, 2)
    opt = ours.Adam(model.named_parameters())
    assert opt.param_groups[0]["param_names"] == ["weight", "bias"]
    model(torch.ones(1, 3)).sum().backward()
    opt.step()
    other = ours.Adam(model.named_parameters())
    other.load_state_dict(opt.state_dict())
    assert other.state_dict()["param_groups"][0]["param_names"] == ["weight", "bias"]


# -- closures, hooks, autograd ----------------------------------------------------------------------------------------


def test_closure_runs_with_gradients_and_is_returned() -> None:
    p = torch.nn.Parameter(torch.ones(3))
    opt = ours.SGD([p], lr=0.1)

    def closure() -> torch.Tensor:
        opt.zero_grad()
        loss = (p**2).sum()
        loss.backward()
        return loss

    with torch.no_grad():
        loss = opt.step(closure)
    assert loss.requires_grad
    torch.testing.assert_close(p.detach(), torch.full((3,), 0.8))
    assert opt.step() is None


@pytest.mark.parametrize("scheduled", [False, True])
def test_hooks_fire_once(scheduled: bool) -> None:
    p = torch.nn.Parameter(torch.ones(3))
    opts = [ours.AdamW([p]), ours.Adam([p]), ours.AdamW([p])]
    opt = opts[0]
    if scheduled:
        torch.optim.lr_scheduler.StepLR(opt, 1)
    p.grad = torch.ones(3)
    calls: list[Any] = []
    handles = [
        opt.register_step_pre_hook(lambda o, args, kwargs: calls.append(("pre", o, args, kwargs))),
        opt.register_step_post_hook(lambda o, args, kwargs: calls.append(("post", o, args, kwargs))),
        register_optimizer_step_pre_hook(lambda o, *_: calls.append("all pre")),
        register_optimizer_step_post_hook(lambda o, *_: calls.append("all post")),
    ]
    try:
        opt.step(max_norm=5.0)
    finally:
        for handle in handles:
            handle.remove()
    assert [c if isinstance(c, str) else c[0] for c in calls] == ["all pre", "pre", "post", "all post"]
    assert calls[1][1] is opt
    assert calls[1][3]["max_norm"] == 5.0
    opt.step()
    assert len(calls) == 4
    assert float(opt.state[p]["step"]) == 2


def test_a_hook_may_change_the_arguments() -> None:
    p = torch.nn.Parameter(torch.zeros(1))
    opt = ours.SGD([p], lr=1.0)
    opt.register_step_pre_hook(lambda o, args, kwargs: (args, {**kwargs, "max_norm": 0.5}))
    p.grad = torch.ones(1)
    opt.step()
    assert float(p.detach()) == -0.5


def test_profiler_sees_the_step() -> None:
    p = torch.nn.Parameter(torch.ones(3))
    p.grad = torch.ones(3)
    opt = ours.Adam([p])
    with torch.autograd.profiler.profile() as profile:
        opt.step()
    assert "Optimizer.step#Adam.step" in {event.name for event in profile.function_events}


def test_autograd_is_told_of_the_change() -> None:
    """A backward through what a step has changed is an error, as with torch.optim."""
    p = torch.nn.Parameter(torch.ones(3))
    opt = ours.SGD([p])
    loss = (p * p).sum()
    p.grad = torch.ones(3)
    opt.step()
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


def test_inference_tensors() -> None:
    with torch.inference_mode():
        p = torch.ones(3)
        p.grad = torch.ones(3)
        ours.SGD([p], lr=1.0).step()
        assert torch.equal(p, torch.zeros(3))


def test_compiled_code_around_a_step() -> None:
    p = torch.nn.Parameter(torch.ones(3))
    opt = ours.Adam([p], lr=0.1)

    def train() -> torch.Tensor:
        loss = (p * p).sum()
        loss.backward()
        opt.step()
        opt.zero_grad()
        return loss

    compiled = torch.compile(train, backend="eager")
    losses = [float(compiled().detach()) for _ in range(3)]
    assert losses[0] == 3.0
    assert losses[0] > losses[1] > losses[2]
    assert float(opt.state[p]["step"]) == 3


def test_stepping_inside_a_step_is_refused() -> None:
    p = torch.nn.Parameter(torch.ones(3))
    opt = ours.Adam([p])
    p.grad = torch.ones(3)

    class Recursive(dict[str, Any]):
        pass

    seen: list[str] = []

    def enter(*_: Any) -> dict[str, Any]:
        with pytest.raises(RuntimeError, match="in the middle of a step"):
            opt.step()
        seen.append("refused")
        return original(*_)

    original = type(opt)._new_state
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(opt), "_new_state", enter)
        opt.step()
    assert seen == ["refused"]
    assert float(opt.state[p]["step"]) == 1


# -- checkpoints ------------------------------------------------------------------------------------------------------


def saved(opt: Any) -> Any:
    file = io.BytesIO()
    torch.save(opt.state_dict(), file)
    file.seek(0)
    return torch.load(file, weights_only=True)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("way", ["ours to torch", "torch to ours", "ours to ours"])
def test_checkpoints_interchange(name: str, way: str) -> None:
    """Train, save, load on the other side, go on: as if nothing had happened."""
    a, b, mine, peers = pair(name, **FULL[name])
    walk(a, b, mine, peers, 7)
    source, target = (torch.optim, ours) if way == "torch to ours" else (ours, torch.optim)
    target = ours if way == "ours to ours" else target
    opt, params = (b, peers) if source is torch.optim else (a, mine)
    new = [torch.nn.Parameter(p.detach().clone(memory_format=torch.preserve_format)) for p in params]
    other = getattr(target, name)(new)
    other.load_state_dict(saved(opt))
    assert other.param_groups[0]["lr"] == opt.param_groups[0]["lr"]
    passed = walk(other, opt, new, params, 7, seed=2)
    assert_same(new, params, passed)
    if way == "ours to ours":
        assert equal(new, params)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("copied", [copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))], ids=["deepcopy", "pickle"])
def test_copies(name: str, copied: Any) -> None:
    params = parameters()
    opt = getattr(ours, name)(params, **FULL[name])
    stepped(opt, params, 3)
    other = copied(opt)
    theirs = other.param_groups[0]["params"]
    assert theirs[2] is not params[2]
    assert equal(stepped(opt, params, 3, seed=5), stepped(other, theirs, 3, seed=5))
    assert other._step_supports_amp_scaling


@pytest.mark.parametrize("name", ["Adagrad", "Adadelta", "RMSprop", "Adam", "AdamW"])
def test_old_states(name: str) -> None:
    """Checkpoints of old torch: step as a number, groups without today's options."""
    params = parameters()
    opt = getattr(ours, name)(params)
    stepped(opt, params, 3)
    state = saved(opt)
    for s in state["state"].values():
        s["step"] = float(s["step"])
    for group in state["param_groups"]:
        for key in ("foreach", "maximize", "capturable", "differentiable", "fused", "amsgrad", "centered"):
            group.pop(key, None)
    new = [torch.nn.Parameter(p.detach().clone(memory_format=torch.preserve_format)) for p in params]
    other = getattr(ours, name)(new)
    other.load_state_dict(state)
    assert equal(stepped(opt, params, 3, seed=5), stepped(other, new, 3, seed=5))
    assert float(other.state[new[0]]["step"]) == 6


def test_a_momentum_that_comes_and_goes_is_seen() -> None:
    """Without one the update is that of another optimizer: whatever chooses between the two is looked at."""
    p, q = (torch.nn.Parameter(torch.arange(5.0)) for _ in range(2))
    mine, peer = ours.SGD([p], lr=0.5), torch.optim.SGD([q], lr=0.5)
    for momentum, dampening, nesterov in ((0, 0, False), (0.5, 0.25, False), (0, 0.25, False), (0.75, 0, True)):
        for opt, x in ((mine, p), (peer, q)):
            opt.param_groups[0].update(momentum=momentum, dampening=dampening, nesterov=nesterov)
            for _ in range(2):
                x.grad = x.detach() * 0.5 + 1.0
                opt.step()
        assert torch.equal(p, q), f"momentum {momentum}"


def test_a_momentum_of_none_is_none_yet() -> None:
    """As old torch saved SGD: the first step is not damped."""
    p, q = torch.nn.Parameter(torch.zeros(2)), torch.nn.Parameter(torch.zeros(2))
    for x, module in ((p, ours), (q, torch.optim)):
        opt = module.SGD([x], lr=1.0, momentum=0.5, dampening=0.5)
        opt.state[x] = {"momentum_buffer": None}
        x.grad = torch.ones(2)
        opt.step()
        opt.step()
    assert torch.equal(p, q)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_states_of_16_bit_parameters_stay_float32(name: str, dtype: torch.dtype) -> None:
    params = parameters(dtype=dtype)
    opt = getattr(ours, name)(params, **FULL[name])
    for grads in gradients(params, 3):
        for p, g in zip(params, grads, strict=True):
            p.grad = g.to(dtype)
        opt.step()
    new = [torch.nn.Parameter(p.detach().clone(memory_format=torch.preserve_format)) for p in params]
    other = getattr(ours, name)(new)
    seen: list[torch.dtype] = []
    other.register_load_state_dict_post_hook(
        lambda o: seen.extend(x.dtype for s in o.state.values() for x in s.values())
    )
    other.load_state_dict(saved(opt))
    assert set(seen) == {torch.float32}, "also for hooks"
    for p, q in zip(params, new, strict=True):
        assert opt.state[p].keys() == other.state[q].keys()
        for key, x in opt.state[p].items():
            assert torch.equal(x, other.state[q][key])
    peer_params = [torch.nn.Parameter(p.detach().clone()) for p in params]
    peer = getattr(torch.optim, name)(peer_params)
    for p, q in zip(peer_params, new, strict=True):
        p.grad, q.grad = torch.ones_like(p), torch.ones_like(q)
    peer.load_state_dict(saved(opt))
    peer.step()
    assert {x.dtype for s in peer.state.values() for k, x in s.items() if k != "step"} == {dtype}
    other.load_state_dict(saved(peer))
    other.step()
    assert {x.dtype for s in other.state.values() for x in s.values()} == {torch.float32}


def test_loading_hooks_and_errors() -> None:
    params = parameters()
    opt = ours.Adam(params)
    stepped(opt, params)
    changed = opt.state_dict()
    opt.register_load_state_dict_pre_hook(lambda o, d: {**d, "param_groups": [{**d["param_groups"][0], "lr": 0.5}]})
    opt.load_state_dict(changed)
    assert opt.param_groups[0]["lr"] == 0.5
    with pytest.raises(ValueError, match="different number of parameter groups"):
        ours.Adam([{"params": params[:1]}, {"params": params[1:]}]).load_state_dict(changed)
    assert len(opt._optimizer_load_state_dict_pre_hooks) == 1
    assert not opt._optimizer_load_state_dict_post_hooks


@pytest.mark.parametrize("made", [torch.tensor, lambda x: torch.tensor([x], dtype=torch.float64), float])
@pytest.mark.parametrize("value", [3.5, -1.0, float("nan"), float("inf"), 2.0**53], ids=str)
@pytest.mark.parametrize("hooked", [False, True])
def test_a_count_that_is_none_is_not_loaded(made: Callable[[float], Any], value: float, hooked: bool) -> None:
    p, q = torch.nn.Parameter(torch.ones(3)), torch.nn.Parameter(torch.ones(2))
    opt = ours.Adam([p, q], lr=0.5)
    p.grad, q.grad = torch.ones(3), torch.ones(2)
    opt.step()
    before, loaded = copy.deepcopy(opt.state_dict()), copy.deepcopy(opt.state_dict())
    loaded["param_groups"][0]["lr"] = 0.25
    spoiled = copy.deepcopy(loaded)
    spoiled["state"][1]["step"] = made(value)
    if hooked:
        opt.register_load_state_dict_pre_hook(lambda _, d: spoiled)
    with pytest.raises(ValueError, match=r"step 1 must be a whole number >= 0 and below 2\*\*53, got ") as raised:
        opt.load_state_dict(loaded if hooked else spoiled)
    assert str(raised.value).endswith(f"got {value!r}")
    assert str(opt.state_dict()) == str(before)
    assert (len(opt._optimizer_load_state_dict_pre_hooks), len(opt._optimizer_load_state_dict_post_hooks)) == (
        hooked,
        0,
    )


def test_a_state_of_another_optimizer_is_refused() -> None:
    p = torch.nn.Parameter(torch.ones(3))
    other = ours.RMSprop([p])
    p.grad = torch.ones(3)
    other.step()
    adam = ours.Adam([p])
    state = adam.state_dict()
    state["state"] = other.state_dict()["state"]
    adam.load_state_dict(state)
    with pytest.raises(KeyError, match="the state of parameter 0 has no 'exp_avg': it holds 'step', 'square_avg'"):
        adam.step()


@pytest.mark.parametrize("wide", [False, True])
def test_step_counts_of_any_kind(wide: bool) -> None:
    p = torch.nn.Parameter(torch.ones(3))
    p.grad = torch.ones(3)
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64 if wide else torch.float32)
    try:
        opt, peer = ours.Adam([p]), torch.optim.Adam([torch.nn.Parameter(p.detach().clone())])
        peer.param_groups[0]["params"][0].grad = p.grad.clone()
        opt.step()
        peer.step()
    finally:
        torch.set_default_dtype(before)
    count = opt.state[p]["step"]
    assert count.dtype == peer.state[peer.param_groups[0]["params"][0]]["step"].dtype
    for value in (torch.tensor(7), torch.tensor(7.0, dtype=torch.float64), torch.tensor([7.0])):
        opt.state[p]["step"] = value
        opt.step()
        assert float(value) == 8.0


def test_nothing_is_kept_alive() -> None:
    model = torch.nn.Linear(10, 10)
    opt = ours.Adam(model.parameters())
    model(torch.ones(1, 10)).sum().backward()
    opt.step()
    gradient, state = weakref.ref(model.weight.grad), weakref.ref(opt.state[model.weight]["exp_avg"])
    gc.collect()
    gc.disable()
    try:
        opt.zero_grad()
        assert gradient() is None
        opt.state.clear()
        assert state() is None
        gone = weakref.ref(opt)
        del opt
        assert gone() is None
    finally:
        gc.enable()


# -- mixed precision, norms -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("unscaled", [False, True])
def test_grad_scaler(name: str, unscaled: bool) -> None:
    """As torch's fused optimizers: unscaled in the pass, skipped on an infinity, the gradients not rewritten."""
    a, b, mine, peers = pair(name, **FULL[name])
    scalers = [torch.amp.GradScaler("cpu", init_scale=256.0, growth_interval=3) for _ in range(2)]
    way = [torch.zeros_like(p) for p in peers]
    for step, grads in enumerate(gradients(mine, 9)):
        before = [p.detach().clone() for p in peers]
        for opt, params, scaler in ((a, mine, scalers[0]), (b, peers, scalers[1])):
            for p, g in zip(params, grads, strict=True):
                p.grad = scaler.scale(g.clone(memory_format=torch.preserve_format))
            if step == 4:
                params[3].grad.view(-1)[2] = torch.inf
            kept = [p.grad.clone() for p in params]
            if unscaled:
                scaler.unscale_(opt)
            scaler.step(opt)
            if opt is a and not unscaled and step != 4:
                assert equal([p.grad for p in params], kept)
            scaler.update()
        assert scalers[0].get_scale() == scalers[1].get_scale()
        for w, q, old in zip(way, peers, before, strict=True):
            w += (q.detach() - old).abs()
            assert (step == 4) == torch.equal(q.detach(), old) or q.numel() == 0
    assert_same(mine, peers, way)
    if name != "SGD":
        assert float(a.state[mine[0]]["step"]) == 8
    assert not hasattr(a, "grad_scale")


@pytest.mark.parametrize("scale", [0.0, -2.0, float("inf"), float("nan")])
def test_a_scale_that_is_none_is_refused(scale: float) -> None:
    p = torch.nn.Parameter(torch.ones(3))
    opt = ours.Adam([p])
    p.grad = torch.ones(3)
    opt.grad_scale = torch.tensor(scale)
    with pytest.raises(ValueError, match=f"grad_scale must be > 0 and finite, got {scale}"):
        opt.step()
    assert torch.equal(p.detach(), torch.ones(3))
    assert not opt.state


def test_a_skipped_first_step_counts_for_nothing() -> None:
    """Damped momentum: what was skipped was not the first step."""
    p, q = torch.nn.Parameter(torch.zeros(2)), torch.nn.Parameter(torch.zeros(2))
    opt, peer = (m.SGD([x], lr=1.0, momentum=0.5, dampening=0.5) for m, x in ((ours, p), (torch.optim, q)))
    p.grad = torch.tensor([1.0, torch.nan])
    opt.step(skip_nonfinite=True)
    assert torch.equal(p.detach(), torch.zeros(2))
    assert opt.grad_norm != opt.grad_norm
    p.grad, q.grad = torch.ones(2), torch.ones(2)
    for x in (opt, peer):
        x.step()
        x.step()
    assert torch.equal(p, q)


def test_a_step_that_fails_leaves_no_trace() -> None:
    p, q = torch.nn.Parameter(torch.zeros(2)), torch.nn.Parameter(torch.zeros(2))
    opt = ours.SGD([p, q], lr=1.0, momentum=0.5, dampening=0.5)
    p.grad, q.grad = torch.ones(2), torch.eye(2)[0].to_sparse()
    with pytest.raises(TypeError, match="gradient 1 is sparse"):
        opt.step()
    assert not opt.state
    q.grad = torch.ones(2)
    opt.step()
    assert torch.equal(p.detach(), torch.full((2,), -1.0))


@pytest.mark.parametrize("name", NAMES)
def test_norms(name: str) -> None:
    """clip_grad_norm_ before the step, and the same by max_norm in one pass, the gradients untouched."""
    a, b, mine, peers = pair(name, **FULL[name])
    way = [torch.zeros_like(p) for p in peers]
    for grads in gradients(mine, 5):
        before = [p.detach().clone() for p in peers]
        for p, q, g in zip(mine, peers, grads, strict=True):
            p.grad, q.grad = g, g.clone(memory_format=torch.preserve_format)
        norm = torch.nn.utils.clip_grad_norm_(peers, 1.0)
        a.step(max_norm=1.0)
        b.step()
        assert a.grad_norm == pytest.approx(float(norm), rel=1e-6)
        assert equal([p.grad for p in mine], grads)
        for w, q, old in zip(way, peers, before, strict=True):
            w += (q.detach() - old).abs()
    for p, q, w in zip(mine, peers, way, strict=True):
        assert bool(((p - q).abs() <= 1e-6 * q.abs() + 2e-5 * w).all()), "torch divides by norm + 1e-6"
    a.step()
    for bad, error in ((-1.0, ValueError), ("1", TypeError)):
        with pytest.raises(error, match="max_norm must be"):
            a.step(max_norm=bad)


def test_skip_nonfinite() -> None:
    p, q = torch.nn.Parameter(torch.ones(5)), torch.nn.Parameter(torch.ones(5))
    opt = ours.Adam([p, q])
    p.grad, q.grad = torch.ones(5), torch.tensor([1, 1, torch.inf, 1, 1])
    opt.step(skip_nonfinite=True)
    assert opt.grad_norm == float("inf")
    assert torch.equal(p.detach(), torch.ones(5))
    q.grad = torch.ones(5)
    opt.step(skip_nonfinite=True)
    assert opt.grad_norm == pytest.approx(10**0.5)
    assert float(opt.state[p]["step"]) == 1


def test_threads_change_no_bit() -> None:
    results = []
    for threads in (1, 2, 3, 7):
        runtime.set_num_threads(threads)
        _testing.set_serial_threshold(0)
        params = parameters()
        opt = ours.AdamW(params, lr=0.01)
        results.append(stepped(opt, params, 5))
    assert all(equal(results[0], other) for other in results[1:])


# -- in backward ------------------------------------------------------------------------------------------------------


def _model() -> torch.nn.Module:
    torch.manual_seed(5)
    shared = torch.nn.Linear(8, 8)
    return torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.Tanh(), shared, shared, torch.nn.Linear(8, 1))


@pytest.mark.parametrize("name", NAMES)
def test_in_backward_is_the_ordinary_step(name: str) -> None:
    """The same bits; no gradient stays; a parameter that is used twice is stepped once."""
    x = torch.randn(32, 4)
    models = [_model(), _model()]
    opts = [getattr(ours, name)(m.parameters(), lr=0.01, **FULL[name]) for m in models]
    schedulers = [torch.optim.lr_scheduler.ExponentialLR(opt, 0.9) for opt in opts]
    with ours.step_in_backward(opts[0]):
        for _ in range(5):
            for model, opt, scheduler in zip(models, opts, schedulers, strict=True):
                model(x).pow(2).mean().backward()
                if opt is opts[0]:
                    assert all(p.grad is None for p in model.parameters())
                opt.step()
                opt.zero_grad()
                scheduler.step()
    assert equal(list(models[0].parameters()), list(models[1].parameters()))
    for model, opt in zip(models, opts, strict=True):
        model(x).pow(2).mean().backward()
        assert all(p.grad is not None for p in model.parameters())
        opt.step()
    assert equal(list(models[0].parameters()), list(models[1].parameters()))


def test_in_backward_frees_each_gradient() -> None:
    """At no moment are two of the large gradients alive."""
    layers = [torch.nn.Linear(64, 64, bias=False) for _ in range(6)]
    params = [layer.weight for layer in layers]
    opt = ours.SGD(params, lr=0.1)
    alive: list[int] = []
    ours.step_in_backward(opt)
    for p in params:
        p.register_post_accumulate_grad_hook(lambda _: alive.append(sum(p.grad is not None for p in params)))
    torch.nn.Sequential(*layers)(torch.ones(1, 64)).sum().backward()
    assert alive == [0] * 6


def test_in_backward_refuses_what_needs_all_gradients() -> None:
    model = _model()
    opt = ours.Adam(model.parameters())
    with pytest.raises(TypeError, match=r"needs an optimizer of fastopt\.torch, got Adam"):
        ours.step_in_backward(torch.optim.Adam(model.parameters()))
    with pytest.raises(RuntimeError, match="NAG cannot step in backward"):
        ours.step_in_backward(ours.NAG(model.parameters()))
    handle = ours.step_in_backward(opt)
    with pytest.raises(RuntimeError, match="already"):
        ours.step_in_backward(opt)
    for kwargs in ({"max_norm": 1.0}, {"skip_nonfinite": True}):
        with pytest.raises(RuntimeError, match="need all gradients at once"):
            opt.step(**kwargs)
    opt.found_inf = torch.zeros(())
    with pytest.raises(RuntimeError, match="a GradScaler needs all gradients"):
        opt.step()
    del opt.found_inf
    extra = torch.nn.Parameter(torch.ones(3))
    opt.add_param_group({"params": [extra]})
    (extra * 2).sum().backward()
    assert extra.grad is None
    assert not torch.equal(extra.detach(), torch.ones(3))
    handle.remove()
    opt.step(max_norm=1.0)
    second = ours.step_in_backward(opt)
    handle.remove()
    with pytest.raises(RuntimeError, match="already"):
        ours.step_in_backward(opt)
    with pytest.raises(RuntimeError, match="need all gradients at once"):
        opt.step(max_norm=1.0)
    second.remove()
    opt.step(max_norm=1.0)


def test_in_backward_after_loading_and_deletion() -> None:
    model = _model()
    opt = ours.Adam(model.parameters())
    ours.step_in_backward(opt)
    state = saved(opt)
    state["param_groups"][0]["lr"] = 0.0
    opt.load_state_dict(state)
    before = [p.detach().clone() for p in model.parameters()]
    model(torch.ones(2, 4)).sum().backward()
    assert equal(before, list(model.parameters())), "the loaded groups count"
    assert not any(p.grad is not None for p in model.parameters())
    del opt
    gc.collect()
    model(torch.ones(2, 4)).sum().backward()
    assert all(p.grad is not None for p in model.parameters())
