"""One byte of an artifact changes: `patchshift check` names it, no job takes it, and one command makes it anew."""

import json
import os
import re
import shlex
from collections.abc import Iterator
from contextlib import chdir
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from patchshift.app.check import find_study
from patchshift.app.check_files import check_digests
from patchshift.app.checklist import check_study
from patchshift.app.main import main
from patchshift.errors import UserError
from patchshift.runtime.files import read_json, write_json
from patchshift.runtime.manifest import digest_artifact, list_files, read_manifest

MANIFEST = Path("results/studies/tiny/manifest.json")


@pytest.fixture(scope="module")
def copied(finished_tiny: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A copy for all tests here; each undoes what it does."""
    return finished_tiny.copy(tmp_path_factory.mktemp("damage") / "checkout")


@pytest.fixture
def folder(copied: Any) -> Iterator[Path]:
    with chdir(copied.folder):
        yield copied.folder


def flip(path: Path, place: float) -> bytes:
    """Change a bit of a file; its times stay. What was there before is returned."""
    before, times = path.read_bytes(), path.stat()
    content = bytearray(before)
    content[int(place * len(content))] ^= 0x04
    path.write_bytes(content)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    return before


@pytest.mark.parametrize("place", [0.0, 0.37, 0.999])
def test_check_names_one_changed_byte_in_every_kind_of_artifact(folder: Path, place: float) -> None:
    study, kinds = find_study("tiny"), {}
    for path, entry in read_manifest(MANIFEST).items():
        kinds.setdefault((entry["stage"], Path(path).suffix), path)
    assert {stage for stage, _ in kinds} >= {
        *("generate_dataset", "index_images", "split_images", "synthesize_shift", "pack_images", "extract_features"),
        *("fit_detector", "score_images", "calibrate_threshold", "evaluate", "decide", "collect_experiment"),
        *("collect_study", "analyse_experiment", "analyse_study", "plot_experiment", "plot_study", "plot_shifts"),
        *("write_data_card", "write_report", "write_pdf"),
    }
    for path in kinds.values():
        file = list_files(Path(path))[0] if Path(path).is_dir() else Path(path)
        before = flip(file, place)
        _, problems, rebuild = check_digests(study)
        file.write_bytes(before)
        assert (problems, rebuild) == ([f"{path} has changed"], [path])
    assert check_digests(study)[1:] == ([], [])


PLACE = "tiny/weave/clean/tiny_split/tiny_scattering/tiny_patchcore/seed0"
CONSUMERS = {
    "features": ("results/features/tiny/weave/clean/tiny_scattering.h5", ["fit_detector", "score_images"]),
    "bank": (f"results/banks/{PLACE}.h5", ["score_images", "export_model"]),
    "scores": (
        f"results/scores/{PLACE}/on/tiny/weave/clean.h5",
        ["evaluate", "decide", "calibrate_threshold", "plot_experiment", "write_report"],
    ),
    "pack": ("results/packs/tiny/weave/clean.h5", ["evaluate", "decide", "write_data_card", "plot_shifts"]),
    "threshold": (f"results/thresholds/{PLACE}/from/tiny/weave/clean/tiny_quantile.json", ["decide"]),
    "metrics": (f"results/metrics/{PLACE}/on/tiny/weave/clean.json", ["collect_study", "collect_experiment"]),
    "decisions": (
        f"results/decisions/{PLACE}/on/tiny/weave/clean/from/tiny/weave/clean/tiny_quantile.json",
        ["collect_study", "collect_experiment"],
    ),
}
"""Artifacts that numbers lie in, and the scripts that read them."""


@pytest.mark.parametrize(
    ("kind", "script"), [(kind, script) for kind, (_, scripts) in CONSUMERS.items() for script in scripts]
)
def test_no_job_computes_with_a_damaged_artifact(
    kind: str, script: str, folder: Path, stages: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = Path(CONSUMERS[kind][0])
    stage = replace(next(job for job in stages[script] if str(path) in job.inputs), folder=folder)
    for place in (0.02, 0.5, 0.9):
        before = flip(path, place)
        try:
            with pytest.raises(UserError, match=rf"{re.escape(str(path))} is (damaged|not a whole).*run again"):
                stage.run(tmp_path, monkeypatch)
        finally:
            path.write_bytes(before)
    assert [each for each in tmp_path.rglob("*") if each.is_file()] == []


def test_what_check_prints_makes_all_that_changed_anew(checkout: Any, capsys: pytest.CaptureFixture[str]) -> None:
    damaged = ["results/studies/tiny/report.html", "results/studies/tiny/data_cards/tiny.json"]
    with chdir(checkout.folder):
        digests = {path: digest_artifact(Path(path)) for path in damaged}
        for path in damaged:
            flip(Path(path), 0.4)
        assert main(["check", "tiny"]) == 1
        (command,) = re.findall(r"^  (snakemake .*)$", capsys.readouterr().out, re.MULTILINE)
    run = checkout.run(*shlex.split(command)[1:])
    assert run.returncode == 0, run.stderr
    with chdir(checkout.folder):
        assert {path: digest_artifact(Path(path)) for path in damaged[1:]} == {damaged[1]: digests[damaged[1]]}
        assert [each.problems for each in check_study(find_study("tiny")) if each.problems] == []


def test_the_command_reaches_artifacts_that_nothing_else_would_make_again(
    copied: Any, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = Path("results/features/tiny/weave/clean/tiny_scattering.h5")
    times = path.stat()
    before = flip(path, 0.5)
    try:
        assert main(["check", "tiny", "--json"]) == 1
        rebuild = re.search(r'"rebuild": "snakemake (.*)"', capsys.readouterr().out)
        assert rebuild
        rules = copied.plan_rules(*shlex.split(rebuild[1]))
    finally:
        path.write_bytes(before)
        os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert {"extract_features", "fit_detector", "score_images", "evaluate", "write_report"} <= rules
    assert not {"generate_dataset", "index_images", "pack_images"} & rules


def test_the_command_makes_what_was_made_from_another_input(
    copied: Any, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Metrics of other scores, as the rest of another copy of the results has them."""
    path = Path(CONSUMERS["metrics"][0])
    times, before, listed = path.stat(), path.read_text(), MANIFEST.read_text()
    content = read_json(path)
    content["provenance"]["inputs"]["scores"] = "0" * 64
    try:
        write_json(path, content)
        os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
        entries = json.loads(listed)
        entries["artifacts"][str(path)]["sha256"] = digest_artifact(path)
        MANIFEST.write_text(json.dumps(entries))
        assert main(["check", "tiny"]) == 1
        told = capsys.readouterr().out
        command = told.splitlines()[-1]
        jobs = copied.plan_command(command)
    finally:
        path.write_text(before)
        os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
        MANIFEST.write_text(listed)
    assert f"{path} was made from another {CONSUMERS['scores'][0]}" in told
    assert command.endswith(f"all --forcerun {path}")
    assert "--touch" not in command
    assert ("evaluate", str(path)) in jobs
    assert not {"score_images", "fit_detector"} & {rule for rule, _ in jobs}


def test_a_threshold_that_is_edited_by_hand_is_no_threshold(folder: Path) -> None:
    path = Path(CONSUMERS["threshold"][0])
    before = path.read_text()
    value = read_json(path)["threshold"]
    path.write_text(before.replace(repr(value), repr(value + 1)))
    try:
        with pytest.raises(UserError, match="its content is not what was written: damaged, or edited"):
            read_json(path)
    finally:
        path.write_text(before)
