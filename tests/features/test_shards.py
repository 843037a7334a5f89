"""A store that several jobs make, and the one that a single job makes."""

import itertools
import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from patchshift.errors import UserError
from patchshift.features import store as store_module
from patchshift.features.extraction import Extractor
from patchshift.features.shards import Shard, merge_shards
from patchshift.features.store import FeatureStore
from patchshift.plan.backbone_specs import ScatteringSpec
from patchshift.runtime.sealed import seal

VERSION = "7"
INPUTS = {"index": "digest"}
SPEC = {"source": "scattering"}
PROVENANCE = {"stage": "extract_features", "spec": SPEC, "inputs": INPUTS, "device": "cpu", "precision": "float32"}
EXPECTED = {"stage": "extract_features", "spec": SPEC, "inputs": INPUTS}


@given(total=st.integers(0, 200), batch=st.integers(1, 20), count=st.integers(1, 30))
@settings(max_examples=300, deadline=None)
def test_shards_are_whole_batches_that_share_all_images_evenly(total: int, batch: int, count: int) -> None:
    parts = [range(total)[Shard(number, count, "").images(total, batch)] for number in range(1, count + 1)]
    assert list(itertools.chain(*parts)) == list(range(total))
    assert all(part.start % batch == 0 for part in parts if part)
    batches = [-(-len(part) // batch) for part in parts]
    assert max(batches) - min(batches) <= 1


@pytest.fixture(scope="module")
def extractors() -> Callable[[int], Extractor]:
    """By batch size."""
    made: dict[int, Extractor] = {}

    def make(batch: int) -> Extractor:
        spec = ScatteringSpec(source="scattering", image_size=32, octaves=2, orientations=1, batch_size=batch)
        return made.setdefault(batch, Extractor(spec, device="cpu", num_workers=0))

    return make


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder, random = tmp_path_factory.mktemp("images"), np.random.default_rng(0)
    paths = {f"{number}.png": folder / f"{number}.png" for number in range(13)}
    for path in paths.values():
        Image.fromarray(random.integers(0, 256, (32, 32, 3), np.uint8)).save(path)
    return paths


Make = Callable[..., list[Path]]


@pytest.fixture(scope="module")
def make_shards(extractors: Any, images: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Make:
    """The shards of the first images, as jobs write them."""

    def make(total: int, batch: int, count: int, **provenance: Any) -> list[Path]:
        folder, keys = tmp_path_factory.mktemp("shards"), list(images)[:total]
        for number in range(1, count + 1):
            shard = Shard(number, count, VERSION)
            own = {key: images[key] for key in keys[shard.images(total, batch)]}
            path = folder / f"{number}of{count}.h5"
            extractors(batch).extract(own, path, provenance=PROVENANCE | provenance, shard=shard)
        return [folder / f"{number}of{count}.h5" for number in range(1, count + 1)]

    return make


def merge(paths: Sequence[Path], destination: Path, total: int, batch: int, **options: Any) -> None:
    keys = [f"{number}.png" for number in range(total)]
    options = {"expected": EXPECTED, "version": VERSION, **options}
    merge_shards(paths, destination, images=keys, batch_size=batch, **options)


@given(total=st.integers(1, 13), batch=st.integers(1, 6), count=st.integers(1, 6))
@settings(max_examples=40, deadline=None)
def test_the_joined_store_is_that_of_one_job_byte_for_byte(
    total: int, batch: int, count: int, make_shards: Make, extractors: Any, images: dict[str, Path]
) -> None:
    """Also where there are fewer batches than shards."""
    paths = make_shards(total, batch, count)
    whole = paths[0].with_name("whole.h5")
    extractors(batch).extract(dict(list(images.items())[:total]), whole, provenance=PROVENANCE)
    merge(paths, joined := paths[0].with_name("joined.h5"), total, batch)
    assert joined.read_bytes() == whole.read_bytes()


def test_joining_holds_a_batch_at_a_time(make_shards: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths, read, copy = make_shards(13, 2, 3), [], store_module.FeatureStore.copy

    def watch(self: FeatureStore, first: int, stop: int) -> Any:
        read.append(stop - first)
        return copy(self, first, stop)

    monkeypatch.setattr(store_module.FeatureStore, "copy", watch)
    merge(paths, tmp_path / "joined.h5", 13, 2)
    assert read == [2] * 6 + [1]


def drop(paths: list[Path]) -> None:
    paths[1].unlink()


def cut(paths: list[Path]) -> None:
    paths[1].write_bytes(paths[1].read_bytes()[:-100])


def flip(paths: list[Path]) -> None:
    """A bit of a number, which stays finite."""
    content = bytearray(paths[1].read_bytes())
    with h5py.File(paths[1]) as file:
        content[file["layers/colour"].id.get_chunk_info(0).byte_offset] ^= 1
    paths[1].write_bytes(content)


def swap(paths: list[Path]) -> None:
    paths[1].write_bytes(paths[2].read_bytes())


def leave(_: list[Path]) -> None:
    """Nothing, where other settings are expected."""


@pytest.mark.parametrize(
    ("damage", "options", "message"),
    [
        (drop, {}, "2of3.h5 does not exist: run again"),
        (cut, {}, r"2of3.h5 is not a whole feature store \(.*\): delete it and run again"),
        (flip, {}, r"2of3.h5 is not a whole feature store \(its content is not what was written"),
        (swap, {}, r"2of3.h5 is not shard 2 of 3 of these features \(other shard .*, images\): delete it"),
        (leave, {"version": "8"}, r"1of3.h5 is not shard 1 of 3 .* \(other shard"),
        (leave, {"expected": EXPECTED | {"spec": {}}}, r"1of3.h5 is not .* \(other spec\)"),
        (leave, {"expected": EXPECTED | {"inputs": {"index": "other"}}}, r"1of3.h5 is not .* \(other index\)"),
    ],
)
def test_a_shard_that_is_none_of_these_is_named_and_nothing_is_left(
    make_shards: Make, tmp_path: Path, damage: Callable[[list[Path]], None], options: dict[str, Any], message: str
) -> None:
    paths = make_shards(13, 2, 3)
    damage(paths)
    with pytest.raises(UserError, match=message):
        merge(paths, tmp_path / "joined.h5", 13, 2, **options)
    assert list(tmp_path.iterdir()) == []


def test_a_store_without_a_seal_is_no_shard(make_shards: Make, tmp_path: Path) -> None:
    paths = make_shards(13, 2, 3)
    with h5py.File(paths[0], "r+") as file:
        file.attrs["input_size"] = [64, 64]
    with pytest.raises(UserError, match=r"1of3\.h5 is not a whole feature store"):
        merge(paths, tmp_path / "joined.h5", 13, 2)
    seal(paths[0])
    with pytest.raises(UserError, match=r"2of3\.h5 has other layers or sizes than .*1of3\.h5"):
        merge(paths, tmp_path / "joined.h5", 13, 2)


def test_shards_of_other_libraries_are_not_joined(make_shards: Make, tmp_path: Path) -> None:
    first, second = (make_shards(13, 2, 2, libraries={"torch": version}) for version in ("1", "2"))
    with pytest.raises(UserError, match=r"1of2.h5 and .*2of2.h5 were made with other libraries: delete both"):
        merge([first[0], second[1]], tmp_path / "joined.h5", 13, 2)


def test_shards_of_other_devices_are_joined_with_a_warning_and_the_store_says_so(
    make_shards: Make, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    first, second = make_shards(13, 2, 2), make_shards(13, 2, 2, device="cuda: A")
    with caplog.at_level(logging.WARNING):
        merge([first[0], second[1]], tmp_path / "joined.h5", 13, 2)
    assert "were made on 'cpu' and 'cuda: A'" in caplog.text
    with FeatureStore(tmp_path / "joined.h5") as store:
        assert store.made["device"] == "cpu and cuda: A"
        assert store.shard is None


@pytest.mark.parametrize("number", [0, 4])
def test_there_is_no_shard_beyond_the_last(number: int) -> None:
    with pytest.raises(UserError, match=f"there is no shard {number} of 3"):
        Shard(number, 3, VERSION)


def test_a_category_without_images_has_no_store(make_shards: Make, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"joined.h5: there are no images to extract features from"):
        merge(make_shards(0, 2, 2), tmp_path / "joined.h5", 0, 2)


def test_a_shard_without_images_needs_no_process_to_decode_them(
    images: dict[str, Path], tmp_path: Path, extractors: Any
) -> None:
    spec = extractors(2).spec
    extractor = Extractor(spec, device="cpu", num_workers=1)
    extractor.extract({}, tmp_path / "empty.h5", provenance=PROVENANCE, shard=Shard(3, 3, VERSION))
    with FeatureStore(tmp_path / "empty.h5") as store:
        assert (store.images, store.layer_shapes) == ([], {})
