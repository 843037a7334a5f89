"""What a study shows beside its tables: galleries of shifts, data cards.

Tested in tests/plan/test_exhibits.py.
"""

from dataclasses import replace
from functools import lru_cache

from patchshift.plan import inspections
from patchshift.plan.cells import CLEAN, POOLS, Target
from patchshift.plan.study import Study
from patchshift.plan.training_inputs import turned_domains


def list_figures(study: Study) -> list[str]:
    """The paths of all figures and data cards."""
    return [
        *(f"{study.folder}/shifts/{dataset}/{category}.png" for dataset, category in list_galleries(study)),
        *(f"{study.folder}/data_cards/{dataset}.html" for dataset in card_datasets(study)),
        *inspections.list_inspection_figures(study),
        *([f"{study.folder}/distances.png"] if inspections.list_distances(study) else []),
    ]


def list_heatmaps(study: Study) -> list[str]:
    """The folders of heatmaps and overlays of all cells, which are drawn on request."""
    return [
        f"{study.folder}/heatmaps/{cell.bank.path}/on/{cell.target.path}/from/{cell.calibration.path}/{cell.threshold}"
        for cell in study.all_cells()
    ]


def list_distance_tables(study: Study) -> list[str]:
    """The table of distances between domains, where the study measures any."""
    return [f"{study.folder}/distances.csv"] if inspections.list_distances(study) else []


def list_drift_tables(study: Study) -> list[str]:
    """The table of the drift of layers and fusions, where the study measures distances."""
    return [f"{study.folder}/feature_drifts.csv"] if inspections.list_distances(study) else []


def list_pool_tables(study: Study) -> list[str]:
    """The tables of the experiments that fit a bank on a pool."""
    pooled = [name for name, cells in study.cells.items() if any(cell.bank.training.dataset == POOLS for cell in cells)]
    return [f"{study.folder}/experiments/{experiment}/pools.csv" for experiment in pooled]


def list_galleries(study: Study) -> list[tuple[str, str]]:
    """The (dataset, category) pairs that the study fits, calibrates or scores in a shifted domain or a view."""
    return [pair for pair in sorted(study.used_categories()) if len(gallery_domains(study, *pair)) > 1]


def gallery_domains(study: Study, dataset: str, category: str) -> list[str]:
    """Clean, and the shifts and views that the study uses a category in, in the catalog's order."""
    shifted = [name for name, spec in study.catalog.domains.items() if spec.kind in ("shift", "view")]
    return [CLEAN, *(name for name in shifted if Target(dataset, category, name) in study.used_targets)]


@lru_cache(maxsize=1)  # each of the jobs that make them asks how many there are
def list_made_domains(study: Study) -> list[Target]:
    """The shifts and views that the study uses, and the turned training images of its banks."""
    pairs = list_galleries(study)
    shown = [Target(*pair, domain) for pair in pairs for domain in gallery_domains(study, *pair) if domain != CLEAN]
    turned = [
        replace(member, domain=domain)
        for bank in dict.fromkeys(cell.bank for cell in study.all_cells())
        for member in bank.fitted_on
        for domain in turned_domains(study, bank.detector)
    ]
    return [*shown, *dict.fromkeys(turned)]


def count_workers(study: Study, cores: int | None) -> int:
    """Processes that make one domain: its part of the cores; a few where jobs run elsewhere and `cores` is None."""
    return 4 if cores is None else max(1, cores // max(1, len(list_made_domains(study))))


def card_categories(study: Study, dataset: str) -> list[str]:
    """The categories of a dataset that the study uses, in the dataset's order."""
    used = study.used_categories()
    return [name for name in study.catalog.datasets[dataset].categories if (dataset, name) in used]


def card_datasets(study: Study) -> list[str]:
    """The datasets that the study uses."""
    return sorted({dataset for dataset, _ in study.used_categories()})


def card_splits(study: Study, dataset: str) -> list[str]:
    """The splits by which the study divides a dataset."""
    return sorted(
        {
            cell.bank.split
            for cell in study.all_cells()
            for used in (cell.target, *cell.bank.fitted_on)
            if used.dataset == dataset
        }
    )


def list_card_packs(study: Study) -> list[str]:
    """The packs that cards show examples from."""
    return [
        f"results/packs/{dataset}/{category}/{CLEAN}.h5"
        for dataset in card_datasets(study)
        for category in card_categories(study, dataset)
    ]
