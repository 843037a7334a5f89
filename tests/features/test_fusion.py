from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from patchshift.errors import UserError
from patchshift.features.fusion import adaptive_weights, variability
from patchshift.features.representations import Representation, fit_representation
from patchshift.features.store import LayerMaps
from patchshift.plan.representation_specs import RepresentationSpec

Keep = Callable[[LayerMaps], Any]
WEIGHTS = {"fine": 3.0, "coarse": 1.0}
FUSIONS: list[dict[str, Any]] = [
    {"fusion": "weighted", "weights": WEIGHTS},
    {"fusion": "adaptive"},
    {"fusion": "adaptive", "inverse": True},
]


def embed(keep: Keep, maps: LayerMaps, **options: Any) -> np.ndarray:
    return fit(keep, maps, **options).transform(maps)


def fit(keep: Keep, maps: LayerMaps, **options: Any) -> Representation:
    return fit_representation(RepresentationSpec.model_validate(options), keep(maps))


def weights_of(representation: Representation) -> dict[str, float]:
    return {layer: float(representation.state[f"weight/{layer}"][0]) for layer in representation.layers}


@pytest.mark.parametrize("inverse", [False, True])
@pytest.mark.parametrize("normalise", ["none", "standardise"])
def test_adaptive_weights_follow_the_variance_before_standardisation_and_are_not_uniform(
    keep: Keep, draw_maps: Callable[..., LayerMaps], inverse: bool, normalise: str
) -> None:
    maps = draw_maps()
    shares = []
    for values in maps.values():
        vectors = values.reshape(-1, values.shape[-1]).astype(np.float64)
        shares.append(np.trace(np.cov(vectors.T, bias=True)) / (vectors**2).sum(1).mean())
    expected = np.array(shares) ** (-1.0 if inverse else 1.0)
    weights = weights_of(fit(keep, maps, fusion="adaptive", inverse=inverse, normalise=normalise))
    np.testing.assert_allclose(list(weights.values()), expected / expected.sum(), rtol=1e-6)
    assert abs(weights["fine"] - weights["coarse"]) > 0.1
    assert (weights["fine"] < weights["coarse"]) == inverse


def test_adaptive_weights_are_those_of_the_logarithm_where_it_is_taken(
    keep: Keep, draw_maps: Callable[..., LayerMaps]
) -> None:
    maps = draw_maps()
    logged = maps | {"fine": np.log(maps["fine"] + 0.1 * maps["fine"].mean((0, 1, 2)))}
    weights = weights_of(fit(keep, maps, fusion="adaptive", logarithm=["fine"]))
    np.testing.assert_allclose(
        list(weights.values()), list(weights_of(fit(keep, logged, fusion="adaptive")).values()), rtol=1e-5
    )


@pytest.mark.parametrize("neighbourhood", [{}, {"neighbourhood": "adaptive", "pooled_width": 7}])
@pytest.mark.parametrize("normalise", ["none", "standardise"])
def test_adaptive_blocks_have_the_length_of_their_weight(
    keep: Keep, draw_maps: Callable[..., LayerMaps], neighbourhood: dict[str, Any], normalise: str
) -> None:
    maps = draw_maps()
    representation = fit(keep, maps, fusion="adaptive", normalise=normalise, **neighbourhood)
    embeddings = representation.transform(maps).astype(np.float64)
    width = 7 if neighbourhood else 4
    for block, weight in zip(
        (embeddings[..., :width], embeddings[..., width:]), weights_of(representation).values(), strict=True
    ):
        assert np.sqrt((block**2).sum(-1).mean()) == pytest.approx(weight, rel=1e-5)


def test_adaptive_blocks_are_those_of_concat_but_for_their_length(
    keep: Keep, draw_maps: Callable[..., LayerMaps]
) -> None:
    maps = draw_maps()
    fused, plain = embed(keep, maps, fusion="adaptive"), embed(keep, maps, fusion="concat")
    for block in (slice(0, 4), slice(4, None)):
        ratio = fused[..., block] / plain[..., block]
        np.testing.assert_allclose(ratio, ratio.flat[0], rtol=1e-4)


