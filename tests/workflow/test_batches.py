"""Several targets in one job, through Snakemake: the same results, and nothing made anew for where it ran."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from patchshift.runtime.pace import count_images

STUDY = """\
study: tiny
question: Does one job for several categories give what one job each gives?
add:
  datasets:
    tiny:
      adapter: mvtec_ad
      categories: [casting, weave]
      generate: {train_good: 6, test_good: 4, test_per_defect: 2}
  splits:
    tiny_split: {protocol: source_plan, train_share: 0.8, val_anomalous_share: 0.3}
  backbones:
    tiny-1.0: {source: scattering, image_size: 64, octaves: 3, orientations: 2, stride: 8, threads: 1}
    absent: {source: torchvision, model: resnet18, weights: absent.safetensors, layers: [layer1]}
  detectors:
    tiny_patchcore: {method: patchcore, sampler: {share: 0.1}, threads: 1}
select:
  splits: [tiny_split]
  backbones: [tiny-1.0]
  detectors: [tiny_patchcore]
  thresholds: [f1_max]
experiments:
  clean: {title: In domain, train: [tiny]}
"""

STORES = [f"results/features/tiny/{name}/clean/tiny-1.0.h5" for name in ("casting", "weave")]
BANK = "tiny/casting/clean/tiny_split/tiny-1.0/tiny_patchcore/seed0"
METRICS = f"results/metrics/{BANK}/on/tiny/casting/clean.json"
TARGETS = [*STORES, METRICS]
LOG = "results/logs/extract_features/batches/tiny-1.0/0.log"


@pytest.fixture(scope="module")
def single(make_checkout: Callable[[Path, str], Any], tmp_path_factory: pytest.TempPathFactory) -> Any:
    """One job for each category."""
    checkout = make_checkout(tmp_path_factory.mktemp("single") / "checkout", STUDY)
    run = checkout.run("--cores", "2", *TARGETS)
    assert run.returncode == 0, run.stderr
    return checkout


@pytest.fixture(scope="module")
def batched(single: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The same, extracted again in one job, decoded by a process."""
    checkout = single.copy(tmp_path_factory.mktemp("batched") / "checkout")
    for path in STORES:
        (checkout.folder / path).unlink()
    (checkout.folder / "config.yaml").write_text(f"{STUDY}batch_categories: 2\nnum_workers: 1\ndevice: cpu\n")
    run = checkout.run("--cores", "2", *TARGETS)
    assert run.returncode == 0, run.stderr
    return checkout


def test_one_job_for_several_targets_gives_the_same_stores_and_metrics(single: Any, batched: Any) -> None:
    log = (batched.folder / LOG).read_text()
    assert count_images(log) == 2 * (6 + 4 + 2 * 5)
    assert (batched.folder / LOG.replace("/logs/", "/benchmarks/").replace(".log", ".tsv")).is_file()
    for path in (*TARGETS, f"results/banks/{BANK}.h5", f"results/scores/{BANK}/on/tiny/casting/clean.h5"):
        assert (batched.folder / path).read_bytes() == (single.folder / path).read_bytes(), path


def test_a_batch_that_is_done_is_not_done_again(batched: Any) -> None:
    assert batched.plan(*TARGETS) == set()


@pytest.mark.parametrize("kind", ["single", "batched"])
def test_where_features_are_made_is_no_reason_to_make_them_anew(kind: str, request: pytest.FixtureRequest) -> None:
    checkout = request.getfixturevalue(kind)
    path = checkout.folder / "config.yaml"
    before = path.read_text()
    settings = "device: cuda\nnum_workers: 3\n" + "batch_categories: 2\n" * (kind == "batched")
    path.write_text(STUDY + settings)
    try:
        assert checkout.plan(*TARGETS) == set()
    finally:
        path.write_text(before)


def test_jobs_ask_for_the_cores_that_decode_and_for_the_card(single: Any) -> None:
    path = single.folder / "config.yaml"
    before = path.read_text()
    asked = []
    try:
        for settings in ("", "device: cuda\nnum_workers: 3\n"):
            path.write_text(STUDY + settings)
            asked.append(single.run("--cores", "4", "--dry-run", "--forceall", STORES[0]).stdout)
    finally:
        path.write_text(before)
    with_default, with_cuda = asked
    assert "threads:" not in with_default  # one, as the backbone says
    assert "gpu=1" not in with_default
    assert "threads: 4" in with_cuda
    assert "gpu=1" in with_cuda


def test_fitting_and_scoring_ask_for_as_many_cores_as_the_detector_has_threads(single: Any) -> None:
    old, new = "sampler: {share: 0.1}, threads: 1", "sampler: {share: 0.1}, threads: 3"
    asked = []
    for before, after in ((old, new), (new, old)):
        asked.append(single.run("--cores", "4", "--dry-run", "--forceall", METRICS).stdout)
        single.edit("config.yaml", before, after)
    as_it_is, with_three = asked
    assert "threads:" not in as_it_is
    for rule in ("fit_detector", "score_images"):
        job = with_three.split(f"rule {rule}:")[1].split("rule ")[0]
        assert "threads: 3" in job, job


def test_an_edit_of_the_backbone_makes_the_whole_batch_anew(batched: Any) -> None:
    batched.edit("config.yaml", "octaves: 3", "octaves: 2")
    try:
        output = batched.run("--dry-run", *TARGETS).stdout
    finally:
        batched.edit("config.yaml", "octaves: 2", "octaves: 3")
    assert "rule extract_features_tiny-1.0_0:" in output
    assert "rule extract_features:" not in output


def test_what_check_tells_makes_stale_features_of_a_batch_anew(
    batched: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """In results that were copied: nothing else would make them again."""
    copied = batched.copy_without_records(tmp_path / "copied")
    copied.edit("config.yaml", "octaves: 3", "octaves: 2")
    jobs = copied.plan_what_check_tells(capsys)
    assert ("extract_features_tiny-1.0_0", STORES[0]) in jobs


def test_what_a_batch_lacks_is_named_before_any_job_starts(batched: Any) -> None:
    batched.edit("config.yaml", "backbones: [tiny-1.0]", "backbones: [absent]")
    try:
        run = batched.run("--cores", "1", *(path.replace("tiny-1.0", "absent") for path in STORES))
    finally:
        batched.edit("config.yaml", "backbones: [absent]", "backbones: [tiny-1.0]")
    assert run.returncode == 1
    assert "weight file weights/absent.safetensors does not exist" in run.stderr
    log = (batched.folder / "results/studies/tiny/run.log").read_text()
    assert "extract_features_absent_0" in log
    assert not (batched.folder / "results/logs/extract_features/batches/absent").exists()
