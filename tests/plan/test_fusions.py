import itertools

import pytest
from pydantic import ValidationError

from patchshift.plan.detector_specs import PatchCoreSpec
from patchshift.plan.fusions import FusionSpec, plain_fusions
from patchshift.plan.representation_specs import ReductionSpec, RepresentationSpec

CACHED = ["one", "two", "three"]


def fusion_of(**settings: object) -> FusionSpec:
    return FusionSpec.of(RepresentationSpec(**settings), CACHED)


def test_layers_that_are_not_named_are_all_that_are_cached() -> None:
    assert fusion_of() == FusionSpec(layers=CACHED, fusion="concat")


def test_the_order_in_which_a_detector_names_layers_makes_no_other_fusion() -> None:
    weights = {"one": 1, "three": 2}
    found = {
        fusion_of(
            fusion=fusion, layers=list(layers), **({"weights": weights} if fusion == "weighted" else {})
        ).canonical()
        for fusion in ("concat", "weighted", "adaptive")
        for layers in itertools.permutations(weights)
    }
    assert len(found) == 3
    assert fusion_of(layers=["three", "one"]).layers == ["one", "three"]


def test_what_is_done_to_layers_before_and_after_makes_no_other_fusion() -> None:
    plain = fusion_of(layers=["one", "two"])
    assert plain == fusion_of(layers=["one", "two"], neighbourhood="none", normalise="standardise", logarithm=["one"])
    assert plain == fusion_of(layers=["one", "two"], reduction=ReductionSpec(method="pca", dimension=2))


@pytest.mark.parametrize(
    "settings",
    [{"fusion": "single"}, {"fusion": "concat"}, {"fusion": "adaptive"}, {"fusion": "weighted", "weights": {"two": 3}}],
)
def test_one_layer_is_that_layer_however_it_is_joined(settings: dict[str, object]) -> None:
    assert fusion_of(layers=["two"], **settings) == FusionSpec(layers=["two"], fusion="single")


def test_one_layer_that_is_made_narrower_is_another_one() -> None:
    found = fusion_of(layers=["two"], fusion="weighted", weights={"two": 3}, width=4)
    assert (found.fusion, found.width, found.is_fitted) == ("weighted", 4, True)


def test_words_tell_every_fusion_from_the_others() -> None:
    equal, other = dict.fromkeys(CACHED, 1.0), {"one": 0.25, "two": 1, "three": 10}
    found = [
        fusion_of(),
        fusion_of(fusion="weighted", weights=equal),
        fusion_of(fusion="weighted", weights=other),
        fusion_of(fusion="weighted", weights=equal, width=7),
        fusion_of(fusion="adaptive"),
        fusion_of(fusion="adaptive", inverse=True),
    ]
    assert [fusion.words for fusion in found] == [
        "concat", "weighted (1 one + 1 two + 1 three)", "weighted (0.25 one + 1 two + 10 three)",
        "weighted (1 one + 1 two + 1 three, width 7)", "adaptive", "adaptive (inverse)",
    ]  # fmt: skip
    assert [fusion.is_fitted for fusion in found] == [False, True, True, True, True, True]


def test_a_preset_joins_layers_as_its_representation_says() -> None:
    official = PatchCoreSpec.model_validate({"method": "patchcore", "compat": "official"})
    dino = PatchCoreSpec.model_validate({"method": "patchcore", "compat": "anomalydino"})
    assert FusionSpec.of(official.representation, CACHED) == FusionSpec(layers=CACHED, fusion="concat")
    assert FusionSpec.of(dino.representation, ["one"]) == FusionSpec(layers=["one"], fusion="single")


def test_plain_fusions_are_each_layer_and_all_of_them() -> None:
    assert [(fusion.layers, fusion.fusion) for fusion in plain_fusions(CACHED)] == [
        (["one"], "single"), (["two"], "single"), (["three"], "single"), (CACHED, "concat")
    ]  # fmt: skip
    assert plain_fusions(["one"]) == [FusionSpec(layers=["one"], fusion="single")]


def test_weights_and_widths_are_positive() -> None:
    for wrong in ({"weights": {"one": 0}}, {"width": 0}):
        with pytest.raises(ValidationError):
            FusionSpec(layers=["one"], fusion="weighted", **wrong)
