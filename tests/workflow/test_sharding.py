"""Several jobs for one category, through Snakemake: the same features, and the bank that one job would have fitted."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

STUDY = """\
study: tiny
question: Do three jobs make what one makes?
add:
  datasets:
    tiny:
      adapter: mvtec_ad
      categories: [weave]
      generate: {train_good: 8, test_good: 4, test_per_defect: 2}
  splits:
    tiny_split: {protocol: source_plan, train_share: 0.8, val_anomalous_share: 0.3}
  backbones:
    whole: &waves {source: scattering, image_size: 64, octaves: 3, orientations: 2, stride: 8, threads: 1}
    parts: {<<: *waves, shards: 3}
  detectors:
    tiny_patchcore:
      method: patchcore
      representation: {normalise: whiten, shrinkage: 0.5}
      sampler: {share: 0.1, projection: 8}
      shards: 3
      threads: 1
select:
  splits: [tiny_split]
  backbones: [whole, parts]
  detectors: [tiny_patchcore]
  thresholds: [f1_max]
experiments:
  clean: {title: In domain, train: [tiny]}
"""

FEATURES = "results/features/tiny/weave/clean"
BANK = "tiny/weave/clean/tiny_split/{}/tiny_patchcore/seed0"
METRICS = [f"results/metrics/{BANK.format(name)}/on/tiny/weave/clean.json" for name in ("whole", "parts")]


@pytest.fixture(scope="module")
def checkout(make_checkout: Callable[[Path, str], Any], tmp_path_factory: pytest.TempPathFactory) -> Any:
    checkout = make_checkout(tmp_path_factory.mktemp("sharded") / "checkout", STUDY)
    run = checkout.run("--cores", "2", *METRICS)
    assert run.returncode == 0, run.stderr
    return checkout


def test_features_of_three_jobs_are_those_of_one_byte_for_byte(checkout: Any) -> None:
    whole, parts = (checkout.folder / FEATURES / f"{name}.h5" for name in ("whole", "parts"))
    assert whole.read_bytes() == parts.read_bytes()
    logs = sorted((checkout.folder / "results/logs/extract_shard/tiny/weave/clean/parts.shards").iterdir())
    passed = [log.read_text().partition(": passed ")[2].partition(" images")[0] for log in logs]
    assert passed == ["8", "8", "6"]


def test_a_bank_of_three_jobs_is_that_of_one_byte_for_byte(checkout: Any) -> None:
    """One that chooses from the same shards, one after the other."""
    sharded = checkout.folder / f"results/banks/{BANK.format('whole')}.h5"
    assert sharded.read_bytes() == (checkout.folder / f"results/banks/{BANK.format('parts')}.h5").read_bytes()
    provenance = subprocess.run(
        [sys.executable, "-c", f"import h5py; print(h5py.File('{sharded}').attrs['provenance'])"],
        capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    spec = json.loads(provenance)["spec"]
    assert spec["shards"] == 3
    subprocess.run(
        [
            *(sys.executable, "workflow_scripts/fit_detector.py", "--members", "tiny/weave"),
            *("--features", f"{FEATURES}/whole.h5", "--splits", "results/splits/tiny/weave/tiny_split.csv"),
            *("--spec", json.dumps(spec), "--seed", "0", "--stage", json.loads(provenance)["version"]),
            *("--bank", "alone.h5"),
        ],
        cwd=checkout.folder, env=os.environ | {"PYTHONPATH": str(checkout.folder / "workflow_scripts")}, check=True,
    )  # fmt: skip
    assert (checkout.folder / "alone.h5").read_bytes() == sharded.read_bytes()


def test_shards_are_deleted_once_they_are_joined(checkout: Any) -> None:
    assert list((checkout.folder / "results").rglob("*.shards/*.h5")) == []


def test_what_is_done_is_not_done_again(checkout: Any) -> None:
    assert checkout.plan(*METRICS) == set()


def test_a_bank_that_is_fitted_anew_takes_the_features_as_they_are(checkout: Any) -> None:
    checkout.edit("config.yaml", "share: 0.1", "share: 0.2")
    try:
        rules = checkout.plan_rules(METRICS[1])
    finally:
        checkout.edit("config.yaml", "share: 0.2", "share: 0.1")
    assert {"fit_representation", "choose_shard", "fit_detector", "score_images"} <= rules
    assert not rules & {"extract_features", "extract_shard", "merge_features"}


def test_a_damaged_store_is_named_by_the_job_that_joins_and_shards_of_it_are_chosen_anew(checkout: Any) -> None:
    bank = f"results/banks/{BANK.format('whole')}.h5"
    store, fitted = checkout.folder / FEATURES / "whole.h5", (checkout.folder / bank).read_bytes()
    before, times = store.read_bytes(), store.stat()
    damaged = bytearray(before)
    damaged[len(before) // 2] ^= 64
    store.write_bytes(damaged)
    os.utime(store, ns=(times.st_atime_ns, times.st_mtime_ns))
    (checkout.folder / bank).unlink()
    run = checkout.run("--cores", "2", bank)
    assert run.returncode == 1
    assert f"{FEATURES}/whole.h5 is not a whole feature store (its content is not what was written" in run.stderr
    assert len(list(checkout.folder.rglob("*.shards/?of3.h5"))) == 3
    store.unlink()
    run = checkout.run("--cores", "2", bank)
    assert run.returncode == 0, run.stderr
    assert (store.read_bytes(), (checkout.folder / bank).read_bytes()) == (before, fitted)
    assert list((checkout.folder / "results").rglob("*.shards/*.h5")) == []


def test_what_check_tells_makes_stale_sharded_features_anew(
    checkout: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """In results that were copied: nothing else would make them again."""
    copied = checkout.copy_without_records(tmp_path / "copied")
    copied.edit("config.yaml", "octaves: 3", "octaves: 2")
    jobs = copied.plan_what_check_tells(capsys)
    shards = {("extract_shard", f"{FEATURES}/parts.shards/{number}of3.h5") for number in (1, 2, 3)}
    assert {("merge_features", f"{FEATURES}/parts.h5"), ("extract_features", f"{FEATURES}/whole.h5"), *shards} <= jobs
