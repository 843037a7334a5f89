from contextlib import ExitStack
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from patchshift.errors import UserError
from patchshift.features.store import FeatureStore, FeatureWriter, pool
from patchshift.runtime.files import atomic_path
from patchshift.runtime.hdf5 import create_hdf5

IMAGES = [f"good/{number:03}.png" for number in range(7)]
SHAPES = {"fine": (4, 5, 2), "coarse": (2, 3, 6)}


def write(path: Path, images: list[str] = IMAGES, *, size: tuple[int, int] = (32, 40), seed: int = 0) -> None:
    """A store of random maps, written in two batches."""
    generator = np.random.default_rng(seed)
    with atomic_path(path) as partial, FeatureWriter(partial, images, size, {"stage": "extract_features"}) as writer:
        for start, stop in ((0, 3), (3, len(images))):
            writer.write(
                start,
                {
                    layer: generator.normal(size=(stop - start, *shape)).astype(np.float16)
                    for layer, shape in SHAPES.items()
                },
            )


@pytest.fixture
def path(tmp_path: Path) -> Path:
    write(tmp_path / "store.h5")
    return tmp_path / "store.h5"


def test_what_was_written_is_read_back(path: Path) -> None:
    generator = np.random.default_rng(0)
    batches = [
        {layer: generator.normal(size=(count, *shape)).astype(np.float16) for layer, shape in SHAPES.items()}
        for count in (3, 4)
    ]
    with FeatureStore(path) as store:
        assert store.images == IMAGES
        assert store.input_size == (32, 40)
        assert store.layer_shapes == SHAPES
        assert list(store.layer_shapes) == ["fine", "coarse"]  # the order of writing
        assert store.provenance == {"stage": "extract_features"}
        for layer in SHAPES:
            maps = store.read(layer, np.arange(7))
            assert maps.dtype == np.float32
            np.testing.assert_array_equal(maps, np.concatenate([batch[layer] for batch in batches]))


@pytest.mark.parametrize("rows", [[4], [0, 1, 2], [5, 6, 0, 1], [3, 2, 1], [2, 2, 5, 3, 4], []])
def test_rows_come_in_the_order_asked_for(path: Path, rows: list[int]) -> None:
    with FeatureStore(path) as store:
        everything = store.read("fine", np.arange(7))
        np.testing.assert_array_equal(store.read("fine", np.array(rows, np.int64)), everything[rows])


def test_a_selection_is_in_the_order_of_its_names(path: Path) -> None:
    names = [IMAGES[6], IMAGES[0], IMAGES[1]]
    with FeatureStore(path) as store:
        chosen = store.select(names)
        assert (chosen.images, len(chosen)) == (names, 3)
        (maps,) = chosen.chunks(["coarse"], 3)
        np.testing.assert_array_equal(maps["coarse"], store.read("coarse", np.array([6, 0, 1])))


def test_images_that_were_not_extracted_are_named(path: Path) -> None:
    with FeatureStore(path) as store, pytest.raises(UserError, match=r"no features of new\.png \(1 in all\)"):
        store.select([IMAGES[0], "new.png"])


@pytest.mark.parametrize("size", [1, 2, 3, 7, 32])
def test_chunks_cover_every_image_once_whatever_their_size(path: Path, size: int) -> None:
    with FeatureStore(path) as store:
        chunks = list(store.select(IMAGES[::-1]).chunks(["coarse", "fine"], size))
        assert max(len(chunk["fine"]) for chunk in chunks) == min(size, 7)
        assert [list(chunk) for chunk in chunks] == [["coarse", "fine"]] * len(chunks)
        together = np.concatenate([chunk["fine"] for chunk in chunks])
        np.testing.assert_array_equal(together, store.read("fine", np.arange(7))[::-1])


def test_a_pool_reads_one_store_after_the_other(path: Path, tmp_path: Path) -> None:
    write(tmp_path / "other.h5", ["a.png", "b.png", "c.png", "d.png"], seed=1)
    with FeatureStore(path) as first, FeatureStore(tmp_path / "other.h5") as second:
        together = pool([first.select(IMAGES[:2]), second.select(["d.png", "a.png"])])
        assert together.images == [*IMAGES[:2], "d.png", "a.png"]
        assert (together.input_size, together.layer_shapes) == ((32, 40), SHAPES)
        maps = np.concatenate([chunk["fine"] for chunk in together.chunks(["fine"], 32)])
        expected = [first.read("fine", np.array([0, 1])), second.read("fine", np.array([3, 0]))]
        np.testing.assert_array_equal(maps, np.concatenate(expected))


