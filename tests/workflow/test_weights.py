"""Weight files through Snakemake: consent, download, and runs without a network."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save

from patchshift.features.store import FeatureStore
from patchshift.runtime.files import read_json
from patchshift.runtime.torchvision_guard import make_torchvision_importable

LICENCE = "for tests, and for nothing else"
STUDY = """\
study: weighed
question: Are weights fetched once?
weights_dir: myweights
add:
  datasets:
    tiny: {adapter: mvtec_ad, categories: [casting], generate: {train_good: 3, test_good: 1, test_per_defect: 1}}
  backbones:
    small:
      source: timm
      model: test_resnet
      weights: timm/small.safetensors
      layers: [layer1, layer2]
      image_size: 64
      threads: 1
      address: ADDRESS/gone.safetensors
      mirrors: [{address: ADDRESS/small.safetensors, checksum: "sha256:CHECKSUM"}]
      licence: for tests, and for nothing else
select: {splits: [normals_only], backbones: [small], detectors: [patchcore], thresholds: [normal_p95]}
experiments:
  tiny: {title: A small network, train: [tiny]}
"""
ACCEPT = ("--config", "accept_licence=true")
FEATURES = "results/features/tiny/casting/clean/small.h5"
FILE = "myweights/timm/small.safetensors"
RECEIPT = f"{FILE}.receipt.json"


def written(address: str, checksum: str) -> str:
    return STUDY.replace("ADDRESS", address).replace("CHECKSUM", checksum)


@dataclass(frozen=True)
class Fetched:
    """Features that were asked for without consent and then with it, what the first run left, what was sent."""

    checkout: Any
    sha256: str
    refused: Any
    left_by_refused: list[str]
    accepted: Any
    served: list[str]

    @property
    def folder(self) -> Path:
        return Path(self.checkout.folder)


@pytest.fixture(scope="module")
def fetched(
    make_checkout: Callable[[Path, str], Any],
    serve: Callable[..., Any],
    tmp_path_factory: pytest.TempPathFactory,
) -> Fetched:
    make_torchvision_importable()
    import timm

    torch.manual_seed(0)
    content = save(timm.create_model("test_resnet", pretrained=False).state_dict())
    sha256 = hashlib.sha256(content).hexdigest()
    with serve() as server:
        server.put("small.safetensors", content)
        study = written(server.address, sha256[:8])
        checkout = make_checkout(tmp_path_factory.mktemp("weights") / "checkout", study)
        refused = checkout.run("--cores", "1", FEATURES)
        left = [
            str(path) for path in (checkout.folder / "myweights", checkout.folder / "results/logs") if path.exists()
        ]
        left += [each.path for each in server.served]
        accepted = checkout.run("--cores", "1", FEATURES, *ACCEPT)
        served = [each.path for each in server.served]
    return Fetched(checkout, sha256, refused, left, accepted, served)


@pytest.fixture
def copied(fetched: Fetched, tmp_path: Path) -> Any:
    """A copy of the finished checkout that a test may change; the server is gone."""
    return fetched.checkout.copy(tmp_path / "copy")


def test_before_any_job_one_message_names_file_place_address_licence_and_how_to_allow_the_download(
    fetched: Fetched,
) -> None:
    assert fetched.refused.returncode == 1
    message = " ".join(fetched.refused.stderr.split())
    assert f"backbone 'small': weight file {FILE} does not exist. Its licence: {LICENCE}. Read it, and set" in message
    assert "`accept_licence: true` (or --config accept_licence=true) to download it from http://127.0.0.1:" in message
    assert f"/gone.safetensors; or bring 'timm/small.safetensors' from there by hand, as {FILE};" in message
    assert message.count("weight file") == 1
    assert "Traceback" not in message
    assert fetched.left_by_refused == []


def test_accepted_weights_are_fetched_once_and_the_features_say_which(fetched: Fetched) -> None:
    run = fetched.accepted
    assert run.returncode == 0, run.stderr
    shown = f"downloading weight file 'timm/small.safetensors' to {FILE}; its licence, as you accept it: {LICENCE}"
    assert run.stderr.index(shown) < run.stderr.index("[1/")
    assert fetched.served == ["gone.safetensors", "small.safetensors"]
    receipt = read_json(fetched.folder / RECEIPT)
    assert (receipt["origin"], receipt["accepted"], receipt["licence"]) == ("downloaded", True, LICENCE)
    assert receipt["sha256"] == fetched.sha256
    assert {path.name for path in (fetched.folder / FILE).parent.iterdir()} == {Path(FILE).name, Path(RECEIPT).name}
    with FeatureStore(fetched.folder / FEATURES) as store:
        assert store.provenance["inputs"]["weights"] == fetched.sha256


def test_a_second_run_needs_no_consent_and_has_nothing_to_do_whatever_is_said_of_the_origin(copied: Any) -> None:
    copied.edit("config.yaml", f"licence: {LICENCE}", "licence: another")
    copied.edit("config.yaml", "gone.safetensors", "elsewhere.safetensors")
    assert copied.plan(FEATURES) == set()


def test_without_a_network_the_file_that_is_there_is_used(copied: Any) -> None:
    before = (copied.folder / FEATURES).read_bytes()
    (copied.folder / RECEIPT).unlink()  # as where the file was brought by hand
    run = copied.run("--cores", "1", FEATURES, "--forcerun", "extract_features")
    assert run.returncode == 0, run.stderr
    assert (copied.folder / FEATURES).read_bytes() == before
    assert not (copied.folder / RECEIPT).exists()


def test_when_no_place_has_the_file_the_run_names_it_and_where_to_put_it(copied: Any, server: Any) -> None:
    for path in (FILE, RECEIPT, FEATURES):
        (copied.folder / path).unlink()
    (copied.folder / "config.yaml").write_text(written(server.address, "0" * 64))
    run = copied.run("--cores", "1", FEATURES, *ACCEPT)
    assert run.returncode == 1
    message = " ".join(run.stderr.split())
    assert "weight file 'timm/small.safetensors' could not be downloaded:" in message
    for place in ("gone", "small"):
        assert f"{server.address}/{place}.safetensors: the server answered 404 Not Found" in message
    assert f"Bring {server.address}/gone.safetensors as {FILE} by hand and run again" in message
    assert not [path for path in (copied.folder / "myweights").rglob("*") if path.is_file()]
