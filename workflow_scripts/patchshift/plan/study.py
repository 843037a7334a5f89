"""One study: what the Snakefile asks for specs, paths and cells."""

import re
from functools import cached_property
from pathlib import Path
from typing import Literal

from pydantic import Field

from patchshift.errors import UserError
from patchshift.plan.backbone_specs import NO_FEATURES
from patchshift.plan.base import Name, RelativePath, Spec, canonical_json
from patchshift.plan.catalog import Catalog, Ids
from patchshift.plan.cells import POOLS, Cell, Target
from patchshift.plan.data_specs import VISA_SPLIT, VISA_TYPES, DatasetSpec, FetchSpec
from patchshift.plan.deliverable_specs import DeliverableSpec
from patchshift.plan.detector_specs import ExternalSpec, FittedSpec, MemoryBankSpec
from patchshift.plan.experiments import Experiment, Selection, StudyPlan
from patchshift.plan.fingerprints import digest_folder, digest_times, list_folders
from patchshift.plan.inspection_specs import InspectionSpec
from patchshift.plan.specs import AnalysisSpec


class StudyConfig(Spec):
    """A study's config file."""

    study: Name = Field(description="The study's id; its results go to `results/studies/{study}/`.")
    question: str = Field(description="What the study asks; the report opens with it.")
    catalog: str = Field("configs/catalog.yaml", description="The catalog of ids.")
    data_dir: str = Field("data", description="Folder that holds the datasets, one folder each.")
    weights_dir: str = Field("weights", description="Folder that holds weight files.")
    accept_licence: bool = Field(
        False,
        description="Missing datasets and weights may be downloaded: you have read their licences and accept them.",
    )
    temp_domains: bool = Field(False, description="Delete the images of made domains once features and packs exist.")
    device: Literal["auto", "cpu", "cuda"] = Field(
        "auto",
        description="Where features are extracted; `auto`: on CUDA where there is any. No reason to make them anew. "
        "Attention is traced on the CPU.",
    )
    num_workers: int | None = Field(
        None,
        ge=0,
        le=256,
        description="Processes that decode images; 0: the threads of the forward pass do. Default: 0 on a CPU, else "
        "one for each core, at most 8.",
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info",
        description="What jobs write into their logs; `debug`: also their arguments, time and memory. What tables are "
        "read from is always there. No reason to run anything again.",
    )
    batch_categories: int = Field(
        1,
        ge=1,
        description="Targets that one job extracts with one loaded backbone (docs/backbones.md); not those of a "
        "backbone that has `shards`.",
    )
    inspection: InspectionSpec | None = Field(None, description="Look inside the features; default: no.")
    analysis: AnalysisSpec = Field(AnalysisSpec(), description="What analyses show.")
    deliverables: dict[Name, DeliverableSpec] = Field(
        {}, description="Files in the form that another project knows: file name -> what it holds (docs/results.md)."
    )
    predict_on: RelativePath | None = Field(None, description="Folder under `data_dir` to predict (docs/predict.md).")
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
        detectors = self.catalog.detectors.items()
        shards = {name: spec.shards for name, spec in detectors if isinstance(spec, MemoryBankSpec)}
        return StudyPlan(
            study=self.name,
            select=self.config.select,
            order=list(self.config.experiments),
            experiments=self.config.experiments,
            datasets={name: dataset.categories for name, dataset in self.catalog.datasets.items()},
            pools=self.catalog.pools,
            aliases=self.catalog.aliases,
            weights={name: backbone.weights for name, backbone in self.catalog.backbones.items()},
            external={name: spec.weights for name, spec in detectors if isinstance(spec, ExternalSpec)},
            shards={name: count for name, count in shards.items() if count > 1},
        )

    def plan_spec(self, *experiments: str) -> str:
        """The plan of experiments (default: all), without what they do not use, and without baselines of costs."""
        names = list(experiments or self.cells)
        banks = {cell.bank.training for name in names for cell in self.cells[name]}
        pools = {bank.category for bank in banks if bank.dataset == POOLS}
        used = {cell.target.dataset for name in names for cell in self.cells[name]}
        used |= {cell.origin.dataset for name in names for cell in self.cells[name]}
        used |= {dataset for bank in banks for dataset, _ in self.members(bank.dataset, bank.category)}
        aliases = {cell.domain for name in names for cell in self.cells[name]}
        backbones = {cell.bank.backbone for name in names for cell in self.cells[name]}
        detectors = {cell.bank.detector for name in names for cell in self.cells[name]}
        settings = self.config.experiments
        return self.plan.model_copy(
            update={
                "order": names,
                "experiments": {name: settings[name].model_copy(update={"baseline": None}) for name in names},
                "datasets": {name: categories for name, categories in self.plan.datasets.items() if name in used},
                "pools": {name: members for name, members in self.plan.pools.items() if name in pools},
                "aliases": {name: leads for name, leads in self.plan.aliases.items() if name in aliases},
                "weights": {name: label for name, label in self.plan.weights.items() if name in backbones},
                "external": {name: label for name, label in self.plan.external.items() if name in detectors},
                "shards": {name: count for name, count in self.plan.shards.items() if name in detectors},
            }
        ).canonical()

    @cached_property
    def cells(self) -> dict[str, list[Cell]]:
        """Experiment -> its cells."""
        return self.plan.cells()

    @cached_property
    def _each_once(self) -> tuple[Cell, ...]:
        return tuple(dict.fromkeys(cell for cells in self.cells.values() for cell in cells))

    def all_cells(self) -> list[Cell]:
        """The cells of all experiments, each once."""
        return list(self._each_once)

    @cached_property
    def used_targets(self) -> frozenset[Target]:
        """What banks are fitted on, scored on and calibrated on."""
        cells = self._each_once
        return frozenset(each for cell in cells for each in (*cell.bank.fitted_on, cell.target, *cell.calibrated_on))

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

    def dataset_folder(self, dataset: str) -> Path:
        """The folder that a dataset is read from, or downloaded to."""
        return Path(self.config.data_dir, self.catalog.datasets[dataset].folder or dataset)

    def image_root(self, dataset: str, category: str) -> str:
        """The folder that a category's image index is relative to."""
        spec = self.catalog.datasets[dataset]
        if spec.generate:
            return f"results/datasets/{dataset}/{category}"
        folder = self.dataset_folder(dataset)
        return str(folder if spec.is_one_folder else folder / category)

    def receipt(self, dataset: str) -> Path:
        """What `fetch_dataset` leaves behind beside the dataset's folder."""
        return Path(self.config.data_dir, f"{dataset}.receipt.json")

    def generated_images(self, dataset: str, category: str) -> list[str]:
        """The folder of a category that is drawn, not read."""
        return [self.image_root(dataset, category)] if self.catalog.datasets[dataset].generate else []

    def download(self, dataset: str) -> list[str]:
        """The receipt of a dataset that is to be downloaded, or was."""
        spec, receipt = self.catalog.datasets[dataset], self.receipt(dataset)
        missing = bool(spec.archives) and not self.dataset_folder(dataset).is_dir()
        return [str(receipt)] if receipt.is_file() or missing else []

    def folders_fingerprint(self, dataset: str, category: str) -> str:
        """Changes when a file below a category's root comes, goes or is renamed, or a list of its images is edited.

        A digest of the times of folders, not of files: there are few of them.
        """
        spec, root = self.catalog.datasets[dataset], Path(self.image_root(dataset, category))
        if spec.generate:
            return ""  # its folder is an input
        lists = [root / spec.manifest] if spec.manifest else []
        if spec.adapter == "visa":
            lists += [self.dataset_folder(dataset) / VISA_SPLIT, root / VISA_TYPES]
        watched = [*list_folders(root), *(path for path in lists if path.is_file())]
        return digest_times(watched, root)

    def dataset_spec(self, dataset: str) -> str:
        """What indexing depends on."""
        fields = {"adapter", "masks", "max_per_class", "manifest", "ignore_mask"}
        spec = self.catalog.datasets[dataset].model_dump(mode="json", include=fields)
        return canonical_json({**spec, "dataset": dataset})

    def fetch_spec(self, dataset: str) -> str:
        """What a download depends on."""
        spec = self.catalog.datasets[dataset]
        fields = FetchSpec.model_fields.keys() & DatasetSpec.model_fields.keys()
        settings = spec.model_dump(include=set(fields)) | ({"categories": []} if spec.is_one_folder else {})
        return FetchSpec.model_validate(settings).canonical()

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
        """What features depend on; not the threads and shards, each of which computes batches of its own."""
        return self.catalog.backbones[backbone].canonical(exclude=NO_FEATURES)

    def fit_spec(self, detector: str) -> str:
        """What a bank depends on: all of the detector but how images are scored."""
        return self._fitted(detector).fit_spec()

    def score_spec(self, detector: str) -> str:
        """What scores depend on beside the bank."""
        return self._fitted(detector).scoring_spec().canonical()

    def _fitted(self, detector: str) -> FittedSpec:
        spec = self.catalog.detectors[detector]
        assert not isinstance(spec, ExternalSpec)  # has no job that asks
        return spec

    def threshold_spec(self, threshold: str) -> str:
        """What a threshold depends on."""
        return self.catalog.thresholds[threshold].canonical()

    def evaluation_spec(self) -> str:
        """What metrics and decisions depend on beside scores."""
        return self.catalog.evaluation.canonical()

    def analysis_spec(self) -> str:
        """What analyses depend on beside results and the protocol."""
        return self.config.analysis.canonical()

    def is_made(self, domain: str) -> bool:
        """Whether a domain's images are made, not the originals."""
        return self.catalog.domains[domain].kind != "clean"

    def domains_of(self, kind: str) -> str:
        """A regular expression that matches exactly the domains of one kind (`DomainSpec.kind`)."""
        names = (name for name, domain in self.catalog.domains.items() if domain.kind == kind)
        return "|".join(sorted(map(re.escape, names))) or "(?!)"

    def domain_split(self, domain: str) -> str | None:
        """The split that a domain's images come from, where they are made from one part of it."""
        return self.catalog.domains[domain].split

    def defects_of(self, threshold: str) -> list[str]:
        """The domain of synthetic defects that a threshold is calibrated with, if any."""
        domain = self.catalog.thresholds[threshold].defects_from
        return [domain] if domain else []

    def own_defects(self, domain: str) -> Path | None:
        """The user's folder of crops or defects that a domain takes, if it takes one."""
        spec = self.catalog.domains[domain]
        own = (spec.crops and spec.crops.crops_path) or (spec.synthesis and spec.synthesis.augmented_path)
        return Path(self.config.data_dir, own) if own else None

    def own_defects_fingerprint(self, domain: str) -> str:
        """Changes when a file of the user's folder comes, goes, is renamed or is written anew: no index has them."""
        own = self.own_defects(domain)
        return digest_folder(own) if own else ""

    def paints(self, domain: str) -> bool:
        """Whether a diffusion model makes a domain's defects."""
        synthesis = self.catalog.domains[domain].synthesis
        return synthesis is not None and synthesis.diffusion is not None

    def ignores_regions(self, dataset: str) -> bool:
        """Whether a dataset may have ignore masks: of its own, or named in its list of images."""
        spec = self.catalog.datasets[dataset]
        return bool(spec.ignore_mask or spec.manifest)

    def card_spec(self, dataset: str) -> str:
        """What a dataset's card says of where it comes from."""
        return self.catalog.datasets[dataset].canonical(exclude_none=True, exclude_defaults=True)

    def used_categories(self) -> set[tuple[str, str]]:
        """The (dataset, category) pairs that the study trains on or scores."""
        banks = {(cell.bank.training.dataset, cell.bank.training.category) for cell in self.all_cells()}
        trained = {member for bank in banks for member in self.members(*bank)}
        return trained | {(cell.target.dataset, cell.target.category) for cell in self.all_cells()}
