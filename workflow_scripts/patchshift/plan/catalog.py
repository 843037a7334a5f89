"""The catalog: every id that a study can select."""

from collections.abc import Iterable, Mapping
from typing import Any, get_args

from pydantic import BaseModel, Field, TypeAdapter, ValidationError

from patchshift.plan.backbone_specs import BACKBONE_SOURCES, BackboneSpec
from patchshift.plan.base import Name, Spec
from patchshift.plan.cells import POOLS
from patchshift.plan.data_specs import DatasetSpec, SplitSpec
from patchshift.plan.detector_specs import DETECTOR_METHODS, DetectorSpec
from patchshift.plan.domain_specs import DomainSpec
from patchshift.plan.experiments import Alias, Selectors
from patchshift.plan.loading import did_you_mean, explain
from patchshift.plan.specs import EvaluationSpec
from patchshift.plan.threshold_specs import ThresholdSpec


class Ids(Spec):
    """Ids by kind. The same shape in the catalog and in a study's `add`."""

    datasets: dict[Name, DatasetSpec] = Field({}, description="Where images come from.")
    pools: dict[Name, Selectors] = Field({}, description="Named lists of `dataset/category` (or datasets) used as one.")
    splits: dict[Name, SplitSpec] = Field({}, description="Divisions into train, val and test.")
    domains: dict[Name, DomainSpec] = Field({}, description="`clean` and the declared shifts.")
    aliases: dict[Name, Alias] = Field(
        {},
        description="Natural shifts: `dataset` (or `dataset/category`) to the one that shows the same product another "
        "way. An alias stands where a domain's id can stand.",
    )
    backbones: dict[Name, BackboneSpec] = Field({}, description="Feature extractors.")
    detectors: dict[Name, DetectorSpec] = Field({}, description="Detection methods.")
    thresholds: dict[Name, ThresholdSpec] = Field({}, description="Threshold policies.")


class Catalog(Ids):
    """All ids, and the one evaluation protocol."""

    evaluation: EvaluationSpec = Field(EvaluationSpec(), description="How all studies evaluate.")


KINDS = tuple(Ids.model_fields)


BRANCHES: dict[str, tuple[str, Mapping[str, type[BaseModel]]]] = {
    "backbones": ("source", BACKBONE_SOURCES),
    "detectors": ("method", DETECTOR_METHODS),
}
"""Kinds whose settings depend on one of them, with that key and what each of its values takes."""


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
    key, types = BRANCHES.get(kind, ("", {}))
    named = str(entry.get(key)) if isinstance(entry, dict) else ""
    return types.get(named) or get_args(Ids.model_fields[kind].annotation)[1]


def _check(value: Any, kind: Any, place: str, mistakes: list[str]) -> None:
    try:
        TypeAdapter(kind).validate_python(value)
    except ValidationError as error:
        mistakes.extend(explain(error, place, kind))


def check_references(catalog: Mapping[str, Any], where: str, mistakes: list[str]) -> None:
    """Append what is wrong where an id names another: members of pools, ends of aliases, splits, domains."""
    for pool, members in _entries(catalog, "pools"):
        for member in members if isinstance(members, list) else []:
            check_selector(str(member), catalog, f"{where}.pools.{pool}", mistakes, pools=False)
        for dataset, entry in _entries(catalog, "datasets"):
            if pool in _categories(entry):
                mistakes.append(f"{where}.pools.{pool}: '{pool}' is also a category of {dataset}: choose another name")
    if POOLS in (catalog.get("datasets") or {}):
        mistakes.append(f"{where}.datasets: '{POOLS}' stands for pools in paths: choose another name")
    for alias, leads in _entries(catalog, "aliases"):
        _check_alias(alias, leads if isinstance(leads, dict) else {}, catalog, f"{where}.aliases.{alias}", mistakes)
    for domain, entry in _entries(catalog, "domains"):
        _check_domain(domain, entry, catalog.get("splits") or {}, f"{where}.domains.{domain}", mistakes)
    domains = catalog.get("domains") or {}
    for detector, entry in _entries(catalog, "detectors"):
        for key in ("crops", "add_augmented", "turned") if isinstance(entry, dict) else ():
            names = entry.get(key)
            mistakes += [
                f"{where}.detectors.{detector}.{key}: '{name}' is not in domains{did_you_mean(str(name), domains)}"
                for name in (names if isinstance(names, list) else [names] if names is not None else [])
                if name not in domains
            ]
    for threshold, entry in _entries(catalog, "thresholds"):
        name = entry.get("defects_from") if isinstance(entry, dict) else None
        if isinstance(name, str) and name not in domains:
            mistakes.append(
                f"{where}.thresholds.{threshold}.defects_from: '{name}' is not in domains{did_you_mean(name, domains)}"
            )


def _entries(catalog: Mapping[str, Any], kind: str) -> Iterable[tuple[str, Any]]:
    entries = catalog.get(kind) or {}
    return entries.items() if isinstance(entries, dict) else ()


def _check_alias(
    alias: str, leads: Mapping[str, Any], catalog: Mapping[str, Any], place: str, mistakes: list[str]
) -> None:
    if alias in (catalog.get("domains") or {}):
        mistakes.append(f"{place}: '{alias}' is also a domain: choose another name")
    for origin, to in leads.items():
        found: list[str] = []
        for end in (str(origin), str(to)):
            check_selector(end, catalog, place, found, pools=False)
        mistakes += found
        if not found and ("/" in str(origin)) != ("/" in str(to)):
            mistakes.append(f"{place}: '{origin}' to '{to}': name two datasets, or two categories")
        elif not found and "/" not in str(origin):
            datasets = catalog["datasets"]
            lacking = set(_categories(datasets[origin])) - set(_categories(datasets[to]))
            if lacking:
                mistakes.append(f"{place}: '{to}' lacks {', '.join(sorted(lacking))} of '{origin}': lead each category")


def _check_domain(domain: str, entry: Any, splits: Mapping[str, Any], place: str, mistakes: list[str]) -> None:
    """A domain made from one part of a split ends its id with that split's, so that no other split can take it."""
    for kind in ("crops", "synthesis", "turns"):
        made = entry.get(kind) if isinstance(entry, dict) else None
        split = made.get("split") if isinstance(made, dict) else None
        if split is None:
            continue
        if split not in splits:
            mistakes.append(f"{place}.{kind}.split: '{split}' is not in splits{did_you_mean(str(split), splits)}")
        elif _named_split(domain, splits) != split:
            mistakes.append(
                f"{place}: its images come from split '{split}': end its id with that, e.g. '{kind}_{split}'"
            )


def _named_split(domain: str, splits: Iterable[str]) -> str | None:
    """The split that a domain's id ends with; the longest, where one split's id ends with another's."""
    fitting = [split for split in map(str, splits) if domain == split or domain.endswith(f"_{split}")]
    return max(fitting, key=len, default=None)


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
