"""Write what is generated from the config models: docs/config.md and docs/config.schema.json.

Usage: python -m patchshift.plan.documentation
Tested in tests/plan/test_documentation.py, which fails when the files on disk differ.
"""

import json
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from patchshift.plan.backbone_specs import FileSpec, PretrainedSpec, ScatteringSpec, TilingSpec
from patchshift.plan.catalog import Catalog
from patchshift.plan.data_specs import ArchiveSpec, DatasetSpec, GeneratorSpec, SeriesSpec, SplitSpec
from patchshift.plan.deliverable_specs import DeliverableSpec
from patchshift.plan.detector_specs import ExternalSpec, PadimSpec, PatchCoreDualSpec, PatchCoreSpec, SubspaceSpec
from patchshift.plan.domain_specs import (
    AugmentationSpec,
    CropSpec,
    DiffusionSpec,
    DomainSpec,
    SynthesisSpec,
    TurnSpec,
    ViewSpec,
)
from patchshift.plan.experiments import Experiment, Filter, Selection
from patchshift.plan.inspection_specs import InspectionSpec
from patchshift.plan.representation_specs import ReductionSpec, RepresentationSpec
from patchshift.plan.sampling_specs import IndexSpec, SamplerSpec
from patchshift.plan.score_specs import AnomalyMapSpec, ImageScoreSpec
from patchshift.plan.specs import AnalysisSpec, EvaluationSpec
from patchshift.plan.study import StudyConfig
from patchshift.plan.threshold_specs import PolicySpec, ThresholdSpec, ZonesSpec

DOCS = Path(__file__).parents[3] / "docs"

INTRODUCTION = """# Config

Generated from the config models by `make docs`: edit the models, not this page.

A **study** is one file (`config.yaml`, `configs/*.yaml`); it selects ids that the **catalog** (`configs/catalog.yaml`)
defines once for all studies. A study may add ids of its own under `add`, in the catalog's shape; it cannot redefine
one. Unknown keys and ids are errors, all reported together before any job starts. `docs/config.schema.json` is the
same as a JSON schema, for editors.
"""

SECTIONS: list[tuple[str, type[BaseModel]]] = [
    ("A study", StudyConfig),
    ("`select`", Selection),
    ("`experiments.{name}`", Experiment),
    ("One entry of `include` or `exclude`", Filter),
    ("`inspection`", InspectionSpec),
    ("`analysis`", AnalysisSpec),
    ("`deliverables.{file}`", DeliverableSpec),
    ("The catalog", Catalog),
    ("`datasets.{id}`", DatasetSpec),
    ("One entry of `datasets.{id}.mirrors`", ArchiveSpec),
    ("`datasets.{id}.generate`", GeneratorSpec),
    ("`splits.{id}`", SplitSpec),
    ("`splits.{id}.series`", SeriesSpec),
    ("`domains.{id}`", DomainSpec),
    ("`domains.{id}.crops`", CropSpec),
    ("`domains.{id}.crops.augmentation`", AugmentationSpec),
    ("`domains.{id}.synthesis`", SynthesisSpec),
    ("`domains.{id}.synthesis.diffusion`", DiffusionSpec),
    ("`domains.{id}.view`", ViewSpec),
    ("`domains.{id}.turns`", TurnSpec),
    ("`backbones.{id}` with `source: scattering`", ScatteringSpec),
    ("`backbones.{id}` with `source: timm` or `torchvision`", PretrainedSpec),
    ("`backbones.{id}` with `source: file`", FileSpec),
    ("`backbones.{id}.tiling`", TilingSpec),
    ("`detectors.{id}` with `method: patchcore`", PatchCoreSpec),
    ("`detectors.{id}` with `method: patchcore_dual`", PatchCoreDualSpec),
    ("`detectors.{id}` with `method: padim`", PadimSpec),
    ("`detectors.{id}` with `method: pca`", SubspaceSpec),
    ("`detectors.{id}` with `method: external`", ExternalSpec),
    ("`detectors.{id}.representation`", RepresentationSpec),
    ("`detectors.{id}.representation.reduction`", ReductionSpec),
    ("`detectors.{id}.sampler`", SamplerSpec),
    ("`detectors.{id}.index`", IndexSpec),
    ("`detectors.{id}.image_score`", ImageScoreSpec),
    ("`detectors.{id}.anomaly_map`", AnomalyMapSpec),
    ("`thresholds.{id}`", ThresholdSpec),
    ("`thresholds.{id}.pixels`", PolicySpec),
    ("`thresholds.{id}.zones`", ZonesSpec),
    ("`evaluation`", EvaluationSpec),
]


def markdown() -> str:
    """The text of docs/config.md."""
    return "\n".join([INTRODUCTION, *(_section(title, model) for title, model in SECTIONS)])


def schema() -> str:
    """The text of docs/config.schema.json: the schemas of a study and of the catalog."""
    content = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "patchshift study and catalog",
        "study": StudyConfig.model_json_schema(),
        "catalog": Catalog.model_json_schema(),
    }
    return json.dumps(content, indent=1, sort_keys=True) + "\n"


def _section(title: str, model: type[BaseModel]) -> str:
    summary = (model.__doc__ or "").strip().split("\n")[0]
    rows = [
        f"| `{name}` | {_type(field.annotation, field.metadata)} | {_default(field)} | {field.description or ''} |"
        for name, field in model.model_fields.items()
    ]
    return "\n".join(
        [f"## {title}", "", summary, "", "| key | value | default | meaning |", "|---|---|---|---|", *rows, ""]
    )


def _default(field: Any) -> str:
    if field.is_required():
        return "required"
    value = field.get_default(call_default_factory=True)
    if isinstance(value, BaseModel):
        value = value.model_dump(exclude_defaults=True, exclude_none=True)
    return "" if value in (None, {}, PydanticUndefined) else f"`{json.dumps(value)}`"


def _type(annotation: Any, metadata: list[Any]) -> str:
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _type(arguments[0], [*arguments[1:], *metadata])
    if origin is Literal:
        return ", ".join(f"`{value}`" for value in arguments)
    if origin in (Union, UnionType):
        parts = [_type(part, metadata) for part in arguments if part is not type(None)]
        return " or ".join(dict.fromkeys(parts))
    if origin is list:
        return f"list of {_type(arguments[0], [])}"
    if origin is tuple:
        return f"{len(arguments)} numbers"
    if origin is dict:
        return f"id to {_type(arguments[1], [])}"
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return "settings (below)"
    names = {str: "text", int: "integer", float: "number", bool: "true or false"}
    return names[annotation] + _bounds(metadata)


def _bounds(metadata: list[Any]) -> str:
    signs = {"gt": ">", "ge": ">=", "lt": "<", "le": "<="}
    bounds = [
        f"{sign} {getattr(each, key)}" for each in _flat(metadata) for key, sign in signs.items() if hasattr(each, key)
    ]
    return f" {', '.join(bounds)}" if bounds else ""


def _flat(metadata: list[Any]) -> list[Any]:
    return [inner for each in metadata for inner in getattr(each, "metadata", [each])]


def main() -> None:
    """Write both files."""
    (DOCS / "config.md").write_text(markdown(), encoding="utf-8")
    (DOCS / "config.schema.json").write_text(schema(), encoding="utf-8")


if __name__ == "__main__":
    main()
