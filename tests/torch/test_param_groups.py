"""Param groups, step counts and missing gradients, as torch.optim handles them."""

from __future__ import annotations

import pytest

pytest.importorskip("torch", reason="torch is what fastopt.torch is for")

import torch

import fastopt.torch as ours
from fastopt.conventions import CHECKS
from tests.support.torch_rows import (
    FULL,
    NAMES,
    assert_same,
    gradients,
    parameters,
)


@pytest.mark.parametrize("name", NAMES)
def test_groups_have_hyper_parameters_and_step_counts_of_their_own(name: str) -> None:
    """Groups with other values, one that is added later. A parameter without a gradient keeps its step count."""
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


@pytest.mark.parametrize("name", [*NAMES, "NAG"])
@pytest.mark.parametrize("way", ["constructor", "later", "loaded"])
def test_keys_that_the_constructor_does_not_have_change_nothing(name: str, way: str) -> None:
    """Users keep notes in a group. Hyper-parameters of fastopt that torch does not have are no exception."""
    results = []
    for noted in (False, True):
        p = torch.nn.Parameter(torch.linspace(1, 2, 4))
        notes = dict.fromkeys([*CHECKS, "capturable", "fused", "mine"], 0.5) if noted else {}
        opt = getattr(ours, name)([p], lr=0.1)
        notes = {k: v for k, v in notes.items() if k not in opt.defaults}
        if way == "constructor":
            opt = getattr(ours, name)([{"params": [p], **notes}], lr=0.1)
        elif way == "later":
            opt.param_groups[0].update(notes)
        else:
            loaded = opt.state_dict()
            loaded["param_groups"][0].update(notes)
            opt.load_state_dict(loaded)
        for _ in range(3):
            opt.step(lambda p=p: setattr(p, "grad", torch.ones(4)))
        results.append(p.detach())
        assert not noted or opt.param_groups[0]["mine"] == 0.5
    assert torch.equal(*results)


FROZEN = {
    "int8": lambda: torch.ones(2, dtype=torch.int8),
    "float64": lambda: torch.ones(2, dtype=torch.float64),
    "complex64": lambda: torch.ones(2, dtype=torch.complex64),
    "bool": lambda: torch.ones(2, dtype=torch.bool),
    "meta": lambda: torch.ones(2, device="meta"),
    "meta float64": lambda: torch.ones(2, device="meta", dtype=torch.float64),
    "sparse": lambda: torch.eye(2).to_sparse(),
    "quantized": lambda: torch.quantize_per_tensor(torch.ones(2), 0.1, 0, torch.qint8),
}


#: torch's own constructor of Adagrad makes a state of each parameter, and fails for some
ACCEPTED = [
    (name, kind)
    for name in [*NAMES, "NAG"]
    for kind in FROZEN
    if name != "Adagrad" or kind not in ("sparse", "quantized")
]


@pytest.mark.filterwarnings("ignore:torch.quantize_per_tensor")
@pytest.mark.parametrize(("name", "kind"), ACCEPTED)
def test_frozen_parameters_of_any_kind(name: str, kind: str) -> None:
    """They are accepted like by torch.optim. One that has a gradient is refused, and nothing is written."""
    frozen, p = FROZEN[kind](), torch.nn.Parameter(torch.ones(2))
    opt = getattr(ours, name)([frozen, p], lr=0.1)
    opt.add_param_group({"params": [FROZEN[kind]()]})
    opt.step(lambda: setattr(p, "grad", torch.ones(2)))
    after = p.detach().clone()
    assert not torch.equal(after, torch.ones(2))
    copied = getattr(ours, name)([frozen, p], lr=0.1)
    copied.add_param_group({"params": [FROZEN[kind]()]})
    copied.load_state_dict(opt.state_dict())
    if kind in ("float64", "complex64", "meta"):
        frozen.grad = torch.ones_like(frozen)
        with pytest.raises(TypeError, match=r"parameter 0 (has dtype torch\.|is on device meta)"):
            opt.step(lambda: None)
        assert torch.equal(p.detach(), after)
