"""The default hyper-parameters of each convention, and what an explicit argument does to them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import fastopt
from tests.support.rows import (
    ROWS,
    Row,
    arrays,
    away,
    contents,
    given,
    steps,
)

rows = pytest.mark.parametrize("row", ROWS.values(), ids=ROWS)


CLASSES = {cls.__name__: cls for cls in [*{row.cls: None for row in ROWS.values()}, fastopt.AdamW]}


classes = pytest.mark.parametrize("cls", CLASSES.values(), ids=CLASSES)


#: The defaults of each library's own class, and the textbook's.
CONVENTIONS: dict[str, dict[str, dict[str, Any]]] = {
    "SGD": {
        "textbook": {"lr": 1e-2, "weight_decay": 0.0, "decoupled": False, "l1": 0.0, "clip_value": None},
        "torch": {"decoupled": False, "weight_decay": 0.0},
        "keras": {"decoupled": True, "weight_decay": 0.0},
        "optax": {"decoupled": False},
        "sklearn": {"decoupled": False},
    },
    "Momentum": {
        "textbook": {"lr": 1e-2, "momentum": 0.9, "dampening": 0.0, "lr_in_momentum": False, "maximize": False},
        "torch": {"dampening": 0.0, "lr_in_momentum": False},
        "keras": {"lr_in_momentum": True, "decoupled": True},
        "optax": {"lr_in_momentum": False},
        "sklearn": {"lr_in_momentum": True, "momentum": 0.9},
    },
    "NAG": {
        "textbook": {"lr": 1e-2, "momentum": 0.9, "lookahead": True, "lr_in_momentum": False},
        "torch": {"lookahead": False, "lr_in_momentum": False},
        "keras": {"lookahead": False, "lr_in_momentum": True},
        "optax": {"lookahead": False, "lr_in_momentum": False},
        "sklearn": {"lookahead": False, "lr_in_momentum": True, "momentum": 0.9},
    },
    "Adagrad": {
        "textbook": {"lr": 1e-2, "eps": 1e-16, "eps_in_sqrt": True, "lr_decay": 0.0, "initial_accumulator_value": 0.0},
        "torch": {"lr": 1e-2, "eps": 1e-10, "eps_in_sqrt": False, "lr_decay": 0.0, "initial_accumulator_value": 0.0},
        "keras": {"lr": 1e-3, "eps": 1e-7, "eps_in_sqrt": True, "initial_accumulator_value": 0.1, "decoupled": True},
        "optax": {"eps": 1e-7, "eps_in_sqrt": True, "initial_accumulator_value": 0.1},
    },
    "Adadelta": {
        "textbook": {"lr": 1.0, "rho": 0.95, "eps": 1e-6},
        "torch": {"lr": 1.0, "rho": 0.9, "eps": 1e-6},
        "keras": {"lr": 1e-3, "rho": 0.95, "eps": 1e-7, "decoupled": True},
        "optax": {"rho": 0.9, "eps": 1e-6},
    },
    "RMSprop": {
        "textbook": {"lr": 1e-3, "alpha": 0.9, "eps": 1e-16, "eps_in_sqrt": True, "momentum": 0.0, "centered": False},
        "torch": {"lr": 1e-2, "alpha": 0.99, "eps": 1e-8, "eps_in_sqrt": False, "lr_in_momentum": False},
        "keras": {"lr": 1e-3, "alpha": 0.9, "eps": 1e-7, "eps_in_sqrt": True, "lr_in_momentum": True},
        "optax": {"alpha": 0.9, "eps": 1e-8, "eps_in_sqrt": True, "nesterov": False},
    },
    "Adam": {
        "textbook": {"lr": 1e-3, "betas": (0.9, 0.999), "eps": 1e-16, "eps_in_sqrt": True, "corrected_v": False},
        "torch": {"eps": 1e-8, "eps_in_sqrt": False, "corrected_v": True, "max_corrected_v": False, "eps_root": 0.0},
        "keras": {"eps": 1e-7, "eps_in_sqrt": False, "corrected_v": False, "decoupled": True},
        "optax": {"eps": 1e-8, "eps_in_sqrt": False, "corrected_v": True, "max_corrected_v": True},
        "sklearn": {"eps": 1e-8, "eps_in_sqrt": False, "corrected_v": False},
    },
    "AdamW": {
        "textbook": {"decoupled": True, "weight_decay": 0.01, "eps": 1e-16, "eps_in_sqrt": True},
        "torch": {"decoupled": True, "weight_decay": 0.01, "eps": 1e-8, "corrected_v": True},
        "keras": {"decoupled": True, "weight_decay": 0.004, "eps": 1e-7, "corrected_v": False},
        "optax": {"decoupled": True, "weight_decay": 1e-4, "eps": 1e-8, "corrected_v": True},
    },
}


@pytest.mark.parametrize("name", CONVENTIONS)
def test_conventions_are_those_of_the_table(name: str) -> None:
    for convention, values in CONVENTIONS[name].items():
        opt = getattr(fastopt, name)(arrays(0), convention=convention)
        group = opt.param_groups[0]
        assert {k: group[k] for k in values} == values, convention
        assert opt.convention == convention
    plain = getattr(fastopt, name)(arrays(0))
    assert plain.param_groups[0] == getattr(fastopt, name)(arrays(0), convention="textbook").param_groups[0] | {
        "params": plain.param_groups[0]["params"]
    }


@classes
def test_explicit_arguments_beat_the_convention(cls: Any) -> None:
    """Every hyper-parameter of every convention, with other values, the textbook's value, False and 0."""
    textbook = dict(cls(arrays(0)).param_groups[0])
    for convention in cls.conventions:
        default = dict(cls(arrays(0), convention=convention).param_groups[0])
        for name in default.keys() - {"params"}:
            for value in (away(name, default[name]), away(name, textbook[name]), textbook[name], default[name]):
                if value is None:
                    continue
                for made in (
                    cls(arrays(0), convention=convention, **{name: value}),
                    cls([{"params": arrays(0), name: value}], convention=convention),
                ):
                    group = made.param_groups[0]
                    assert group[name] == value, (convention, name)
                    rest = {k: v for k, v in group.items() if k not in ("params", name)}
                    assert rest == {k: v for k, v in default.items() if k not in ("params", name)}
                    assert type(group[name]) is type(value)


