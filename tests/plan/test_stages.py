import ast
import functools
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from patchshift.plan import stages

LOOKS = {"inspect_features", "measure_distances"}  # through representations
DECIDING = {"calibrate_threshold", "evaluate", "decide"}  # whose maps are brought to pixels


def rule_names(repository: Path) -> set[str]:
    text = "".join(path.read_text() for path in (repository / "rules").glob("*.smk"))
    return set(re.findall(r"^rule (\w+):", text, re.MULTILINE))


@pytest.fixture
def library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A copy of the library that tests may edit, in the place of the real one."""
    shutil.copytree(stages.LIBRARY.parent, tmp_path / "scripts", ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(stages, "LIBRARY", tmp_path / "scripts" / stages.LIBRARY.name)
    stages.stage_version.cache_clear()
    yield stages.LIBRARY
    stages.stage_version.cache_clear()


def test_every_rule_has_a_stage_and_every_stage_a_rule(repository: Path) -> None:
    assert {*stages.VERSIONS, *stages.SOURCES} == rule_names(repository)
    assert not set(stages.VERSIONS) & set(stages.SOURCES)


@pytest.mark.parametrize("rule", stages.VERSIONS)
def test_a_costly_stage_has_a_number_that_no_edit_changes(library: Path, rule: str) -> None:
    (library.parent / f"{rule}.py").write_text("")
    assert int(stages.stage_version(rule)) == stages.VERSIONS[rule]


@pytest.mark.parametrize("rule", stages.SOURCES)
def test_a_cheap_stage_follows_its_script_and_each_of_its_sources(library: Path, rule: str) -> None:
    edited = [library.parent / f"{rule}.py"]
    for source in stages.SOURCES[rule]:
        path = library / source
        edited += sorted(path.rglob("*.py")) if path.is_dir() else [path]
    versions = [stages.stage_version(rule)]
    for path in edited:
        with path.open("a") as file:
            file.write("# edited\n")
        stages.stage_version.cache_clear()
        versions.append(stages.stage_version(rule))
    assert len(set(versions)) == len(edited) + 1
    assert all(re.fullmatch("[0-9a-f]{12}", version) for version in versions)


@pytest.mark.parametrize(
    ("module", "rules"),
    [
        (
            "interpolation",
            {*LOOKS, *DECIDING, "plot_inspection", "plot_attention", "predict_images", "render_heatmaps"},
        ),
        ("held_maps", {"predict_images"}),
    ],
)
def test_maps_follow_the_modules_that_draw_or_hold_them(library: Path, module: str, rules: set[str]) -> None:
    before = {rule: stages.stage_version(rule) for rule in stages.SOURCES}
    with (library / "features" / f"{module}.py").open("a") as file:
        file.write("# edited\n")
    stages.stage_version.cache_clear()
    assert {rule for rule in before if stages.stage_version(rule) != before[rule]} == rules


def test_a_cheap_stage_does_not_follow_other_modules(library: Path) -> None:
    before = stages.stage_version("pack_images")
    with (library / "data" / "splits.py").open("a") as file:
        file.write("# edited\n")
    stages.stage_version.cache_clear()
    assert stages.stage_version("pack_images") == before


@functools.cache
def steps(path: Path) -> set[Path]:
    """The modules of the library that a module imports, at its top or anywhere inside."""
    found: set[Path] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
            found |= {stages.LIBRARY.parent.joinpath(*name.split(".")).with_suffix(".py") for name in names}
    return {path for path in found if path.is_file()}


def imported_modules(script: Path) -> set[str]:
    """The modules of the library that a script imports, directly or not, relative to the library."""
    seen: set[Path] = set()
    left = [script]
    while left:
        new = steps(left.pop()) - seen
        seen |= new
        left += new
    return {path.relative_to(stages.LIBRARY).as_posix() for path in seen}


@pytest.mark.parametrize("rule", sorted(set(stages.SOURCES) - {"export_model", "predict_images"}))
def test_a_stage_follows_all_that_it_imports_of_evaluation_and_report(rule: str) -> None:
    """But for those of exported models, whose files hold what came before."""
    imported = imported_modules(stages.LIBRARY.parent / f"{rule}.py")
    watched = {source for source in stages.SOURCES[rule] if source.endswith(".py")}
    folders = tuple(f"{source}/" for source in set(stages.SOURCES[rule]) - watched)
    needed = {module for module in imported if module.startswith(("evaluation/", "report/"))}
    assert {module for module in needed - watched if not module.startswith(folders)} == set()
    # nor what it does not, where modules are named one by one
    assert {module for module in watched - imported if module.startswith(("evaluation/", "report/"))} <= {
        "report/recommendation.py"  # of analyses, whose figures follow all that these do
    }
