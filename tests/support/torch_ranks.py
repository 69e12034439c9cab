"""Jobs of tests/torch/test_distributed.py, one process per rank: `torch_ranks.py JOB RANK WORLD FOLDER [ARGUMENTS]`.

Ranks meet through a file in FOLDER (gloo on loopback) and save their results there. Imports torch, not pytest.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

import fastopt.torch as ours

STEPS = 6
SIZE = 24  # rows of a batch, over all ranks


def model() -> torch.nn.Sequential:
    torch.manual_seed(11)
    return torch.nn.Sequential(torch.nn.Linear(6, 16), torch.nn.Tanh(), torch.nn.Linear(16, 16), torch.nn.Linear(16, 2))


def batch(step: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(100 + step)
    return torch.randn(SIZE, 6, generator=generator), torch.randn(SIZE, 2, generator=generator)


def share(x: torch.Tensor) -> torch.Tensor:
    """The rows of this rank."""
    rank, world = (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else (0, 1)
    return x[rank * SIZE // world : (rank + 1) * SIZE // world]


def train(net: torch.nn.Module, opt: Any, steps: range = range(STEPS)) -> None:
    for step in steps:
        x, y = (share(part) for part in batch(step))
        opt.zero_grad()
        torch.nn.functional.mse_loss(net(x), y).backward()
        opt.step()


def rate(name: str) -> float:
    return {"Adadelta": 3.0, "RMSprop": 0.005}.get(name, 0.05)


def make(name: str, params: Any, **kwargs: Any) -> Any:
    return getattr(ours, name)(params, lr=rate(name), **kwargs)


def refused(call: Callable[[], Any]) -> str:
    """The message of the error that call() raises; AssertionError if it raises none."""
    try:
        call()
    except (RuntimeError, ValueError) as error:
        return str(error)
    raise AssertionError("this must be refused")


def weights(net: torch.nn.Module) -> dict[str, torch.Tensor]:
    """The full tensors of all weights, on every rank."""
    whole = {k: v.full_tensor() if hasattr(v, "full_tensor") else v for k, v in net.state_dict().items()}
    return {k.removeprefix("module."): v.detach().clone() for k, v in whole.items()}


# -- jobs -------------------------------------------------------------------------------------------------------------


def job_ddp(folder: Path, name: str) -> Any:
    net = torch.nn.parallel.DistributedDataParallel(model())
    opt = make(name, net.parameters())
    train(net, opt)
    assert "not averaged yet" in refused(lambda: ours.step_in_backward(opt))
    return weights(net)


def job_zero(folder: Path, name: str) -> Any:
    from torch.distributed.optim import ZeroRedundancyOptimizer

    net = torch.nn.parallel.DistributedDataParallel(model())
    opt = ZeroRedundancyOptimizer(net.parameters(), optimizer_class=getattr(ours, name), lr=rate(name))
    train(net, opt, range(3))
    opt.consolidate_state_dict(to=0)
    state = [opt.state_dict() if dist.get_rank() == 0 else None]
    dist.broadcast_object_list(state, src=0)
    again = ZeroRedundancyOptimizer(net.parameters(), optimizer_class=getattr(ours, name), lr=rate(name))
    again.load_state_dict(state[0])
    train(net, again, range(3, STEPS))
    held = sum(len(s) > 0 for s in again.optim.state.values())
    assert 0 < held < len(list(net.parameters())), "each rank steps and keeps a part"
    return weights(net)


def _sharded(name: str, **kwargs: Any) -> tuple[torch.nn.Module, Any]:
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    net, mesh = model(), init_device_mesh("cpu", (dist.get_world_size(),))
    for layer in (net[0], net[2], net[3]):
        fully_shard(layer, mesh=mesh)
    fully_shard(net, mesh=mesh)
    return net, make(name, net.parameters(), **kwargs)


def job_fsdp(folder: Path, name: str) -> Any:
    from torch.distributed.tensor import DTensor

    net, opt = _sharded(name)
    train(net, opt)
    assert "norm of this process's shards" in refused(lambda: opt.step(max_norm=1.0))
    states = [x for s in opt.state.values() for key, x in s.items() if key != "step"]
    assert all(isinstance(x, DTensor) for x in states)
    return weights(net)


def job_fsdp_in_backward(folder: Path, name: str) -> Any:
    net, opt = _sharded(name)
    ours.step_in_backward(opt)
    train(net, opt)
    return weights(net)


def job_checkpoint(folder: Path, name: str) -> Any:
    """Save with get_optimizer_state_dict, and load into a new model and a new optimizer."""
    import torch.distributed.checkpoint as dcp
    from torch.distributed.checkpoint import state_dict as sd

    net, opt = _sharded(name)
    train(net, opt, range(3))
    dcp.save(dict(zip(("model", "optimizer"), sd.get_state_dict(net, opt), strict=True)), checkpoint_id=folder / "dcp")
    new, other = _sharded(name)
    with torch.no_grad():
        for p in new.parameters():
            p.mul_(0.5)
    whole = dict(
        zip(
            ("model", "optimizer"), (sd.get_model_state_dict(new), sd.get_optimizer_state_dict(new, other)), strict=True
        )
    )
    dcp.load(whole, checkpoint_id=folder / "dcp")
    sd.set_state_dict(new, other, model_state_dict=whole["model"], optim_state_dict=whole["optimizer"])
    train(net, opt, range(3, STEPS))
    train(new, other, range(3, STEPS))
    here, there = weights(net), weights(new)
    assert all(torch.equal(here[k], there[k]) for k in here)
    return there


def job_killed(folder: Path, name: str, kill_at: str = "-1") -> Any:
    """Save atomically after every step. In the run that is killed, rank 1 kills itself inside backward."""
    net = torch.nn.parallel.DistributedDataParallel(model())
    opt = make(name, net.parameters())
    path, first = folder / "checkpoint.pt", 0
    if path.exists():
        loaded = torch.load(path, weights_only=True)
        net.load_state_dict(loaded["model"])
        opt.load_state_dict(loaded["optimizer"])
        first = loaded["step"] + 1
    for step in range(first, STEPS):
        if step == int(kill_at) and dist.get_rank() == 1:
            net.module[0].weight.register_hook(lambda _: os.kill(os.getpid(), signal.SIGKILL))
        train(net, opt, range(step, step + 1))
        if dist.get_rank() == 0:
            torch.save({"model": net.state_dict(), "optimizer": opt.state_dict(), "step": step}, folder / "new.pt")
            os.replace(folder / "new.pt", path)
        dist.barrier()
    return weights(net)


def main() -> None:
    job, rank, world, folder = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), Path(sys.argv[4])
    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo",
        init_method=f"file://{folder / 'rendezvous'}",
        rank=rank,
        world_size=world,
        timeout=timedelta(seconds=30),
    )
    found = globals()[f"job_{job}"](folder, *sys.argv[5:])
    torch.save(found, folder / f"rank{rank}.pt")
    dist.barrier()
    dist.destroy_process_group()
    sys.stderr.flush()
    os._exit(0)  # skips the interpreter's shutdown, in which gloo's threads sometimes abort the process


if __name__ == "__main__":
    main()
