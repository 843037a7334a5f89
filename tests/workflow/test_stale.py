"""Copied results have lost Snakemake's records and their times: `patchshift check` still says what is stale."""

import os
import random
import shlex
from collections.abc import Iterator
from contextlib import chdir
from pathlib import Path
from typing import Any

import pytest

from patchshift.app.check import find_study
from patchshift.app.check_specs import check_settings
from patchshift.app.main import main
from patchshift.plan import stages

CELL = "tiny/weave/clean/tiny_split/tiny_scattering/tiny_patchcore/seed0"
TARGETS = ("clean", "turned")
FEATURES = {f"results/features/tiny/weave/{domain}/tiny_scattering.h5" for domain in TARGETS}
TURNED_PACK = "results/packs/tiny/weave/turned.h5"
BANK = f"results/banks/{CELL}.h5"
SCORES = {f"results/scores/{CELL}/on/tiny/weave/{domain}.h5" for domain in TARGETS}
CALIBRATION = "from/tiny/weave/clean/tiny_quantile.json"
THRESHOLD = f"results/thresholds/{CELL}/{CALIBRATION}"
METRICS = {f"results/metrics/{CELL}/on/tiny/weave/{domain}.json" for domain in TARGETS}
DECISIONS = {f"results/decisions/{CELL}/on/tiny/weave/{domain}/{CALIBRATION}" for domain in TARGETS}
CATALOG = "configs/catalog.yaml"


@pytest.fixture
def copied(finished_tiny: Any, tmp_path: Path) -> Iterator[Any]:
    """The study on another machine: nothing of Snakemake's, times as they came; the working folder."""
    checkout = finished_tiny.copy_without_records(tmp_path / "copied")
    draw = random.Random(0)
    for path in sorted((checkout.folder / "results").rglob("*")):
        os.utime(path, (draw.uniform(1e9, 1.5e9),) * 2)
    with chdir(checkout.folder):
        yield checkout


def find_stale() -> dict[str, str]:
    """Path of each artifact that is stale -> why."""
    told, problems, _ = check_settings(find_study("tiny"))
    assert "do not say" not in told
    return dict(problem.split(" was made ", 1) for problem in problems)


def tell_command(capsys: pytest.CaptureFixture[str]) -> str:
    """What `patchshift check` ends with."""
    assert main(["check", "tiny"]) == 1
    return capsys.readouterr().out.splitlines()[-1].strip()


def test_results_that_were_copied_are_up_to_date(copied: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert find_stale() == {}
    assert main(["check", "tiny"]) == 0
    assert "ok    up to date with the config" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("file", "old", "new", "stale", "said"),
    [
        (
            "config.yaml",
            "test_good: 3",
            "test_good: 4",
            {"results/datasets/tiny/weave", "results/studies/tiny/data_cards/tiny.json"},
            "test_good was 3, is 4",
        ),
        ("config.yaml", "  datasets:\n    tiny:\n", "  datasets:\n    tiny:\n      masks: optional\n",
            {"results/images/tiny/weave.csv", "results/studies/tiny/data_cards/tiny.json"}, 'masks was '),
        (
            "config.yaml",
            "share: 0.3}",
            "share: 0.3, train_contamination: 0.2}",
            {"results/splits/tiny/weave/tiny_split.csv"},
            "train_contamination was 0.0, is 0.2",
        ),
        ("config.yaml", "moderate", "severe", {"results/domains/tiny/weave/turned"}, 'severity was "moderate"'),
        ("config.yaml", "octaves: 3", "octaves: 2", FEATURES, "octaves was 3, is 2"),
        ("config.yaml", "share: 0.1}", "share: 0.2}", {BANK}, "sampler.share was 0.1, is 0.2"),
        ("config.yaml", "{method: max}", "{method: top_share, share: 0.1}", SCORES, 'method was "max", is "top_share"'),
        ("config.yaml", "quantile: 0.9", "quantile: 0.8", {THRESHOLD}, "quantile was 0.9, is 0.8"),
        (CATALOG, "smoothing_sigma: 4.0", "smoothing_sigma: 3.0", {THRESHOLD, *METRICS, *DECISIONS}, "was 4.0, is 3.0"),
        ("config.yaml", "question: Does", "question: How does", set(), ""),
    ],
)  # fmt: skip
def test_what_was_made_with_other_settings_is_named_and_nothing_else(
    copied: Any, file: str, old: str, new: str, stale: set[str], said: str
) -> None:
    copied.edit(file, old, new)
    found = find_stale()
    assert found.keys() == stale
    assert all(reason.startswith("with other settings: ") and said in reason for reason in found.values())


def test_what_was_made_by_other_code_is_named(copied: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    version = stages.VERSIONS["score_images"]
    monkeypatch.setitem(stages.VERSIONS, "score_images", version + 1)
    stages.stage_version.cache_clear()
    try:
        found = find_stale()
    finally:
        stages.stage_version.cache_clear()
    assert found == dict.fromkeys(SCORES, f"by other code: score_images was {version}, is {version + 1}")


def test_the_command_that_is_told_makes_what_is_stale_or_gone_and_what_follows_and_nothing_else(
    copied: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    copied.edit("config.yaml", "share: 0.1}", "share: 0.2}")
    Path(TURNED_PACK).unlink()
    told = tell_command(capsys)
    make = f"snakemake --cores 2 all --forcerun {TURNED_PACK} {BANK}"
    assert told == f"snakemake --cores 2 all --touch && {make}"
    assert "extract_features" in copied.plan_rules(), "by times alone, nearly all would be made anew"
    run = copied.run(*shlex.split(told.split(" && ")[0])[1:])
    assert run.returncode == 0, run.stderr
    jobs = copied.plan_command(told)
    rules = {rule for rule, _ in jobs}
    assert {"fit_detector", "score_images", "calibrate_threshold", "evaluate", "decide", "write_report"} <= rules
    assert not rules & {"generate_dataset", "index_images", "split_images", "synthesize_shift", "extract_features"}
    assert [path for rule, path in jobs if rule == "pack_images"] == [TURNED_PACK]


def test_an_artifact_that_says_nothing_of_itself_is_counted_but_not_called_stale(copied: Any) -> None:
    Path("results/splits/tiny/weave/.tiny_split.csv.provenance.json").unlink()
    copied.edit("config.yaml", "share: 0.3}", "share: 0.3, train_contamination: 0.2}")
    told, problems, rebuild = check_settings(find_study("tiny"))
    assert (problems, rebuild) == ([], [])
    assert told.endswith(", 1 of which do not say how they were made")


def test_many_stale_files_are_made_anew_by_a_short_command(
    copied: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("patchshift.app.rebuild.MANY", 2)
    copied.edit("config.yaml", "{method: max}", "{method: top_share, share: 0.1}")
    told = tell_command(capsys)
    assert told.endswith("--forcerun $(cat results/studies/tiny/rebuild.txt)")
    assert {("score_images", path) for path in SCORES} <= copied.plan_command(told)
