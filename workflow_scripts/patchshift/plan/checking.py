"""Check a study's config against the catalog, and report every mistake at once."""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from patchshift.errors import UserError
from patchshift.plan.base import canonical_json
from patchshift.plan.catalog import KINDS, Catalog, Ids, check_entries, check_references, check_selector
from patchshift.plan.compatibility import find_mismatches
from patchshift.plan.deliverables import find_deliverable_mistakes
from patchshift.plan.loading import did_you_mean, explain, read_yaml
from patchshift.plan.study import Study, StudyConfig
from patchshift.plan.weights import find_weight_mistakes

IDS = Path("results/ids.json")

SELECTED: dict[str, tuple[str, ...]] = {kind: (kind,) for kind in ("splits", "backbones", "detectors", "thresholds")}
SELECTED |= {"train_domains": ("domains", "aliases"), "target_domains": ("domains", "aliases")}
FILTERED = {key.removesuffix("s"): kinds for key, kinds in SELECTED.items()}


def open_study(config: Mapping[str, Any], files: Sequence[Path]) -> Study:
    """The study of a Snakemake call: of its `--configfile`s, or of config.yaml under its `--config` values.

    Args:
        config: Snakemake's merged config.
        files: the config files given on the command line.

    Raises:
        UserError: all mistakes in one message.
    """
    default = Path("config.yaml")
    for file in files:
        read_yaml(file)  # Snakemake has merged them, without a word on a key given twice
    if not files:
        config = {**read_yaml(default), **config}
    return load_study(config, ", ".join(map(str, files)) or str(default))


def load_study(config: Mapping[str, Any], source: str, *, ids: Path = IDS) -> "Study":
    """Check a study's config against the catalog.

    Args:
        config: the merged config.
        source: the name of its file, for messages.
        ids: what earlier studies that share `results/` added.

    Raises:
        UserError: all mistakes in one message, one line each.
    """
    mistakes: list[str] = []
    raw = dict(config)
    catalog_path = Path(str(raw.get("catalog", StudyConfig.model_fields["catalog"].default)))
    catalog = read_yaml(catalog_path)
    check_entries(catalog, str(catalog_path), mistakes, Catalog)
    added = raw.pop("add", None) or {}
    if isinstance(added, dict):
        check_entries(added, f"{source}: add", mistakes, Ids)
    else:
        mistakes.append(f"{source}: add: must hold kinds of ids, found {type(added).__name__}")
        added = {}
    merged = _merge(catalog, added, source, mistakes)
    try:
        StudyConfig.model_validate(raw)
    except ValidationError as error:
        mistakes.extend(
            line.replace(f"{source}:.", f"{source}: ") for line in explain(error, f"{source}:", StudyConfig)
        )
    check_references(merged, str(catalog_path), mistakes)
    _check_selections(raw, merged, source, mistakes)
    if not mistakes:
        study = Study(StudyConfig.model_validate(raw | {"add": added}), Catalog.model_validate(merged))
        try:
            lines = [*find_weight_mistakes(study), *find_mismatches(study), *find_deliverable_mistakes(study)]
        except ValueError as error:  # filters that match nothing, aliases that lead nowhere
            lines = str(error).split("\n")
        mistakes += [f"{source}: {line}" for line in [*lines, *_clashes(study, ids)]]
    if mistakes:
        count = "1 mistake" if len(mistakes) == 1 else f"{len(mistakes)} mistakes"
        raise UserError("\n  ".join([f"{count} in the config:", *dict.fromkeys(mistakes)]))
    return study


def _merge(catalog: Mapping[str, Any], added: Mapping[str, Any], source: str, mistakes: list[str]) -> dict[str, Any]:
    merged = dict(catalog)
    for kind in KINDS:
        ours, theirs = catalog.get(kind) or {}, added.get(kind) or {}
        if isinstance(ours, dict) and isinstance(theirs, dict):
            mistakes += [
                f"{source}: add.{kind}.{name}: the catalog already defines '{name}': choose another id"
                for name in theirs
                if name in ours
            ]
            merged[kind] = {**ours, **theirs}
        else:
            merged[kind] = {}
    return merged


def _check_selections(raw: Mapping[str, Any], merged: Mapping[str, Any], source: str, mistakes: list[str]) -> None:
    experiments = raw.get("experiments")
    blocks = {"select": raw.get("select")}
    if isinstance(experiments, dict):
        blocks |= {f"experiments.{name}": block for name, block in experiments.items()}
    for place, block in blocks.items():
        if isinstance(block, dict):
            _check_names(block, SELECTED, merged, f"{source}: {place}", mistakes)
            for key in ("include", "exclude"):
                filters = block.get(key)
                for number, entry in enumerate(filters if isinstance(filters, list) else []):
                    if isinstance(entry, dict):
                        lists = {name: [value] if isinstance(value, str) else value for name, value in entry.items()}
                        _check_names(lists, FILTERED, merged, f"{source}: {place}.{key}[{number}]", mistakes)


def _check_names(
    block: Mapping[str, Any],
    kinds: Mapping[str, tuple[str, ...]],
    merged: Mapping[str, Any],
    place: str,
    mistakes: list[str],
) -> None:
    """Append the names of a block that nothing bears; the model reports what is not a name.

    Args:
        block: lists of names by key.
        kinds: the kinds of ids that each key lists.
        merged: ids by kind.
        place: of the block, for messages.
        mistakes: is appended to.
    """
    for key, content in block.items():
        for name in content if isinstance(content, list) else []:
            if not isinstance(name, str):
                continue
            if key in ("train", "target", "targets"):
                check_selector(name, merged, f"{place}.{key}", mistakes, pools=key != "target")
            elif key in kinds:
                known = [each for kind in kinds[key] for each in merged[kind]]
                if name not in known:
                    kind = " or ".join(kind for kind in kinds[key] if merged[kind])
                    mistakes.append(f"{place}.{key}: '{name}' is not in {kind}{did_you_mean(name, known)}")


def _clashes(study: Study, path: Path) -> list[str]:
    """Ids that an earlier study added with another meaning: the two would overwrite each other's results."""
    ours = _added_ids(study)
    return [
        f"add.{key.replace('/', '.')}: study '{owner}' already made results in this folder with another "
        f"'{key.partition('/')[2]}': choose another id, or delete {path.parent}"
        for key, (owner, definition) in _recorded_ids(path).items()
        if owner != study.name and ours.get(key, definition) != definition
    ]


def _added_ids(study: Study) -> dict[str, str]:
    added = study.config.add.model_dump(mode="json", exclude_unset=True)
    return {f"{kind}/{name}": canonical_json(entry) for kind, ids in added.items() for name, entry in ids.items()}


def _recorded_ids(path: Path) -> dict[str, tuple[str, str]]:
    try:
        return {key: (owner, definition) for key, (owner, definition) in json.loads(path.read_text("utf-8")).items()}
    except FileNotFoundError:
        return {}
    except (ValueError, AttributeError, TypeError):
        raise UserError(f"{path} is damaged: delete it (it only records which study added which id)") from None


def record_ids(study: Study, write: Callable[[Path, Any], None], path: Path = IDS) -> None:
    """Record the ids that a study adds, for the checks of other studies that share `results/`."""
    others = {key: value for key, value in _recorded_ids(path).items() if value[0] != study.name}
    ours = {key: (study.name, definition) for key, definition in _added_ids(study).items()}
    if ours or others:
        write(path, {**ours, **others})
