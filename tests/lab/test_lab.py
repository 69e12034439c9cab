"""The command line: gradients, equal numbers from equal seeds, files in and out, one line per mistake.

Trains on small tables written here and on scikit-learn's digits; refuses to judge speed.
"""

import json
import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fastopt
from fastopt._native import _testing
from fastopt.lab import network
from fastopt.lab.__main__ import SEVEN, main
from fastopt.lab.data import Problem, encode, load, scale, split
from fastopt.lab.errors import LabError
from tests.support import run_python

EXTRA = ("matplotlib", "rich", "sklearn", "threadpoolctl", "pandas")
Lab = Callable[..., tuple[int, str, str]]


@pytest.fixture
def extra() -> None:
    for module in EXTRA:
        pytest.importorskip(module)


@pytest.fixture(autouse=True)
def default_threads() -> Iterator[None]:
    yield
    fastopt.set_num_threads(None)


@pytest.fixture
def lab(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Lab:
    """Run the command in an empty directory; exit code, stdout, stderr."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: object) -> tuple[int, str, str]:
        capsys.readouterr()
        code = main([str(argument) for argument in arguments])
        return code, *capsys.readouterr()

    return run


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(7)


def blobs(rows: int = 120) -> Problem:
    """Three well separated classes in five dimensions."""
    rng = np.random.default_rng(5)
    y = np.arange(rows) % 3
    x = rng.standard_normal((rows, 5)) + 3.0 * np.eye(5)[y]
    return encode("blobs", {"x": x}, "y", y, None)


def numbers(comparison: Any) -> list[list[tuple[float, ...]]]:
    """All that must not depend on the clock."""
    return [[epoch[:4] for epoch in run.history] for run in comparison.runs]


def written(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def compared(problem: Problem, **settings: Any) -> Any:
    from fastopt.lab.compare import Settings, compare

    small: dict[str, Any] = {"optimizers": tuple(SEVEN.split(",")), "epochs": 4, "hidden": (8,)}
    return compare(problem, Settings(**small | settings), lambda stage, run: None)


def exact_gradients(task: network.Task, params: list[Any], x: Any, y: Any) -> list[Any]:
    """From the equations, in double."""
    layers = [x.astype(np.float64)]
    for i in range(0, len(params), 2):
        z = layers[-1] @ params[i].astype(np.float64) + params[i + 1]
        layers.append(z if i + 2 == len(params) else np.maximum(z, 0))
    if task == "classification":
        slope = np.exp(layers[-1]) / np.exp(layers[-1]).sum(axis=1, keepdims=True) - np.eye(3)[y]
    else:
        slope = layers[-1] - y[:, None]
    slope, grads = slope / len(y), []
    for i in range(len(params) - 2, -1, -2):
        grads = [layers[i // 2].T @ slope, slope.sum(axis=0), *grads]
        slope = (slope @ params[i].T) * (layers[i // 2] > 0)
    return grads


@pytest.mark.parametrize("hidden", [(), (5,), (6, 4), (5, 4, 3)])
@pytest.mark.parametrize("task", ["classification", "regression"])
def test_every_gradient_is_that_of_the_equations(
    extra: None, task: network.Task, hidden: tuple[int, ...], rng: np.random.Generator
) -> None:
    params = network.initial_parameters([4, *hidden, 3 if task == "classification" else 1], rng)
    params[1::2] = [rng.standard_normal(bias.shape).astype(np.float32) for bias in params[1::2]]
    x = rng.standard_normal((9, 4)).astype(np.float32)
    y = rng.integers(0, 3, 9) if task == "classification" else rng.standard_normal(9)
    grads = network.Learner(task, params, 9).gradients(x, y)
    for grad, exact in zip(grads, exact_gradients(task, params, x, y), strict=True):
        assert grad.dtype == np.float32
        np.testing.assert_allclose(grad[0], exact, rtol=1e-4, atol=2e-6)


def test_evaluation_in_chunks_against_scikit_learn(
    extra: None, monkeypatch: pytest.MonkeyPatch, rng: np.random.Generator
) -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    monkeypatch.setattr("fastopt.mlp.network.INFERENCE_ROWS", 7)
    x, y = rng.standard_normal((30, 4)).astype(np.float32), rng.integers(0, 3, 30)
    params = network.initial_parameters([4, 5, 3], rng)
    output = (np.maximum(x @ params[0], 0) @ params[2]).astype(np.float64)  # biases are 0 at first
    probability = np.exp(output) / np.exp(output).sum(axis=1, keepdims=True)
    expected = metrics.log_loss(y, probability), metrics.accuracy_score(y, output.argmax(axis=1))
    assert network.Learner("classification", params, 30).evaluate(x, y) == pytest.approx(expected, rel=1e-6)
    params = network.initial_parameters([4, 5, 1], rng)
    target = rng.standard_normal(30).astype(np.float32)
    output = (np.maximum(x @ params[0], 0) @ params[2])[:, 0]
    expected = metrics.mean_squared_error(target, output) / 2, metrics.r2_score(target, output)
    learner = network.Learner("regression", params, 30)
    assert learner.evaluate(x, target) == pytest.approx(expected, rel=1e-5)
    assert learner.evaluate(x, np.ones(30, np.float32))[1] == 0.0


@pytest.mark.parametrize(
    ("y", "task"),
    [
        (["u", "v"] * 10, "classification"),
        ([True, False] * 10, "classification"),
        (list(range(10)) * 2, "classification"),
        ([0.0, 1.0] * 10, "classification"),
        ([0.5, 1.0] * 10, "regression"),
        (list(range(40)), "regression"),
    ],
)
def test_task_is_told_from_the_target(y: list[Any], task: str) -> None:
    problem = encode("s", {"x": np.arange(float(len(y)))}, "y", np.array(y), None)
    assert problem.task == task
    assert problem.outputs == (len(set(y)) if task == "classification" else 1)


def test_task_can_be_chosen() -> None:
    assert encode("s", {"x": np.arange(20.0)}, "y", np.arange(20) % 5, "regression").task == "regression"
    assert encode("s", {"x": np.arange(60.0)}, "y", np.arange(60) % 30, "classification").outputs == 30


def test_scaling_sees_the_training_rows_alone() -> None:
    problem = blobs()
    problem.x[:, 4] = 2.5
    train, test = split(problem, 0.25, np.random.default_rng(0))
    parts = scale(problem, train, test)
    assert parts.x_train.dtype == np.float32
    assert parts.x_train[:, :4].mean(axis=0) == pytest.approx(np.zeros(4), abs=1e-6)
    assert parts.x_train[:, :4].std(axis=0) == pytest.approx(np.ones(4), rel=1e-5)
    problem.x[test] += 1e3
    again = scale(problem, train, test)
    assert np.array_equal(parts.x_train, again.x_train)
    assert not again.x_test[:, 4].any(), "a column that is constant in training is zero everywhere"


def test_split_divides_every_class_alike() -> None:
    y = np.repeat([0, 1, 2], [100, 20, 2])
    problem = encode("s", {"x": np.arange(122.0)}, "y", y, "classification")
    train, test = split(problem, 0.2, np.random.default_rng(3))
    assert np.array_equal(np.sort(np.concatenate([train, test])), np.arange(122))
    assert np.bincount(y[test]).tolist() == [20, 4, 1]
    rest, validation = split(problem, 0.5, np.random.default_rng(3), train)
    assert np.array_equal(np.sort(np.concatenate([rest, validation])), train)


def test_text_is_one_hot_encoded(tmp_path: Path) -> None:
    pytest.importorskip("pandas")
    path = tmp_path / "t.csv"
    path.write_text("\ufeffa, kind ,flag,y\n" + "1.5,red,True,u\n2.5,blue,False,v\n3.5,red,True,u\n" * 5)
    problem = load(str(path), "y", None)
    assert (problem.features, problem.classes) == (3, ("u", "v"))
    assert problem.x[:2].tolist() == [[1.5, 0, 1, 1], [2.5, 1, 0, 0]]
    assert problem.y[:3].tolist() == [0, 1, 0]


def write_table(path: Path) -> None:
    """A linear target y, a class, two features and a text, in the format that the name asks for."""
    rng = np.random.default_rng(1)
    a, b = rng.standard_normal((2, 200))
    columns = {"a": a, "b": b, "c": np.where(a > 0, "up", "down"), "kind": np.where(a + b > 0, "p", "q")}
    columns["y"] = 2 * a - b + 0.01 * rng.standard_normal(200)
    if path.suffix == ".npz":
        np.savez(path, **columns)
        return
    frame = pytest.importorskip("pandas").DataFrame(columns)
    if path.suffix == ".parquet":
        pytest.importorskip("pyarrow")
        frame.to_parquet(path)
    else:
        frame.to_csv(path, index=False, sep={".csv": ",", ".tsv": "\t"}[path.suffix])


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


def test_every_format_holds_the_same(tmp_path: Path, extra: None) -> None:
    pytest.importorskip("pyarrow")
    paths = [tmp_path / f"t{suffix}" for suffix in (".npz", ".csv", ".tsv", ".parquet")]
    for path in paths:
        write_table(path)
    first, *others = [load(str(path), "kind", None) for path in paths]
    for other in others:
        assert np.array_equal(first.x, other.x)
        assert np.array_equal(first.y, other.y)
        assert (first.features, first.classes) == (other.features, other.classes)


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
def test_search_never_sees_the_held_out_rows(extra: None, task: network.Task) -> None:
    problem = blobs()
    if task == "regression":
        problem = encode("sum", {"x": problem.x}, "y", problem.x.sum(axis=1), None)
    found = compared(problem, lr="search", optimizers=("SGD", "Adam")).searched
    assert {name: len(tried) for name, tried in found.items()} == {"SGD": 7, "Adam": 7}
    _, test = split(problem, 0.2, np.random.default_rng([0, 0]))
    problem.x[test] = 1e6
    if task == "regression":  # other classes would be another stratified split
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

    def step(self: Any, x: Any, y: Any) -> None:
        if next(count) == steps:
            signal.raise_signal(signal.SIGINT)
        inner(self, x, y)

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

    monkeypatch.setattr(Trainer, "_step", lambda self, x, y: signal.raise_signal(signal.SIGINT))
    for more in ((), ("--lr", "search")):
        code, out, err = lab("compare", *more)
        assert (code, out, err.count("\n")) == (130, "", 1)
        assert not list(tmp_path.iterdir())


def test_a_new_optimizer_needs_no_word_in_the_lab(
    lab: Lab, tmp_path: Path, extra: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fastopt, "Eighth", fastopt.SGD, raising=False)
    monkeypatch.setattr(fastopt, "__all__", [*fastopt.__all__, "Eighth"])
    write_table(tmp_path / "t.npz")
    arguments = ("--data", "t.npz", "--target", "y", "--epochs", 1)
    code, out, _ = lab("compare", *arguments, "--optimizers", "eighth,sgd")
    assert code == 0
    assert "Eighth" in out


def check_png(path: Path) -> None:
    image = pytest.importorskip("matplotlib.image").imread(path)
    assert image.shape[0] > 500
    assert image.shape[1] > 1000
    assert len(np.unique(image.reshape(-1, image.shape[2]), axis=0)) > 20, "not a blank picture"


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
    assert len(list((tmp_path / "results/deep").iterdir())) == 2, "no scratch file stays"


def test_quiet_prints_nothing(lab: Lab, tmp_path: Path, extra: None) -> None:
    write_table(tmp_path / "t.npz")
    arguments = ("--data", "t.npz", "--target", "y", "--epochs", 1, "--optimizers", "sgd", "--out", "sub/")
    assert lab("compare", *arguments, "--quiet") == (0, "", "")
    assert {path.name for path in (tmp_path / "sub").iterdir()} == {"compare.png", "compare.json"}


def test_a_failed_write_leaves_the_old_file(tmp_path: Path, extra: None, monkeypatch: pytest.MonkeyPatch) -> None:
    from fastopt.lab import report

    path = tmp_path / "x.json"
    path.write_bytes(b"old")

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(LabError, match="No space left"):
        report.write(path, b"new")
    assert [p.read_bytes() for p in tmp_path.iterdir()] == [b"old"]


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


ROWS = "".join(f"{i % 7},{i % 5},{'uv'[i % 2]}\n" for i in range(30))
TABLES = {
    "empty": ("", "empty"),
    "header_alone": ("a,b,y\n", "0 rows"),
    "few_rows": ("a,b,y\n1,2,u\n3,4,v\n", "2 rows"),
    "one_long_row": ("a,b,y\n" + ROWS + "1,2,u,4\n", "line 32"),
    "long_rows": ("a,b\n" + ROWS, "more cells than the header"),
    "short_row": ("a,b,y\n" + ROWS + "1,2\n", "'y' has empty"),
    "open_quote": ("a,b,y\n" + ROWS + '"1,2,u\n', "cannot read"),
    "empty_cell": ("a,b,y\n" + ROWS + "1,,u\n", "'b' has empty, NaN or infinite cells: 1 of 31 rows"),
    "place": ("a,b,y\n" + ROWS + "1,,u\n1,2,u\n1,,u\n", "2 of 33 rows, the first is row 31"),
    "empty_text": ("a,b,y\n" + "p,1,u\nq,2,v\n" * 10 + ",2,v\n", "'a' has empty"),
    "nan": ("a,b,y\n" + ROWS + "NaN,2,u\n", "'a' has empty"),
    "inf": ("a,b,y\n" + ROWS + "1,-inf,u\n", "'b' has empty"),
    "no_label": ("a,b,y\n" + ROWS + "1,2,\n", "'y' has empty"),
    "one_class": ("a,b,y\n" + ROWS.replace("v", "u"), "single class 'u'"),
    "one_value": ("a,b,y\n" + "1,2,0.5\n2,3,0.5\n" * 10, "single value 0.5"),
    "rare_class": ("a,b,y\n" + ROWS + "1,2,w\n", "class 'w' of target 'y' has 1 row"),
    "typing_error": ("a,b,y\n" + "".join(f"{i},2,u\n{i},3,v\n" for i in range(30)) + "1.5.2,1,u\n", "row 61"),
    "many_texts": ("a,b,y\n" + "".join(f"n{i}x,1,u\nn{i}x,1,v\n" for i in range(150)), "150 different texts"),
    "twice": ("a,a,y\n" + ROWS, "'a' occurs more than once"),
    "no_name": (",b,y\n" + ROWS, "column 1 has no name"),
    "no_features": ("y\n" + "u\nv\n" * 10, "no column beside"),
    "too_large": ("a,b,y\n" + "1e308,1,u\n-1e308,2,v\n" * 10, "too large"),
    "no_target": ("a,b,z\n" + ROWS, "no column 'y'; it has a, b, z"),
}


def check_mistake(result: tuple[int, str, str], fragment: str) -> None:
    code, out, err = result
    assert code == 2
    assert out == ""
    assert err.startswith("fastopt: ")
    assert err.count("\n") == 1, err
    assert err.endswith("\n")
    assert "Traceback" not in err
    assert fragment in err


@pytest.mark.parametrize("name", TABLES)
def test_bad_table(lab: Lab, tmp_path: Path, extra: None, name: str) -> None:
    content, fragment = TABLES[name]
    (tmp_path / "t.csv").write_text(content)
    check_mistake(lab("compare", "--data", "t.csv", "--target", "y"), fragment)
    assert [path.name for path in tmp_path.iterdir()] == ["t.csv"]


@pytest.mark.parametrize(
    ("name", "content", "fragment"),
    [
        ("t.csv", b"\xff\xfea,b,y\n\x80", "not UTF-8"),
        ("t.npz", b"", "not a whole NPZ"),
        ("t.npz", b"PK\x03\x04 cut off", "not a whole NPZ"),
        ("t.npz", b"text", "not a whole NPZ"),
        ("t.parquet", b"text", "t.parquet"),
        ("t.xlsx", b"text", ".csv, .tsv, .npz, .parquet"),
    ],
)
def test_bad_file(lab: Lab, tmp_path: Path, extra: None, name: str, content: bytes, fragment: str) -> None:
    (tmp_path / name).write_bytes(content)
    check_mistake(lab("compare", "--data", name, "--target", "y"), fragment)


Y = np.arange(20) % 2


@pytest.mark.parametrize(
    ("arrays", "fragment"),
    [
        ({"x": np.ones((20, 2)), "y": Y[:19]}, "unequal length"),
        ({"x": np.ones(()), "y": Y}, "unequal length"),
        ({"x": np.array([{}] * 20, dtype=object), "y": Y}, "allow_pickle"),
        ({"x": np.ones(20) * 1j, "y": Y}, "complex128"),
        ({"x": np.array(["2020-01-01"] * 20, "M8[D]"), "y": Y}, "datetime64"),
        ({"x": np.ones((20, 0)), "y": Y}, "no column beside"),
        ({"x": np.full((20, 2), np.nan), "y": Y}, "'x' has empty"),
        ({"x": np.array([["p", "q"]] * 20), "y": Y}, "shape (20, 2)"),
        ({"x": np.ones(20), "y": np.ones((20, 2))}, "shape (20, 2)"),
        ({"x": np.ones(20), "y": np.where(Y, np.nan, 1.0)}, "'y' has empty"),
        ({}, "empty"),
    ],
)
def test_bad_arrays(lab: Lab, tmp_path: Path, extra: None, arrays: dict[str, Any], fragment: str) -> None:
    np.savez(tmp_path / "t.npz", **arrays)
    check_mistake(lab("compare", "--data", "t.npz", "--target", "y"), fragment)


@pytest.mark.parametrize(
    ("arguments", "fragment"),
    [
        ("", "required"),
        ("train", "invalid choice"),
        ("compare --bogus", "--bogus"),
        ("compare extra", "extra"),
        ("compare --data nowhere.csv --target y", "no such file: nowhere.csv"),
        ("compare --data t.npz", "--target"),
        ("compare --target y", "--data"),
        ("compare --data t.npz --target z", "no column 'z'; it has a, b, c, kind, y"),
        ("compare --data t.npz --target kind --task regression", "is text"),
        ("compare --data t.npz --target y --task classification", "has 1 row"),
        ("compare --data t.npz --target y --task clustering", "--task"),
        ("compare --data . --target y", ".csv"),
        ("compare --optimizers SGD,Bogus", "no optimizer 'bogus'"),
        ("compare --optimizers ,", "no optimizer ''"),
        ("compare --lr -0.1", "--lr"),
        ("compare --lr 0", "--lr"),
        ("compare --lr nan", "--lr"),
        ("compare --lr fast", "--lr"),
        ("compare --lr 1e300", "lr"),
        ("compare --epochs 0", "--epochs"),
        ("compare --epochs 1.5", "--epochs"),
        ("compare --batch-size -4", "--batch-size"),
        ("compare --hidden 0", "--hidden"),
        ("compare --hidden 64,", "--hidden"),
        ("compare --test-size 1", "--test-size"),
        ("compare --test-size half", "--test-size"),
        ("compare --seed -1", "--seed"),
        ("compare --threads 0", "--threads"),
        ("compare --threads 99999999999999999999", "threads"),
        ("compare --out t.npz/sub/", "cannot write"),
        ("compare --out taken", "cannot write"),
    ],
)
def test_bad_argument(lab: Lab, tmp_path: Path, extra: None, arguments: str, fragment: str) -> None:
    write_table(tmp_path / "t.npz")
    (tmp_path / "taken" / "compare.json").mkdir(parents=True)
    check_mistake(lab(*arguments.split()), fragment)


@pytest.mark.parametrize("module", ["matplotlib", "rich", "sklearn", "threadpoolctl", "pandas"])
def test_a_missing_extra_is_named(
    lab: Lab, tmp_path: Path, extra: None, monkeypatch: pytest.MonkeyPatch, module: str
) -> None:
    (tmp_path / "t.csv").write_text("a,b,y\n" + ROWS)
    for name in [name for name in sys.modules if name.partition(".")[0] == module]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, module, None)
    table = ("--data", "t.csv", "--target", "y") if module == "pandas" else ()
    check_mistake(lab("compare", *table), "pip install 'fastopt[lab]'")


def test_info(lab: Lab) -> None:
    code, out, err = lab("info")
    assert (code, err) == (0, "")
    for value in (fastopt.__version__, fastopt.isa(), np.__version__, "compiler", "openmp"):
        assert value in out
    code, out, _ = lab("info", "--json")
    document = json.loads(out)
    assert code == 0
    assert document["isa"] == fastopt.isa()
    assert document["threads"] == fastopt.get_num_threads()
    assert document.items() >= json.loads(json.dumps(fastopt.build_info())).items()


def test_info_and_help_load_no_extra() -> None:
    program = (
        "import contextlib, sys\n"
        "from fastopt.lab.__main__ import main\n"
        "assert main(['info']) == 0\n"
        "with contextlib.suppress(SystemExit): main(['compare', '--help'])\n"
        f"print(sorted(set({EXTRA!r}) & set(sys.modules)))"
    )
    done = run_python("-c", program)
    assert done.stdout.splitlines()[-1] == "[]"
    assert done.stderr == ""


def test_module_runs_and_says_its_version() -> None:
    done = run_python("-m", "fastopt.lab", "--version")
    assert done.stdout == f"fastopt {fastopt.__version__}\n"


@pytest.mark.usefixtures("extra")
@pytest.mark.parametrize("name", ["cost $x^^$.csv", "$\\frac$.csv", "[bold]m[x].csv", ":smile:.csv"])
def test_a_file_name_is_no_markup(name: str, lab: Lab, tmp_path: Path, rng: np.random.Generator) -> None:
    rows = "\n".join(f"{a:.3f},{b:.3f}" for a, b in rng.normal(size=(40, 2)))
    (tmp_path / name).write_text(f"x,y\n{rows}\n")
    code, out, _ = lab("compare", "--data", name, "--target", "y", "--epochs", 1, "--out", "o/")
    assert code == 0
    assert name in out.replace("\n", "")


@pytest.mark.usefixtures("extra")
def test_numbers_beyond_64_bits_and_separators_in_quotes(tmp_path: Path) -> None:
    rows = "\n".join(f"{10**20 + k * 10**18},{k / 7:.3f}" for k in range(40))
    (tmp_path / "t.csv").write_text(f'"a;b;c",y\n{rows}\n')
    problem = load(str(tmp_path / "t.csv"), "y", None)
    assert problem.x.shape == (40, 1)
    assert problem.x[1, 0] == 1.01e20
