from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from patchshift.evaluation import fusion_drifts
from patchshift.evaluation.domain_distances import feature_drift
from patchshift.evaluation.feature_samples import equalise, measure_domains
from patchshift.evaluation.fusion_drifts import fit_fusion, fuse_means
from patchshift.features.representations import fit_representation
from patchshift.features.store import FeatureRows, FeatureStore, FeatureWriter
from patchshift.plan.fusions import FusionSpec
from patchshift.plan.inspections import DistanceSpec
from patchshift.plan.representation_specs import RepresentationSpec

Maps = Mapping[str, Any]
Write = Callable[..., FeatureRows]

CHANNELS = {"fine": 6, "middle": 5, "coarse": 9}
GRIDS = {"fine": (7, 10), "middle": (5, 6), "coarse": (2, 3)}  # no grid is a multiple of another
WEIGHTS = {"fine": 1.0, "middle": 3.0, "coarse": 0.5}
FUSIONS = [
    FusionSpec(layers=["fine", "coarse"], fusion="concat"),
    FusionSpec(layers=list(GRIDS), fusion="adaptive"),
    FusionSpec(layers=list(GRIDS), fusion="adaptive", inverse=True),
    FusionSpec(layers=["fine", "middle"], fusion="adaptive"),
    FusionSpec(layers=list(GRIDS), fusion="weighted", weights=WEIGHTS),
    FusionSpec(layers=list(GRIDS), fusion="weighted", weights=WEIGHTS, width=3),
    FusionSpec(layers=["fine"], fusion="weighted", weights={"fine": 2}, width=4),
]
SPEC = DistanceSpec(resamples=40, confidence=0.9, seed=0, fusions=FUSIONS)


@pytest.fixture
def write(tmp_path: Path) -> Iterator[Write]:
    """Write a store of layer maps (layer -> [n, rows, columns, channels]) and give all its images."""
    with ExitStack() as stack:

        def write(name: str, maps: Maps) -> FeatureRows:
            images = [f"image{number}" for number in range(len(next(iter(maps.values()))))]
            with FeatureWriter(tmp_path / f"{name}.h5", images, (48, 64), {}) as writer:
                writer.write(0, {layer: np.asarray(values, np.float16) for layer, values in maps.items()})
            store = stack.enter_context(FeatureStore(tmp_path / f"{name}.h5"))
            return store.select(store.images)

        yield write


def draw_maps(seed: int, images: int = 7, *, shift: float = 0.0) -> Maps:
    """Layers of different scale, spread and grid."""
    generator = np.random.default_rng(seed)
    return {
        layer: scale * generator.normal(1 + shift * place, 0.2 + 0.3 * place, (images, *GRIDS[layer], CHANNELS[layer]))
        for place, (layer, scale) in enumerate({"fine": 0.1, "middle": 30.0, "coarse": 2.0}.items())
    }


def embed(features: FeatureRows) -> dict[str, Any]:
    """Layer -> [n, positions, channels] float64 on the grid of the finest layer, as distances have them."""
    representation = fit_representation(RepresentationSpec(neighbourhood="none"), features)
    (maps,) = features.chunks(list(GRIDS), len(features))
    vectors = representation.transform(maps).reshape(len(features), -1, sum(CHANNELS.values())).astype(float)
    return dict(zip(CHANNELS, np.split(vectors, np.cumsum(list(CHANNELS.values()))[:-1], axis=-1), strict=True))


def norm(vectors: Any) -> float:
    return float(np.sqrt(np.square(vectors).sum(axis=-1).mean()))


