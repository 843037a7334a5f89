import logging
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from patchshift.data.images import read_resized
from patchshift.errors import UserError
from patchshift.features import decoding, devices, extraction
from patchshift.features.backbones import build_backbone
from patchshift.features.extraction import Extractor
from patchshift.features.store import FeatureStore
from patchshift.plan.backbone_specs import PretrainedSpec, ScatteringSpec
from patchshift.runtime.files import digest_file
from patchshift.runtime.pace import count_images
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


@pytest.fixture
def use_backbone(monkeypatch: pytest.MonkeyPatch) -> Callable[[torch.nn.Module], None]:
    """Let this module be what every spec builds."""
    return lambda module: monkeypatch.setattr(extraction, "build_backbone", lambda spec, weights_dir: module)


@pytest.fixture
def fake_cuda(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """A CUDA device that computes on the CPU; what was asked of it."""
    asked: dict[str, Any] = {"sent": [], "autocast": [], "pinned": 0}

    def send(pixels: torch.Tensor, device: torch.device) -> torch.Tensor:
        asked["sent"].append((str(device), len(pixels)))
        return pixels

    def autocast(device: torch.device, precision: str) -> Any:
        asked["autocast"].append(precision)
        return torch.autocast("cpu", enabled=False)

    def pin(batch: decoding.Batch) -> decoding.Batch:
        asked["pinned"] += 1
        return batch

    monkeypatch.setattr(extraction, "choose_device", lambda wanted: torch.device("cuda", 0))
    monkeypatch.setattr(extraction, "describe_device", lambda device: "cuda: Fake")
    monkeypatch.setattr(devices, "describe_device", lambda device: "cuda: Fake")
    monkeypatch.setattr(devices, "place", lambda backbone, device: backbone)
    monkeypatch.setattr(devices, "open_copy_stream", lambda device: None)
    monkeypatch.setattr(devices, "release_memory", lambda device: None)
    monkeypatch.setattr(devices, "send", send)
    monkeypatch.setattr(devices, "autocast", autocast)
    monkeypatch.setattr(decoding.Batch, "pin_memory", pin)
    return asked


def extract(spec: Any, images: dict[str, Path], path: Path, weights_dir: Path | None = None, **options: Any) -> None:
    options = {"device": "cpu", **options}
    Extractor(spec, weights_dir=weights_dir, **options).extract(images, path, provenance={"stage": "extract_features"})


def read_maps(path: Path) -> dict[str, dict[str, bytes]]:
    """Image key -> layer -> bytes of its maps."""
    with h5py.File(path) as file:
        return {
            key: {layer: array[row].tobytes() for layer, array in file["layers"].items()}
            for row, key in enumerate(file["images"].asstr()[:])
        }


@pytest.mark.parametrize("spec", [SCATTERING, NETWORK], ids=["scattering", "network"])
def test_features_do_not_depend_on_the_images_around(
    spec: ScatteringSpec | PretrainedSpec, images: dict[str, Path], tmp_path: Path, weights_dir: Path
) -> None:
    extractor = Extractor(spec, weights_dir=weights_dir, device="cpu")
    extractor.extract(images, tmp_path / "all.h5", provenance={})
    everything = read_maps(tmp_path / "all.h5")
    assert list(everything) == list(images)
    for chosen in (list(images)[::-1], list(images)[3:4], list(images)[2:8]):
        extractor.extract({key: images[key] for key in chosen}, tmp_path / "some.h5", provenance={})
        assert read_maps(tmp_path / "some.h5") == {key: everything[key] for key in chosen}


@pytest.mark.parametrize("spec", [SCATTERING, NETWORK], ids=["scattering", "network"])
def test_a_store_has_the_same_bytes_whoever_decodes_and_however_many_threads_compute(
    spec: ScatteringSpec | PretrainedSpec, images: dict[str, Path], tmp_path: Path, weights_dir: Path
) -> None:
    stores = []
    for threads, workers in ((1, 0), (3, 0), (2, 1), (1, 2)):
        path = tmp_path / f"{threads}_{workers}.h5"
        chosen = spec.model_copy(update={"threads": threads})
        extract(chosen, images, path, weights_dir, num_workers=workers)
        stores.append(path.read_bytes())
    assert stores[1:] == stores[:1] * 3


def test_stores_made_with_one_loaded_backbone_equal_those_made_alone(
    images: dict[str, Path], tmp_path: Path, weights_dir: Path
) -> None:
    parts = {"first": dict(list(images.items())[:6]), "second": dict(list(images.items())[6:])}
    extractor = Extractor(NETWORK, weights_dir=weights_dir, device="cpu")
    for name, part in parts.items():
        extractor.extract(part, tmp_path / f"{name}.h5", provenance={"stage": "extract_features"})
        extract(NETWORK, part, tmp_path / "alone.h5", weights_dir)
        assert (tmp_path / f"{name}.h5").read_bytes() == (tmp_path / "alone.h5").read_bytes()


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


@pytest.mark.filterwarnings("ignore:'pin_memory'")
@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_all_unusable_images_are_listed_and_no_store_is_left(
    images: dict[str, Path], tmp_path: Path, workers: int, device: str, request: pytest.FixtureRequest
) -> None:
    if device == "cuda":
        request.getfixturevalue("fake_cuda")
    text = tmp_path / "text.png"
    text.write_text("no image")
    digests = {key: digest_file(path) for key, path in images.items()} | {"good/009.png": "0" * 64, "a": "", "b": ""}
    broken = {"a": text, **images, "b": tmp_path / "absent.png"}
    digests["a"] = digest_file(text)
    extractor = Extractor(SCATTERING, device=device, num_workers=workers)
    with pytest.raises(UserError, match="3 files cannot be used") as caught:
        extractor.extract(broken, tmp_path / "out" / "store.h5", digests=digests, provenance={})
    for name in ("text.png", "absent.png", "009.png: changed since it was indexed"):
        assert name in str(caught.value)
    assert list((tmp_path / "out").iterdir()) == []


def test_matching_digests_are_accepted(images: dict[str, Path], tmp_path: Path) -> None:
    digests = {key: digest_file(path) for key, path in images.items()}
    Extractor(SCATTERING, device="cpu").extract(images, tmp_path / "store.h5", digests=digests, provenance={})
    assert (tmp_path / "store.h5").is_file()


def test_no_images_is_a_mistake(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no images"):
        extract(SCATTERING, {}, tmp_path / "store.h5")


def test_features_beyond_half_precision_name_the_image(
    images: dict[str, Path], tmp_path: Path, use_backbone: Callable[[torch.nn.Module], None]
) -> None:
    class Exploding(torch.nn.Module):
        def forward(self, batch: torch.Tensor) -> dict[str, torch.Tensor]:
            return {"layer": batch * 1e6}

    use_backbone(Exploding())
    with pytest.raises(UserError, match=r"layer 'layer' is not finite .*good/000\.png"):
        extract(SCATTERING, images, tmp_path / "store.h5")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("workers", [0, 1])
def test_a_failing_backbone_stops_the_job_its_threads_and_its_processes(
    images: dict[str, Path], tmp_path: Path, use_backbone: Callable[[torch.nn.Module], None], workers: int
) -> None:
    class Failing(torch.nn.Module):
        def forward(self, batch: torch.Tensor) -> dict[str, torch.Tensor]:
            raise RuntimeError("no such operation")

    use_backbone(Failing())
    running, torch_threads = set(threading.enumerate()), torch.get_num_threads()
    with pytest.raises(RuntimeError, match="no such operation"):
        extract(SCATTERING, images, tmp_path / "store.h5", num_workers=workers)
    assert not multiprocessing.active_children()
    for thread in set(threading.enumerate()) - running:  # the one that fed a worker's queue ends by itself, soon
        thread.join(timeout=60)
        assert not thread.is_alive(), thread.name
    assert torch.get_num_threads() == torch_threads
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("others_start", [False, True])
def test_a_killed_worker_ends_the_job_with_what_to_do(
    images: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, others_start: bool
) -> None:
    def be_killed(*_: Any, **__: Any) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    def start_slowly(loader: Any) -> Any:
        workers = start(loader)
        time.sleep(60)  # ended by the signal
        return workers

    start = decoding.DataLoader.__iter__
    if others_start:
        monkeypatch.setattr(decoding.DataLoader, "__iter__", start_slowly)
    monkeypatch.setattr(decoding, "read_resized", be_killed)  # in workers, which are copies of this process
    with pytest.raises(UserError, match=r"ended before its work was done .*`num_workers` to fewer than 2, or to 0"):
        extract(SCATTERING, images, tmp_path / "store.h5", num_workers=2)
    assert list(tmp_path.iterdir()) == []


def test_the_log_ends_with_how_it_was_done_and_how_many_images_passed(
    images: dict[str, Path], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        extract(SCATTERING, images, tmp_path / "store.h5")
    progress, used, passed = caplog.messages[-3:]
    assert "11 of 11 images" in progress
    assert used == f"{tmp_path}/store.h5: on cpu, float32, 4 images per pass"
    assert count_images(passed) == 11


class Hungry(torch.nn.Module):
    """Has memory for two images."""

    def __init__(self) -> None:
        super().__init__()
        self.sizes: list[int] = []

    def forward(self, batch: torch.Tensor) -> dict[str, torch.Tensor]:
        self.sizes.append(len(batch))
        if len(batch) > 2:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory")
        return {"layer": batch}


@pytest.mark.filterwarnings("ignore:'pin_memory'")
@pytest.mark.parametrize("workers", [0, 2])
def test_on_cuda_a_batch_is_halved_for_good_when_memory_is_short(
    fake_cuda: dict[str, Any],
    images: dict[str, Path],
    tmp_path: Path,
    use_backbone: Callable[[torch.nn.Module], None],
    caplog: pytest.LogCaptureFixture,
    workers: int,
) -> None:
    hungry = Hungry()
    use_backbone(hungry)
    with caplog.at_level(logging.INFO):
        extract(SCATTERING, images, tmp_path / "halved.h5", device="cuda", num_workers=workers)
    assert hungry.sizes == [4] + [2] * 6  # 11 images
    assert fake_cuda["pinned"] == (3 if workers == 0 else 0)  # torch's own thread pins what workers send
    assert {device for device, _ in fake_cuda["sent"]} == {"cuda:0"}
    assert "the memory of cuda: Fake is short: going on with 2 images per pass" in caplog.messages
    assert caplog.messages[-2].endswith("on cuda: Fake, float32, 2 images per pass")
    extract(SCATTERING.model_copy(update={"batch_size": 1}), images, tmp_path / "single.h5", device="cuda")
    assert read_maps(tmp_path / "halved.h5") == read_maps(tmp_path / "single.h5")


@pytest.mark.filterwarnings("ignore:'pin_memory'")
def test_on_cuda_features_equal_those_of_a_cpu_where_the_arithmetic_does(
    fake_cuda: dict[str, Any], images: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    half = SCATTERING.model_copy(update={"precision": "float16"})
    extractor, threads = Extractor(half, device="cuda", num_workers=1), torch.get_num_threads()
    torch.set_num_threads(1)  # of an operation, as in the threads of a CPU's forward passes
    extractor.extract(images, tmp_path / "cuda.h5", provenance={"stage": "extract_features"})
    torch.set_num_threads(threads)
    assert extractor.provenance == {"device": "cuda: Fake", "precision": "float16"}
    assert fake_cuda["autocast"] == ["float16"] * 3
    monkeypatch.setattr(extraction, "choose_device", lambda wanted: torch.device("cpu"))
    extract(half, images, tmp_path / "cpu.h5")
    assert (tmp_path / "cuda.h5").read_bytes() == (tmp_path / "cpu.h5").read_bytes()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
@pytest.mark.parametrize("precision", ["float32", "float16"])
def test_on_a_real_cuda_device_features_agree_with_those_of_the_cpu(
    images: dict[str, Path], tmp_path: Path, weights_dir: Path, precision: str
) -> None:
    spec = NETWORK.model_copy(update={"precision": precision})
    for name, options in {"cpu": {"device": "cpu"}, "cuda": {}, "again": {}, "threads": {"num_workers": 0}}.items():
        extract(spec, images, tmp_path / f"{name}.h5", weights_dir, **{"device": "cuda", **options})
    for name in ("again", "threads"):
        assert (tmp_path / f"{name}.h5").read_bytes() == (tmp_path / "cuda.h5").read_bytes()
    with FeatureStore(tmp_path / "cpu.h5") as cpu, FeatureStore(tmp_path / "cuda.h5") as cuda:
        for layer in NETWORK.layers:
            expected, values = (store.read(layer, np.arange(len(images))) for store in (cpu, cuda))
            tolerance = (2e-3 if precision == "float32" else 2e-2) * np.abs(expected).max()
            np.testing.assert_allclose(values, expected, rtol=0, atol=tolerance)
