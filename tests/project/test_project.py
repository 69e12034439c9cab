"""The project's own files: workflows, links, the list of tools, the hashes of the kernels over compilers."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys

import pytest

from tests.support import ROOT, run_python

WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
DOCUMENTS = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").glob("*.md"))]

pytestmark = pytest.mark.skipif(not (ROOT / "setup.py").exists(), reason="not here: no source tree")


def python(*words: str) -> subprocess.CompletedProcess[str]:
    return run_python("-m", *words, cwd=ROOT, timeout=600)


def test_workflows_obey_their_schema() -> None:
    if not WORKFLOWS:
        pytest.skip("not here: an sdist has no workflows")
    pytest.importorskip("check_jsonschema")
    result = python("check_jsonschema", "--builtin-schema", "vendor.github-workflows", *map(str, WORKFLOWS))
    assert result.returncode == 0, result.stdout + result.stderr


def matrix_tasks(workflow: str) -> list[str]:
    """The tasks in `task: [a, b --c]`."""
    return [task for tasks in re.findall(r"task: \[(.*)\]", workflow) for task in tasks.split(",")]


def test_actions_are_pinned_by_digest_and_tasks_exist() -> None:
    for file in WORKFLOWS:
        text = file.read_text(encoding="utf-8")
        for used in re.findall(r"uses: *(.*)", text):
            assert re.fullmatch(r"[\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", used), (file.name, used)
        named = [*re.findall(r"python -m tools (\w+)", text), *(t.split()[0] for t in matrix_tasks(text))]
        for task in named:
            assert (ROOT / "tools" / f"{task}.py").is_file(), (file.name, task)


def test_links_between_documents_lead_to_files() -> None:
    for document in DOCUMENTS:
        for link in re.findall(r"\]\(([^)#\s]+)", document.read_text(encoding="utf-8")):
            assert link.startswith("http") or (document.parent / link).exists(), (document.name, link)


def test_tasks_are_listed_with_what_they_do() -> None:
    result = python("tools")
    assert result.returncode == 0, result.stderr
    lines = dict(line.split(maxsplit=1) for line in result.stdout.splitlines())
    assert {"bits", "lowest", "repair", "wheels"} <= set(lines)
    assert all(lines.values())
    assert python("tools", "nonsense").returncode == 2


@pytest.mark.skipif(sys.platform == "win32", reason="not here: the flags are those of gcc and clang")
@pytest.mark.slow
def test_every_compiler_here_gives_the_recorded_bits() -> None:
    if shutil.which("gcc") is None and shutil.which("clang") is None:
        pytest.skip("not here: no compiler")
    result = python("tools", "bits", "--here")
    assert result.returncode == 0, result.stdout + result.stderr
    assert ", 0 different" in result.stdout
