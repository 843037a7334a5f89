import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

from patchshift.data import demo
from patchshift.data.adapters import ADAPTERS
from patchshift.plan.backbone_specs import BACKBONE, PretrainedSpec
from patchshift.plan.base import canonical_json
from patchshift.plan.data_specs import GENERATED_CATEGORIES, SINGLE_CATEGORY, ArchiveSpec, DatasetSpec, SplitSpec
from patchshift.plan.detector_specs import DETECTOR, PadimSpec, PatchCoreDualSpec, PatchCoreSpec, SubspaceSpec
from patchshift.plan.domain_specs import COMPOSITIONS, CropSpec, DomainSpec, SynthesisSpec, TurnSpec, ViewSpec
from patchshift.plan.representation_specs import RepresentationSpec
from patchshift.plan.sampling_specs import IndexSpec, SamplerSpec
from patchshift.plan.score_specs import ImageScoreSpec
from patchshift.plan.specs import EvaluationSpec
from patchshift.plan.threshold_specs import ThresholdSpec

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
    short = PatchCoreSpec.model_validate({"method": "patchcore"})
    spelled = PatchCoreSpec.model_validate(
        {"threads": 2, "sampler": {"share": 0.02, "method": "greedy"}, "representation": {}, "method": "patchcore"}
    )
    assert short.canonical() == spelled.canonical()
    assert DETECTOR.validate_json(short.canonical()) == short


EQUATION_7 = {"reweight_neighbours": 9}
DRAWN: dict[str, Any] = {"adapter": "mvtec_ad", "categories": ["weave"], "generate": {}}
OFFICIAL: dict[str, Any] = {"protocol": "official", "train_share": 0.8, "val_anomalous_share": 0.3}
NETWORK: dict[str, Any] = {"source": "timm", "model": "a", "weights": "a.safetensors", "layers": ["layer2"]}


