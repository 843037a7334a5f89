"""What a run needs and no rule can make: folders, weight files, and consent to a licence.

Tested in tests/plan/test_inputs.py.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path

from patchshift.plan.study import Study
from patchshift.plan.weights import weight_file


def missing_inputs(study: Study, jobs: Iterable[tuple[str, Mapping[str, str]]]) -> list[str]:
    """One line per dataset folder, weight file or consent that is not there, of those that jobs need.

    Args:
        study: what is to run.
        jobs: rule and wildcards of each job that is to run.
    """
    jobs = list(jobs)
    fetched = {wildcards["dataset"] for rule, wildcards in jobs if rule == "fetch_dataset"}
    lines = [_missing_consent(study, dataset) for dataset in fetched]
    for rule, wildcards in jobs:
        if wildcards.get("dataset") not in fetched and _reads_originals(study, rule, wildcards):
            lines.append(_missing_folder(study, wildcards["dataset"], wildcards["category"]))
        if rule == "extract_features":
            lines.append(_missing_weights(study, wildcards["backbone"]))
    return sorted(filter(None, set(lines)))


def licences_to_show(study: Study, jobs: Iterable[tuple[str, Mapping[str, str]]]) -> list[str]:
    """One line per dataset that jobs download: what it is, where it goes, and on which terms."""
    datasets = sorted({wildcards["dataset"] for rule, wildcards in jobs if rule == "fetch_dataset"})
    return [
        f"downloading dataset '{name}' to {study.dataset_folder(name)}; its licence, as you accept it: "
        f"{_terms(study, name)}"
        for name in datasets
        if not study.dataset_folder(name).is_dir()
    ]


def _reads_originals(study: Study, rule: str, wildcards: Mapping[str, str]) -> bool:
    if rule in ("index_images", "synthesize_shift", "crop_defects", "synthesize_defects"):
        return True
    return rule in ("pack_images", "extract_features") and not study.is_made(wildcards["domain"])


def _missing_consent(study: Study, dataset: str) -> str:
    folder, archives = study.dataset_folder(dataset), study.catalog.datasets[dataset].archives
    if folder.is_dir():
        return ""
    if not archives:
        return f"dataset '{dataset}': folder {folder} does not exist, and no address is known: bring it there"
    if study.config.accept_licence:
        return ""
    address = archives[0].address
    return (
        f"dataset '{dataset}': folder {folder} does not exist. Its licence: {_terms(study, dataset)}. Read it, and set "
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


def _missing_weights(study: Study, backbone: str) -> str:
    path = weight_file(study, backbone)
    if path is None or path.is_file():
        return ""
    return (
        f"backbone '{backbone}': weight file {path} does not exist. Bring it there, or set "
        f"`weights_dir` (now {study.config.weights_dir!r}) to the folder that holds it"
    )


def _terms(study: Study, dataset: str) -> str:
    return study.catalog.datasets[dataset].licence or "none stated by its authors"
