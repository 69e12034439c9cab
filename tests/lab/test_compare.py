"""Comparisons: evaluation, equal numbers from equal seeds, the search for lr, Ctrl-C, picture and JSON."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fastopt
from fastopt._native import _testing
from fastopt.lab.__main__ import SEVEN
from fastopt.lab.data import Split, Task, encode, split
from fastopt.lab.errors import LabError
from tests.lab.cases import Lab, blobs, check_png, compared, numbers, write_table, written


def test_evaluation_in_chunks_against_scikit_learn(
    extra: None, monkeypatch: pytest.MonkeyPatch, rng: np.random.Generator
) -> None:
    from fastopt.lab.compare import Settings, Trainer, start_weights

    def evaluate(task: Any, start: Any, target: Any) -> tuple[float, float]:
        rows = Split(x, target, x, target)
        return Trainer("SGD", None, task, start, rows, Settings(("SGD",))).evaluate(x, target)

    metrics = pytest.importorskip("sklearn.metrics")
    monkeypatch.setattr("fastopt.mlp.network.INFERENCE_ROWS", 7)
    x, y = rng.standard_normal((30, 4)).astype(np.float32), rng.integers(0, 3, 30)
    start = start_weights([4, 5, 3], rng)
    output = (np.maximum(x @ start.matrices[0], 0) @ start.matrices[1]).astype(np.float64)  # biases are 0 at first
    probability = np.exp(output) / np.exp(output).sum(axis=1, keepdims=True)
    expected = metrics.log_loss(y, probability), metrics.accuracy_score(y, output.argmax(axis=1))
    assert evaluate("classification", start, y) == pytest.approx(expected, rel=1e-6)
    start = start_weights([4, 5, 1], rng)
    target = rng.standard_normal(30).astype(np.float32)
    output = (np.maximum(x @ start.matrices[0], 0) @ start.matrices[1])[:, 0]
    expected = metrics.mean_squared_error(target, output) / 2, metrics.r2_score(target, output)
    assert evaluate("regression", start, target) == pytest.approx(expected, rel=1e-5)
    assert evaluate("regression", start, np.ones(30, np.float32))[1] == 0.0


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".npz", ".parquet"])
def test_every_format_for_both_tasks(lab: Lab, tmp_path: Path, extra: None, suffix: str) -> None:
    path = tmp_path / f"table{suffix}"
    write_table(path)
    for target, name in (("y", "r2"), ("kind", "accuracy")):
        arguments = ("--data", path, "--target", target, "--out", target)
        code, out, err = lab("compare", *arguments, "--hidden", "16,8", "--batch-size", 4)
        assert (code, err) == (0, "")
        assert "Adadelta" in out
        document = written(tmp_path / f"{target}.json")
        assert document["score"] == name
        assert document["network"]["layers"][1:] == [16, 8, 2 if target == "kind" else 1]
        best = {run["optimizer"]: max(run["held_out_score"]) for run in document["runs"]}
        assert min(best.values()) > 0.8, best


def test_all_seven_learn_the_digits(lab: Lab, tmp_path: Path, extra: None) -> None:
    code, out, err = lab("compare", "--epochs", 10)
    assert (code, err) == (0, "")
    document = written(tmp_path / "compare.json")
    assert [run["optimizer"] for run in document["runs"]] == SEVEN.split(",")
    for run in document["runs"]:
        assert run["held_out_score"][-1] > 0.9, run["optimizer"]
        assert run["train_loss"][-1] < 0.2 * run["train_loss"][0]
        assert run["optimizer"] in out


def test_same_seed_same_numbers_on_any_threads(extra: None) -> None:
    problem = blobs()
    before = _testing.set_serial_threshold(0)
    try:
        results = []
        for threads in (1, 1, 2, 3, 7):
            fastopt.set_num_threads(threads)
            results.append(numbers(compared(problem, seed=11)))
    finally:
        _testing.set_serial_threshold(before)
    assert all(result == results[0] for result in results[1:])
    assert numbers(compared(problem, seed=12)) != results[0]


def test_a_run_does_not_depend_on_its_neighbours(extra: None) -> None:
    names = tuple(SEVEN.split(","))
    forth, back = compared(blobs()), compared(blobs(), optimizers=names[::-1])
    assert numbers(forth) == numbers(back)[::-1]
    assert len({tuple(run[0]) for run in numbers(forth)}) == 1, "all start from the same weights"
    assert len({tuple(run[-1]) for run in numbers(forth)}) == len(names)


@pytest.mark.parametrize(("batch_size", "steps"), [(32, 3), (30, 3), (96, 1), (97, 1)])
def test_seconds_grow_and_steps_are_counted(extra: None, batch_size: int, steps: int) -> None:
    for run in compared(blobs(), batch_size=batch_size).runs:  # 96 training rows
        seconds = run.series("seconds")
        assert seconds[0] == 0
        assert np.all(np.diff(seconds) > 0)
        assert len(run.step_ns) == 4 * steps
        assert run.step_microseconds > 0


def test_a_network_that_starts_at_infinity_is_refused(extra: None) -> None:
    problem = blobs()
    problem.x[split(problem, 0.2, np.random.default_rng([0, 0]))[1]] = 3e38
    with pytest.raises(LabError, match="not finite"):
        compared(problem)


@pytest.mark.parametrize("task", ["classification", "regression"])
def test_search_never_sees_the_held_out_rows(extra: None, task: Task) -> None:
    problem = blobs()
    if task == "regression":
        problem = encode("sum", {"x": problem.x}, "y", problem.x.sum(axis=1), None)
    found = compared(problem, lr="search", optimizers=("SGD", "Adam")).searched
    assert {name: len(tried) for name, tried in found.items()} == {"SGD": 7, "Adam": 7}
    _, test = split(problem, 0.2, np.random.default_rng([0, 0]))
    problem.x[test] = 1e6
    if task == "regression":  # with other class sizes the stratified split would be another one
        problem.y[test] = 1e6
    assert compared(problem, lr="search", optimizers=("SGD", "Adam")).searched == found


def test_search_takes_the_lowest_validation_loss(lab: Lab, tmp_path: Path, extra: None) -> None:
    write_table(tmp_path / "t.npz")
    arguments = ("--data", "t.npz", "--target", "y", "--epochs", 3, "--optimizers", "momentum,AdamW")
    code, out, _ = lab("compare", *arguments, "--lr", "search")
    document = written(tmp_path / "compare.json")
    assert code == 0
    for run in document["runs"]:
        tried = {item["lr"]: item["validation_loss"] for item in document["lr_search"][run["optimizer"]]}
        tried = {lr: np.inf if loss is None else loss for lr, loss in tried.items()}
        assert run["lr"] == min(tried, key=tried.__getitem__)
        assert f"{run['lr']:g}" in out


def test_divergence_is_reported_not_raised(lab: Lab, tmp_path: Path, extra: None) -> None:
    write_table(tmp_path / "t.npz")
    arguments = ("--data", "t.npz", "--target", "y", "--epochs", 3, "--optimizers", "SGD,Adam")
    code, out, err = lab("compare", *arguments, "--lr", 1e30)
    assert (code, err) == (0, "")
    assert "diverged" in out
    document = written(tmp_path / "compare.json")
    assert document["runs"][0]["diverged"]
    assert document["runs"][0]["epochs"] < 3
    check_png(tmp_path / "compare.png")


# 160 training rows in batches of 16: an epoch of all three takes 30 steps.
@pytest.mark.parametrize(("steps", "epochs"), [(15, [1, 0, 0]), (40, [2, 1, 1]), (119, [4, 4, 3])])
def test_ctrl_c_keeps_what_was_trained(
    lab: Lab, tmp_path: Path, extra: None, monkeypatch: pytest.MonkeyPatch, steps: int, epochs: list[int]
) -> None:
    from fastopt.lab.compare import Trainer

    write_table(tmp_path / "t.npz")
    arguments = ("--data", "t.npz", "--target", "kind", "--optimizers", "SGD,NAG,Adam", "--batch-size", 16)
    assert lab("compare", *arguments, "--out", "whole")[0] == 0
    inner, count = Trainer._step, iter(range(10**6))

    def step(self: Any, gradients: Any) -> None:
        if next(count) == steps:
            signal.raise_signal(signal.SIGINT)
        inner(self, gradients)

    monkeypatch.setattr(Trainer, "_step", step)
    code, out, err = lab("compare", *arguments)
    assert (code, err) == (130, "")
    assert "interrupted" in out
    whole, part = written(tmp_path / "whole.json"), written(tmp_path / "compare.json")
    assert part["interrupted"]
    assert not whole["interrupted"]
    assert [run["epochs"] for run in part["runs"]] == epochs
    for run, longer in zip(part["runs"], whole["runs"], strict=True):
        assert run["train_loss"] == longer["train_loss"][: run["epochs"] + 1]
    check_png(tmp_path / "compare.png")


def test_ctrl_c_before_an_epoch_is_over(lab: Lab, tmp_path: Path, extra: None, monkeypatch: pytest.MonkeyPatch) -> None:
    from fastopt.lab.compare import Trainer

    monkeypatch.setattr(Trainer, "_step", lambda self, gradients: signal.raise_signal(signal.SIGINT))
    for more in ((), ("--lr", "search")):
        code, out, err = lab("compare", *more)
        assert (code, out, err.count("\n")) == (130, "", 1)
        assert not list(tmp_path.iterdir())


def test_a_new_optimizer_is_compared_without_a_change(
    lab: Lab, tmp_path: Path, extra: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fastopt, "Eighth", fastopt.SGD, raising=False)
    monkeypatch.setattr(fastopt, "__all__", [*fastopt.__all__, "Eighth"])
    write_table(tmp_path / "t.npz")
    arguments = ("--data", "t.npz", "--target", "y", "--epochs", 1)
    code, out, _ = lab("compare", *arguments, "--optimizers", "eighth,sgd")
    assert code == 0
    assert "Eighth" in out


def test_json_and_picture(lab: Lab, tmp_path: Path, extra: None) -> None:
    write_table(tmp_path / "t.npz")
    arguments = ("--data", "t.npz", "--target", "kind", "--epochs", 6, "--optimizers", "adam,SGD")
    more = ("--seed", 3, "--threads", 2, "--out", "results/deep/run.png")
    code, out, _ = lab("compare", *arguments, *more)
    assert code == 0
    assert "results/deep/run.png and results/deep/run.json" in out
    document = written(tmp_path / "results/deep/run.json")
    assert document["settings"]["optimizers"] == ["Adam", "SGD"]
    assert (document["settings"]["seed"], document["environment"]["threads"]) == (3, 2)
    data = document["data"]
    assert (data["source"], data["rows"], data["train_rows"] + data["held_out_rows"]) == ("t.npz", 200, 200)
    assert sum(data["classes"].values()) == 200
    goal = 0.95 * max(score for run in document["runs"] for score in run["held_out_score"])
    assert document["goal"] == pytest.approx(goal)
    for run in document["runs"]:
        assert {len(run[name]) for name in ("train_loss", "train_score", "held_out_loss", "seconds")} == {7}
        first = next((n for n, score in enumerate(run["held_out_score"]) if score >= goal), None)
        assert run["epochs_to_goal"] == first
        assert run["seconds_to_goal"] == (None if first is None else run["seconds"][first])
    check_png(tmp_path / "results/deep/run.png")
    assert len(list((tmp_path / "results/deep").iterdir())) == 2, "no temporary file remains"


def test_labels_are_spread(rng: np.random.Generator) -> None:
    pytest.importorskip("matplotlib")
    from fastopt.lab.picture import spread

    for wanted in (rng.random(8), np.full(8, 1.0), np.zeros(8), np.array([0.5])):
        heights = spread(wanted, 0.06)
        assert heights.min() >= 0
        assert heights.max() <= 1 + 1e-12
        order = np.argsort(wanted, kind="stable")
        assert np.all(np.diff(heights[order]) >= 0.06 - 1e-12)
    apart = np.array([0.9, 0.1, 0.5])
    assert spread(apart, 0.06) == pytest.approx(apart)
