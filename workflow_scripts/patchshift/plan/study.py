"""One study: what the Snakefile asks for specs, paths and cells."""

import os
import re
from collections.abc import Iterable, Mapping
from functools import cached_property
from pathlib import Path

from pydantic import Field

from patchshift.errors import UserError
from patchshift.plan.base import Name, Spec, canonical_json
from patchshift.plan.catalog import Catalog, Ids
from patchshift.plan.experiments import POOLS, Cell, Experiment, Selection, StudyPlan
from patchshift.plan.loading import did_you_mean
from patchshift.plan.specs import SINGLE_CATEGORY


class StudyConfig(Spec):
    """A study's config file."""

    study: Name = Field(description="The study's id; its results go to `results/studies/{study}/`.")
    question: str = Field(description="What the study asks; the report opens with it.")
    catalog: str = Field("configs/catalog.yaml", description="The catalog of ids.")
    data_dir: str = Field("data", description="Folder that holds the datasets, one folder each.")
    weights_dir: str = Field("weights", description="Folder that holds weight files.")
    add: Ids = Field(Ids(), description="Ids that this study adds to the catalog (it cannot redefine one).")
    select: Selection = Field(description="Ids that experiments span where they do not say otherwise.")
    experiments: dict[Name, Experiment] = Field(min_length=1, description="Named products of ids.")


