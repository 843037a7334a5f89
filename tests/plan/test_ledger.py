"""An edit of a costly stage's sources does not go unnoticed: its number is raised, or the edit is accepted."""

import json
import shutil
from pathlib import Path

import pytest

from patchshift.plan import ledger, stages

CODE = "\n\ndef added() -> int:\n    return 1\n"


@pytest.fixture
def library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the library that tests may edit, in the place of the real one."""
    shutil.copytree(stages.LIBRARY.parent, tmp_path / "scripts", ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(stages, "LIBRARY", tmp_path / "scripts" / stages.LIBRARY.name)
    return stages.LIBRARY


def add(path: Path, text: str) -> None:
    path.write_text(path.read_text(encoding="utf-8") + text, encoding="utf-8")


def fingerprints() -> dict[str, str]:
    return {stage: entry["sources"] for stage, entry in ledger.describe_stages()["stages"].items()}


def test_the_ledger_knows_the_sources_of_every_costly_stage() -> None:
    recorded = json.loads(ledger.LEDGER.read_text(encoding="utf-8"))
    changes = ledger.find_changes(recorded)
    assert changes == [], "\n".join(changes)
    assert recorded == ledger.describe_stages(), f"run `{ledger.ACCEPT}`"


def test_comments_docstrings_and_format_do_not_count(library: Path) -> None:
    before = fingerprints()
    for path in library.parent.rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        edited = text.replace('"""\n', ' Edited."""\n', 1).replace("\nfrom ", "\n\n# edited\nfrom ", 1)
        path.write_text(f"# edited\n{edited}\n\n# edited\n", encoding="utf-8")
    assert fingerprints() == before


@pytest.mark.parametrize(
    ("module", "stage", "other"),
    [
        ("features/forward.py", "extract_features", "fit_detector"),
        ("detectors/neighbours.py", "score_images", "extract_features"),
        ("data/shifts/photometric.py", "synthesize_shift", "extract_features"),
        ("runtime/files.py", "split_images", ""),
        ("plan/data_specs.py", "split_images", ""),
    ],
)
def test_code_counts_for_the_stages_that_import_it_even_through_others(
    library: Path, module: str, stage: str, other: str
) -> None:
    recorded = ledger.describe_stages()
    add(library / module, CODE)
    changes = {line.partition(":")[0]: line for line in ledger.find_changes(recorded)}
    assert stage in changes
    assert other not in changes
    assert f"patchshift/{module}" in changes[stage]
    assert f"raise VERSIONS['{stage}']" in changes[stage]
    assert f"`{ledger.ACCEPT}`" in changes[stage]


def test_a_script_counts_as_its_modules_do(library: Path) -> None:
    recorded = ledger.describe_stages()
    add(library.parent / "split_images.py", CODE)
    (line,) = ledger.find_changes(recorded)
    assert line.startswith("split_images: its version did not change, its sources did (split_images.py)")


def test_a_module_that_is_imported_inside_a_function_counts_and_one_for_types_alone_does_not(library: Path) -> None:
    script = library.parent / "split_images.py"
    for name in ("inside", "typed"):
        (library / "data" / f"{name}.py").write_text("VALUE = 1\n")
    add(script, "\n\ndef late():\n    from patchshift.data import inside\n    return inside\n")
    add(script, "\n\nif TYPE_CHECKING:\n    from patchshift.data import typed\n")
    sources = {path.name for path in ledger.list_sources("split_images")}
    assert "inside.py" in sources
    assert "typed.py" not in sources


def test_a_name_that_a_package_passes_on_leads_to_its_module(library: Path) -> None:
    add(
        library.parent / "split_images.py",
        "\n\nfrom patchshift.plan import read_yaml\nfrom patchshift.plan import Study\n",
    )
    sources = {path.relative_to(library).as_posix() for path in ledger.list_sources("split_images")[:-1]}
    assert {"plan/loading.py", "plan/study.py"} <= sources


def test_a_raised_number_is_to_be_recorded_and_changes_no_fingerprint(
    library: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorded = ledger.describe_stages()
    monkeypatch.setitem(stages.VERSIONS, "fit_detector", stages.VERSIONS["fit_detector"] + 1)
    add(library / "plan/stages.py", CODE)
    (line,) = ledger.find_changes(recorded)
    assert line.startswith("fit_detector: version ")
    assert line.endswith(f"run `{ledger.ACCEPT}`")


def test_a_stage_that_is_new_or_gone_is_to_be_recorded() -> None:
    recorded = ledger.describe_stages()
    recorded["stages"]["no_more"] = recorded["stages"].pop("split_images")
    first, second = ledger.find_changes(recorded)
    assert first.startswith("split_images: version none is now ")
    assert second.startswith("no_more: is no costly stage any more")


def test_the_command_writes_what_the_sources_say(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledger, "LEDGER", tmp_path / "ledger.json")
    ledger.main()
    assert ledger.find_changes(json.loads((tmp_path / "ledger.json").read_text())) == []