def pool(vectors: Any, width: int) -> Any:
    """Adaptive averages, written out."""
    count = vectors.shape[-1]
    windows = [(i * count // width, -(-(i + 1) * count // width)) for i in range(width)]
    return np.stack([vectors[..., first:last].mean(axis=-1) for first, last in windows], axis=-1)


def variability(features: FeatureRows, layer: str) -> float:
    (maps,) = features.chunks([layer], len(features))
    vectors = maps[layer].reshape(-1, CHANNELS[layer]).astype(float)
    return float(vectors.var(axis=0).sum() / np.square(vectors).sum(axis=1).mean())


def fuse_positions(fusion: FusionSpec, training: FeatureRows, features: FeatureRows, norms: Mapping[str, float]) -> Any:
    """[n, positions, D] fused vectors of all positions, by the formulas of docs/protocol.md alone."""
    blocks = {layer: vectors for layer, vectors in embed(features).items() if layer in fusion.layers}
    if fusion.fusion == "weighted":
        assert fusion.weights is not None
        width = fusion.width or min(CHANNELS[layer] for layer in fusion.layers)
        pooled = {layer: pool(vectors, width) for layer, vectors in blocks.items()}
        total = sum(fusion.weights.values())
        return sum(fusion.weights[layer] / total * pooled[layer] / norms[layer] for layer in blocks)
    weights = dict.fromkeys(blocks, 1.0)
    if fusion.fusion == "adaptive":
        shares = {layer: variability(training, layer) for layer in blocks}
        shares = {layer: 1 / share for layer, share in shares.items()} if fusion.inverse else shares
        weights = {layer: share / sum(shares.values()) for layer, share in shares.items()}
    return np.concatenate([weights[layer] * vectors / norms[layer] for layer, vectors in blocks.items()], axis=-1)


def norms_of(fusion: FusionSpec, training: FeatureRows) -> dict[str, float]:
    """Of each layer's vectors in training: on the finest grid of all, fitted ones on that of the layers joined."""
    blocks = embed(training)
    if fusion.is_fitted:
        spec = RepresentationSpec(neighbourhood="none", layers=fusion.layers)
        representation = fit_representation(spec, training)
        (maps,) = training.chunks(fusion.layers, len(training))
        vectors = representation.transform(maps)
        ends = np.cumsum([CHANNELS[layer] for layer in fusion.layers])[:-1]
        blocks = dict(zip(fusion.layers, np.split(vectors.astype(float), ends, axis=-1), strict=True))
    width = fusion.width or min(CHANNELS[layer] for layer in fusion.layers)
    return {
        layer: norm(pool(blocks[layer], width) if fusion.fusion == "weighted" else blocks[layer])
        for layer in fusion.layers
    }


@pytest.mark.parametrize("fusion", FUSIONS, ids=lambda fusion: f"{fusion.words} of {len(fusion.layers)}")
def test_the_drift_of_a_fusion_is_that_of_the_fused_vectors_of_all_positions(write: Write, fusion: FusionSpec) -> None:
    training, target = write("one", draw_maps(0)), write("two", draw_maps(1, 5, shift=0.4))
    norms = norms_of(fusion, training)
    x, y = (fuse_positions(fusion, training, features, norms) for features in (training, target))
    found = measure_domains(training, target, SPEC.model_copy(update={"fusions": [fusion]}))["drifts"]
    assert len(found) == 5
    direct = feature_drift(x.mean(axis=1), y.mean(axis=1))
    assert found[-1]["plug_in"] == pytest.approx(direct, rel=2e-6)
    others = [each["plug_in"] for each in found[:-1]]
    assert all(abs(each / direct - 1) > 1e-4 for each in others)  # the test could fail


def test_drifts_are_of_single_layers_all_layers_and_the_fusions_asked_for(write: Write) -> None:
    training, target = write("one", draw_maps(0)), write("two", draw_maps(1, 5, shift=0.4))
    found = measure_domains(training, target, SPEC)
    named = [{name: each[name] for name in FusionSpec.model_fields if name in each} for each in found["drifts"]]
    assert named[:4] == [
        {"layers": ["fine"], "fusion": "single"},
        {"layers": ["middle"], "fusion": "single"},
        {"layers": ["coarse"], "fusion": "single"},
        {"layers": ["fine", "middle", "coarse"], "fusion": "concat"},
    ]
    assert [FusionSpec(**fields) for fields in named[4:]] == FUSIONS
    assert all(each["low"] <= each["value"] <= each["high"] for each in found["drifts"])
    for layer, drift in zip(CHANNELS, found["drifts"], strict=False):  # its scale cancels
        x, y = (embed(features)[layer].mean(axis=1) for features in (training, target))
        assert drift["plug_in"] == pytest.approx(feature_drift(x, y), rel=1e-5)


def test_the_drift_of_all_layers_is_the_distance_of_that_name(write: Write) -> None:
    training, target = write("one", draw_maps(0)), write("two", draw_maps(1, 5, shift=0.4))
    found = measure_domains(training, target, SPEC)
    every = found["distances"]["feature_drift"]
    assert every == {name: value for name, value in found["drifts"][3].items() if name not in ("layers", "fusion")}
    alone = [{"only": maps["fine"]} for maps in (draw_maps(0), draw_maps(1, 5, shift=0.4))]
    found = measure_domains(write("three", alone[0]), write("four", alone[1]), SPEC.model_copy(update={"fusions": []}))
    (single,) = found["drifts"]
    assert single == {"layers": ["only"], "fusion": "single", **found["distances"]["feature_drift"]}


def test_only_fusions_with_weights_are_fitted(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    fitted = []

    def count(fusion: FusionSpec, training: FeatureRows) -> object:
        fitted.append(fusion)
        return fit_fusion(fusion, training)

    monkeypatch.setattr(fusion_drifts, "fit_fusion", count)
    features = write("one", draw_maps(0))
    measure_domains(features, features, SPEC)
    assert fitted == FUSIONS[1:]


def test_a_width_that_only_neighbourhoods_have_is_that_of_the_narrowest_layer(write: Write) -> None:
    training = write("one", draw_maps(0))
    wide, narrow = (
        FusionSpec(layers=list(GRIDS), fusion="weighted", weights=WEIGHTS, width=width) for width in (1024, 5)
    )
    assert fit_fusion(wide, training).state == fit_fusion(narrow, training).state
    assert fit_fusion(wide, training).dimension == 5


def test_without_target_images_or_with_layers_of_zeros_drifts_are_undefined(write: Write) -> None:
    training = write("one", draw_maps(0))
    (store, _), *_ = training.parts
    found = measure_domains(training, store.select([]), SPEC)["drifts"]
    assert {each["undefined"] for each in found} == {"fewer than two images on one side"}
    empty = write("two", {**draw_maps(0), "coarse": np.zeros((7, *GRIDS["coarse"], CHANNELS["coarse"]))})
    found = measure_domains(empty, empty, SPEC)["drifts"]
    assert found[2] == {"layers": ["coarse"], "fusion": "single", "undefined": "a mean vector is zero"}
    assert all(each["value"] == 0 for place, each in enumerate(found) if place != 2)


@given(
    scales=st.lists(st.floats(0.01, 100), min_size=3, max_size=3),
    seed=st.integers(0, 2**16),
)
def test_layers_side_by_side_are_slices_whose_scale_is_that_of_distances(scales: list[float], seed: int) -> None:
    """The mean drift of layers of one norm lies between those of the layers."""
    generator = np.random.default_rng(seed)
    x, y = generator.normal(3, 1, (2, 6, sum(CHANNELS.values()))) * np.repeat(scales, list(CHANNELS.values()))

    rows = SimpleNamespace(layer_shapes={layer: (1, 1, channels) for layer, channels in CHANNELS.items()})
    starts = np.cumsum([0, *CHANNELS.values()])[:-1]
    factors = equalise(rows, np.add.reduceat(np.square(x).mean(axis=0), starts))
    fusions = [FusionSpec(layers=[layer], fusion="single") for layer in CHANNELS]
    fusions += [FusionSpec(layers=list(CHANNELS), fusion="concat")]
    *single, every = [
        feature_drift(*(fuse_means(means * factors, factors, fusion, rows, None) for means in (x, y)))
        for fusion in fusions
    ]
    assert min(single) * (1 - 1e-9) <= every <= max(single) * (1 + 1e-9)
