import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

from patchshift.plan.specs import (
    BACKBONE,
    DetectorSpec,
    DomainSpec,
    ImageScoreSpec,
    RepresentationSpec,
    SamplerSpec,
    SplitSpec,
    canonical_json,
)

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)


@given(JSON)
def test_canonical_text_holds_the_same_content_and_does_not_depend_on_the_order_of_keys(content: Any) -> None:
    text = canonical_json(content)
    assert json.loads(text) == content
    assert "\n" not in text
    if isinstance(content, dict):
        assert canonical_json(dict(reversed(content.items()))) == text


def test_equal_specs_give_equal_text_whatever_was_left_to_defaults() -> None:
    short = DetectorSpec.model_validate({"method": "patchcore"})
    spelled = DetectorSpec.model_validate(
        {"threads": 2, "sampler": {"share": 0.02, "method": "greedy"}, "representation": {}, "method": "patchcore"}
    )
    assert short.canonical() == spelled.canonical()
    assert DetectorSpec.model_validate_json(short.canonical()) == short


@pytest.mark.parametrize(
    ("model", "settings", "fault"),
    [
        (SplitSpec, {"protocol": "source_plan", "train_share": 0.8}, "needs val_anomalous_share"),
        (SplitSpec, {"protocol": "published", "train_share": 0.8}, "does not use train_share"),
        (DomainSpec, {"shift": "none", "severity": "moderate"}, "does not use severity"),
        (DomainSpec, {"shift": "photometric", "severity": "moderate"}, "needs seed"),
        (RepresentationSpec, {"normalise": "whiten"}, "needs shrinkage"),
        (RepresentationSpec, {"shrinkage": 0.1}, "does not use shrinkage"),
        (SamplerSpec, {"share": 0.1, "count": 5}, "either share or count"),
        (SamplerSpec, {"method": "greedy"}, "either share or count"),
        (SamplerSpec, {"method": "none", "share": 0.1}, "remove share and count"),
        (SamplerSpec, {"method": "random", "share": 0.1, "projection": 8}, "greedy sampler only"),
        (ImageScoreSpec, {"method": "top_share"}, "needs share"),
        (ImageScoreSpec, {"method": "max", "share": 0.1}, "does not use share"),
        (ImageScoreSpec, {"method": "top_share", "share": 0.1, "reweight_neighbours": 3}, "method 'max' only"),
    ],
)
def test_no_setting_is_accepted_and_ignored(model: type[BaseModel], settings: dict[str, Any], fault: str) -> None:
    with pytest.raises(ValidationError, match=fault):
        model.model_validate(settings)


@pytest.mark.parametrize(("stride", "size"), [(6, 60), (8, 100), (3, 96)])
def test_the_stride_of_scattering_is_a_power_of_two_that_divides_the_image(stride: int, size: int) -> None:
    with pytest.raises(ValidationError, match="must be a power of two that divides"):
        BACKBONE.validate_python({"source": "scattering", "stride": stride, "image_size": size})
