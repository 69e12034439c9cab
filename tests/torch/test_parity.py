"""fastopt.torch against torch.optim: every configuration of torch's own tests, every element; torch's error inputs."""

from __future__ import annotations

import warnings
from copy import deepcopy
from typing import Any

import pytest

pytest.importorskip("torch", reason="torch is the peer of fastopt.torch")
pytest.importorskip("expecttest", reason="torch's own test helpers need expecttest")

import torch
from torch.testing._internal.common_device_type import instantiate_device_type_tests
from torch.testing._internal.common_optimizers import (
    OptimizerErrorEnum,
    _get_optim_inputs_including_global_cliquey_kwargs,
    optims,
)
from torch.testing._internal.common_utils import TestCase

from tests.support.torch_rows import ROWS, assert_same, pair, walk

STEPS = 25


class TestTorchOptimizers(TestCase):
    """Driven by torch's `optims`, as torch's own test/test_optim.py is."""

    @optims(ROWS)
    def test_parity(self, device: str, dtype: torch.dtype, optim_info: Any) -> None:
        inputs = _get_optim_inputs_including_global_cliquey_kwargs(device, dtype, optim_info)
        assert len(inputs) > 5
        for config in inputs:
            kwargs = {k: v for k, v in config.kwargs.items() if k not in ("foreach", "fused")}
            a, b, mine, peers = pair(optim_info.name, **deepcopy(kwargs))
            for group in a.param_groups:
                group.update({k: v for k, v in config.kwargs.items() if k in ("foreach", "fused")})
            way = walk(a, b, mine, peers, STEPS)
            # torch multiplies by 1 − lr·weight_decay, rounded to float32, in each step
            rounded = STEPS * 2.0**-24 if a.param_groups[0].get("decoupled_weight_decay") else 0.0
            assert_same(mine, peers, way, rounded)
            for p, q in zip(mine, peers, strict=True):
                _assert_states(a.state[p], b.state[q], config.desc)

    @optims(ROWS)
    def test_signature_defaults_and_groups(self, device: str, dtype: torch.dtype, optim_info: Any) -> None:
        a, b, mine, peers = pair(optim_info.name)
        assert a.defaults == b.defaults
        assert list(a.param_groups[0]) == list(b.param_groups[0])
        assert a.state_dict()["param_groups"] == b.state_dict()["param_groups"]
        walk(a, b, mine, peers, 1)
        assert [list(s) for s in a.state_dict()["state"].values()] == [
            list(s) for s in b.state_dict()["state"].values()
        ]

    @optims(ROWS)
    def test_errors(self, device: str, dtype: torch.dtype, optim_info: Any) -> None:
        for error in optim_info.optim_error_inputs_func(device=device, dtype=dtype):
            given = error.optimizer_error_input
            params = given.params if given.params is not None else [torch.nn.Parameter(torch.randn(2, 3))]
            assert error.error_on == OptimizerErrorEnum.CONSTRUCTION_ERROR
            if issubclass(error.error_type, Warning):
                with pytest.warns(error.error_type, match=error.error_regex):
                    optim_info.optim_cls(params, **given.kwargs)
            else:
                with pytest.raises(error.error_type, match=error.error_regex):
                    optim_info.optim_cls(params, **given.kwargs)

    @optims(ROWS)
    def test_the_loss_falls(self, device: str, dtype: torch.dtype, optim_info: Any) -> None:
        """A least-squares loss falls: with parameters that are dense or have gaps, with every scheduler of torch's."""
        for contiguous in (True, False):
            for schedulers in ((), *optim_info.scheduler_inputs):
                for config in optim_info.optim_inputs_func(device=device):
                    first, last = _descend(optim_info.optim_cls, dict(config.kwargs), schedulers, contiguous)
                    assert (last > first) if config.kwargs.get("maximize") else (last < first), config.desc


instantiate_device_type_tests(TestTorchOptimizers, globals(), only_for="cpu")


def _assert_states(mine: dict[str, Any], peers: dict[str, Any], desc: str) -> None:
    assert mine.keys() == peers.keys(), desc
    for name, x in mine.items():
        y = peers[name]
        assert x.dtype == y.dtype == torch.float32
        assert x.stride() == y.stride()
        torch.testing.assert_close(x, y, rtol=1e-4 if name != "step" else 0, atol=1e-6 if name != "step" else 0)


def _descend(cls: Any, kwargs: dict[str, Any], schedulers: Any, contiguous: bool) -> tuple[float, float]:
    generator = torch.Generator().manual_seed(3)
    lr = kwargs.pop("lr", None)
    if contiguous:
        w = torch.nn.Parameter(torch.randn(10, 5, generator=generator))
        b = torch.nn.Parameter(torch.randn(10, generator=generator))
    else:
        w = torch.nn.Parameter(torch.randn(10, 5, 2, generator=generator)[..., 0])
        b = torch.nn.Parameter(torch.randn(10, 2, generator=generator)[..., 0])
        assert not w.is_contiguous()
    x = torch.randn(5, generator=generator)
    opt = cls([w, b], **kwargs) if lr is None else cls([w, b], lr=deepcopy(lr), **kwargs)
    made = [make(opt) for make in schedulers]

    def loss() -> torch.Tensor:
        opt.zero_grad()
        value = (w.mv(x) + b).pow(2).sum()
        value.backward()
        return value

    first = float(loss().detach())
    for _ in range(20):
        value = opt.step(loss)
        for scheduler in made:
            if isinstance(scheduler, torch.optim.lr_scheduler.ReduceLROnPlateau):
                scheduler.step(float(value.detach()))
            else:
                scheduler.step()
    return first, float(loss().detach())


def test_signatures_are_those_of_torch() -> None:
    """The signatures are torch's, whatever its version."""
    import inspect

    for row in ROWS:
        peer = getattr(torch.optim, row.name)
        assert inspect.signature(row.optim_cls) == inspect.signature(peer)
        assert issubclass(row.optim_cls, peer)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for row in ROWS:
            row.optim_cls([torch.nn.Parameter(torch.zeros(1))])
