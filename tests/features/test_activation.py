from pathlib import Path

import numpy as np
import pytest

from patchshift.features import activation
from patchshift.features.activation import mean_energies, measure_energy, relative_energies
from patchshift.features.store import FeatureRows, FeatureStore, FeatureWriter


def test_energy_is_the_length_of_the_vector_at_each_position() -> None:
    maps = np.zeros((1, 2, 2, 2), np.float32)
    maps[0, 0, 1] = (3, 4)
    maps[0, 1, 0] = (-5, 12)
    assert measure_energy(maps)[0].tolist() == [[0, 5], [13, 0]]


def test_one_is_the_mean_of_the_training_images(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    maps = {"fine": random.normal(size=(40, 4, 6, 3)), "coarse": random.normal(size=(40, 2, 3, 5))}
    with FeatureWriter(tmp_path / "store.h5", [str(n) for n in range(40)], (8, 8), {}) as writer:
        writer.write(0, {layer: values.astype(np.float16) for layer, values in maps.items()})
    with FeatureStore(tmp_path / "store.h5") as store:
        training = store.select(store.images)
        means = mean_energies(training)
        energies = relative_energies(training, means)
        some = relative_energies(store.select(["7", "3"]), means)
    for layer, values in maps.items():
        lengths = np.linalg.norm(values.astype(np.float16).astype(np.float64), axis=-1)
        assert means[layer] == pytest.approx(lengths.mean(), rel=1e-6)
        np.testing.assert_allclose(energies[layer], lengths / lengths.mean(), rtol=1e-5)
        assert energies[layer].mean() == pytest.approx(1, rel=1e-5)
        np.testing.assert_array_equal(some[layer], energies[layer][[7, 3]])


def test_a_layer_that_never_responds_has_no_energy(tmp_path: Path) -> None:
    with FeatureWriter(tmp_path / "store.h5", ["a"], (8, 8), {}) as writer:
        writer.write(0, {"dead": np.zeros((1, 2, 2, 3), np.float16)})
    with FeatureStore(tmp_path / "store.h5") as store:
        rows = store.select(["a"])
        assert relative_energies(rows, mean_energies(rows))["dead"].tolist() == [[[0, 0], [0, 0]]]


def test_memory_bounds_how_many_images_are_read_at_a_time_and_changes_no_energy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    maps = np.random.default_rng(0).normal(size=(9, 100, 50, 15)).astype(np.float16)
    with FeatureWriter(tmp_path / "store.h5", [str(n) for n in range(9)], (8, 8), {}) as writer:
        writer.write(0, {"only": maps})
    sizes, chunks = [], FeatureRows.chunks

    def read(rows: FeatureRows, layers: list[str], size: int) -> object:
        sizes.append(size)
        return chunks(rows, layers, size)

    monkeypatch.setattr(FeatureRows, "chunks", read)
    found = []
    with FeatureStore(tmp_path / "store.h5") as store:
        rows = store.select(store.images)
        for chunk_mb in (256, 1, 0):  # an image and its energies are 4 * 100 * 50 * 16 bytes
            monkeypatch.setattr(activation, "CHUNK_MB", chunk_mb)
            means = mean_energies(rows)
            found.append((means, relative_energies(rows, means)["only"].tobytes()))
    assert sizes == [800, 800, 3, 3, 1, 1]
    assert found[0] == found[1] == found[2]
