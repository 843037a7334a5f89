from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from patchshift.errors import UserError
from patchshift.features.representations import Representation, fit_representation
from patchshift.features.store import FeatureRows, FeatureStore, FeatureWriter, LayerMaps
from patchshift.plan.representation_specs import RepresentationSpec

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
    (maps,) = rows.chunks(list(store.layer_shapes))
    return fit_representation(RepresentationSpec(**options), rows), maps


def test_average_then_upsampling_then_concatenation_equals_the_reference() -> None:
    with np.load(GOLDEN / "anomalib_patchcore.npz") as golden:
        maps = {layer: golden[layer].transpose(0, 2, 3, 1) for layer in ("layer2", "layer3")}
        expected = golden["embedding"]
    shapes = {layer: values.shape[1:] for layer, values in maps.items()}
    embeddings = Representation(RepresentationSpec(), shapes, {}).transform(maps)
    assert embeddings.dtype == np.float32
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


def test_fitted_state_does_not_depend_on_the_chunks(store: FeatureStore, monkeypatch: pytest.MonkeyPatch) -> None:
    options = {"logarithm": ["fine"], "normalise": "whiten", "shrinkage": 0.5}
    whole, _ = fit(store, **options)
    chunks = FeatureRows.chunks
    monkeypatch.setattr(FeatureRows, "chunks", lambda rows, layers: chunks(rows, layers, size=2))
    rows = store.select(store.images)
    pieces = fit_representation(RepresentationSpec(**options), rows)
    assert whole.state.keys() == pieces.state.keys()
    for name, values in whole.state.items():
        np.testing.assert_allclose(values, pieces.state[name], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"layers": ["fin"]}, "representation.layers: 'fin' is not among the layers .did you mean 'fine'"),
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