class Study:
    """A checked study."""

    def __init__(self, config: StudyConfig, catalog: Catalog) -> None:
        self.config = config
        self.catalog = catalog
        self.name = config.study
        self.folder = f"results/studies/{config.study}"

    @cached_property
    def plan(self) -> StudyPlan:
        """What the expansion to cells depends on."""
        return StudyPlan(
            study=self.name,
            select=self.config.select,
            order=list(self.config.experiments),
            experiments=self.config.experiments,
            datasets={name: dataset.categories for name, dataset in self.catalog.datasets.items()},
            pools=self.catalog.pools,
        )

    def plan_spec(self, experiment: str | None = None) -> str:
        """The plan of one experiment (default: all), without datasets and pools that it does not use."""
        names = [experiment] if experiment else list(self.cells)
        banks = {cell.bank.training for name in names for cell in self.cells[name]}
        pools = {bank.category for bank in banks if bank.dataset == POOLS}
        used = {cell.target.dataset for name in names for cell in self.cells[name]}
        used |= {dataset for bank in banks for dataset, _ in self.members(bank.dataset, bank.category)}
        return self.plan.model_copy(
            update={
                "order": names,
                "experiments": {name: self.config.experiments[name] for name in names},
                "datasets": {name: categories for name, categories in self.plan.datasets.items() if name in used},
                "pools": {name: members for name, members in self.plan.pools.items() if name in pools},
            }
        ).canonical()

    def provenance_spec(self) -> str:
        """What the report says about how results were made: the question, and every id used with its settings."""
        banks = [cell.bank for cell in self.all_cells()]
        used = {
            "datasets": {dataset for dataset, _ in self.used_categories()},
            "splits": {bank.split for bank in banks},
            "domains": {bank.training.domain for bank in banks} | {cell.target.domain for cell in self.all_cells()},
            "backbones": {bank.backbone for bank in banks},
            "detectors": {bank.detector for bank in banks},
            "thresholds": {cell.threshold for cell in self.all_cells()},
        }
        ids = {
            kind: {name: getattr(self.catalog, kind)[name].model_dump(mode="json", exclude_none=True) for name in names}
            for kind, names in used.items()
        }
        evaluation = self.catalog.evaluation.model_dump(mode="json")
        return canonical_json({"question": self.config.question, "evaluation": evaluation, **ids})

    @cached_property
    def cells(self) -> dict[str, list[Cell]]:
        """Experiment -> its cells."""
        return self.plan.cells()

    def all_cells(self) -> list[Cell]:
        """The cells of all experiments, each once."""
        return list(dict.fromkeys(cell for cells in self.cells.values() for cell in cells))

    def mismatches(self) -> list[str]:
        """Detectors that ask for layers their backbone does not cache."""
        lines = []
        for backbone, detector in dict.fromkeys((c.bank.backbone, c.bank.detector) for c in self.all_cells()):
            representation = self.catalog.detectors[detector].representation
            cached = self.catalog.backbones[backbone].layers
            for layer in dict.fromkeys([*(representation.layers or []), *representation.logarithm]):
                if layer not in cached:
                    lines.append(
                        f"detector '{detector}' uses layer '{layer}', which backbone '{backbone}' does not cache"
                        f"{did_you_mean(layer, cached)}: exclude this pair, or choose other layers"
                    )
        return lines

    def constraint(self, kind: str) -> str:
        """A regular expression that matches exactly the ids of one kind."""
        return "|".join(sorted(map(re.escape, getattr(self.catalog, kind)))) or "(?!)"

    def categories(self) -> str:
        """A regular expression that matches all category names."""
        names = {name for dataset in self.catalog.datasets.values() for name in dataset.categories}
        return "|".join(sorted(map(re.escape, names)))

    def members(self, dataset: str, category: str) -> list[tuple[str, str]]:
        """The categories that a bank is fitted on: a pool's members, or the category itself."""
        return self.plan.categories(f"{dataset}/{category}")

    def image_root(self, dataset: str, category: str) -> str:
        """The folder that a category's image index is relative to."""
        spec = self.catalog.datasets[dataset]
        if spec.generate:
            return f"results/datasets/{dataset}/{category}"
        folder = Path(self.config.data_dir, spec.folder or dataset)
        return str(folder if spec.adapter in SINGLE_CATEGORY else folder / category)

    def image_folders(self, dataset: str, category: str) -> list[str]:
        """All folders below a category's root: their times change when a file is added or removed."""
        root = self.image_root(dataset, category)
        if self.catalog.datasets[dataset].generate:
            return [root]
        return sorted(folder for folder, _, _ in os.walk(root))

    def dataset_spec(self, dataset: str) -> str:
        """What indexing depends on."""
        fields = {"adapter", "masks", "max_per_class"}
        spec = self.catalog.datasets[dataset].model_dump(mode="json", include=fields)
        return canonical_json({**spec, "dataset": dataset})

    def generator_spec(self, dataset: str) -> str:
        """What the built-in dataset's images depend on."""
        generate = self.catalog.datasets[dataset].generate
        if generate is None:
            raise UserError(f"dataset '{dataset}' is read from a folder, it is not generated")
        return generate.canonical()

    def split_spec(self, split: str) -> str:
        """What a split depends on."""
        return self.catalog.splits[split].canonical()

    def domain_spec(self, domain: str) -> str:
        """What shifted images depend on."""
        return self.catalog.domains[domain].canonical()

    def backbone_spec(self, backbone: str) -> str:
        """What features depend on."""
        return self.catalog.backbones[backbone].canonical()

    def fit_spec(self, detector: str) -> str:
        """What a bank depends on: all of the detector but how images are scored."""
        return self.catalog.detectors[detector].fit_spec().canonical()

    def score_spec(self, detector: str) -> str:
        """What scores depend on beside the bank."""
        return self.catalog.detectors[detector].scoring_spec().canonical()

    def threshold_spec(self, threshold: str) -> str:
        """What a threshold depends on."""
        return self.catalog.thresholds[threshold].canonical()

    def evaluation_spec(self) -> str:
        """What metrics and decisions depend on beside scores."""
        return self.catalog.evaluation.canonical()

    def is_shifted(self, domain: str) -> bool:
        """Whether a domain's images are made, not the originals."""
        return self.catalog.domains[domain].shift != "none"

    def weights(self, backbone: str) -> list[str]:
        """The weight file of a backbone, if it has one and it is there (`missing_inputs` says if it is not)."""
        path = self._weight_file(backbone)
        return [str(path)] if path and path.is_file() else []

    def weights_option(self, backbone: str) -> list[str]:
        """What tells a script where weight files are; nothing for a backbone that has none."""
        return ["--weights-dir", self.config.weights_dir] if self._weight_file(backbone) else []

    def _weight_file(self, backbone: str) -> Path | None:
        spec = self.catalog.backbones[backbone]
        return None if spec.source == "scattering" else Path(self.config.weights_dir, spec.weights)

    def missing_inputs(self, jobs: Iterable[tuple[str, Mapping[str, str]]]) -> list[str]:
        """One line per dataset folder or weight file that is not there, of those that jobs read.

        Args:
            jobs: rule and wildcards of each job that is to run.
        """
        lines = []
        for rule, wildcards in jobs:
            if rule in ("index_images", "synthesize_shift") or (
                rule in ("pack_images", "extract_features") and not self.is_shifted(wildcards["domain"])
            ):
                lines.append(self._missing_folder(wildcards["dataset"], wildcards["category"]))
            if rule == "extract_features":
                lines.append(self._missing_weights(wildcards["backbone"]))
        return sorted(filter(None, set(lines)))

    def _missing_folder(self, dataset: str, category: str) -> str:
        spec, root = self.catalog.datasets[dataset], self.image_root(dataset, category)
        if spec.generate or Path(root).is_dir():
            return ""
        elsewhere = f", or get it from {spec.address}" if spec.address else ""
        return (
            f"dataset '{dataset}': folder {root} does not exist. Set `data_dir` (now {self.config.data_dir!r}) "
            f"to the folder that holds '{spec.folder or dataset}'{elsewhere}"
        )

    def _missing_weights(self, backbone: str) -> str:
        path = self._weight_file(backbone)
        if path is None or path.is_file():
            return ""
        return (
            f"backbone '{backbone}': weight file {path} does not exist. Bring it there, or set "
            f"`weights_dir` (now {self.config.weights_dir!r}) to the folder that holds it"
        )

    def used_categories(self) -> set[tuple[str, str]]:
        """The (dataset, category) pairs that the study trains on or scores."""
        banks = {(cell.bank.training.dataset, cell.bank.training.category) for cell in self.all_cells()}
        trained = {member for bank in banks for member in self.members(*bank)}
        return trained | {(cell.target.dataset, cell.target.category) for cell in self.all_cells()}