@rows
def test_none_means_the_conventions_value(row: Row) -> None:
    for convention in row.cls.conventions:
        default = row.cls(arrays(0), convention=convention)
        names = default.param_groups[0].keys() - {"params"}
        opt = row.cls(arrays(0), **dict.fromkeys(names), convention=convention)
        assert contents(opt)[2] == contents(default)[2]


@rows
def test_a_convention_is_its_values(row: Row) -> None:
    """A convention sets values and does nothing else: the same steps result if all values are given."""
    for convention in row.cls.conventions:
        opt = row.cls(arrays(0), convention=convention)
        values = {k: v for k, v in opt.param_groups[0].items() if k != "params"}
        spelled = row.cls(arrays(0), **values)
        assert contents(steps(opt, 1, 3)) == contents(steps(spelled, 1, 3))


@classes
def test_a_small_rate_makes_small_steps_in_every_convention(cls: Any) -> None:
    """With a hundredth of the learning rate, the first step is a hundredth as long, in every convention."""
    for convention in cls.conventions:
        moved = []
        for lr in (1e-2, 1e-4):
            w = np.zeros(100, np.float32)
            cls(w, lr=lr, convention=convention).step(given(np.linspace(0.5, 1.5, 100, dtype=np.float32)))
            moved.append(np.abs(w).astype(float))
        np.testing.assert_allclose(moved[0], 100 * moved[1], rtol=1e-4, err_msg=convention)
        assert (moved[0] > 0).all()


@classes
def test_repr(cls: Any) -> None:
    opt = cls([{"params": arrays(0)[2:4], "name": "weights"}, {"params": arrays(0)[4], "lr": 0.25}], convention="torch")
    opt.step(given(arrays(1)[2:]))
    text = repr(opt)
    assert text.startswith(f"{cls.__name__}(")
    for part in (
        "torch",
        "group 0",
        "group 1",
        "2 tensors",
        "32 elements",
        "24 elements",
        "step 1",
        "lr=0.25",
        "weights",
    ):
        assert part in text, (part, text)
    assert "array" not in text
