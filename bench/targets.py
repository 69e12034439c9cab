"""The project's targets for speed, compared with the records of a run. It measures nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bench.cells import COMMON, PHASE, STEP, TEXTBOOK
from bench.contenders import CONTENDERS
from bench.report import Report, duration

Record = Mapping[str, Any]
Parts = Mapping[str, Sequence[Record]]

BY_HAND = {c.name for c in CONTENDERS if c.by_hand}
OURS = {c.name for c in CONTENDERS if c.needs == "fastopt"}
TORCH = {c.name for c in CONTENDERS if c.needs == "torch"}
PEERS = {c.name for c in CONTENDERS} - BY_HAND - OURS


@dataclass(frozen=True)
class Target:
    """A target: the quantity, the part that measures it, and its lower or upper bound."""

    what: str
    part: str
    value: Callable[[Parts], float | None]
    least: float | None = None
    most: float | None = None
    is_time: bool = False

    def met(self, value: float) -> bool:
        return (self.least is None or value >= self.least) and (self.most is None or value <= self.most)


def find(records: Iterable[Record], **wanted: Any) -> list[Record]:
    return [r for r in records if all(r.get(k) == v for k, v in wanted.items())]


def against(
    rule: str, work: str, who: set[str], phase: str = STEP, threads: int = 2
) -> Callable[[Parts], float | None]:
    """The shortest time of these contenders over fastopt's time."""

    def value(parts: Parts) -> float | None:
        found = find(parts.get("peers", ()), rule=rule, work=work, phase=phase, threads=threads)
        return min((r["ratio"] for r in found if r["contender"] in who), default=None)

    return value


def of_limit(rule: str, threads: int = 2) -> Callable[[Parts], float | None]:
    """The time of the limit over fastopt's."""

    def value(parts: Parts) -> float | None:
        found = [r for r in find(parts.get("core", ()), rule=rule, threads=threads) if "limit" in r]
        return 1 / found[0]["ratio"] if found else None

    return value


def seconds(work: str, tensors: int = 1) -> Callable[[Parts], float | None]:
    """Seconds of an Adam step per tensor of this work."""

    def value(parts: Parts) -> float | None:
        found = find(parts.get("core", ()), rule="adam", work=work)
        return found[0]["median"] / tensors if found else None

    return value


def gain(rule: str, work: str) -> Callable[[Parts], float | None]:
    """The time of one thread over that of two."""

    def value(parts: Parts) -> float | None:
        return next((r["ratio"] for r in find(parts.get("scaling", ()), rule=rule, work=work, threads=2)), None)

    return value


def of_normal(work: str, loops: bool = False) -> Callable[[Parts], float | None]:
    """The largest ratio of a step with subnormal states to one with normal states; or the same of the minimal loops."""

    def value(parts: Parts) -> float | None:
        found = find(parts.get("subnormal", ()), work=work, states="subnormal")
        return max((r["ratio"] for r in found if r["rule"].startswith("loop") == loops), default=None)

    return value


def import_seconds(parts: Parts) -> float | None:
    return next((r["median"] for r in parts.get("import", ()) if r["import"].startswith("fastopt")), None)


FUSED = {"torch fused", "DeepSpeed"}
TARGETS = (
    *(Target(f"{rule}, 20M, share of its limit", "core", of_limit(rule), least=0.95) for rule in TEXTBOOK),
    *(
        Target(f"{rule}, 20M, against torch fused and DeepSpeed", "peers", against(rule, "20M", FUSED), least=1.0)
        for rule in COMMON
        if any(c.name in FUSED and rule in c.rules for c in CONTENDERS)
    ),
    Target("rmsprop, 20M, against torch", "peers", against("rmsprop", "20M", TORCH), least=5),
    Target("rmsprop, 20M, against optax", "peers", against("rmsprop", "20M", {"optax"}), least=1.4),
    Target("adadelta, 20M, against torch", "peers", against("adadelta", "20M", TORCH), least=10),
    Target("adadelta, 20M, against optax", "peers", against("adadelta", "20M", {"optax"}), least=7),
    Target("rmsprop, 20k, against torch", "peers", against("rmsprop", "20k", TORCH), least=10),
    Target("adadelta, 20k, against torch", "peers", against("adadelta", "20k", TORCH), least=10),
    Target("adam, 100x64, against torch fused", "peers", against("adam", "100x64", {"torch fused"}), least=150),
    Target("adam, 100x64, against every library", "peers", against("adam", "100x64", PEERS), least=80),
    Target("adam, 100x64, against loops by hand", "peers", against("adam", "100x64", BY_HAND)),
    Target("adam, one tensor of 64, a call", "core", seconds("1x64"), most=0.6e-6, is_time=True),
    Target("adam, 10,000 tensors of 64, a tensor", "core", seconds("10000x64", 10_000), most=60e-9, is_time=True),
    Target("adam, ResNet-50, against torch fused", "peers", against("adam", "resnet50", {"torch fused"}), least=1.2),
    Target("adam, GPT-2, against torch fused", "peers", against("adam", "gpt2", {"torch fused"}), least=1.0),
    Target(
        "adam, GPT-2, clip + step + zero, against torch fused",
        "peers",
        against("adam", "gpt2", {"torch fused"}, PHASE),
        least=1.4,
    ),
    *(Target(f"{rule}, 1M, two threads over one", "scaling", gain(rule, "1M"), least=1.7) for rule in TEXTBOOK),
    Target("import fastopt, beyond NumPy", "import", import_seconds, most=5e-3, is_time=True),
    *(Target(f"subnormal states, {work}", "subnormal", of_normal(work), most=1.2) for work in ("20k", "20M")),
    Target("subnormal numbers in a minimal loop, 20k", "subnormal", of_normal("20k", loops=True)),
)


def report(parts: Parts) -> Report:
    """All targets whose part was run."""
    rows, records = [], []
    for target in TARGETS:
        value = target.value(parts)
        if value is None:
            continue
        shown = duration(value) if target.is_time else f"{value:.2f}"
        bound = target.least if target.least is not None else target.most
        asked = "" if bound is None else f"{'>=' if target.most is None else '<='} "
        asked += "" if bound is None else duration(bound) if target.is_time else f"{bound:g}"
        verdict = "" if bound is None else "met" if target.met(value) else "MISSED"
        rows.append([target.what, target.part, shown, asked, verdict])
        records.append({"what": target.what, "value": value, "bound": bound, "met": target.met(value)})
    return Report("targets", "Targets", ["what", "part", "measured", "target", ""], rows, records)


def best_peer(parts: Parts, rule: str, work: str, threads: int) -> tuple[str, float] | None:
    """The fastest library at this work, and its time over fastopt's."""
    found = find(parts.get("peers", ()), rule=rule, work=work, phase=STEP, threads=threads)
    peers = [(r["contender"], r["ratio"]) for r in found if r["contender"] in PEERS]
    return min(peers, key=lambda peer: peer[1], default=None)
