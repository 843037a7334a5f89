from typing import Any

import pytest
from pydantic import ValidationError

from patchshift.plan.representation_specs import ReductionSpec, RepresentationSpec

WEIGHTS = {"a": 1.0, "b": 2.0}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"normalise": "whiten"}, "normalise 'whiten' needs shrinkage"),
        ({"shrinkage": 0.1}, "normalise 'none' does not use shrinkage"),
        ({"normalise": "standardise", "shrinkage": 0.1}, "normalise 'standardise' does not use shrinkage"),
        ({"neighbourhood": "average", "pooled_width": 24}, "neighbourhood 'average' does not use pooled_width"),
        ({"fusion": "weighted"}, "fusion 'weighted' needs weights"),
        ({"weights": WEIGHTS}, "fusion 'concat' does not use weights"),
        ({"fusion": "adaptive", "width": 8}, "fusion 'adaptive' does not use width"),
        ({"fusion": "concat", "inverse": True}, "fusion 'concat' does not use inverse"),
        ({"fusion": "adaptive", "normalise": "whiten", "shrinkage": 0.1}, "whitening would undo its weights"),
        ({"neighbourhood": "adaptive", "normalise": "whiten", "shrinkage": 0.1}, "cannot be whitened before that"),
        ({"fusion": "single", "layers": ["a", "b"]}, "fusion 'single' takes one layer, not 2"),
        ({"layers": ["a", "a"]}, "'a' is named twice"),
        ({"layers": []}, "at least 1 item"),
        ({"layers": ["layer2"], "logarithm": ["layer3"]}, "logarithm: 'layer3' is not among layers"),
        (
            {"fusion": "weighted", "weights": WEIGHTS, "layers": ["a", "c"]},
            r"weights: 'b' is not among layers",
        ),
        ({"fusion": "weighted", "weights": {"a": 1.0}, "layers": ["a", "b"]}, "weights: layer 'b' has none"),
        ({"fusion": "weighted", "weights": {"a": 0.0}}, "greater than 0"),
        ({"reduction": {"method": "pca"}}, "reduction 'pca': give either dimension or explained_variance"),
        (
            {"reduction": {"method": "pca", "dimension": 3, "explained_variance": 0.9}},
            "reduction 'pca': give either dimension or explained_variance",
        ),
        ({"reduction": {"method": "pca", "explained_variance": 1.5}}, "less than or equal to 1"),
        ({"reduction": {"method": "channel_subset"}}, "reduction 'channel_subset' needs dimension"),
        (
            {"reduction": {"method": "channel_pooling", "dimension": 3, "explained_variance": 0.9}},
            "reduction 'channel_pooling' does not use explained_variance",
        ),
        (
            {"reduction": {"method": "pca", "dimension": 3, "distribution": "sparse"}},
            "reduction 'pca' does not use distribution",
        ),
        ({"reduction": {"method": "pca", "dimension": 0}}, "greater than or equal to 1"),
    ],
)
def test_options_that_do_not_fit_together_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        RepresentationSpec.model_validate(options)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"fusion": "single"},
        {"fusion": "single", "layers": ["a"], "normalise": "whiten", "shrinkage": 0.1},
        {"fusion": "weighted", "weights": WEIGHTS, "width": 8, "normalise": "whiten", "shrinkage": 0.1},
        {"fusion": "adaptive", "inverse": True, "normalise": "standardise", "logarithm": ["a"]},
        {"neighbourhood": "adaptive", "pooled_width": 24, "reduction": {"method": "channel_pooling", "dimension": 20}},
        {"reduction": {"method": "pca", "explained_variance": 0.95}},
        {"reduction": {"method": "random_projection", "dimension": 9, "distribution": "sparse"}},
    ],
)
def test_a_script_reads_what_the_plan_wrote(options: dict[str, Any]) -> None:
    spec = RepresentationSpec.model_validate(options)
    assert RepresentationSpec.model_validate_json(spec.canonical()) == spec


def test_equal_reductions_are_written_alike() -> None:
    plain = ReductionSpec(method="random_projection", dimension=3)
    assert (
        plain.canonical() == ReductionSpec(method="random_projection", dimension=3, distribution="gaussian").canonical()
    )
