"""The command `fastopt`: parses the arguments and returns an exit code. compare.py does the training.

Exit codes: 0 done, 2 bad input (one line on stderr), 130 interrupted.
"""

import argparse
import contextlib
import io
import json
import math
import os
import sys
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

import fastopt
from fastopt.lab.errors import LabError, require

BAD_INPUT, INTERRUPTED = 2, 130
SEVEN = "SGD,Momentum,NAG,Adagrad,Adadelta,RMSprop,Adam"


class Parser(argparse.ArgumentParser):
    """argparse, with one line per mistake in place of the usage text."""

    def error(self, message: str) -> NoReturn:
        raise LabError(message)


def parser() -> Parser:
    top = Parser(prog="fastopt", description="Gradient-descent optimizers on a CPU, compared on real data.")
    top.add_argument("--version", action="version", version=f"fastopt {fastopt.__version__}")
    commands = top.add_subparsers(dest="command", required=True, metavar="{compare,info}")
    summary = "train one network with each optimizer and show how fast each one learns"
    _add_compare(commands.add_parser("compare", help=summary, description=summary))
    info = commands.add_parser("info", help="version, instruction set, threads, OpenMP runtime, build flags")
    info.add_argument("--json", action="store_true", help="as one JSON object")
    return top


def _add_compare(compare: argparse.ArgumentParser) -> None:
    _add_training_options(compare.add_argument)
    _add_run_options(compare.add_argument)


def _add_training_options(add: Callable[..., Any]) -> None:
    """What is trained: the data, the optimizers and the network."""
    add("--data", metavar="FILE", help="CSV, TSV, NPZ or Parquet; default: scikit-learn's handwritten digits")
    add("--target", metavar="COLUMN", help="the column of FILE to learn")
    add("--task", choices=("classification", "regression"), help="default: depends on the target's values")
    add("--optimizers", default=SEVEN, metavar="A,B,...", help="default: %(default)s")
    add("--lr", type=_learning_rate, metavar="NUMBER|search", help="default: a tested rate for each optimizer")
    add("--epochs", type=_int_from(1), default=30, metavar="N", help="passes over the training rows (30)")
    add(
        "--batch-size",
        type=_int_from(1),
        default=32,
        metavar="N",
        help="rows per step; a smaller last batch is dropped (32)",
    )
    add("--hidden", type=_layers, default=(64,), metavar="N[,N...]", help="sizes of the hidden layers (64)")


def _add_run_options(add: Callable[..., Any]) -> None:
    """How it runs: the split, the seed, the threads and the output."""
    add("--test-size", type=_share, default=0.2, metavar="SHARE", help="share of rows held out (0.2)")
    add(
        "--seed",
        type=_int_from(0),
        default=0,
        metavar="N",
        help="seed of the split, the first weights and the batches (0)",
    )
    add(
        "--threads",
        type=_int_from(1),
        metavar="N",
        help="threads of fastopt; default: the CPUs that this process may use",
    )
    add(
        "--out",
        default=".",
        metavar="DIR|PREFIX",
        help="where compare.png and compare.json are written (the current folder)",
    )
    add("--quiet", action="store_true", help="write the two files, without progress bars and table")


def _int_from(least: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        with contextlib.suppress(ValueError):
            if (value := int(text)) >= least:
                return value
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least {least}")

    return parse


def _layers(text: str) -> tuple[int, ...]:
    return tuple(map(_int_from(1), text.split(",")))


def _learning_rate(text: str) -> float | str:
    with contextlib.suppress(ValueError):
        if text == "search" or 0 < float(text) < math.inf:
            return text if text == "search" else float(text)
    raise argparse.ArgumentTypeError(f"{text!r} is neither a number above 0 nor 'search'")


def _share(text: str) -> float:
    with contextlib.suppress(ValueError):
        if 0 < float(text) < 1:
            return float(text)
    raise argparse.ArgumentTypeError(f"{text!r} is not a number between 0 and 1")


def run_info(arguments: argparse.Namespace) -> int:
    from fastopt.lab import info

    collected = info.collect()
    print(json.dumps(collected, indent=1, default=str) if arguments.json else info.as_text(collected))
    return 0


def set_threads(threads: int) -> None:
    try:
        fastopt.set_num_threads(threads)
    except (ValueError, OverflowError) as error:
        raise LabError(f"--threads: {error}") from error


def run_compare(arguments: argparse.Namespace) -> int:
    """Check all arguments and the data, train, write both files, then print."""
    for module, package in (("matplotlib", None), ("rich", None), ("threadpoolctl", "scikit-learn")):
        require(module, package)
    from fastopt.lab import picture, report
    from fastopt.lab.compare import Settings, compare, named
    from fastopt.lab.data import load

    given = {name: getattr(arguments, name) for name in Settings.__dataclass_fields__}
    settings = Settings(**{**given, "optimizers": named(arguments.optimizers)})
    if arguments.threads is not None:
        set_threads(arguments.threads)
    paths = report.output_paths(arguments.out)
    problem = load(arguments.data, arguments.target, arguments.task)
    with report.progress(settings, arguments.quiet) as watch:
        result = compare(problem, settings, watch)
    if not any(run.epochs for run in result.runs) and result.interrupted:
        raise KeyboardInterrupt
    report.write(paths[0], picture.draw(result))
    report.write(paths[1], report.as_json(result).encode())
    if not arguments.quiet:
        report.show(result, list(paths))
    return INTERRUPTED if result.interrupted else 0


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code. A user's mistake gives one line on stderr, no traceback."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # a terminal with an ASCII encoding cannot print µ and ²
    try:
        arguments = parser().parse_args(argv)
        code = run_info(arguments) if arguments.command == "info" else run_compare(arguments)
        sys.stdout.flush()
        return code
    except LabError as error:
        print(f"fastopt: {error}", file=sys.stderr)
        return BAD_INPUT
    except MemoryError:
        print("fastopt: not enough memory for this data and network", file=sys.stderr)
        return BAD_INPUT
    except KeyboardInterrupt:
        print("fastopt: interrupted before an epoch was over, nothing written", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        # Python flushes stdout again at exit, which would print a second error.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


if __name__ == "__main__":
    sys.exit(main())
