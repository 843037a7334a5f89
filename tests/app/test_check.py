"""What `patchshift check` says of missing and damaged files; whole studies in tests/workflow/test_closing.py."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

from patchshift.app.check import find_study
from patchshift.app.check_files import REMEDY, check_digests, check_images, check_origins, check_presence
from patchshift.app.check_specs import check_settings
from patchshift.app.checklist import CHECKS, check_study
from patchshift.app.main import main
from patchshift.plan import Study

CATALOG = {
    "datasets": {"parts": {"adapter": "mvtec_ad", "categories": ["bolt"]}},
    "splits": {"halves": {"protocol": "source_plan", "train_share": 0.5, "val_anomalous_share": 0.5}},
    "domains": {"clean": {"shift": "none"}},
    "backbones": {"waves": {"source": "scattering", "image_size": 64, "octaves": 3}},
    "detectors": {"pc": {"method": "patchcore", "sampler": {"share": 0.1}}},
    "thresholds": {"best": {"policy": "f1_max"}},
}
STUDY = {
    "question": "Is it checked?",
    "catalog": "catalog.yaml",
    "select": {"splits": ["halves"], "backbones": ["waves"], "detectors": ["pc"], "thresholds": ["best"]},
    "experiments": {"own": {"title": "Own banks", "train": ["parts"]}},
}


@pytest.fixture(autouse=True)
def configs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Study `first` in config.yaml, `second` in a config of its own."""
    monkeypatch.chdir(tmp_path)
    Path("configs").mkdir()
    Path("catalog.yaml").write_text(yaml.safe_dump(CATALOG, sort_keys=False))
    for name, path in (("first", "config.yaml"), ("second", "configs/my second.yaml")):
        Path(path).write_text(yaml.safe_dump({"study": name, **STUDY}, sort_keys=False))


@pytest.fixture
def study() -> Study:
    return find_study("first")


def list_in_manifest(study: Study, artifacts: dict[str, Any]) -> None:
    Path(study.folder).mkdir(parents=True)
    Path(study.folder, "manifest.json").write_text(json.dumps({"artifacts": artifacts}))


@pytest.mark.parametrize("command", ["check", "track"])
@pytest.mark.parametrize(
    ("name", "run"),
    [
        ("first", "snakemake --cores 2 all"),
        ("second", "snakemake --cores 2 all --configfile 'configs/my second.yaml'"),
        ("configs/my second.yaml", "snakemake --cores 2 all --configfile 'configs/my second.yaml'"),
    ],
)
def test_the_remedy_is_the_command_that_runs_this_study(
    command: str, name: str, run: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([command, name]) == 1
    assert f"does not exist: run the study first ({run})" in capsys.readouterr().err


def test_one_damaged_file_stops_no_check_of_the_others(study: Study) -> None:
    (cell,) = study.all_cells()
    damaged, other = Path(f"results/banks/{cell.bank.path}.h5"), Path(cell.decisions)
    for path in (damaged, other):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({"provenance": {"stage": "decide", "inputs": {"scores": "1" * 64}}}))
    source = {"size": 1, "sha256": "0" * 64}
    list_in_manifest(
        study, {str(damaged): {"inputs": ["source"]}, str(other): {"inputs": ["source"]}, "source": source}
    )
    _, (first, second), rebuild = check_origins(study)
    assert first.startswith(f"{damaged} is damaged (")
    assert second == f"{other} was made from another source"
    assert rebuild == [str(damaged), str(other)]
    _, (first, second), rebuild = check_settings(study)
    assert first.startswith(f"{damaged} is damaged (")
    assert second.startswith(f"{other} was made with other settings: ")
    assert rebuild == [str(damaged), str(other)]


