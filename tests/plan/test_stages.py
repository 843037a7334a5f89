import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from patchshift.plan import stages
from patchshift.plan.ledger import list_sources

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


def test_what_editors_leave_in_a_folder_changes_no_version(library: Path) -> None:
    before = stages.stage_version("write_report")
    folder = library / "report"
    for name in (".page.py.swp", "page.py~", "page.py.orig", ".page.py"):
        (folder / name).write_text("half")
    (folder / ".#page.py").symlink_to("nobody@nowhere.1")
    (folder / ".ipynb_checkpoints").mkdir()
    (folder / ".ipynb_checkpoints/page.py").write_text("old")
    stages.stage_version.cache_clear()
    assert stages.stage_version("write_report") == before


def test_a_cheap_stage_does_not_follow_other_modules(library: Path) -> None:
    before = stages.stage_version("pack_images")
    with (library / "data" / "splits.py").open("a") as file:
        file.write("# edited\n")
    stages.stage_version.cache_clear()
    assert stages.stage_version("pack_images") == before


@pytest.mark.parametrize("rule", sorted(set(stages.SOURCES) - {"export_model", "predict_images"}))
def test_a_stage_follows_all_that_it_imports_of_evaluation_and_report(rule: str) -> None:
    """But for those of exported models, whose files hold what came before."""
    modules = [path for path in list_sources(rule) if path.is_relative_to(stages.LIBRARY) and path.stem != "__init__"]
    imported = {path.relative_to(stages.LIBRARY).as_posix() for path in modules}
    watched = {source for source in stages.SOURCES[rule] if source.endswith(".py")}
    folders = tuple(f"{source}/" for source in set(stages.SOURCES[rule]) - watched)
    needed = {module for module in imported if module.startswith(("evaluation/", "report/"))}
    assert {module for module in needed - watched if not module.startswith(folders)} == set()
    # nor what it does not, where modules are named one by one
    assert {module for module in watched - imported if module.startswith(("evaluation/", "report/"))} <= {
        "report/recommendation.py"  # of analyses, whose figures follow all that these do
    }
