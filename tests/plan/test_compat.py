from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from patchshift.plan import Study, open_study
from patchshift.plan.compat import PRESETS
from patchshift.plan.detector_specs import DETECTOR, FittedSpec, PatchCoreSpec
from patchshift.plan.loading import read_yaml


def preset(name: str, **settings: Any) -> PatchCoreSpec:
    return PatchCoreSpec.model_validate({"method": "patchcore", "compat": name, **settings})


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_sets_what_it_names_and_nothing_else(name: str) -> None:
    spec, ours = preset(name), PatchCoreSpec(method="patchcore")
    for key in PatchCoreSpec.model_fields:
        expected = PRESETS[name].get(key, name if key == "compat" else getattr(ours, key))
        assert getattr(spec, key) == expected, key


@pytest.mark.parametrize("name", PRESETS)
@pytest.mark.parametrize(
    "settings",
    [{}, {"threads": 4, "chunk_mb": 64, "foreground": True}, {"representation": {"layers": ["layer2"]}}],
)
def test_a_spec_with_a_preset_is_read_again_as_it_is(name: str, settings: dict[str, Any]) -> None:
    spec = preset(name, **settings)
    assert DETECTOR.validate_json(spec.canonical()) == spec
    assert PatchCoreSpec.model_validate(dict(spec)) == spec
    fitted: FittedSpec = DETECTOR.validate_json(spec.fit_spec())
    assert fitted == spec
    assert spec.threads == settings.get("threads", 2)


@pytest.mark.parametrize("size", [{"share": 0.01}, {"count": 500}])
def test_the_size_of_the_coreset_is_free(size: dict[str, Any]) -> None:
    sampler = preset("official", sampler=size).sampler
    assert sampler.model_dump(include={"share", "count"}) == {"share": None, "count": None, **size}
    assert (sampler.method, sampler.projection, sampler.starts) == ("greedy", 128, 10)
    assert DETECTOR.validate_json(preset("official", sampler=size).canonical()) == preset("official", sampler=size)


def test_settings_that_the_preset_has_as_well_may_be_repeated() -> None:
    repeated = preset("anomalib", distance="euclidean", sampler={"method": "greedy"}, representation={"weights": None})
    assert repeated == preset("anomalib")


@pytest.mark.parametrize(
    ("name", "settings", "fault"),
    [
        ("official", {"distance": "euclidean"}, """distance: "squared", not "euclidean". Remove"""),
        ("official", {"neighbours": 3}, "neighbours: 1, not 3."),
        ("official", {"sampler": {"projection": 64}}, "sampler.projection: 128, not 64."),
        ("official", {"representation": {"reduction": {"dimension": 64}}}, "representation.reduction.dimension: 1024"),
        ("anomalib", {"representation": {"reduction": {"method": "pca"}}}, "representation.reduction: null, not {"),
        ("anomalib", {"image_score": {"reweight_neighbours": 0}}, "image_score.reweight_neighbours: 9, not 0."),
        ("anomalib", {"anomaly_map": {"border": "symmetric"}}, """anomaly_map.border: "mirror", not "symmetric"."""),
        ("anomalydino", {"representation": {"normalise": "standardise"}}, """normalise: "none", not "standardise"."""),
        (
            "anomalydino",
            {"neighbours": 2, "sampler": {"method": "random", "share": 0.1}},
            """sampler.method: "none", not "random"; neighbours: 1, not 2. Remove what is given, or remove compat""",
        ),
        ("anomalydino", {"sampler": {"share": 0.1}}, "keeps all patches: remove share and count"),
        ("official", {"sampler": {"share": 0.1, "count": 5}}, "give either share or count"),
        ("official", {"sampler": None}, "sampler"),
        ("anomalib", {"representation": {"layer": ["a"]}}, "representation.layer"),
        ("papers", {}, "compat"),
        (["official"], {}, "compat"),
    ],
)
def test_other_settings_beside_a_preset_are_refused(name: Any, settings: dict[str, Any], fault: str) -> None:
    with pytest.raises(ValidationError) as caught:
        preset(name, **settings)
    assert fault in str(caught.value)


def test_a_study_reports_settings_against_the_preset_in_one_line(
    catalog: dict[str, Any], mistakes: Callable[[], list[str]]
) -> None:
    catalog["detectors"]["plain"] = {"method": "patchcore", "compat": "official", "distance": "cosine"}
    catalog["detectors"]["top"] = {"method": "padim", "compat": "official"}
    (first, second) = mistakes()
    assert first.startswith(
        """configs/catalog.yaml.detectors.plain: compat 'official' has distance: "squared", not "cosine". Remove"""
    )
    assert second.startswith("configs/catalog.yaml.detectors.top.compat: unknown key")


def test_a_study_takes_a_preset(catalog: dict[str, Any], load: Callable[[], Study]) -> None:
    catalog["detectors"]["plain"] = {"method": "patchcore", "compat": "anomalib", "sampler": {"share": 0.01}}
    spec = load().catalog.detectors["plain"]
    assert isinstance(spec, PatchCoreSpec)
    assert spec == preset("anomalib", sampler={"share": 0.01})


def test_the_study_of_the_presets_gives_each_its_backbone_and_input(
    repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(repository)
    path = Path("configs/compat.yaml")
    study = open_study(read_yaml(path), [path])
    taken = {}
    for cell in study.all_cells():
        spec = study.catalog.detectors[cell.bank.detector]
        if isinstance(spec, PatchCoreSpec) and spec.compat:
            backbone = study.catalog.backbones[cell.bank.backbone]
            taken[spec.compat] = (cell.bank.training.domain, cell.domain, backbone.weights, backbone.input_size)
    assert taken == {
        "official": ("official_view", "official_view", "wide_resnet50_2-95faca4d.pth", (224, 224)),
        "anomalib": ("clean", "clean", "wide_resnet50_2.racm_in1k.safetensors", (256, 256)),
        "anomalydino": ("clean", "clean", "vit_small_patch14_dinov2.lvd142m.safetensors", (448, 448)),
    }
