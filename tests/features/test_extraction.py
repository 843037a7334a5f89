import logging
import threading
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from patchshift.data.images import read_resized
from patchshift.errors import UserError
from patchshift.features import extraction
from patchshift.features.backbones import build_backbone
from patchshift.features.extraction import extract_features
from patchshift.features.store import FeatureStore
from patchshift.plan.backbone_specs import PretrainedSpec, ScatteringSpec
from patchshift.runtime.files import digest_file
from patchshift.runtime.torchvision_guard import make_torchvision_importable

make_torchvision_importable()

import torchvision  # noqa: E402

SCATTERING = ScatteringSpec(source="scattering", image_size=64, batch_size=4)
NETWORK = PretrainedSpec(
    source="torchvision",
    model="squeezenet1_1",
    weights="weights.safetensors",
    layers=["features.4", "features.7"],
    image_size=64,
    batch_size=4,
)


@pytest.fixture(scope="module")
def weights_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("weights")
    torch.manual_seed(0)
    save_file(torchvision.models.get_model("squeezenet1_1").state_dict(), folder / NETWORK.weights)
    return folder


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("images")
    generator = np.random.default_rng(0)
    paths = {}
    for name in (f"good/{i:03}.png" for i in range(11)):
        paths[name] = folder / name
        paths[name].parent.mkdir(exist_ok=True)
        Image.fromarray(generator.integers(0, 256, (50, 70, 3), np.uint8)).save(paths[name])
    return paths


def extract(
    spec: ScatteringSpec | PretrainedSpec, images: dict[str, Path], path: Path, weights_dir: Path
) -> dict[str, dict[str, bytes]]:
    """Image key -> layer -> bytes of its maps."""
    extract_features(spec, images, path, weights_dir=weights_dir, provenance={"stage": "extract_features"})
    with h5py.File(path) as file:
        return {
            key: {layer: array[row].tobytes() for layer, array in file["layers"].items()}
            for row, key in enumerate(file["images"].asstr()[:])
        }


@pytest.mark.parametrize("spec", [SCATTERING, NETWORK], ids=["scattering", "network"])
def test_features_do_not_depend_on_the_images_around(
    spec: ScatteringSpec | PretrainedSpec, images: dict[str, Path], tmp_path: Path, weights_dir: Path
) -> None:
    everything = extract(spec, images, tmp_path / "all.h5", weights_dir)
    assert list(everything) == list(images)
    for chosen in (list(images)[::-1], list(images)[3:4], list(images)[2:8]):
        some = extract(spec, {key: images[key] for key in chosen}, tmp_path / "some.h5", weights_dir)
        assert some == {key: everything[key] for key in chosen}


@pytest.mark.parametrize("spec", [SCATTERING, NETWORK], ids=["scattering", "network"])
def test_features_do_not_depend_on_the_number_of_threads(
    spec: ScatteringSpec | PretrainedSpec, images: dict[str, Path], tmp_path: Path, weights_dir: Path
) -> None:
    stores = []
    for threads in (1, 3):
        path = tmp_path / f"{threads}.h5"
        extract(spec.model_copy(update={"threads": threads}), images, path, weights_dir)
        stores.append(path.read_bytes())
    assert stores[0] == stores[1]


def test_the_store_holds_the_backbones_maps_in_half_precision(
    images: dict[str, Path], tmp_path: Path, weights_dir: Path
) -> None:
    extract(NETWORK, images, tmp_path / "store.h5", weights_dir)
    pixels = read_resized(images["good/002.png"], NETWORK.input_size)
    with torch.inference_mode():
        expected = build_backbone(NETWORK, weights_dir=weights_dir)(
            torch.tensor(pixels).permute(2, 0, 1)[None].float() / 255
        )
    with FeatureStore(tmp_path / "store.h5") as store:
        assert store.input_size == (64, 64)
        assert store.provenance == {"stage": "extract_features"}
        assert list(store.layer_shapes) == NETWORK.layers
        for layer, values in expected.items():
            stored = store.read(layer, np.array([2]))
            np.testing.assert_allclose(stored[0], values[0].permute(1, 2, 0).numpy(), rtol=2e-3, atol=1e-5)


def test_all_unusable_images_are_listed_and_no_store_is_left(images: dict[str, Path], tmp_path: Path) -> None:
    text = tmp_path / "text.png"
    text.write_text("no image")
    digests = {key: digest_file(path) for key, path in images.items()} | {"good/009.png": "0" * 64, "a": "", "b": ""}
    broken = {"a": text, **images, "b": tmp_path / "absent.png"}
    digests["a"] = digest_file(text)
    with pytest.raises(UserError, match="3 files cannot be used") as caught:
        extract_features(SCATTERING, broken, tmp_path / "out" / "store.h5", digests=digests, provenance={})
    for name in ("text.png", "absent.png", "009.png: changed since it was indexed"):
        assert name in str(caught.value)
    assert list((tmp_path / "out").iterdir()) == []


def test_matching_digests_are_accepted(images: dict[str, Path], tmp_path: Path) -> None:
    digests = {key: digest_file(path) for key, path in images.items()}
    extract_features(SCATTERING, images, tmp_path / "store.h5", digests=digests, provenance={})
    assert (tmp_path / "store.h5").is_file()


def test_no_images_is_a_mistake(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no images"):
        extract_features(SCATTERING, {}, tmp_path / "store.h5", provenance={})


def test_features_beyond_half_precision_name_the_image(
    images: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Exploding(torch.nn.Module):
        def forward(self, batch: torch.Tensor) -> dict[str, torch.Tensor]:
            return {"layer": batch * 1e6}

    monkeypatch.setattr(extraction, "build_backbone", lambda spec, weights_dir: Exploding())
    with pytest.raises(UserError, match=r"layer 'layer' is not finite .*good/000\.png"):
        extract_features(SCATTERING, images, tmp_path / "store.h5", provenance={})
    assert list(tmp_path.iterdir()) == []


def test_a_failing_backbone_stops_the_job_and_its_threads(
    images: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Failing(torch.nn.Module):
        def forward(self, batch: torch.Tensor) -> dict[str, torch.Tensor]:
            raise RuntimeError("out of memory")

    monkeypatch.setattr(extraction, "build_backbone", lambda spec, weights_dir: Failing())
    running, torch_threads = threading.active_count(), torch.get_num_threads()
    with pytest.raises(RuntimeError, match="out of memory"):
        extract_features(SCATTERING, images, tmp_path / "store.h5", provenance={})
    assert threading.active_count() == running
    assert torch.get_num_threads() == torch_threads
    assert list(tmp_path.iterdir()) == []


def test_progress_ends_with_all_images(
    images: dict[str, Path], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        extract_features(SCATTERING, images, tmp_path / "store.h5", provenance={})
    assert "11 of 11 images" in caplog.messages[-1]