@pytest.mark.parametrize("width", [None, 3])
def test_weighted_fusion_sums_pooled_layers_of_equal_norm(
    keep: Keep, draw_maps: Callable[..., LayerMaps], width: int | None
) -> None:
    maps = draw_maps(coarse=8)
    plain = embed(keep, maps)
    windows = {
        None: ([(0, 1), (1, 2), (2, 3), (3, 4)], [(0, 2), (2, 4), (4, 6), (6, 8)]),  # as wide as the narrowest layer
        3: ([(0, 2), (1, 3), (2, 4)], [(0, 3), (2, 6), (5, 8)]),
    }[width]
    total: Any = 0
    for block, bounds, weight in zip((plain[..., :4], plain[..., 4:]), windows, (0.75, 0.25), strict=True):
        block = np.stack([block[..., first:last].mean(-1) for first, last in bounds], -1)
        total = total + weight * block / np.sqrt((block.astype(np.float64) ** 2).sum(-1).mean())
    fused = embed(keep, maps, fusion="weighted", weights=WEIGHTS, width=width)
    assert fused.shape[-1] == (width or 4)
    np.testing.assert_allclose(fused, total, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("options", FUSIONS)
@pytest.mark.parametrize("normalise", ["none", "standardise"])
@given(factor=st.floats(1e-4, 1e4), layer=st.sampled_from(["fine", "coarse"]))
def test_the_scale_of_a_layer_changes_nothing(
    keep: Keep,
    draw_maps: Callable[..., LayerMaps],
    options: dict[str, Any],
    normalise: str,
    factor: float,
    layer: str,
) -> None:
    maps = draw_maps(3)
    scaled = maps | {layer: maps[layer] * np.float32(factor)}
    expected = embed(keep, maps, **options, normalise=normalise)
    np.testing.assert_allclose(embed(keep, scaled, **options, normalise=normalise), expected, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("options", FUSIONS)
def test_weights_do_not_depend_on_the_order_of_layers(
    keep: Keep, draw_maps: Callable[..., LayerMaps], options: dict[str, Any]
) -> None:
    maps = draw_maps()
    one = weights_of(fit(keep, maps, **options, layers=["fine", "coarse"]))
    other = weights_of(fit(keep, maps, **options, layers=["coarse", "fine"]))
    assert one == other
    assert sum(one.values()) == pytest.approx(1)


def test_weighted_fusion_does_not_depend_on_the_order_nor_on_the_sum_of_weights(
    keep: Keep, draw_maps: Callable[..., LayerMaps]
) -> None:
    maps = draw_maps()
    one = embed(keep, maps, fusion="weighted", weights={"fine": 1, "coarse": 4}, layers=["fine", "coarse"])
    other = embed(keep, maps, fusion="weighted", weights={"coarse": 8, "fine": 2}, layers=["coarse", "fine"])
    np.testing.assert_array_equal(one, other)


def test_a_layer_that_weighs_all_makes_weighted_fusion_that_layer_alone(
    keep: Keep, draw_maps: Callable[..., LayerMaps]
) -> None:
    maps = draw_maps()
    single = embed(keep, maps, fusion="single", layers=["fine"])
    for rest, error in ((1e-3, 1e-2), (1e-6, 1e-5)):
        fused = embed(keep, maps, fusion="weighted", weights={"fine": 1, "coarse": rest})
        ratio = fused / single
        np.testing.assert_allclose(ratio, np.median(ratio), rtol=error)


@pytest.mark.parametrize(
    "options", [{}, {"normalise": "standardise"}, {"neighbourhood": "adaptive", "pooled_width": 9}]
)
def test_one_layer_concatenated_is_a_single_layer(
    keep: Keep, draw_maps: Callable[..., LayerMaps], options: dict[str, Any]
) -> None:
    maps = draw_maps()
    single = embed(keep, maps, fusion="single", layers=["coarse"], **options)
    np.testing.assert_array_equal(embed(keep, maps, fusion="concat", layers=["coarse"], **options), single)


@pytest.mark.parametrize("options", FUSIONS)
@pytest.mark.parametrize("normalise", ["none", "standardise"])
@pytest.mark.parametrize("value", [0.0, 0.3])
def test_a_layer_that_does_not_vary_makes_nothing_undefined(
    keep: Keep, draw_maps: Callable[..., LayerMaps], options: dict[str, Any], normalise: str, value: float
) -> None:
    maps = draw_maps()
    maps["coarse"][:] = value
    representation = fit(keep, maps, **options, normalise=normalise)
    assert np.isfinite(representation.transform(maps)).all()
    if options["fusion"] == "adaptive":
        assert weights_of(representation) == {"fine": 1, "coarse": 0}
    maps["fine"][:] = value
    assert np.isfinite(embed(keep, maps, **options, normalise=normalise)).all()


@pytest.mark.parametrize("inverse", [False, True])
@pytest.mark.parametrize("logarithm", [[], ["coarse"]])
@pytest.mark.parametrize("value", [1000.25, 3e-7])
def test_a_layer_that_only_rounding_moves_weighs_nothing(
    keep: Keep, draw_maps: Callable[..., LayerMaps], value: float, logarithm: list[str], inverse: bool
) -> None:
    maps = draw_maps()
    spread = np.random.default_rng(0).normal(0, 1e-7 * value, maps["coarse"].shape)
    step = np.spacing(np.float16(value)).astype(np.float64)
    between = np.float16(value) + step / 2  # halfway between two numbers of float16
    maps["coarse"] = (between + spread).astype(np.float16)
    assert len(np.unique(maps["coarse"])) == 2
    representation = fit(keep, maps, fusion="adaptive", inverse=inverse, logarithm=logarithm)
    assert weights_of(representation) == {"fine": 1, "coarse": 0}


def test_layers_that_do_not_vary_weigh_the_same() -> None:
    rounding = np.full(2, 2.0**-11)
    assert variability(np.array([2.0, 3.0]), np.zeros(2), rounding) == variability(*np.zeros((2, 2)), rounding) == 0
    for inverse in (False, True):
        assert adaptive_weights({"a": 0.0, "b": 0.0}, inverse=inverse) == {"a": 0.5, "b": 0.5}


@given(st.dictionaries(st.text(max_size=3), st.floats(1e-6, 1), min_size=1, max_size=5))
def test_inverse_weights_undo_the_others(shares: dict[str, float]) -> None:
    weights, inverse = adaptive_weights(shares, inverse=False), adaptive_weights(shares, inverse=True)
    products = [weights[layer] * inverse[layer] for layer in shares]
    np.testing.assert_allclose(products, products[0], rtol=1e-9)
    assert sum(weights.values()) == pytest.approx(1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"fusion": "single"}, "fusion 'single' takes one layer, not fine, coarse: choose it by representation.layers"),
        ({"fusion": "weighted", "weights": {"fine": 1}}, "representation.weights: layer 'coarse' has none"),
        (
            {"fusion": "weighted", "weights": {"fine": 1, "coarse": 1, "late": 1}},
            "representation.weights: 'late' is not among the layers .layers in use: fine, coarse",
        ),
        (
            {"fusion": "weighted", "weights": WEIGHTS, "width": 5},
            "representation.width: layer 'fine' has 4 numbers per position, .* averaged down to 5: lower it",
        ),
    ],
)
def test_layers_that_do_not_fit_the_fusion_are_named(
    keep: Keep, draw_maps: Callable[..., LayerMaps], options: dict[str, Any], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        fit(keep, draw_maps(), **options)
