"""Random operations on pairs of optimizers: every step against the reference, and both optimizers bit for bit.

`python -m tools soak [--seconds 1800] [--seed N]`. The second optimizer of a pair, the twin, uses the baseline
instruction set and one thread. Operations are steps, saves, loads, pickles, state dicts, changes of groups, bad input
and skipped steps. All are drawn from the seed, which is printed. A failure names the operation; the same seed repeats
it.
"""

from __future__ import annotations

import argparse
import collections
import copy
import pickle
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tests.support import reference
from tests.support.rows import (
    ISAS,
    ROWS,
    SIZES,
    THREADS,
    TILE,
    Array,
    Row,
    Tensor,
    assert_right,
    away,
    contents,
    core,
    expected_step,
    given,
    numbers,
    params_of,
)

LIMIT = 1e12  # a larger parameter has diverged, and a new pair begins: float32 has no digits left for the updates


def tensors(rng: np.random.Generator, count: int) -> list[Array]:
    """float32 arrays: empty, scalars, vectors around the sizes of vectors and tiles, C and Fortran order."""
    found = []
    for _ in range(count):
        kind = rng.integers(6)
        n = int(rng.choice([n for n in SIZES if n < 20_000])) if kind < 4 else int(rng.integers(0, 3 * TILE))
        x = numbers(rng, n, -3.0, 1.0)
        if kind == 3:
            x = np.asfortranarray(numbers(rng, 35, -3.0, 1.0).reshape(7, 5))
        found.append(x if kind else x.reshape(-1)[:1].reshape(() if n else (0,)))
    return found


class Pair:
    """An optimizer and its twin. Both get the same operations and must stay equal in every bit."""

    def __init__(self, rng: np.random.Generator, folder: Path) -> None:
        self.rng, self.folder = rng, folder
        self.row: Row = list(ROWS.values())[rng.integers(len(ROWS))]
        self.skips = bool(rng.integers(2))
        shapes = [tensors(rng, int(rng.integers(1, 6))) for _ in range(rng.integers(1, 4))]
        self.groups = [{"params": ws, **self.values()} for ws in shapes]
        self.opt, self.twin = self.make(), self.make()

    def values(self) -> dict[str, Any]:
        """Random hyper-parameters with other values than the defaults that do not change the rule."""
        found: dict[str, Any] = {}
        for name, default in self.row.hyper().items():
            value = {name: away(name, default)}
            if name not in self.row.chosen and self.rng.random() < 0.4 and self.row.keeps({**found, **value}):
                found |= value
        return found

    def make(self) -> Any:
        """A new optimizer of these groups."""
        return self.row.make([{**g, "params": [p.copy(order="K") for p in g["params"]]} for g in self.groups],
                             skip_nonfinite=self.skips)  # fmt: skip

    def gradients(self) -> list[Array]:
        return [numbers(self.rng, p.size).reshape(p.shape) for p in params_of(self.opt)]

    def setting(self) -> dict[str, Any]:
        """An instruction set and a number of threads."""
        rng = self.rng
        return {
            "isa": str(rng.choice(ISAS)),
            "threads": int(rng.choice(THREADS)),
            "threshold": int(rng.choice([0, 20000])),
        }

    # -- operations ---------------------------------------------------------------------------------------------------

    def step(self) -> None:
        """One step under a random setting. Every element is compared with the reference."""
        grads, options = self.gradients(), self.options()
        before = self.tensors(grads)
        zero = bool(self.rng.integers(2))
        own = [g.copy() for g in grads]
        with core(**self.setting()):
            norm = self.opt.step(given(own), zero_grads=zero, **options)
        with core(isa=ISAS[0], threads=1):
            assert self.twin.step(given(grads), **options) == norm
        assert not zero or not any(g.any() for g in own)
        self.judge(before, options)

    def options(self) -> dict[str, Any]:
        rng = self.rng
        limit = None if rng.integers(2) else float(rng.uniform(0.01, 30.0))
        return {"max_norm": limit, "grad_scale": float(rng.choice([1.0, 0.5, -3.0]))}

    def tensors(self, grads: Sequence[Array]) -> list[list[Tensor]]:
        """Copies of all arrays that a step reads, by group."""
        states, gs = iter(self.opt.state), iter(grads)
        return [
            [
                Tensor(p.ravel("K"), next(gs).ravel("F" if p.flags.fnc else "C"), states_of(next(states))).copy()
                for p in group["params"]
            ]
            for group in self.opt.param_groups
        ]

    def judge(self, before: list[list[Tensor]], options: dict[str, Any]) -> None:
        norm = reference.global_norm([x.g for group in before for x in group], options["grad_scale"])
        after = self.tensors([x.g for group in before for x in group])
        steps = iter(self.opt.state)
        for group, olds, news in zip(self.opt.param_groups, before, after, strict=True):
            for old, new in zip(olds, news, strict=True):
                t = next(steps)["step"]
                expected = expected_step(self.row, group, old, t, norm=norm, **options)
                assert_right(self.row, new, expected, f"t={t}, {options}")

    def save_and_load(self) -> None:
        """Save, and load into another optimizer that has made a step of its own."""
        self.opt.save(self.folder / "o", params=True)
        other = self.make_like()
        other.load(self.folder / "o")
        self.opt = other

    def through_state_dict(self) -> None:
        other = self.make_like()
        other.load_state_dict(self.opt.state_dict())
        for p, q in zip(params_of(other), params_of(self.opt), strict=True):
            p[...] = q
        self.opt = other

    def make_like(self) -> Any:
        """A new optimizer of the same groups after one step with other gradients."""
        other = self.make()
        other.step(given([numbers(self.rng, p.size).reshape(p.shape) for p in params_of(other)]))
        return other

    def through_pickle(self) -> None:
        self.opt = pickle.loads(pickle.dumps(self.opt)) if self.rng.integers(2) else copy.deepcopy(self.opt)

    def change_group(self) -> None:
        """Change hyper-parameters of a group between two steps."""
        at = int(self.rng.integers(len(self.groups)))
        values = {k: v for k, v in self.values().items() if self.row.keeps({k: v})}
        if not values or self.row.cls.rule_of({**self.opt.param_groups[at], **values}) != self.row.rule:
            return
        for opt in (self.opt, self.twin):
            opt.param_groups[at].update(values)

    def add_group(self) -> None:
        if len(self.groups) < 6:
            group = {"params": tensors(self.rng, int(self.rng.integers(1, 4))), **self.values()}
            self.groups.append(group)
            for opt in (self.opt, self.twin):
                opt.add_param_group({**group, "params": [p.copy(order="K") for p in group["params"]]})

    def refused(self) -> None:
        """A step with one bad gradient raises and changes nothing."""
        grads: list[Any] = self.gradients()
        at = int(self.rng.integers(len(grads)))
        wrong = [None, "x", grads[at].astype(np.float64), np.zeros((2, 3, 4, 5), np.float32), params_of(self.opt)[at]]
        grads[at] = wrong[self.rng.integers(4 + (params_of(self.opt)[at].size > 0))]
        try:
            self.opt.step(given(grads))
        except (TypeError, ValueError):
            return
        raise AssertionError(f"gradient {at} was taken: {grads[at]!r:.80}")

    def skipped(self) -> None:
        """A gradient with a NaN or infinity: only the count of skipped steps changes."""
        grads = self.gradients()
        filled = [g for g in grads if g.size]
        if not self.skips or not filled:
            return
        filled[self.rng.integers(len(filled))].reshape(-1)[-1] = self.rng.choice([np.nan, np.inf, -np.inf])
        before = self.opt.skipped
        with core(**self.setting()):
            self.opt.step(given(grads))
        assert self.opt.skipped == before + 1
        self.twin.step(given(grads))

    def diverged(self) -> bool:
        return any(p.size and not np.abs(p).max() < LIMIT for p in params_of(self.opt))


