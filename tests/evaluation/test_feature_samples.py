import tracemalloc
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from patchshift.data.splits import Split, write_split
from patchshift.errors import UserError
from patchshift.evaluation import feature_samples
from patchshift.evaluation.domain_distances import cosine_distance, feature_drift
from patchshift.evaluation.feature_samples import (
    count_components,
    measure_domains,
    normal_test_images,
    project,
    sample_features,
)
from patchshift.features.representations import Representation, fit_representation
from patchshift.features.store import FeatureRows, FeatureStore, FeatureWriter, pool
from patchshift.plan.inspections import DistanceSpec
from patchshift.plan.representation_specs import RepresentationSpec
from patchshift.runtime.files import read_json

SPEC = DistanceSpec(resamples=40, confidence=0.9, seed=0)
Maps = Mapping[str, Any]
Write = Callable[..., FeatureStore]


@pytest.fixture
def write(tmp_path: Path) -> Iterator[Write]:
    """Write a store of layer maps (layer -> [n, rows, columns, channels]) and open it."""
    with ExitStack() as stack:

        def write(name: str, maps: Maps, prefix: str = "image", device: str = "cpu") -> FeatureStore:
            images = [f"{prefix}{number}" for number in range(len(next(iter(maps.values()))))]
            with FeatureWriter(tmp_path / f"{name}.h5", images, (48, 64), {"device": device}) as writer:
                writer.write(0, {layer: np.asarray(values, np.float16) for layer, values in maps.items()})
            return stack.enter_context(FeatureStore(tmp_path / f"{name}.h5"))

        yield write


def draw_maps(seed: int, images: int = 8, *, shift: float = 0.0) -> Maps:
    generator = np.random.default_rng(seed)
    return {
        "fine": generator.normal(1 + shift, 0.3, (images, 6, 8, 3)),
        "coarse": 100 * generator.normal(1 + shift, 0.3, (images, 3, 4, 2)),
    }


def whole(store: FeatureStore) -> FeatureRows:
    return store.select(store.images)


def plain(features: FeatureRows) -> Representation:
    return fit_representation(RepresentationSpec(neighbourhood="none"), features)


def embed(features: FeatureRows) -> Any:
    """[n, positions, D] of all images, as they are."""
    maps = list(features.chunks(list(features.layer_shapes), len(features)))
    return plain(features).transform(maps[0]).reshape(len(features), 48, -1)


def test_vectors_are_those_of_positions_of_their_image_and_means_of_all_positions(write: Write) -> None:
    features = whole(write("one", draw_maps(0)))
    sample, embeddings = sample_features(plain(features), features, seed=0), embed(features)
    assert sample.vectors.shape == (8, 32, 5)
    order = [int(np.abs(embeddings.mean(axis=1) - mean).sum(axis=1).argmin()) for mean in sample.means]
    assert sorted(order) == list(range(8))
    assert sample.means == pytest.approx(embeddings.mean(axis=1)[order], rel=1e-5)
    places = []
    for vectors, image in zip(sample.vectors, embeddings[order], strict=True):
        found = [int(np.flatnonzero((image == vector).all(axis=1))[0]) for vector in vectors]
        assert len(set(found)) == 32
        places.append(tuple(sorted(found)))
    assert len(set(places)) == 8  # other positions in each image
    powers = (embeddings.astype(float) ** 2).sum(axis=0).sum(axis=0) / (8 * 48)
    assert sample.powers == pytest.approx([powers[:3].sum(), powers[3:].sum()], rel=1e-5)


