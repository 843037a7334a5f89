"""Which targets one job extracts with one loaded backbone, where the config lets it do several.

Snakemake makes a rule of each batch. A batch's rule has no wildcards: what asks for the wildcards of jobs gets them
from `expand_jobs`.

Tested in tests/plan/test_batches.py.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace

from patchshift.plan.base import canonical_json
from patchshift.plan.cells import Cell, Target
from patchshift.plan.study import Study

EXTRACTION = "extract_features"

Job = tuple[str, Mapping[str, str]]
"""Rule and wildcards."""


@dataclass(frozen=True)
class ExtractionJob:
    """Targets that one job extracts."""

    backbone: str
    number: int
    targets: tuple[Target, ...]

    @property
    def rule(self) -> str:
        """The name of its rule."""
        return f"{EXTRACTION}_{self.backbone}_{self.number}"

    @property
    def name(self) -> str:
        """`batches/{backbone}/{number}`: where its log and its benchmark stand among those of single targets."""
        return f"batches/{self.backbone}/{self.number}"

    @property
    def features(self) -> list[str]:
        """Paths of the stores, in the order of the targets."""
        return [f"results/features/{target.path}/{self.backbone}.h5" for target in self.targets]


def list_targets(study: Study) -> dict[str, list[Target]]:
    """Backbone -> the targets whose features the study needs, in the order in which its cells first need them."""
    needed: dict[str, dict[Target, None]] = {}
    for cell in study.all_cells():
        if cell.bank.is_fitted:
            needed.setdefault(cell.bank.backbone, {}).update(dict.fromkeys(_cell_targets(study, cell)))
    return {backbone: list(targets) for backbone, targets in needed.items()}


def list_batches(study: Study) -> list[ExtractionJob]:
    """The batches of all backbones; a target that would be alone in one is in none, nor one that has shards."""
    size = study.config.batch_categories
    found = []
    for backbone, targets in list_targets(study).items():
        if study.catalog.backbones[backbone].shards > 1:
            continue
        parts = [tuple(targets[start : start + size]) for start in range(0, len(targets), size)]
        found += [ExtractionJob(backbone, number, part) for number, part in enumerate(parts) if len(part) > 1]
    return found


def list_benchmarks(study: Study) -> str:
    """`{target}/{backbone}` -> the batch that it is extracted in, as JSON."""
    found = list_batches(study)
    return canonical_json({f"{each.path}/{batch.backbone}": batch.name for batch in found for each in batch.targets})


def expand_jobs(study: Study, jobs: Iterable[Job]) -> list[Job]:
    """Jobs as they would be without batches: rule and wildcards, one for each target of a batch."""
    batches = {batch.rule: batch for batch in list_batches(study)}
    return [single for job in jobs for single in (_split(batches[job[0]]) if job[0] in batches else [job])]


def _cell_targets(study: Study, cell: Cell) -> Iterator[Target]:
    yield from cell.bank.fitted_on
    yield cell.target
    yield from cell.calibrated_on
    for domain in study.defects_of(cell.threshold):
        yield from (replace(place, domain=domain) for place in cell.calibrated_on)


def _split(batch: ExtractionJob) -> list[Job]:
    return [(EXTRACTION, {**asdict(target), "backbone": batch.backbone}) for target in batch.targets]
