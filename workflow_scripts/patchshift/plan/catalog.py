"""The catalog: every id that a study can select."""

from collections.abc import Mapping
from typing import Any, get_args

from pydantic import Field, TypeAdapter, ValidationError

from patchshift.plan.base import Name, Spec
from patchshift.plan.experiments import POOLS, Selectors
from patchshift.plan.loading import did_you_mean, explain
from patchshift.plan.specs import (
    BackboneSpec,
    DatasetSpec,
    DetectorSpec,
    DomainSpec,
    EvaluationSpec,
    PretrainedSpec,
    ScatteringSpec,
    SplitSpec,
    ThresholdSpec,
)


class Ids(Spec):
    """Ids by kind. The same shape in the catalog and in a study's `add`."""

    datasets: dict[Name, DatasetSpec] = Field({}, description="Where images come from.")
    pools: dict[Name, Selectors] = Field({}, description="Named lists of `dataset/category` (or datasets) used as one.")
    splits: dict[Name, SplitSpec] = Field({}, description="Divisions into train, val and test.")
    domains: dict[Name, DomainSpec] = Field({}, description="`clean` and the declared shifts.")
    backbones: dict[Name, BackboneSpec] = Field({}, description="Feature extractors.")
    detectors: dict[Name, DetectorSpec] = Field({}, description="Detection methods.")
    thresholds: dict[Name, ThresholdSpec] = Field({}, description="Threshold policies.")


class Catalog(Ids):
    """All ids, and the one evaluation protocol."""

    evaluation: EvaluationSpec = Field(EvaluationSpec(), description="How all studies evaluate.")


KINDS = tuple(Ids.model_fields)
BACKBONE_SOURCES = {"scattering": ScatteringSpec, "timm": PretrainedSpec, "torchvision": PretrainedSpec}


def check_entries(raw: Mapping[str, Any], where: str, mistakes: list[str], model: type[Ids]) -> None:
    """Append what is wrong with a catalog's or a study's own ids, entry by entry, so that one mistake hides none."""
    for key, content in raw.items():
        if key not in model.model_fields:
            mistakes.append(f"{where}.{key}: unknown key{did_you_mean(str(key), model.model_fields)}")
        elif key not in KINDS:
            _check(content, EvaluationSpec, f"{where}.{key}", mistakes)
        elif not isinstance(content, dict):
            mistakes.append(f"{where}.{key}: must map ids to their settings, found {type(content).__name__}")
        else:
            for name, entry in content.items():
                _check(str(name), Name, f"{where}.{key}.{name} (the id itself)", mistakes)
                _check(entry, _entry_type(key, entry), f"{where}.{key}.{name}", mistakes)


def _entry_type(kind: str, entry: Any) -> Any:
    source = str(entry.get("source")) if kind == "backbones" and isinstance(entry, dict) else ""
    return BACKBONE_SOURCES.get(source) or get_args(Ids.model_fields[kind].annotation)[1]


def _check(value: Any, kind: Any, place: str, mistakes: list[str]) -> None:
    try:
        TypeAdapter(kind).validate_python(value)
    except ValidationError as error:
        mistakes.extend(explain(error, place, kind))


def check_references(catalog: Mapping[str, Any], where: str, mistakes: list[str]) -> None:
    """Append what is wrong with the pools' members."""
    for pool, members in (catalog.get("pools") or {}).items():
        for member in members if isinstance(members, list) else []:
            check_selector(str(member), catalog, f"{where}.pools.{pool}", mistakes, pools=False)
        for dataset, entry in (catalog.get("datasets") or {}).items():
            if pool in _categories(entry):
                mistakes.append(f"{where}.pools.{pool}: '{pool}' is also a category of {dataset}: choose another name")
    if POOLS in (catalog.get("datasets") or {}):
        mistakes.append(f"{where}.datasets: '{POOLS}' stands for pools in paths: choose another name")


def check_selector(
    selector: str, catalog: Mapping[str, Any], place: str, mistakes: list[str], *, pools: bool = True
) -> None:
    """Append what is wrong with a dataset, `dataset/category` or `pools/{pool}`."""
    dataset, _, category = selector.partition("/")
    if dataset == POOLS and pools:
        known = catalog.get("pools") or {}
        if category not in known:
            mistakes.append(f"{place}: '{category}' is not a pool{did_you_mean(category, known)}")
        return
    datasets = catalog.get("datasets") or {}
    if dataset not in datasets:
        mistakes.append(f"{place}: '{dataset}' is not a dataset{did_you_mean(dataset, datasets)}")
    elif category:
        categories = _categories(datasets[dataset])
        if category not in categories:
            mistakes.append(f"{place}: '{category}' is not a category of {dataset}{did_you_mean(category, categories)}")


def _categories(dataset: Any) -> list[Any]:
    """The categories of a dataset's entry that may still be malformed."""
    categories = dataset.get("categories") if isinstance(dataset, dict) else None
    return categories if isinstance(categories, list) else []
