"""Kills a process that saves in a loop, at random moments: the file that remains must always be whole.

`python -m tools kills [--kills 200] [--seed N]`. The child steps with gradients of ones and saves after each step.
After SIGKILL the file must load and hold the exact result of as many steps as it states, and no fewer than the child
had reported. A partly written file (.fastopt-*.part) may remain beside it.
"""

from __future__ import annotations

import argparse
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

import fastopt
from tests.support import environment

SIZE = 20_000
CHILD = f"""
import fastopt, numpy as np
opt = fastopt.Momentum(np.zeros({SIZE}, np.float32), lr=0.5, momentum=0.5)
opt.load("opt.npz")
while True:
    opt.step(np.ones({SIZE}, np.float32))
    opt.save("opt.npz", params=True)
    print(opt.state[0]["step"], flush=True)
"""


def optimizer() -> fastopt.Momentum:
    return fastopt.Momentum(np.zeros(SIZE, np.float32), lr=0.5, momentum=0.5)


def kill_once(folder: Path, delay: float) -> int:
    """Start the child, kill it `delay` seconds after its first save, and return the last step that it reported."""
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD], cwd=folder, env=environment(), stdout=subprocess.PIPE, text=True
    )
    assert child.stdout is not None
    first = child.stdout.readline()
    time.sleep(delay)
    child.kill()
    rest = [line for line in child.stdout.read().splitlines(keepends=True) if line.endswith("\n")]
    child.stdout.close()
    assert child.wait() == -9, "the child ended by itself"
    return int([first, *rest][-1])


def check(folder: Path, reported: int) -> int:
    """Load the file, compare it with the same number of steps, and return that number."""
    opt, again = optimizer(), optimizer()
    opt.load(folder / "opt.npz")
    step: int = opt.state[0]["step"]
    assert step >= reported, f"the file is of step {step}, the child had saved {reported}"
    for _ in range(step):
        again.step(np.ones(SIZE, np.float32))
    assert opt.param_groups[0]["params"][0].tobytes() == again.param_groups[0]["params"][0].tobytes()
    assert opt.state[0]["momentum_buffer"].tobytes() == again.state[0]["momentum_buffer"].tobytes()
    return step


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tools.kills", description=__doc__)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(2**32))
    options = parser.parse_args(argv)
    print(f"seed {options.seed}", flush=True)
    rng = random.Random(options.seed)
    halves = 0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        optimizer().save(folder / "opt.npz", params=True)
        for _ in range(options.kills):
            step = check(folder, kill_once(folder, rng.uniform(0, 0.02)))
            halves += len(parts := list(folder.glob(".fastopt-*.part")))
            for part in parts:
                part.unlink()
    print(f"{options.kills} kills, {step} saves, {halves} in the middle of a write: every file whole, none lost")
    return 0


if __name__ == "__main__":
    sys.exit(main())
