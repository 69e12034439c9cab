"""fastopt.torch under torch.distributed: two real processes on loopback (gloo), compared with one process."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch", reason="torch is what fastopt.torch is for")

import torch

from tests.support import environment, torch_ranks

pytestmark = pytest.mark.skipif(
    not torch.distributed.is_available() or sys.platform == "win32", reason="not here: torch.distributed with gloo"
)

NAMES = ["SGD", "Adagrad", "Adadelta", "RMSprop", "Adam", "AdamW"]


def start(job: str, folder: Path, *arguments: str, world: int = 2) -> list[subprocess.Popen[str]]:
    variables = environment(GLOO_SOCKET_IFNAME="lo", OMP_NUM_THREADS="1")
    script = str(Path(torch_ranks.__file__))
    return [
        subprocess.Popen(
            [sys.executable, script, job, str(rank), str(world), str(folder), *arguments],
            env=variables,
            text=True,
            stderr=subprocess.PIPE,
        )
        for rank in range(world)
    ]


def run(job: str, folder: Path, *arguments: str) -> dict[str, torch.Tensor]:
    """The result of rank 0, after a check that rank 1 has the same bits."""
    for process in (processes := start(job, folder, *arguments)):
        _, errors = process.communicate(timeout=120)
        assert process.returncode == 0, errors[-3000:]
    found = [torch.load(folder / f"rank{rank}.pt", weights_only=True) for rank in range(len(processes))]
    assert all(torch.equal(found[0][k], found[1][k]) for k in found[0])
    return found[0]  # type: ignore[no-any-return]


def alone(name: str) -> dict[str, torch.Tensor]:
    """The same training in this process."""
    net = torch_ranks.model()
    torch_ranks.train(net, torch_ranks.make(name, net.parameters()))
    return torch_ranks.weights(net)


def assert_close(found: dict[str, Any], expected: dict[str, Any]) -> None:
    """The ranks' gradients are added up in another order than one process has it."""
    start = torch_ranks.weights(torch_ranks.model())
    assert found.keys() == expected.keys()
    for k, x in expected.items():
        assert not torch.allclose(x, start[k], atol=1e-3)
        torch.testing.assert_close(found[k], x, rtol=1e-4, atol=1e-5)


CASES = [("ddp", "Adam"), ("ddp", "SGD"), ("zero", "Adam"), ("fsdp", "AdamW"), ("fsdp", "RMSprop")]
CASES += [("fsdp_in_backward", "Adam"), ("checkpoint", "Adam"), ("checkpoint", "Adadelta")]


@pytest.mark.parametrize(("job", "name"), CASES)
def test_two_processes_train_as_one_does(job: str, name: str, tmp_path: Path) -> None:
    assert_close(run(job, tmp_path, name), alone(name))


def test_a_killed_rank_and_a_resumed_run(tmp_path: Path) -> None:
    """Rank 1 dies inside the fourth backward; the run that goes on ends with the bits of one that never broke."""
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    whole.mkdir()
    broken.mkdir()
    expected = run("killed", whole, "Adam")
    processes = start("killed", broken, "Adam", "3")
    processes[1].communicate(timeout=120)
    assert processes[1].returncode == -signal.SIGKILL
    processes[0].communicate(timeout=120)
    assert processes[0].returncode != 0, "a rank that lost its peer must not go on"
    assert torch.load(broken / "checkpoint.pt", weights_only=True)["step"] == 2
    (broken / "rendezvous").unlink(missing_ok=True)
    found = run("killed", broken, "Adam")
    assert all(torch.equal(found[k], expected[k]) for k in expected)