def test_a_pool_of_features_made_in_different_ways_is_told_of_in_the_log(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    made = {"a": ("cpu", "float32"), "b": ("cpu", "float32"), "c": ("cuda: Card", "float16")}
    maps = {"fine": np.zeros((1, 4, 5, 2), np.float16)}
    for name, (device, precision) in made.items():
        provenance = {"device": device, "precision": precision}
        with FeatureWriter(tmp_path / f"{name}.h5", [name], (32, 40), provenance) as writer:
            writer.write(0, maps)
    with ExitStack() as stack:
        a, b, c = (stack.enter_context(FeatureStore(tmp_path / f"{name}.h5")).select([name]) for name in made)
        pool([a, b])
        assert caplog.messages == []
        assert pool([a, b, c]).images == ["a", "b", "c"]
    (message,) = caplog.messages
    assert f"{tmp_path}/a.h5 and {tmp_path}/c.h5 were made with different settings" in message
    assert "device 'cpu' and 'cuda: Card', precision 'float32' and 'float16'" in message


def test_stores_of_different_sizes_do_not_pool(path: Path, tmp_path: Path) -> None:
    write(tmp_path / "other.h5", size=(40, 40))
    with (
        FeatureStore(path) as first,
        FeatureStore(tmp_path / "other.h5") as second,
        pytest.raises(UserError, match=r"store\.h5 and .*other\.h5 have different layers or sizes"),
    ):
        pool([first.select(IMAGES), second.select(IMAGES)])


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite_are_refused_with_layer_and_image(tmp_path: Path, value: float) -> None:
    maps = np.zeros((3, 2, 2, 1), np.float16)
    maps[1, 0, 1, 0] = value
    with (
        FeatureWriter(tmp_path / "store.h5", IMAGES, (8, 8), {}) as writer,
        pytest.raises(UserError, match=r"layer 'fine' is not finite .* for good/003\.png: "),
    ):
        writer.write(2, {"fine": maps})


@pytest.mark.parametrize("batch", [1, 3, 7])
@pytest.mark.parametrize("count", [1, 7])
def test_files_are_those_that_hdf5_writes_by_itself(tmp_path: Path, batch: int, count: int) -> None:
    """So stores from before chunks were written directly are the same, byte by byte."""
    generator = np.random.default_rng(0)
    shapes = {"fine": (28, 28, 128), "coarse": (14, 14, 256)}  # as large as real ones: HDF5 caches chunks up to 1 MB
    maps = {layer: generator.normal(size=(count, *shape)).astype(np.float16) for layer, shape in shapes.items()}
    with FeatureWriter(tmp_path / "store.h5", IMAGES[:count], (32, 40), {"a": 1}) as writer:
        for start in range(0, count, batch):
            writer.write(start, {layer: values[start : start + batch] for layer, values in maps.items()})
    with create_hdf5(tmp_path / "plain.h5") as file:
        file.create_dataset("images", data=IMAGES[:count], dtype=h5py.string_dtype(), track_times=False)
        layers = file.create_group("layers", track_order=True)
        file.attrs["input_size"] = np.array((32, 40), np.int64)
        file.attrs["provenance"] = '{"a": 1}'
        for start in range(0, count, batch):
            for layer, values in maps.items():
                if not start:
                    chunk = (1, *shapes[layer])
                    layers.create_dataset(layer, values.shape, np.float16, chunks=chunk, track_times=False)
                layers[layer][start : start + batch] = values[start : start + batch]
    assert (tmp_path / "store.h5").read_bytes() == (tmp_path / "plain.h5").read_bytes()


def test_maps_in_another_order_of_memory_are_stored_as_they_are(tmp_path: Path) -> None:
    maps = np.random.default_rng(0).normal(size=(2, 3, 4, 5)).astype(np.float16)
    with FeatureWriter(tmp_path / "store.h5", ["a.png", "b.png"], (8, 8), {}) as writer:
        writer.write(0, {"turned": maps.transpose(0, 2, 3, 1)})
    with FeatureStore(tmp_path / "store.h5") as store:
        np.testing.assert_array_equal(store.read("turned", np.arange(2)), maps.transpose(0, 2, 3, 1))


@pytest.mark.parametrize(
    ("dtype", "options"),
    [(np.float32, {"chunks": (1, 4, 5, 2)}), (np.float16, {"chunks": (2, 4, 5, 2)}), (np.float16, {"chunks": None}),
     (np.float16, {"chunks": (1, 4, 5, 2), "compression": "gzip"})],
)  # fmt: skip
def test_layers_laid_out_in_another_way_are_refused(path: Path, dtype: type, options: dict[str, Any]) -> None:
    with h5py.File(path, "r+") as file:
        del file["layers/fine"]
        file.create_dataset("layers/fine", data=np.zeros((7, 4, 5, 2), dtype), **options)
    with pytest.raises(UserError, match=r"layer '/layers/fine' is not float16 with one uncompressed chunk per image"):
        FeatureStore(path)


def test_images_that_were_never_written_are_an_error(path: Path) -> None:
    with h5py.File(path, "r+") as file:
        del file["layers/fine"]
        file.create_dataset("layers/fine", (7, 4, 5, 2), np.float16, chunks=(1, 4, 5, 2))
    with (
        FeatureStore(path) as store,
        pytest.raises(UserError, match=r"damaged in layer 'fine' .*run again"),
    ):
        store.read("fine", np.arange(7))


def test_equal_features_give_equal_bytes(path: Path, tmp_path: Path) -> None:
    write(tmp_path / "again.h5")
    assert (tmp_path / "again.h5").read_bytes() == path.read_bytes()


def test_a_fault_of_who_uses_a_store_is_no_damage_of_it(path: Path) -> None:
    with pytest.raises(ValueError, match="a bug"), FeatureStore(path):
        raise ValueError("a bug")


def test_a_damaged_store_is_named_with_the_remedy(path: Path) -> None:
    for damage in (path.read_bytes()[:500], b"", b"not HDF5"):
        path.write_bytes(damage)
        with pytest.raises(UserError, match=r"store\.h5 is not a whole feature store .*delete it and run again"):
            FeatureStore(path)
