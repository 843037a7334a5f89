import os
from pathlib import Path

import h5py
import pytest

from patchshift.runtime import manifest
from patchshift.runtime.files import digest_bytes, read_json, write_json
from patchshift.runtime.jobs import Job
from patchshift.runtime.manifest import digest_artifact, read_manifest, update_manifest

MANIFEST = Path("results/studies/s/manifest.json")
EVERYTHING = Job(0, "all", {}, [])


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(name: str, content: bytes = b"content", moment: int = 1_000_000_000) -> str:
    path = Path(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    os.utime(path, ns=(moment, moment))
    return name


def test_what_jobs_made_is_listed_with_size_digest_and_stage() -> None:
    table = write("results/images/d/c.csv", b"abc")
    write("weights/net.receipt.json")
    jobs = [
        EVERYTHING,
        Job(1, "index_images", {"folder": ["data/d"]}, [table], benchmark="results/benchmarks/index_images/d/c.tsv"),
        Job(2, "fetch_weights", {}, ["weights/net.receipt.json"]),
        Job(3, "split_images", {}, ["results/splits/never/made.csv"]),
    ]
    listed = update_manifest(MANIFEST, jobs)
    assert listed == read_manifest(MANIFEST) == read_json(MANIFEST)["artifacts"]
    assert listed == {
        table: {
            "stage": "index_images",
            "size": 3,
            "mtime_ns": 1_000_000_000,
            "sha256": digest_bytes(b"abc"),
            "benchmark": "results/benchmarks/index_images/d/c.tsv",
        }
    }


def test_a_folder_is_one_artifact_that_changes_with_any_file_in_it() -> None:
    folder = Path("results/domains/d/c/dark")
    write(f"{folder}/index.csv", b"1")
    write(f"{folder}/images/a.png", b"2")
    write(f"{folder}/.snakemake_timestamp", b"3")
    job = Job(1, "synthesize_shift", {}, [str(folder)])
    entry = update_manifest(MANIFEST, [EVERYTHING, job])[str(folder)]
    assert (entry["files"], entry["size"]) == (2, 2)
    lines = f"{digest_bytes(b'2')}  images/a.png\n{digest_bytes(b'1')}  index.csv\n"
    assert entry["sha256"] == digest_artifact(folder) == digest_bytes(lines.encode())
    write(f"{folder}/images/a.png", b"4", moment=2_000_000_000)
    assert update_manifest(MANIFEST, [EVERYTHING, job])[str(folder)]["sha256"] != entry["sha256"]


def test_what_has_not_changed_is_not_read_again(monkeypatch: pytest.MonkeyPatch) -> None:
    names = [write("results/a.csv", b"a"), write("results/b.csv", b"b")]
    jobs = [EVERYTHING, Job(1, "index_images", {}, names)]
    before = update_manifest(MANIFEST, jobs)
    read: list[Path] = []
    monkeypatch.setattr(manifest, "digest_file", lambda path: read.append(path) or "new")  # type: ignore[func-returns-value]
    assert update_manifest(MANIFEST, jobs) == before
    assert read == []
    write("results/b.csv", b"c", moment=2_000_000_000)
    assert update_manifest(MANIFEST, jobs)["results/b.csv"]["sha256"] == "new"
    assert read == [Path("results/b.csv")]


def test_of_a_large_file_the_digest_is_taken_that_a_later_artifact_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(manifest, "LARGE", 4)
    first, second = write("results/features/a.h5", b"aaaaa"), write("results/features/b.h5", b"bbbbb")
    bank = Path("results/banks/a.h5")
    bank.parent.mkdir(parents=True)
    with h5py.File(bank, "w") as file:
        file.attrs["provenance"] = '{"inputs": {"features": ["recorded a", "recorded b"]}}'
    jobs = [
        EVERYTHING,
        Job(1, "extract_features", {}, [first]),
        Job(2, "extract_features", {}, [second]),
        Job(3, "fit_detector", {"features": [first, second]}, [str(bank)]),
    ]
    listed = update_manifest(MANIFEST, jobs)
    assert [listed[name]["sha256"] for name in (first, second)] == ["recorded a", "recorded b"]
    assert listed[str(bank)]["inputs"] == [first, second]


@pytest.mark.parametrize("case", ["older", "damaged"])
def test_an_artifact_that_may_be_of_another_file_is_not_believed(monkeypatch: pytest.MonkeyPatch, case: str) -> None:
    monkeypatch.setattr(manifest, "LARGE", 4)
    scores = write("results/scores/a.h5", b"aaaaa")
    metrics = Path("results/metrics/a.json")
    write_json(metrics, {"provenance": {"inputs": {"scores": "recorded"}}})
    if case == "older":
        os.utime(metrics, ns=(1, 1))
    else:
        metrics.write_text("{")
    jobs = [EVERYTHING, Job(1, "score_images", {}, [scores]), Job(2, "evaluate", {"scores": [scores]}, [str(metrics)])]
    assert update_manifest(MANIFEST, jobs)[scores]["sha256"] == digest_bytes(b"aaaaa")


def test_a_run_for_a_part_keeps_the_rest_and_a_run_for_everything_does_not() -> None:
    kept, gone, made = (write(f"results/{name}.csv") for name in ("kept", "gone", "made"))
    update_manifest(MANIFEST, [EVERYTHING, Job(1, "index_images", {}, [kept, gone])])
    Path(gone).unlink()
    part = [Job(1, "index_images", {}, [made])]
    assert update_manifest(MANIFEST, part).keys() == {kept, made}
    assert update_manifest(MANIFEST, [EVERYTHING, *part]).keys() == {made}


def test_a_damaged_manifest_is_written_anew() -> None:
    write(str(MANIFEST), b"{")
    name = write("results/a.csv")
    assert read_manifest(MANIFEST) == {}
    assert update_manifest(MANIFEST, [Job(1, "index_images", {}, [name])]).keys() == {name}


def test_in_a_batch_each_target_has_its_own_images_alone() -> None:
    stores = [write(f"results/features/{name}.h5") for name in ("a", "b")]
    inputs = {"images": ["results/images/a.csv", "results/images/b.csv"], "weights": ["weights/net.receipt.json"]}
    listed = update_manifest(MANIFEST, [Job(1, "extract_features", inputs, stores)])
    assert listed[stores[1]]["inputs"] == ["results/images/b.csv", "weights/net.receipt.json"]