@pytest.mark.parametrize(
    ("model", "settings", "fault"),
    [
        (SplitSpec, {"protocol": "source_plan", "train_share": 0.8}, "needs val_anomalous_share"),
        (
            PatchCoreDualSpec,
            {"method": "patchcore_dual", "positive_sampler": {"method": "variance_weighted", "share": 0.1}},
            "weighs positions",
        ),
        (
            PatchCoreDualSpec,
            {"method": "patchcore_dual", "positive_sampler": {"share": 0.1, "per_category": True}},
            "does not use per_category: remove it",
        ),
        (
            PatchCoreDualSpec,
            {"method": "patchcore_dual", "training_defects": False},
            "needs training_defects, crops or add_augmented",
        ),
        (
            PatchCoreDualSpec,
            {"method": "patchcore_dual", "image_score": EQUATION_7},
            "defined for method 'patchcore' only",
        ),
        (SplitSpec, {"protocol": "published", "train_share": 0.8}, "does not use train_share"),
        (
            SplitSpec,
            {"protocol": "normals_only", "train_share": 0.8, "val_anomalous_share": 0.3},
            "does not use val_ano",
        ),
        (SplitSpec, OFFICIAL | {"ignore_official": True}, "remove ignore_official"),
        (SplitSpec, OFFICIAL | {"train_contamination": 0.1}, "remove train_contamination"),
        (SplitSpec, OFFICIAL | {"train_anomalous_share": 0.1}, "remove train_anomalous_share"),
        (
            SplitSpec,
            {
                "protocol": "source_plan",
                "train_share": 0.8,
                "val_anomalous_share": 0.5,
                "train_anomalous_share": 0.5,
            },
            "leave no anomalous image to test: lower one of them",
        ),
        (SplitSpec, OFFICIAL | {"official_train_share": 0.5}, "does not use official_train_share"),
        (CropSpec, {"split": "a", "seed": 5}, "crops without augmentation does not use seed"),
        (
            ThresholdSpec,
            {"policy": "normal_quantile", "quantile": 0.9, "defects_from": "d"},
            "'normal_quantile' does not use defects_from",
        ),
        (ThresholdSpec, {"policy": "normal_quantile"}, "'normal_quantile' needs quantile"),
        (ThresholdSpec, {"policy": "max_normal", "quantile": 0.9}, "'max_normal' does not use quantile"),
        (ThresholdSpec, {"policy": "mean_std", "deviations": -1}, "greater than or equal to 0"),
        (ThresholdSpec, {"policy": "conformal"}, "'conformal' needs false_alarm_rate"),
        (ThresholdSpec, {"policy": "conformal", "false_alarm_rate": 1}, "less than 1"),
        (ThresholdSpec, {"policy": "evt", "false_alarm_rate": 0.01}, "'evt' needs tail_share"),
        (
            ThresholdSpec,
            {"policy": "evt", "false_alarm_rate": 0.1, "tail_share": 0.1},
            "false_alarm_rate must be below tail_share",
        ),
        (ThresholdSpec, {"policy": "cost", "miss_cost": 10, "false_alarm_cost": 1}, "'cost' needs prevalence"),
        (ThresholdSpec, {"policy": "youden", "miss_cost": 10}, "'youden' does not use miss_cost"),
        (
            ThresholdSpec,
            {"policy": "f1_max", "pixels": {"policy": "conformal", "false_alarm_rate": 0.1}},
            "promises nothing of pixels",
        ),
        (ThresholdSpec, {"policy": "f1_max", "pixels": {"policy": "evt", "tail_share": 0.1}}, "needs false_alarm_rate"),
        (DomainSpec, {"shift": "none", "severity": "moderate"}, "does not use severity"),
        (DomainSpec, {"shift": ["jpeg"], "severity": 1.5}, "a list of transforms needs seed"),
        (DomainSpec, {"shift": ["jpeg", "jpeg"], "severity": 1, "seed": 0}, "names a transform twice"),
        (DomainSpec, {"shift": "jpeg", "severity": 1, "seed": 0, "crops": {"split": "a"}}, "not crops and shift"),
        (DomainSpec, {"view": {}, "severity": "mild"}, "does not use severity"),
        (DomainSpec, {"view": {}, "turns": {"split": "a"}}, "not turns and view"),
        (ViewSpec, {"short_side": 200}, "centre_crop 224 is larger than short_side 200"),
        (TurnSpec, {"split": "a", "angles": [45, 90, 45.0]}, "angles names one twice"),
        (TurnSpec, {"split": "a", "angles": [0]}, "greater than 0"),
        (TurnSpec, {"split": "a", "angles": [360]}, "less than 360"),
        (CropSpec, {"split": "a", "crops_path": "own", "margin": 3}, "crops_path does not use margin"),
        (
            SynthesisSpec,
            {"split": "a", "part": "val", "augmented_path": "own", "count": 3},
            "augmented_path does not use count",
        ),
        (SynthesisSpec, {"split": "a", "part": "val", "types": ["diffusion"]}, "needs diffusion"),
        (SynthesisSpec, {"split": "a", "part": "val", "diffusion": {"model": "m"}}, "does not use diffusion"),
        (DatasetSpec, {"adapter": "visa", "categories": ["a"], "manifest": "m.csv"}, "'visa' does not use manifest"),
        (DatasetSpec, {"adapter": "visa", "categories": ["a"], "checksum": "md5:" + "0" * 32}, "belongs to an address"),
        (DomainSpec, {"shift": "photometric", "severity": "moderate"}, "needs seed"),
        (RepresentationSpec, {"normalise": "whiten"}, "needs shrinkage"),
        (RepresentationSpec, {"shrinkage": 0.1}, "does not use shrinkage"),
        (RepresentationSpec, {"layers": ["colour"], "logarithm": ["first_order"]}, "'first_order' is not among layers"),
        (DatasetSpec, DRAWN | {"folder": "images"}, "generate does not use folder"),
        (DatasetSpec, DRAWN | {"address": "https://example.org"}, "generate does not use address"),
        (SamplerSpec, {"share": 0.1, "count": 5}, "either share or count"),
        (SamplerSpec, {"method": "greedy"}, "either share or count"),
        (SamplerSpec, {"method": "none", "share": 0.1}, "remove share and count"),
        (SamplerSpec, {"method": "random", "share": 0.1, "projection": 8}, "does not use projection"),
        (SamplerSpec, {"method": "kmeans", "share": 0.1, "projection": 8}, "does not use projection"),
        (SamplerSpec, {"method": "none", "starts": 10}, "does not use starts"),
        (PatchCoreSpec, {"method": "patchcore", "neighbours": 3, "image_score": EQUATION_7}, "neighbours: 1 only"),
        (
            PatchCoreSpec,
            {"method": "patchcore", "foreground": True, "sampler": {"method": "variance_weighted", "share": 0.1}},
            "foreground leaves patches out, so sampler 'variance_weighted' knows no positions",
        ),
        (IndexSpec, {"lists": 4}, "'flat' does not use lists"),
        (IndexSpec, {"method": "ivf_pq"}, "needs code_bytes"),
        (IndexSpec, {"method": "ivf_flat", "lists": 4, "probes": 5}, "probes cannot be 5"),
        (IndexSpec, {"method": "hnsw", "probes": 3}, "does not use probes"),
        (IndexSpec, {"method": "ivf_flat", "links": 3}, "does not use links"),
        (
            PatchCoreSpec,
            {"method": "patchcore", "index": {"method": "ivf_pq", "code_bytes": 8}, "image_score": EQUATION_7},
            "'ivf_pq' does not keep",
        ),
        (PadimSpec, {"method": "padim", "image_score": EQUATION_7}, "needs the bank of method 'patchcore'"),
        (SubspaceSpec, {"method": "pca", "image_score": EQUATION_7}, "needs the bank of method 'patchcore'"),
        (PadimSpec, {"method": "padim", "covariance": "ledoit_wolf", "regularisation": 0.1}, "does not use regularis"),
        (SubspaceSpec, {"method": "pca", "dimension": 3, "explained_variance": 0.9}, "either dimension or explained"),
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


def test_only_what_can_be_drawn_is_drawn() -> None:
    assert demo.CATEGORIES == GENERATED_CATEGORIES
    DatasetSpec.model_validate(DRAWN)
    with pytest.raises(ValidationError, match=r"'weav' is not a category that can be drawn \(did you mean 'weave'\?\)"):
        DatasetSpec.model_validate(DRAWN | {"categories": ["casting", "weav"]})
    with pytest.raises(ValidationError, match="draws the layout of adapter 'mvtec_ad', not of 'mtd'"):
        DatasetSpec.model_validate(DRAWN | {"adapter": "mtd"})


def test_every_adapter_can_be_configured_and_one_of_a_single_category_takes_no_more() -> None:
    assert set(ADAPTERS) >= SINGLE_CATEGORY
    for adapter in ADAPTERS:
        DatasetSpec.model_validate({"adapter": adapter, "categories": ["a"]})
        two = {"adapter": adapter, "categories": ["a", "b"]}
        if adapter not in SINGLE_CATEGORY:
            DatasetSpec.model_validate(two)
            continue
        with pytest.raises(ValidationError, match=f"adapter '{adapter}' reads one category: name one, not 2"):
            DatasetSpec.model_validate(two)


@pytest.mark.parametrize(("model", "others"), [(RepresentationSpec, {}), (PretrainedSpec, NETWORK)])
def test_layers_are_some_and_each_once(model: type[BaseModel], others: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match="at least 1 item"):
        model.model_validate(others | {"layers": []})
    with pytest.raises(ValidationError, match="'layer3' is named twice"):
        model.model_validate(others | {"layers": ["layer3", "layer2", "layer3"]})


def test_a_logarithm_is_of_layers_in_use() -> None:
    RepresentationSpec.model_validate({"layers": ["colour", "first_order"], "logarithm": ["first_order"]})
    RepresentationSpec.model_validate({"logarithm": ["first_order"]})
    with pytest.raises(ValidationError, match="'first_order' is named twice"):
        RepresentationSpec.model_validate({"logarithm": ["first_order", "first_order"]})


@pytest.mark.parametrize("value", [float("inf"), float("-inf"), float("nan")])
@pytest.mark.parametrize(
    ("model", "settings", "key"),
    [
        (RepresentationSpec, {"normalise": "whiten"}, "shrinkage"),
        (EvaluationSpec, {}, "smoothing_sigma"),
        (EvaluationSpec, {}, "pro_fpr_limit"),
        (SplitSpec, {"protocol": "published"}, "official_train_share"),
    ],
)
def test_numbers_are_finite(model: type[BaseModel], settings: dict[str, Any], key: str, value: float) -> None:
    with pytest.raises(ValidationError, match="finite number"):
        model.model_validate(settings | {key: value})


@pytest.mark.parametrize("value", [0.0, -0.2, float("inf"), float("nan")])
def test_inputs_are_divided_by_deviations_above_zero(value: float) -> None:
    with pytest.raises(ValidationError, match="std"):
        BACKBONE.validate_python(NETWORK | {"std": [0.2, value, 0.2]})


@pytest.mark.parametrize(
    "address", ["ftp://example.org/a.zip", "example.org/a.zip", "kaggle:name", "https://", "https://a b"]
)
def test_an_address_is_one_that_can_be_fetched(address: str) -> None:
    with pytest.raises(ValidationError, match="must begin with https:// or http://, or be kaggle:owner/dataset"):
        DatasetSpec.model_validate({"adapter": "visa", "categories": ["a"], "address": address})


def test_a_checksum_names_its_kind() -> None:
    for checksum in ("0" * 64, "sha256:" + "0" * 65, "sha256:" + "0" * 7, "md5:" + "0" * 31, "sha1:" + "0" * 40):
        with pytest.raises(ValidationError, match=r"must be sha256: and 64 \(or the first 8 or more of"):
            ArchiveSpec.model_validate({"address": "kaggle:a/b", "checksum": checksum})
    for checksum in ("sha256:" + "0" * 64, "sha256:5c106cde", "md5:" + "0" * 32):
        assert ArchiveSpec.model_validate({"address": "kaggle:a/b", "checksum": checksum}).checksum == checksum


def test_compositions_are_shifts_of_known_transforms() -> None:
    for name, transforms in COMPOSITIONS.items():
        spec = DomainSpec.model_validate({"shift": name, "severity": "mild", "seed": 0})
        assert spec.transforms == transforms
        assert DomainSpec.model_validate({"shift": transforms, "severity": 1, "seed": 0}).strength == spec.strength == 1


def test_a_domain_says_of_which_kind_it_is() -> None:
    kinds = {
        "clean": {},
        "shift": {"shift": "jpeg", "severity": 0, "seed": 0},
        "crops": {"crops": {"split": "a"}},
        "synthesis": {"synthesis": {"split": "a", "part": "val"}},
        "view": {"view": {}},
        "turns": {"turns": {"split": "a"}},
    }
    assert {kind: DomainSpec.model_validate(settings).kind for kind, settings in kinds.items()} == {
        kind: kind for kind in kinds
    }


def test_synthetic_defects_cannot_be_made_for_testing() -> None:
    with pytest.raises(ValidationError, match="part"):
        SynthesisSpec.model_validate({"split": "a", "part": "test"})


@pytest.mark.parametrize(
    "settings",
    [
        {"crops": {"split": "a", "crops_path": "own"}},
        {"crops": {"split": "a"}},
        {"synthesis": {"split": "a", "part": "val", "augmented_path": "own"}},
        {"synthesis": {"split": "a", "part": "val"}},
        {"shift": ["jpeg", "rotation"], "severity": 0.5, "seed": 0},
        {"view": {"short_side": 300}},
        {"turns": {"split": "a", "angles": [12.5]}},
        {},
    ],
)
def test_a_domain_survives_the_way_to_its_script(settings: dict[str, Any]) -> None:
    spec = DomainSpec.model_validate(settings)
    assert DomainSpec.model_validate_json(spec.canonical()) == spec
