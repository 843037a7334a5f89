"""Which artifacts of a study say how they were made, and what they should say by the config and the code of now.

`patchshift check` compares the two, without Snakemake and its records. Tables, figures and the report say nothing of
themselves: they are quickly made anew.
Tested in tests/plan/test_records.py, which compares all of them with Snakemake's plan.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from patchshift.plan import calibrations, exhibits, external, inspections, targets
from patchshift.plan.base import canonical_json
from patchshift.plan.cells import CLEAN, Bank, Cell, Target
from patchshift.plan.stages import stage_version
from patchshift.plan.study import Study
from patchshift.plan.training_inputs import positive_domains, takes_training_defects, turned_domains

MAKERS = {
    "shift": "synthesize_shift",
    "view": "synthesize_shift",
    "turns": "turn_images",
    "crops": "crop_defects",
    "synthesis": "synthesize_defects",
}
"""Kind of a made domain -> the rule that makes its images."""


@dataclass(frozen=True)
class Record:
    """What an artifact should say of itself.

    Attributes:
        path: of the artifact, a file or a folder.
        stage: the rule that makes it; of what shards are joined to, the rule that would make it at once.
        spec: canonical JSON of the settings that it depends on.
        more: canonical JSON of what else it depends on, and says in fields of their own.
    """

    path: str
    stage: str
    spec: str
    more: str = "{}"

    @property
    def version(self) -> str:
        """The version of the stage, as the code is now."""
        return stage_version(self.stage)


def list_records(study: Study) -> list[Record]:
    """All that a study's artifacts should say, in the order in which they are made; each once."""
    found = _Needs(study)
    return list(
        dict.fromkeys(
            [
                *_list_data(study, found),
                *(Record(f"results/packs/{target.path}.h5", "pack_images", "null") for target in found.packs),
                *(
                    Record(f"results/features/{target.path}/{name}.h5", "extract_features", study.backbone_spec(name))
                    for target, name in found.features
                ),
                *_list_looks(study),
                *_list_banks(study, found),
                *(record for cell in study.all_cells() for record in _list_results(study, cell)),
                *(
                    Record(f"{study.folder}/data_cards/{dataset}.json", "write_data_card", study.card_spec(dataset))
                    for dataset in exhibits.card_datasets(study)
                ),
            ]
        )
    )


def list_artifacts(study: Study) -> list[str]:
    """The paths of all that jobs of a study can make and that stays, what is made on request alone last; each once."""
    asked = [f"results/predicted/{_name_calibrated(cell)}" for cell in study.all_cells() if cell.bank.is_fitted]
    return list(
        dict.fromkeys(
            [
                *(record.path for record in list_records(study)),
                *targets.list_targets(study),
                *targets.list_beside(study),
                *exhibits.list_heatmaps(study),
                *(asked if study.config.predict_on else []),
            ]
        )
    )


class _Needs:
    """What the cells and exhibits of a study need, each once: dictionaries are sets that keep their order."""

    def __init__(self, study: Study) -> None:
        self.study = study
        self.scores: dict[tuple[Bank, Target], None] = {}
        self.features: dict[tuple[Target, str], None] = {}
        self.packs: dict[Target, None] = {}
        self.images: dict[Target, None] = {}
        self.splits: dict[tuple[str, str, str], None] = {}
        for cell in study.all_cells():
            self._add_cell(cell)
        for dataset in exhibits.card_datasets(study):
            cards = [Target(dataset, category, CLEAN) for category in exhibits.card_categories(study, dataset)]
            self._add_packs(cards)
            self._add_splits(cards, exhibits.card_splits(study, dataset))
        for dataset, category in exhibits.list_galleries(study):
            domains = exhibits.gallery_domains(study, dataset, category)
            self._add_packs(Target(dataset, category, domain) for domain in domains)
        for look in inspections.list_looks(study):
            self._add_features([look.target], look.backbone)
            self._add_packs([look.target])
        for target in list(self.images):
            split = study.domain_split(target.domain)
            self._add_splits([target], [split] if split else [])

    def _add_cell(self, cell: Cell) -> None:
        study, bank = self.study, cell.bank
        calibrated = [
            replace(member, domain=domain)
            for member in cell.calibrated_on
            for domain in (member.domain, *study.defects_of(cell.threshold))
        ]
        scored = [cell.target, *calibrated]
        self._add_packs(scored)
        self._add_splits([cell.target, *cell.calibrated_on, *bank.fitted_on], [bank.split])
        self.scores |= dict.fromkeys((bank, target) for target in scored)
        if bank.is_fitted:
            turned = self._in_domains(bank, turned_domains(study, bank.detector))
            positive = self._in_domains(bank, positive_domains(study, bank.detector))
            self._add_features([*scored, *bank.fitted_on, *turned, *positive], bank.backbone)
            self._add_packs([*positive, *bank.fitted_on * takes_training_defects(study, bank.detector)])

    def _in_domains(self, bank: Bank, domains: Iterable[str]) -> list[Target]:
        return [replace(member, domain=domain) for member in bank.fitted_on for domain in domains]

    def _add_features(self, targets: Iterable[Target], backbone: str) -> None:
        self.features |= dict.fromkeys((target, backbone) for target in targets)
        self.images |= dict.fromkeys(target for target, _ in self.features)

    def _add_packs(self, targets: Iterable[Target]) -> None:
        self.packs |= dict.fromkeys(targets)
        self.images |= dict.fromkeys(self.packs)

    def _add_splits(self, targets: Iterable[Target], splits: Iterable[str]) -> None:
        for split in splits:
            self.splits |= {(target.dataset, target.category, split): None for target in targets}