def states_of(state: dict[str, Any]) -> tuple[Array, ...]:
    return tuple(v.ravel("K") for name, v in state.items() if name != "step")


OPERATIONS: list[tuple[Callable[[Pair], None], float]] = [
    (Pair.step, 0.72),
    (Pair.save_and_load, 0.04),
    (Pair.through_state_dict, 0.04),
    (Pair.through_pickle, 0.04),
    (Pair.change_group, 0.06),
    (Pair.add_group, 0.02),
    (Pair.refused, 0.04),
    (Pair.skipped, 0.04),
]


def soak(seconds: float, seed: int) -> dict[str, int]:
    """Return how often each operation ran. An AssertionError names the operation that failed."""
    rng = np.random.default_rng(seed)
    counts: collections.Counter[str] = collections.Counter()
    end = time.monotonic() + seconds
    weights = [weight for _, weight in OPERATIONS]
    with tempfile.TemporaryDirectory() as folder:
        while time.monotonic() < end:
            pair = Pair(rng, Path(folder))
            counts["optimizers"] += 1
            if counts["optimizers"] % 500 == 0:
                print(f"{seconds - end + time.monotonic():.0f} s: {counts['step']:,} steps", flush=True)
            for _ in range(rng.integers(20, 200)):
                operation = OPERATIONS[rng.choice(len(OPERATIONS), p=weights)][0]
                label = f"seed {seed}, operation {counts.total()}: {pair.row.rule}, {operation.__name__}"
                try:
                    operation(pair)
                    assert contents(pair.opt) == contents(pair.twin), "the twin differs"
                except Exception as error:
                    raise AssertionError(f"{label}: {error}") from error
                counts[operation.__name__] += 1
                if pair.diverged() or time.monotonic() > end:
                    break
    return dict(counts)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tools.soak", description=__doc__)
    parser.add_argument("--seconds", type=float, default=1800)
    parser.add_argument("--seed", type=int, default=int(np.random.SeedSequence().generate_state(1)[0]))
    options = parser.parse_args(argv)
    print(f"seed {options.seed}, {options.seconds:g} s", flush=True)
    with np.errstate(all="ignore"):
        counts = soak(options.seconds, options.seed)
    print(", ".join(f"{name} {n:,}" for name, n in counts.items()) + ": no difference")
    return 0


if __name__ == "__main__":
    sys.exit(main())
