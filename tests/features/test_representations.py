import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from threadpoolctl import threadpool_limits

from patchshift.errors import UserError
from patchshift.features.representations import Representation, fit_representation
from patchshift.features.store import FeatureRows, FeatureStore, FeatureWriter, LayerMaps
from patchshift.plan.representation_specs import ReductionSpec, RepresentationSpec

GOLDEN = Path(__file__).parents[1] / "golden"


@pytest.fixture
def store(tmp_path: Path) -> Iterator[FeatureStore]:
    """Seven images with a fine and a coarse layer of correlated, positive channels; `fine` channel 0 is constant."""
    random = np.random.default_rng(0)
    maps = {
        "fine": random.lognormal(size=(7, 8, 6, 4)) @ random.uniform(size=(4, 4)),
        "coarse": random.lognormal(size=(7, 4, 3, 5)) @ random.uniform(size=(5, 5)),
    }
    maps["fine"][..., 0] = 0.3
    with FeatureWriter(tmp_path / "features.h5", [f"image{i}" for i in range(7)], (64, 48), {}) as writer:
        writer.write(0, {layer: values.astype(np.float16) for layer, values in maps.items()})
    with FeatureStore(tmp_path / "features.h5") as opened:
        yield opened


def fit(store: FeatureStore, **options: Any) -> tuple[Representation, LayerMaps]:
    rows = store.select(store.images)
    (maps,) = rows.chunks(list(store.layer_shapes), len(rows))
    return fit_representation(RepresentationSpec(**options), rows), maps


def test_average_then_upsampling_then_concatenation_equals_the_reference() -> None:
    with np.load(GOLDEN / "anomalib_patchcore.npz") as golden:
        maps = {layer: golden[layer].transpose(0, 2, 3, 1) for layer in ("layer2", "layer3")}
        expected = golden["embedding"]
    shapes = {layer: values.shape[1:] for layer, values in maps.items()}
    embeddings = Representation(RepresentationSpec(), shapes, {}).transform(maps)
    assert embeddings.dtype == np.float32
    np.testing.assert_allclose(embeddings.reshape(expected.shape), expected, rtol=1e-4, atol=1e-6)


def test_adaptive_neighbourhoods_equal_the_published_code() -> None:
    with np.load(GOLDEN / "official_patch_embedding.npz") as golden:
        maps = {layer: golden[layer].transpose(0, 2, 3, 1) for layer in ("layer2", "layer3")}
        preprocessed, expected = golden["preprocessed"], golden["embedding"]
    shapes = {layer: values.shape[1:] for layer, values in maps.items()}
    adaptive = RepresentationSpec(neighbourhood="adaptive", pooled_width=24)
    blocks = Representation(adaptive, shapes, {}).transform(maps)
    np.testing.assert_allclose(blocks.reshape(preprocessed.shape), preprocessed, rtol=1e-4, atol=1e-6)
    pooled = adaptive.model_copy(update={"reduction": ReductionSpec(method="channel_pooling", dimension=20)})
    embeddings = Representation(pooled, shapes, {}).transform(maps)
    np.testing.assert_allclose(embeddings.reshape(expected.shape), expected, rtol=1e-4, atol=1e-6)


def test_without_neighbourhood_the_finest_layer_stays_as_it_is(store: FeatureStore) -> None:
    representation, maps = fit(store, neighbourhood="none")
    embeddings = representation.transform(maps)
    assert embeddings.shape == (7, *representation.grid, representation.dimension) == (7, 8, 6, 9)
    np.testing.assert_array_equal(embeddings[..., :4], maps["fine"])


def test_upsampling_keeps_a_linear_ramp_inside_the_map() -> None:
    ramp = np.broadcast_to(np.arange(4, dtype=np.float32)[:, None, None], (1, 4, 4, 1)).copy()
    maps = {"coarse": ramp, "fine": np.zeros((1, 8, 8, 1), np.float32)}
    representation = Representation(
        RepresentationSpec(neighbourhood="none"), {"coarse": (4, 4, 1), "fine": (8, 8, 1)}, {}
    )
    np.testing.assert_allclose(representation.transform(maps)[0, :, 3, 0], [0, 0.25, 0.75, 1.25, 1.75, 2.25, 2.75, 3])