def _list_data(study: Study, found: _Needs) -> Iterator[Record]:
    categories = dict.fromkeys((target.dataset, target.category) for target in found.images)
    for dataset, category in categories:
        for folder in study.generated_images(dataset, category):
            yield Record(folder, "generate_dataset", study.generator_spec(dataset))
    for dataset, category in categories:
        yield Record(f"results/images/{dataset}/{category}.csv", "index_images", study.dataset_spec(dataset))
    for dataset, category, split in found.splits:
        yield Record(f"results/splits/{dataset}/{category}/{split}.csv", "split_images", study.split_spec(split))
    for target in found.images:
        if study.is_made(target.domain):
            maker = MAKERS[study.catalog.domains[target.domain].kind]
            yield Record(f"results/domains/{target.path}", maker, study.domain_spec(target.domain))


def _list_looks(study: Study) -> Iterator[Record]:
    for look in inspections.list_looks(study):
        yield Record(look.measured, "inspect_features", inspections.look_spec(study))
        if inspections.has_class_attention(study, look.backbone):
            spec, choice = inspections.attention_spec(study, look.backbone), inspections.choice_spec(study)
            yield Record(look.attention, "trace_attention", spec, f'{{"choice":{choice}}}')
    for pair in inspections.list_distances(study):
        yield Record(pair.path, "measure_distances", inspections.distance_spec(study, pair.backbone))


def _list_banks(study: Study, found: _Needs) -> Iterator[Record]:
    for bank in dict.fromkeys(bank for bank, _ in found.scores if bank.is_fitted):
        spec, seed = study.fit_spec(bank.detector), canonical_json({"seed": bank.seed})
        yield Record(f"results/banks/{bank.path}.h5", "fit_detector", spec, seed)
    for bank, target in found.scores:
        stage, spec = (
            ("score_images", study.score_spec(bank.detector))
            if bank.is_fitted
            else ("import_scores", external.import_spec(study, bank.detector))
        )
        yield Record(f"results/scores/{bank.path}/on/{target.path}.h5", stage, spec)


def _list_results(study: Study, cell: Cell) -> Iterator[Record]:
    evaluation, smoothing = study.evaluation_spec(), f'{{"smoothing_sigma":{calibrations.smoothing(study)}}}'
    yield Record(cell.threshold_file, "calibrate_threshold", study.threshold_spec(cell.threshold), smoothing)
    yield Record(cell.metrics, "evaluate", evaluation)
    yield Record(cell.decisions, "decide", evaluation)
    if cell.bank.is_fitted:  # on request only
        yield Record(f"results/exports/{_name_calibrated(cell)}.h5", "export_model", evaluation)


def _name_calibrated(cell: Cell) -> str:
    """A bank with a threshold, as the paths of models and of what they predict have it."""
    return f"{cell.bank.path}/from/{cell.calibration.path}/{cell.threshold}"
