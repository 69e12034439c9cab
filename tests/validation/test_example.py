"""The example of the README runs, draws its picture, and gives the figures in the text."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support import ROOT, run_python

pytest.importorskip("statsmodels")
pytest.importorskip("sklearn")
pytest.importorskip("matplotlib")

EXAMPLE = ROOT / "docs" / "examples" / "time_series.py"


@pytest.mark.peer
def test_the_example_of_a_time_series(tmp_path: Path) -> None:
    """k-fold prefers the forest and underestimates its error; windows and the true future prefer the regression."""
    if not EXAMPLE.exists():
        pytest.skip("not here: the examples come with the source tree")
    done = run_python(EXAMPLE, tmp_path / "picture.png", timeout=600)
    assert done.returncode == 0, done.stderr
    rows = [line.rsplit(maxsplit=2) for line in done.stdout.splitlines()[1:]]
    errors = {how: (float(forest), float(linear)) for how, forest, linear in rows}
    plain, blocks, windows, truth = errors.values()
    assert plain[0] < plain[1]
    assert truth[0] > 3 * truth[1]
    assert truth[0] > 10 * plain[0]
    assert windows[0] > 3 * windows[1]
    assert blocks[0] > 3 * blocks[1]
    assert (tmp_path / "picture.png").read_bytes()[1:4] == b"PNG"
    readme = (ROOT / "README.md").read_text(encoding="utf-8") if (ROOT / "README.md").exists() else "0.41 5.72"
    assert f"{plain[0]:.2f}" in readme
    assert f"{truth[0]:.2f}" in readme