def test_layers_are_concatenated_in_the_order_asked_for(store: FeatureStore) -> None:
    both, maps = fit(store, layers=["coarse", "fine"])
    only_fine, _ = fit(store, layers=["fine"])
    assert both.layers == ["coarse", "fine"]
    np.testing.assert_array_equal(both.transform(maps)[..., 5:], only_fine.transform(maps))


def test_standardised_training_features_have_zero_mean_and_unit_deviation(store: FeatureStore) -> None:
    representation, maps = fit(store, normalise="standardise", neighbourhood="none", layers=["fine"])
    patches = representation.transform(maps).reshape(-1, 4)
    np.testing.assert_allclose(patches.mean(0), 0, atol=1e-5)
    np.testing.assert_allclose(patches.std(0)[1:], 1, rtol=1e-4)


@pytest.mark.parametrize("normalise", [{"normalise": "standardise"}, {"normalise": "whiten", "shrinkage": 0.5}])
def test_a_constant_channel_becomes_zero(store: FeatureStore, normalise: dict[str, Any]) -> None:
    representation, maps = fit(store, layers=["fine"], **normalise)
    np.testing.assert_allclose(representation.transform(maps)[..., 0], 0, atol=1e-5)


@pytest.mark.parametrize("options", [{}, {"logarithm": ["layer"]}])
@pytest.mark.parametrize("value", [1000.25, 20004.0, 0.30005, 3e-7])
def test_a_channel_that_only_rounding_moves_does_not_become_a_full_one(
    keep: Callable[[LayerMaps], Any], value: float, options: dict[str, Any]
) -> None:
    middle = float(np.float16(value)) + float(np.spacing(np.float16(value))) / 2
    random = np.random.default_rng(0)
    maps = {"layer": random.normal(middle, 1e-7 * middle, (4, 8, 8, 2))}
    maps["layer"][..., 1] = random.normal(value, 1e-2 * value + 1e-6, (4, 8, 8))
    stored = keep({"layer": maps["layer"].astype(np.float16)})
    assert len(np.unique(stored.maps["layer"][..., 0])) == 2
    spec = RepresentationSpec(normalise="standardise", neighbourhood="none", **options)
    deviations = fit_representation(spec, stored).transform(stored.maps).std((0, 1, 2))
    assert deviations[0] < 2**-10
    assert deviations[1] == pytest.approx(1, rel=1e-3)


def test_whitening_uncorrelates_the_training_patches(store: FeatureStore) -> None:
    representation, maps = fit(store, normalise="whiten", shrinkage=1e-6, neighbourhood="none", layers=["coarse"])
    patches = representation.transform(maps).reshape(-1, 5)
    np.testing.assert_allclose(patches.T @ patches / len(patches), np.eye(5), atol=1e-3)


def test_whitening_before_the_average_is_the_same_as_after_it(store: FeatureStore) -> None:
    options = {"normalise": "whiten", "shrinkage": 0.5, "layers": ["coarse"]}
    representation, maps = fit(store, **options)
    single, _ = fit(store, **options, neighbourhood="none")
    padded = np.pad(single.transform(maps), ((0, 0), (1, 1), (1, 1), (0, 0)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), (1, 2))
    np.testing.assert_allclose(representation.transform(maps), windows.mean((-1, -2)), atol=1e-5)


def test_the_logarithm_has_a_floor_of_a_tenth_of_the_training_mean(store: FeatureStore) -> None:
    representation, maps = fit(store, logarithm=["coarse"], layers=["coarse"], neighbourhood="none")
    floor = 0.1 * maps["coarse"].mean((0, 1, 2))
    np.testing.assert_allclose(representation.transform(maps), np.log(maps["coarse"] + floor), rtol=1e-4, atol=1e-5)
    negative = {"coarse": -np.ones_like(maps["coarse"])}
    np.testing.assert_allclose(representation.transform(negative)[0, 0, 0], np.log(floor), rtol=1e-4)


def test_a_channel_that_is_zero_in_training_stays_finite(tmp_path: Path) -> None:
    with FeatureWriter(tmp_path / "zero.h5", ["image"], (8, 8), {}) as writer:
        writer.write(0, {"layer": np.zeros((1, 2, 2, 3), np.float16)})
    with FeatureStore(tmp_path / "zero.h5") as zero:
        representation, maps = fit(zero, logarithm=["layer"], normalise="whiten", shrinkage=0.5)
        assert np.isfinite(representation.transform(maps)).all()


