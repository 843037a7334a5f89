"""docs/extending.md, followed to the letter in a copy of the project."""

import csv
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
BLOCK = re.compile(r"^```(\w+)(?: (\S+))?\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks() -> list[tuple[str, str, str]]:
    """Language, what is to be done with it, and content of each block of code."""
    page = (ROOT / "docs/extending.md").read_text(encoding="utf-8")
    return [(language, use, content) for language, use, content in BLOCK.findall(page)]


def apply(difference: str, path: Path) -> None:
    """Edit a file as a block of lines that stay, go and come says; they must stand in it once."""
    lines = difference.splitlines(keepends=True)
    before = "".join(line[1:] for line in lines if line[0] in " -")
    after = "".join(line[1:] for line in lines if line[0] in " +")
    text = path.read_text(encoding="utf-8")
    assert text.count(before) == 1, f"docs/extending.md: {path.name} has {text.count(before)} times\n{before}"
    path.write_text(text.replace(before, after), encoding="utf-8")


@pytest.fixture(scope="module")
def extended(make_checkout: Callable[[Path, str], Any], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A copy of the project to which all that the page shows was added."""
    checkout = make_checkout(tmp_path_factory.mktemp("extending") / "checkout", "")
    for folder in ("tests", "docs"):
        shutil.copytree(ROOT / folder, checkout.folder / folder, ignore=shutil.ignore_patterns("__pycache__", "golden"))
    for language, use, content in blocks():
        kind, _, name = use.partition("=")
        if kind == "file":
            path = checkout.folder / name
            if language == "diff":
                apply(content, path)
            else:
                assert not path.exists(), f"docs/extending.md: {name} is there already"
                path.write_text(content, encoding="utf-8")
    return checkout


def run(checkout: Any, *arguments: str) -> str:
    """What a program of the environment prints in the copy; it must succeed."""
    path = {"PYTHONPATH": str(checkout.folder / "workflow_scripts")}
    program = [sys.executable, *arguments]
    done = subprocess.run(program, cwd=checkout.folder, env=os.environ | path, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_every_block_of_the_page_is_put_to_use() -> None:
    assert {(language, use.partition("=")[0]) for language, use, _ in blocks()} == {
        *(("python", "file"), ("diff", "file"), ("yaml", "file")),
        *(("python", "run"), ("sh", "")),
    }


def test_the_tests_of_the_page_pass(extended: Any) -> None:
    shown = [use.removeprefix("file=") for _, use, _ in blocks() if use.startswith("file=tests/")]
    assert len(shown) == 6
    # and those that compare what the planner names with what there is
    lists = [
        "tests/report/test_deliverables.py",
        "-k",
        f"knows_every or {' or '.join(Path(path).stem for path in shown)}",
    ]
    # With files of its own: in those that all runs share it would look for some to remove.
    own = ["-c", os.devnull, "--rootdir=.", "--import-mode=importlib", f"--basetemp={extended.folder}.tests"]
    printed = run(extended, "-m", "pytest", *own, *shown, *lists)
    assert "failed" not in printed
    assert re.search(r"\b12 passed\b", printed), printed


def test_what_the_page_adds_is_documented_where_the_project_wants_it(extended: Any) -> None:
    run(extended, "-m", "patchshift.plan.documentation")
    page = (extended.folder / "docs/config.md").read_text(encoding="utf-8")
    for added in ("`source: gradients`", "`method: position_means`", "`balanced`"):
        assert added in page


def test_modules_of_the_page_are_formatted_as_the_project_is(extended: Any) -> None:
    shutil.copy(ROOT / "pyproject.toml", extended.folder)
    written = [
        use.removeprefix("file=") for language, use, _ in blocks() if language in ("python", "diff") and "=" in use
    ]
    run(extended, "-m", "ruff", "check", *written)
    run(extended, "-m", "ruff", "format", "--check", *written)


def test_the_study_of_the_page_runs_and_has_all_that_was_added(extended: Any) -> None:
    for language, use, content in blocks():
        if use == "run":
            run(extended, "-c", content)
        if language == "sh":
            done = extended.run(*content.split()[1:])
            assert done.returncode == 0, done.stdout + done.stderr
    study = extended.folder / "results/studies/extended"
    with (study / "metrics.csv").open(newline="") as file:
        values = {row["metric"]: row for row in csv.DictReader(file)}
    assert float(values["image_auroc"]["value"]) > 0.8
    for metric in ("fpr_at_99_tpr", "f2"):
        assert float(values[metric]["low"]) <= float(values[metric]["value"]), metric
    experiment = study / "experiments/plates"
    assert (experiment / "score_gaps.csv").read_text().count("\n") == 2
    assert (experiment / "figures/score_gaps.png").read_bytes().startswith(b"\x89PNG")
    assert "Defects above good images" in (study / "report.html").read_text(encoding="utf-8")
