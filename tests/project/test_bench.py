"""The benchmarks: shapes of the models, a contender with wrong results is not timed, verdicts follow from the records.

No speed is tested here. Contenders whose library is not installed are skipped.
"""

from __future__ import annotations

import json
from dataclasses import replace
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fastopt
from tests.support import ROOT, run_python

if not (ROOT / "bench").is_dir():
    pytest.skip("not here: bench/ is part of a checkout", allow_module_level=True)

from bench import crowded, peers, targets, timing
from bench.cells import COMMON, PHASE, STEP, TEXTBOOK, WORKS, Cell, comparable
from bench.contenders import CONTENDERS, FASTOPT, MOVING, Contender
from bench.report import Options, Report
from bench.timing import Run

#: They read their number of threads at start, compile for a minute, or need a library that CI does not install.
OWN_PROCESS = {"optax", "DeepSpeed", "thinc", "numba"}


@pytest.mark.parametrize(
    ("work", "tensors", "elements"),
    [("resnet50", 161, 25_557_032), ("gpt2", 148, 124_439_808), ("mlp", 6, 235_146), ("10000x64", 10_000, 640_000)],
)
def test_shapes_are_those_of_the_models(work: str, tensors: int, elements: int) -> None:
    assert len(WORKS[work]) == tensors
    assert sum(map(prod, WORKS[work])) == elements


def test_every_optimizer_is_compared() -> None:
    assert len(TEXTBOOK) == len(COMMON) == 7
    for rule in COMMON:
        assert {c.name for c in CONTENDERS if rule in c.rules} >= {"fastopt", "torch foreach", "optax", "NumPy"}


@pytest.mark.parametrize("phase", [STEP, PHASE])
@pytest.mark.parametrize("contender", [*CONTENDERS, MOVING], ids=lambda c: c.name)
def test_contenders_compute_what_the_reference_says(contender: Contender, phase: str) -> None:
    """On many tensors and on one, for every row of the contender."""
    if contender.name in OWN_PROCESS:
        pytest.skip("not here: the benchmark runs it in a process of its own")
    if (why := contender.missing()) is not None:
        pytest.skip(why)
    cells = [comparable(rule, work, 2, phase) for rule in contender.rules for work in ("mlp", "1x64")]
    for cell in cells:
        if contender.has(cell):
            contender.run(cell)


@pytest.mark.parametrize("phase", [STEP, PHASE])
@pytest.mark.parametrize("at", [0, 2_047, 19_999])
def test_a_contender_with_wrong_results_is_not_timed(phase: str, at: int) -> None:
    """An error of a thousandth of the update in one element is enough."""

    def build(cell: Cell, params: Any, grads: Any) -> Run:
        run = FASTOPT.build(cell, params, grads)
        step, start = run.step, params[0].copy()

        def wrong() -> None:
            step()
            params[0][at] += 1e-3 * (params[0][at] - start[at])

        run.step = wrong
        return run

    wrong = replace(FASTOPT, name="wrong", build=build)
    with pytest.raises(AssertionError, match=f"wrong is not timed|not timed.*element {at}"):
        wrong.run(comparable("adam", "20k", 1, phase))
    left_out: list[str] = []
    records = peers.compare(comparable("adam", "20k", 1, phase), [FASTOPT, wrong], 1, left_out)
    assert [r["contender"] for r in records] == ["fastopt"]
    assert len(left_out) == 1
    assert "wrong left out of adam on 20k: AssertionError" in left_out[0]


def test_contenders_that_do_not_fit_the_memory_together_take_turns_in_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    cell = Cell("adam", "1M")
    monkeypatch.setattr(peers.machine, "available_memory", lambda: 4 * peers.ARRAYS * cell.elements * 3 / peers.SHARE)
    chosen = [replace(FASTOPT, name=str(i)) for i in range(5)]
    assert [[c.name for c in group] for group in peers.groups(cell, chosen)] == [["0", "1"], ["2", "3"], ["4"]]
    assert [list(group) for group in peers.groups(cell, [])] == [[]]


def test_turns_alternate_and_stop_when_time_is_up(monkeypatch: pytest.MonkeyPatch) -> None:
    called: list[str] = []
    runs = [Run(name, lambda name=name: called.append(name)) for name in "AB"]  # type: ignore[misc]
    monkeypatch.setattr(timing, "WAKE", 0.0)
    samples = timing.interleave(runs, 6, batch=0.0)
    assert {name: len(times) for name, times in samples.items()} == {"A": 6, "B": 6}
    assert "".join(called).endswith("ABABABABABAB")
    samples = timing.interleave(runs, 100, batch=0.0, seconds=0.0, fewest=3)
    assert {len(times) for times in samples.values()} == {3}


