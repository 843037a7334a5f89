"""What a run needs and no rule can make: folders, weight files, scores of other methods, and consent to a licence.

Tested in tests/plan/test_inputs.py.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path

from patchshift.plan.cells import Target
from patchshift.plan.external import find_table
from patchshift.plan.study import Study
from patchshift.plan.weights import weight_file, weight_name, weight_receipt, weights_spec

Jobs = Iterable[tuple[str, Mapping[str, str]]]

FORWARD = ("extract_features", "extract_shard", "trace_attention")
"""Rules that pass images through a backbone."""
TARGET = ("dataset", "category", "domain")


def missing_inputs(study: Study, jobs: Jobs) -> list[str]:
    """One line per dataset folder, weight file, table of scores or consent that is not there, of those that jobs need.

    Args:
        study: what is to run.
        jobs: rule and wildcards of each job that is to run.
    """
    jobs = list(jobs)
    fetched, weights = _fetched(jobs, "fetch_dataset", "dataset"), _fetched(jobs, "fetch_weights", "weights")
    lines = [_missing_consent(study, dataset) for dataset in fetched]
    lines += [_missing_consent_to_weights(study, name, _backbones(study, name, jobs)) for name in weights]
    for rule, wildcards in jobs:
        if wildcards.get("dataset") not in fetched and _reads_originals(study, rule, wildcards):
            lines.append(_missing_folder(study, wildcards["dataset"], wildcards["category"]))
        if rule in FORWARD and weight_name(study, wildcards["backbone"]) not in weights:
            lines.append(_missing_weights(study, wildcards["backbone"]))
        if rule == "import_scores":
            lines.append(_missing_table(study, wildcards))
    return sorted(filter(None, set(lines)))


def licences_to_show(study: Study, jobs: Jobs) -> list[str]:
    """One line per dataset or weight file that jobs download: what it is, where it goes, and on which terms."""
    jobs = list(jobs)
    downloads = [
        (f"dataset '{name}'", study.dataset_folder(name), study.catalog.datasets[name].licence)
        for name in sorted(_fetched(jobs, "fetch_dataset", "dataset"))
    ] + [
        (f"weight file '{name}'", Path(study.config.weights_dir, name), weights_spec(study, name).licence)
        for name in sorted(_fetched(jobs, "fetch_weights", "weights"))
    ]
    return [
        f"downloading {what} to {place}; its licence, as you accept it: {_terms(licence)}"
        for what, place, licence in downloads
        if not place.exists()
    ]


def _fetched(jobs: Jobs, rule: str, wildcard: str) -> set[str]:
    return {wildcards[wildcard] for name, wildcards in jobs if name == rule}


def _backbones(study: Study, weights: str, jobs: Jobs) -> list[str]:
    """The backbones of jobs that a weight file is for; where there are none, all that it could be for."""
    asked = {wildcards["backbone"] for rule, wildcards in jobs if rule in FORWARD}
    owners = [name for name in study.catalog.backbones if weight_name(study, name) == weights]
    return [name for name in owners if name in asked] or owners


def _reads_originals(study: Study, rule: str, wildcards: Mapping[str, str]) -> bool:
    if rule in ("index_images", "synthesize_shift", "turn_images", "crop_defects", "synthesize_defects"):
        return True
    return rule in ("pack_images", *FORWARD) and not study.is_made(wildcards["domain"])


def _missing_consent(study: Study, dataset: str) -> str:
    folder, spec = study.dataset_folder(dataset), study.catalog.datasets[dataset]
    if folder.is_dir():
        return ""
    if not spec.archives:
        return f"dataset '{dataset}': folder {folder} does not exist, and no address is known: bring it there"
    if study.config.accept_licence:
        return ""
    address = spec.archives[0].address
    return (
        f"dataset '{dataset}': folder {folder} does not exist. Its licence: {_terms(spec.licence)}. Read it, and set "
        f"`accept_licence: true` (or --config accept_licence=true) to download it from {address}; or set `data_dir` "
        f"(now {study.config.data_dir!r}) to the folder that holds it"
    )


def _missing_folder(study: Study, dataset: str, category: str) -> str:
    root = study.image_root(dataset, category)
    if study.catalog.datasets[dataset].generate or Path(root).is_dir():
        return ""
    receipt = study.receipt(dataset)
    archives = study.catalog.datasets[dataset].archives
    remedy = (
        f"Set `data_dir` (now {study.config.data_dir!r}) to the folder that holds "
        f"'{study.catalog.datasets[dataset].folder or dataset}'"
    ) + (f", or get it from {archives[0].address}" if archives else "")
    if receipt.is_file():
        remedy = f"It was downloaded once: delete {receipt} to download it again, or bring it back"
    return f"dataset '{dataset}': folder {root} does not exist. {remedy}"


def _missing_consent_to_weights(study: Study, weights: str, backbones: list[str]) -> str:
    path, spec = Path(study.config.weights_dir, weights), weights_spec(study, weights)
    if path.exists() or study.config.accept_licence:
        return ""
    address = spec.places[0].address
    return (
        f"{_of(backbones)}: weight file {path} does not exist. Its licence: {_terms(spec.licence)}. Read it, and set "
        f"`accept_licence: true` (or --config accept_licence=true) to download it from {address}; or bring "
        f"'{weights}' from there by hand, as {path}; or set `weights_dir` (now {study.config.weights_dir!r}) to the "
        "folder that holds it"
    )


def _missing_weights(study: Study, backbone: str) -> str:
    path, name = weight_file(study, backbone), weight_name(study, backbone)
    if path is None or name is None or path.is_file():
        return ""
    receipt = weight_receipt(study, name)
    if receipt.is_file():
        remedy = f"It was downloaded once: delete {receipt} to download it again, or bring it back"
    else:
        remedy = (
            f"No address is known for it: bring '{name}' there, or set `weights_dir` (now "
            f"{study.config.weights_dir!r}) to the folder that holds it"
        )
    return f"{_of([backbone])}: weight file {path} does not exist. {remedy}"


def _missing_table(study: Study, wildcards: Mapping[str, str]) -> str:
    detector, target = wildcards["detector"], Target(*(wildcards[f"target_{part}"] for part in TARGET))
    table = find_table(study, detector, target)
    if table.is_file():
        return ""
    return (
        f"detector '{detector}': scores {table} do not exist. Write them there (columns image, score, and map where "
        f"there are maps: docs/detectors.md), or set `data_dir` (now {study.config.data_dir!r}) to the folder that "
        f"holds '{table.relative_to(study.config.data_dir)}'"
    )


def _of(backbones: list[str]) -> str:
    names = ", ".join(f"'{name}'" for name in backbones)
    return f"backbone{'s' * (len(backbones) > 1)} {names}"


def _terms(licence: str) -> str:
    return licence or "none stated by its authors"
