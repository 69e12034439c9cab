"""Checkpoints of a fit whose checksum is right and whose content is not."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("sklearn")

from fastopt import checkpoint
from tests.sklearn.test_estimators import X, Y, net

WRONG: dict[str, tuple[Any, ...]] = {
    "epochs": (-1, 0, 2.0, "2", None, True, 10**30),
    "history": (None, [], {}, {"loss": [1.0]}),
    "streams": (None, [], [None] * 4, [{}] * 4, "x"),
    "lr": (None, "x", -1.0, 1e300, [1]),
    "lr_search": ({}, {"lr": [1.0], "loss": []}, 3),
    "optimizer": (None, [], {}),
    "stopper": (None, [], {}, {"best_value": 1.0}),
    "state": ([], [{}]),
    "found": (1,),
}


@pytest.mark.parametrize("name", [*WRONG, "params"])
def test_a_checkpoint_with_a_wrong_item_changes_nothing(tmp_path: Path, name: str) -> None:
    """The checksum is right, the item is wrong: a ValueError names the file, and the former fit stays."""
    path, model = tmp_path / "run.npz", net(epochs=4, early_stopping=True)
    model.fit(X[:150], Y[:150])
    net(epochs=2, early_stopping=True).fit(X, Y, checkpoint=path)
    state, params = checkpoint.load(path)
    assert params is not None
    nan, wide = [p * np.float32("nan") for p in params], [p.astype(float) for p in params]
    given = (None, params[:-1], nan, wide, [p[:1] for p in params])
    for value in given if name == "params" else WRONG[name]:
        wrong = state if name == "params" else {**state, name: value}
        checkpoint.save(path, wrong, value if name == "params" else params)
        before = copy.deepcopy(vars(model))
        with pytest.raises(ValueError, match=r"run\.npz"):
            model.fit(X, Y, checkpoint=path)
        np.testing.assert_equal(vars(model)["coefs_"], before["coefs_"])
        assert model.history_ == before["history_"]


def test_a_continued_fit_reports_the_time_of_all_epochs(tmp_path: Path) -> None:
    """Also partial_fit; the lists hold the values of the former epochs, then those of the new ones."""
    for continues in (True, False):
        path, model = tmp_path / f"{continues}.npz", net(epochs=3)
        model.fit(X, Y, checkpoint=path)
        state, params = checkpoint.load(path)
        state["history"]["seconds"] = [1e6, 2e6, 3e6]
        checkpoint.save(path, state, params)
        model.set_params(epochs=5 if continues else 3).fit(X, Y, checkpoint=path)
        model = model if continues else model.partial_fit(X, Y).partial_fit(X, Y)
        seconds = model.history_["seconds"]
        assert len(seconds) == model.n_iter_ == 5
        assert seconds[:3] == [1e6, 2e6, 3e6]
        assert 3e6 < seconds[3] < seconds[4] < 4e6