EVERY_STEP: list[dict[str, Any]] = [
    {"logarithm": ["fine"], "normalise": "whiten", "shrinkage": 0.5, "reduction": {"method": "pca", "dimension": 4}},
    {"logarithm": ["fine"], "normalise": "standardise", "fusion": "adaptive"},
    {"fusion": "weighted", "weights": {"fine": 1, "coarse": 2}, "reduction": {"method": "pca", "dimension": 4}},
    {"neighbourhood": "adaptive", "pooled_width": 8, "reduction": {"method": "random_projection", "dimension": 5}},
]


@pytest.mark.parametrize("options", EVERY_STEP)
@pytest.mark.parametrize("threads", [1, 2])
def test_neither_chunks_nor_threads_change_a_bit_of_the_embeddings(
    store: FeatureStore, monkeypatch: pytest.MonkeyPatch, options: dict[str, Any], threads: int
) -> None:
    whole, maps = fit(store, **options)
    chunks = FeatureRows.chunks
    monkeypatch.setattr(FeatureRows, "chunks", lambda rows, layers, size: chunks(rows, layers, 2))
    rows = store.select(store.images)
    with threadpool_limits(threads, "blas"):
        pieces = fit_representation(RepresentationSpec.model_validate(options), rows)
        assert whole.state.keys() == pieces.state.keys()
        for name, values in whole.state.items():
            np.testing.assert_allclose(values, pieces.state[name], rtol=1e-5, atol=1e-6)
        alone = [whole.transform({layer: values[i : i + 1] for layer, values in maps.items()}) for i in range(7)]
    np.testing.assert_array_equal(np.concatenate(alone), whole.transform(maps))


def test_chunks_are_as_large_as_the_memory_allows(
    keep: Callable[..., Any], draw_maps: Callable[..., LayerMaps]
) -> None:
    maps = {layer: np.tile(values, (1, 8, 8, 1)) for layer, values in draw_maps(40).items()}
    spec = RepresentationSpec(normalise="whiten", shrinkage=0.1, reduction=ReductionSpec(method="pca", dimension=2))
    sizes = {}
    for chunk_mb in (4, 16):
        features = keep(maps)
        representation = fit_representation(spec, features, chunk_mb=chunk_mb)
        sizes[chunk_mb] = features.sizes
        assert representation.images_within(chunk_mb) >= representation.images_within(chunk_mb, held=3) >= 1
    assert all(small <= large for small, large in zip(sizes[4], sizes[16], strict=True))
    assert sizes[4][-1] < 20 < sizes[16][-1]
    assert representation.images_within(0) == 1  # one image is needed at least


def test_fitting_needs_as_much_memory_for_many_images_as_for_a_few(
    keep: Callable[..., Any], draw_maps: Callable[..., LayerMaps]
) -> None:
    one = {layer: np.tile(values, (1, 4, 4, 1)) for layer, values in draw_maps(1, fine=24, coarse=24).items()}
    options = {"normalise": "standardise", "fusion": "adaptive", "reduction": {"method": "pca", "dimension": 5}}
    spec = RepresentationSpec.model_validate(options)
    peaks = []
    for images in (16, 64):
        many = keep(one)
        shown = {layer: np.broadcast_to(values, (images, *values.shape[1:])) for layer, values in many.maps.items()}
        many.maps.update(shown)  # of one image's memory
        tracemalloc.start()
        fit_representation(spec, many, chunk_mb=2)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.3 * peaks[0]
    assert peaks[1] < 6e6  # two chunks: the generator's and the one at work


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"layers": ["fin"]}, "representation.layers: 'fin' is not among the layers .did you mean 'fine'"),
        ({"layers": ["block9"]}, "representation.layers: 'block9' is not among the layers .known: coarse, fine"),
        (
            {"logarithm": ["course"]},
            "representation.logarithm: 'course' is not among the layers .did you mean 'coarse'",
        ),
    ],
)
def test_an_unknown_layer_is_named_with_the_nearest_one(
    store: FeatureStore, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        fit(store, **options)


def test_fitting_on_no_image_is_refused(store: FeatureStore) -> None:
    with pytest.raises(UserError, match="no training images"):
        fit_representation(RepresentationSpec(), store.select([]))


def test_state_is_float32(store: FeatureStore) -> None:
    representation, _ = fit(store, logarithm=["fine"], normalise="whiten", shrinkage=0.5)
    dtypes: set[npt.DTypeLike] = {values.dtype for values in representation.state.values()}
    assert dtypes == {np.dtype(np.float32)}