def records(share: float, ratio: float) -> dict[str, list[dict[str, Any]]]:
    limit = {"limit": {}, "ratio": 1 / share, "median": 1e-3, "bytes_per_second": 1e9}
    core = [{"rule": rule, "work": "20M", "threads": n, **limit} for rule in TEXTBOOK for n in (1, 2)]
    fields = {"phase": STEP, "threads": 2, "median": 1e-3}
    found = [
        {"rule": rule, "work": work, "contender": c.name, "ratio": 1.0 if c is FASTOPT else ratio, **fields}
        for rule in COMMON
        for work in WORKS
        for c in CONTENDERS
    ]
    scaled = [
        {"rule": rule, "work": work, "threads": n, "ratio": float(n)}
        for rule in TEXTBOOK
        for work in ("100k", "1M", "10M", "20M")
        for n in (1, 2)
    ]
    return {"core": core, "peers": found, "scaling": scaled}


def test_the_records_decide_whether_targets_are_met() -> None:
    def verdicts(share: float, ratio: float) -> dict[str, str]:
        return {row[0]: row[4] for row in targets.report(records(share, ratio)).rows}

    good, bad = verdicts(0.96, 200.0), verdicts(0.94, 0.9)
    assert good.keys() == bad.keys()
    assert set(good.values()) == {"met", ""}
    assert bad["sgd, 20M, share of its limit"] == bad["adam, 20M, against torch fused and DeepSpeed"] == "MISSED"
    assert bad["adam, 1M, two threads over one"] == "met"
    assert bad["adam, 100x64, against loops by hand"] == ""


def test_all_contenders_are_timed_beside_a_busy_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(crowded, "STRETCH", 0.01)
    monkeypatch.setattr(crowded, "WORK", "20k")
    report = crowded.report(Options(("adam",), (1, 2), (), rounds=3))
    who = ["fastopt", "fastopt, one thread"] + (["torch fused"] if crowded.FUSED.missing() is None else [])
    assert [(r["busy"], r["who"]) for r in report.records] == [(b, w) for b in (False, True) for w in who]
    assert all(r["seconds"] > 0 and r["ratio"] > 0 for r in report.records)
    assert report.rows[-1][0] == "endless loop"


def test_pictures_and_text_from_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("matplotlib")
    from bench import machine
    from bench.__main__ import main

    parts = {name: vars(Report(name, name, ["a"], [["b"]], found)) for name, found in records(0.96, 3.0).items()}
    facts = machine.facts() | machine.loaded()
    (tmp_path / "bench.json").write_text(json.dumps({"machine": facts, "parts": parts}), encoding="utf-8")
    assert main(["--from", str(tmp_path / "bench.json"), "--out", str(tmp_path / "report")]) == 0
    assert "MISSED" in capsys.readouterr().out
    written = {path.name: path.stat().st_size for path in (tmp_path / "report").iterdir()}
    pictures = {"speed-against-size.png", "best-peer.png", "share-of-limit.png", "scaling.png"}
    assert written.keys() == {"report.txt", *pictures}
    assert all(written[name] > 10_000 for name in pictures)


@pytest.mark.slow
def test_the_command_measures_and_reports(tmp_path: Path) -> None:
    """A whole run, with contenders that need a process of their own."""
    pytest.importorskip("optax")
    command = ["peers", "--rows", "adam,rmsprop", "--works", "1x64", "--rounds", "1", "--threads", "1"]
    command += ["--contenders", "optax,NumPy,NumPy out=", "--out", str(tmp_path)]
    done = run_python("-m", "bench", *command, cwd=ROOT, timeout=600, FASTOPT_ISA=fastopt.isa())
    assert done.returncode == 0, done.stderr
    result = json.loads((tmp_path / "bench.json").read_text(encoding="utf-8"))
    found = result["parts"]["peers"]["records"]
    assert {(r["rule"], r["contender"]) for r in found} == {
        (rule, c) for rule in ("adam", "rmsprop") for c in ("fastopt", "optax", "NumPy", "NumPy out=")
    }
    assert all(np.isfinite(r["median"]) and r["median"] > 0 for r in found)
    assert result["machine"]["isa"] == fastopt.isa()


def test_a_wrong_argument_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    from bench.__main__ import main

    for wrong in (["bogus"], ["peers", "--works", "2M"], ["peers", "--contenders", "torhc"], ["--threads", "x"]):
        with pytest.raises(SystemExit):
            main(wrong)
    assert "unknown: 'torhc'" in capsys.readouterr().err
    for wrong in (["--threads", "0"], ["--threads", "2,"], ["--rounds", "0"], ["--from", str(ROOT / "pyproject.toml")]):
        with pytest.raises(SystemExit):
            main(wrong)
        said = capsys.readouterr().err
        assert "is not a positive integer" in said or "is no bench.json" in said