def test_one_file_that_cannot_be_read_stops_no_check_of_the_others_and_is_not_made_anew(study: Study) -> None:
    (cell,) = study.all_cells()
    locked, other = f"results/banks/{cell.bank.path}.h5", cell.decisions
    for path in (locked, other):
        Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(locked).symlink_to("/proc/self/mem")  # an input/output error, for root, too
    Path(other).write_text(json.dumps({"provenance": {"stage": "decide", "inputs": {"scores": "1" * 64}}}))
    entry = {"size": 0, "sha256": "0" * 64, "inputs": ["source"]}
    list_in_manifest(study, {locked: entry, other: entry, "source": entry})
    said = f"{locked} cannot be read (Input/output error); it may be whole: make it readable"
    for check in (check_digests, check_origins, check_settings):
        _, problems, rebuild = check(study)
        assert problems[0] == said
        assert problems[1].startswith(f"{other} ")
        assert locked not in rebuild
        assert other in rebuild


def test_a_folder_that_may_not_be_entered_stops_no_check_of_the_others(
    study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    locked, gone = "results/banks/locked.h5", "results/banks/gone.h5"

    def exists(path: Path) -> bool:
        if str(path) == locked:
            raise PermissionError(13, "Permission denied", locked)
        return False

    entry = {"size": 0, "sha256": "0" * 64}
    list_in_manifest(study, {locked: entry, gone: entry})
    monkeypatch.setattr(Path, "exists", exists)
    monkeypatch.setattr("patchshift.app.check_files._listed", lambda _: {locked: entry, gone: entry})
    _, problems, _ = check_digests(study)
    assert problems[0].startswith(f"{locked} cannot be read (Permission denied); it may be whole: make it readable")
    assert problems[1].startswith(f"{gone} is gone")


def test_an_image_that_cannot_be_read_hides_no_other(study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    root, index = Path(study.image_root("parts", "bolt")), Path("results/images/parts/bolt.csv")
    for folder in (root, index.parent):
        folder.mkdir(parents=True)
    (root / "locked.png").symlink_to("/proc/self/mem")
    (root / "other.png").write_bytes(b"new")
    rows = [SimpleNamespace(image=name, digest="0" * 64) for name in ("locked.png", "other.png")]
    monkeypatch.setattr("patchshift.app.check_files.read_index", lambda _: rows)
    told, problems = check_images(study)
    assert problems == [
        f"{root}/locked.png cannot be read (Input/output error); it may be whole: make it readable",
        f"{root}/other.png changed since it was indexed{REMEDY}",
    ]
    assert told == "2 images"


def test_what_the_config_plans_no_more_is_not_made_anew(study: Study) -> None:
    (cell,) = study.all_cells()
    old = "results/packs/parts/bolt/dropped.h5"
    list_in_manifest(study, {path: {"size": 1, "sha256": "0" * 64} for path in [old, *cell.artifacts]})
    _, problems, rebuild = check_digests(study)
    assert problems[0] == f"{old} is gone, and the config plans it no more: the next run takes it off the list"
    assert rebuild == cell.artifacts


def test_what_was_never_made_is_made_but_for_what_any_run_writes(study: Study) -> None:
    _, problems, rebuild = check_presence(study)
    missing = {problem.removesuffix(" is missing") for problem in problems}
    handled = {f"{study.folder}/{name}" for name in ("summary.json", "run.log", "manifest.json", "rules.csv")}
    assert missing - set(rebuild) == handled
    assert f"{study.folder}/metrics.csv" in rebuild


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (FileNotFoundError(2, "No such file or directory", "a.csv"), "a.csv does not exist: run the study again"),
        (PermissionError(13, "Permission denied", "a.csv"), "a.csv: permission denied: make it readable for you"),
        (FileNotFoundError("cannot open 'a.h5'"), "a file that it reads is damaged (FileNotFoundError: cannot open"),
    ],
)
def test_a_file_that_is_missing_or_cannot_be_read_is_named(
    error: Exception, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(_: Any) -> Any:
        raise error

    monkeypatch.setattr("patchshift.app.checklist.CHECKS", dict.fromkeys(list(CHECKS)[:1], stop))
    (finding,) = check_study(SimpleNamespace())  # type: ignore[arg-type]
    assert finding.problems[0].startswith(f"cannot be checked: {said}")