def test_a_sample_depends_on_the_seed_and_on_no_chunk(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    features = whole(write("one", draw_maps(0)))
    first, other = (sample_features(plain(features), features, seed=seed) for seed in (0, 1))
    monkeypatch.setattr(feature_samples, "CHUNK_MB", 0)
    again = sample_features(plain(features), features, seed=0)
    assert (first.vectors == again.vectors).all()
    assert first.means == pytest.approx(again.means, rel=1e-12)
    assert (first.vectors != other.vectors).any()


def test_an_images_positions_depend_on_its_name_alone(write: Write) -> None:
    store = write("one", draw_maps(0))
    features, part = whole(store), store.select(["image5", "image2"])
    many, few = (sample_features(plain(features), each, seed=0) for each in (features, part))
    assert all(any((vectors == other).all() for other in many.vectors) for vectors in few.vectors)


def test_drift_and_cosine_are_of_all_positions_with_layers_of_equal_weight(write: Write) -> None:
    """A layer a hundred times as large counts as much as the other."""
    training, target = whole(write("one", draw_maps(0))), whole(write("two", draw_maps(1, 5, shift=0.4)))
    x, y = embed(training).astype(float), embed(target).astype(float)
    for layer in (slice(0, 3), slice(3, 5)):
        scale = np.sqrt(2 * (x[..., layer] ** 2).sum(axis=-1).mean())
        x[..., layer], y[..., layer] = x[..., layer] / scale, y[..., layer] / scale
    assert (x**2).sum(axis=-1).mean() == pytest.approx(1)
    found = measure_domains(training, target, SPEC)["distances"]
    assert found["feature_drift"]["plug_in"] == pytest.approx(feature_drift(x.mean(axis=1), y.mean(axis=1)), rel=1e-5)
    expected = cosine_distance(x.mean(axis=1), y.mean(axis=1))
    assert found["cosine_distance"]["plug_in"] == pytest.approx(expected, rel=1e-3)


def test_every_distance_grows_with_the_shift_and_is_near_zero_without(write: Write) -> None:
    training = whole(write("train", draw_maps(0, 24)))
    measured = [
        measure_domains(training, whole(write(f"to{shift}", draw_maps(9, 16, shift=shift))), SPEC)["distances"]
        for shift in (0.0, 0.1, 0.4)
    ]
    for name in measured[0]:
        if name != "cosine_distance":  # brighter in all channels is the same direction
            near, some, far = (distances[name] for distances in measured)
            assert near["low"] == 0
            assert near["value"] < some["value"] < far["value"]
            assert some["low"] > 0


def test_the_result_says_what_was_measured(write: Write) -> None:
    training, target = whole(write("one", draw_maps(0))), whole(write("two", draw_maps(1, 5)))
    found = measure_domains(training, target, SPEC)
    counts = {"training_images": 8, "target_images": 5, "sampled_training_images": 8, "sampled_target_images": 5}
    assert found["counts"] == counts | {"positions": 32, "dimension": 5, "components": 3}
    assert 0.6 < found["kept_variance"] < 1
    assert found["estimator"] == "quadratic"
    assert found == measure_domains(training, target, SPEC)


@pytest.mark.parametrize(("images", "estimator"), [(199, "quadratic"), (200, "linear")])
def test_the_result_says_when_the_mmd_is_the_linear_time_statistic(write: Write, images: int, estimator: str) -> None:
    training, target = (
        write(name, {"only": np.random.default_rng(count).normal(1, 0.1, (count, 2, 2, 2))})
        for name, count in (("one", 802), ("two", images))
    )
    spec = SPEC.model_copy(update={"resamples": 20})
    assert measure_domains(whole(training), whole(target), spec)["estimator"] == estimator


def test_a_pool_is_measured_as_one_and_a_layer_of_zeros_is_no_obstacle(write: Write) -> None:
    empty = {"fine": np.zeros((4, 6, 8, 3)), "coarse": draw_maps(2, 4)["coarse"]}
    training = pool([whole(write("one", empty)), whole(write("two", empty, prefix="other"))])
    found = measure_domains(training, whole(write("three", empty)), SPEC)
    assert found["counts"]["training_images"] == 8
    assert all(np.isfinite(estimate["value"]) for estimate in found["distances"].values())


def test_a_target_without_normal_test_images_leaves_distances_undefined(write: Write) -> None:
    store = write("one", draw_maps(0))
    found = measure_domains(whole(store), store.select([]), SPEC)
    reason = "fewer than two images on one side"
    assert {name: estimate["undefined"] for name, estimate in found["distances"].items()} == dict.fromkeys(
        found["distances"], reason
    )


def test_features_made_on_another_device_are_told_of_in_the_log(write: Write, caplog: pytest.LogCaptureFixture) -> None:
    training, target = write("one", draw_maps(0)), write("two", draw_maps(1), device="cuda: Card")
    measure_domains(whole(training), whole(training), SPEC)
    assert caplog.messages == []
    measure_domains(whole(training), whole(target), SPEC)
    (message,) = caplog.messages
    assert f"{training.path} and {target.path} were made with different settings" in message
    assert "device 'cpu' and 'cuda: Card'" in message


def test_features_of_other_layers_are_refused(write: Write) -> None:
    other = write("two", {"fine": draw_maps(1)["fine"]})
    with pytest.raises(UserError, match=r"one\.h5 and .*two\.h5 have different layers"):
        measure_domains(whole(write("one", draw_maps(0))), whole(other), SPEC)


def test_leading_components_keep_the_largest_share_of_the_variance() -> None:
    generator, components = np.random.default_rng(0), 6
    scales = np.r_[np.full(components, 3.0), np.full(16, 0.1)]
    x, y = (generator.normal(1, 1, size=(count, 30, components + 16)) * scales for count in (22, 20))
    (first, second), kept = project(x.astype(np.float32), y.astype(np.float32))
    assert first.shape == (22, 30, components)
    assert second.shape == (20, 30, components)
    pooled = np.concatenate([x, y]).reshape(-1, components + 16)
    values = np.linalg.eigvalsh(np.cov(pooled, rowvar=False))[::-1]
    assert kept == pytest.approx(values[:components].sum() / values.sum(), rel=1e-6)
    variances = np.concatenate([first, second]).reshape(-1, components).var(axis=0, ddof=1)
    assert np.sort(variances)[::-1] == pytest.approx(values[:components], rel=1e-5)


@pytest.mark.parametrize(
    ("n", "m", "components"), [(0, 9, 1), (1, 1, 1), (5, 900, 3), (30, 20, 6), (60, 200, 10), (1000, 1000, 44)]
)
def test_the_square_of_the_number_of_components_grows_with_the_images_of_the_smaller_side(
    n: int, m: int, components: int
) -> None:
    assert count_components(n, m) == count_components(m, n) == components


def test_projecting_takes_no_copy_of_the_vectors_and_is_the_same_in_small_blocks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    x, y = np.random.default_rng(0).normal(2, 1, (2, 150, 32, 128)).astype(np.float32)
    (whole_x, whole_y), share = project(x, y)
    monkeypatch.setattr(feature_samples, "BLOCK_BYTES", 1 << 18)
    tracemalloc.start()
    (first, second), kept = project(x, y)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2 * (first.nbytes + second.nbytes) < x.nbytes + y.nbytes
    assert kept == pytest.approx(share)
    for part, expected in ((first, whole_x), (second, whole_y)):
        assert np.abs(part) == pytest.approx(np.abs(expected), abs=1e-6)  # an axis has no sign


@pytest.mark.parametrize("limit", [{"KEPT_IMAGES": 3}, {"KEPT_BYTES": 3 * 32 * 5 * 4 + 7}])
def test_of_very_many_images_a_choice_keeps_its_vectors_and_all_their_means(
    write: Write, monkeypatch: pytest.MonkeyPatch, limit: dict[str, int]
) -> None:
    features = whole(write("one", draw_maps(0, 20)))
    every, other = (sample_features(plain(features), features, seed=seed) for seed in (0, 1))
    for name, value in limit.items():
        monkeypatch.setattr(feature_samples, name, value)
    some = sample_features(plain(features), features, seed=0)
    assert some.vectors.shape == (3, 32, 5)
    assert (some.vectors == every.vectors[:3]).all()
    assert (some.means == every.means).all()
    assert (some.powers == every.powers).all()
    assert not any((some.means[0] == mean).all() for mean in other.means[:1])  # the seed chooses
    counts = measure_domains(features, features, SPEC)["counts"]
    assert counts["training_images"] == 20
    assert counts["sampled_training_images"] == counts["sampled_target_images"] == 3


def test_a_sample_is_scaled_where_it_stands(write: Write) -> None:
    features = whole(write("one", draw_maps(0)))
    sample, before = (sample_features(plain(features), features, seed=0) for _ in range(2))
    vectors, means, factors = sample.vectors, sample.means, np.array([1.0, 2, 3, 0.5, 4])
    sample.scale(factors)
    assert sample.vectors is vectors
    assert sample.means is means
    assert vectors == pytest.approx(before.vectors * factors, rel=1e-6)
    assert means == pytest.approx(before.means * factors)
    assert (sample.powers == before.powers).all()


def test_only_good_test_images_are_compared() -> None:
    parts = {"a": "train", "b": "test", "c": "test", "d": "val", "e": "train"}
    assert normal_test_images(Split(parts, anomalous=frozenset("c"), contaminants=frozenset("e"))) == ["b"]


def test_script_compares_training_images_taken_for_good_with_normal_test_images(
    write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import measure_distances

    monkeypatch.setattr(measure_distances, "limit_threads", lambda count: None)  # it would outlast this test
    training, target = write("train", draw_maps(0, 8)), write("test", draw_maps(1, 8, shift=0.2))
    parts = {f"image{number}": "train" if number < 4 else "test" for number in range(8)}
    write_split(tmp_path / "split.csv", Split(parts, anomalous=frozenset({"image0", "image7"})))
    options = {
        "features": tmp_path / "train.h5", "splits": tmp_path / "split.csv", "target-features": tmp_path / "test.h5",
        "target-split": tmp_path / "split.csv", "spec": SPEC.canonical(), "stage": "1",
    }  # fmt: skip
    for name in ("one", "two"):
        arguments = [word for key, value in options.items() for word in (f"--{key}", str(value))]
        measure_distances.main([*arguments, "--distances", str(tmp_path / f"{name}.json")])
    assert (tmp_path / "one.json").read_bytes() == (tmp_path / "two.json").read_bytes()
    content = read_json(tmp_path / "one.json")
    chosen = training.select(["image1", "image2", "image3"]), target.select(["image4", "image5", "image6"])
    for name, estimate in measure_domains(*chosen, SPEC)["distances"].items():
        assert content["distances"][name] == pytest.approx(estimate)
    assert content["provenance"]["stage"] == "measure_distances"
    assert set(content["provenance"]["inputs"]) == {"features", "splits", "target_features", "target_split"}
