"""What the report says of its own limits: sentences made of the numbers at hand, each true of this study.

Plain text: the page escapes it.
Tested in tests/report/test_limits.py.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from patchshift.data.splits import read_split
from patchshift.evaluation.calibrated import read_calibration
from patchshift.plan.cells import Cell
from patchshift.plan.deliverables import split_path
from patchshift.plan.threshold_specs import FROM_BOTH
from patchshift.report.analyses.digits import show_value
from patchshift.report.analyses.study_data import StudyData
from patchshift.report.experiments import METRICS
from patchshift.report.labels import as_called, category_labels
from patchshift.report.recommendation import CHANCE
from patchshift.report.results import StudyResults, Value
from patchshift.report.tables import row_keys
from patchshift.report.wording import FEW_IMAGES, join_words, saturated

MOST_REASONS = 4
"""Reasons for undefined metrics that are named; their tables have all."""


@dataclass(frozen=True)
class Limit:
    """One limit: what it is about, and what the data say of it."""

    heading: str
    sentences: list[str]


def describe_limits(data: StudyData, provenance: Mapping[str, Any]) -> list[Limit]:
    """The study's limits, in a fixed order; none that does not apply.

    Args:
        data: the study; thresholds are read from where its cells say.
        provenance: the settings of all ids (`plan.provenance`).
    """
    results, cells = data.results, data.results.all_cells()
    said = {
        "Test images": _describe_sizes(results, cells),
        "Intervals": _describe_intervals(results, cells, data.spec.confidence),
        "F1": _describe_f1(results, cells),
        "Draws": _describe_draws(cells),
        "Validation images": _describe_validation(results, cells, provenance),
        "Protocol": _describe_protocol(cells, provenance),
        "Images": _describe_images(results, cells, provenance),
        "Weights": _describe_weights(cells),
        "Undefined": _describe_undefined(results, cells),
    }
    return [Limit(heading, sentences) for heading, sentences in said.items() if sentences]


def _describe_sizes(results: StudyResults, cells: Sequence[Cell]) -> list[str]:
    sizes = {(cell.target, cell.bank.split): results.sizes(cell) for cell in cells}
    normal, anomalous = ([size[label] for size in sizes.values()] for label in (0, 1))
    tested = "1 test set" if len(sizes) == 1 else f"{len(sizes)} test sets, each of one category, domain and split"
    each = " in each" if len(sizes) > 1 else ""
    sentences = [f"{tested}: {_range(normal)} good and {_range(anomalous)} defective images{each}."]
    steps = [
        f"{kind} of {count} images is {100 / count:.2g} % of them"
        for kind, count in (("one miss", _smallest(anomalous)), ("one false alarm", _smallest(normal)))
        if count
    ]
    if steps:
        text = join_words(steps)
        text = f"In the smallest, {text}" if len(sizes) > 1 else text[0].upper() + text[1:]
        sentences.append(f"{text}: rates cannot be told more finely than that.")
    few = sum(min(size) < FEW_IMAGES for size in sizes.values())
    if few:
        those = f"{few} of {len(sizes)} test sets {'has' if few == 1 else 'have'}" if len(sizes) > 1 else "It has"
        sentences.append(f"{those} fewer than {FEW_IMAGES} images of a class.")
    return sentences


def _describe_intervals(results: StudyResults, cells: Sequence[Cell], confidence: float) -> list[str]:
    values = {_ranking(cell): (cell, results.value(cell, "image_auroc")) for cell in cells}
    ranged = [(cell, value, _width(value)) for cell, value in values.values() if _width(value) is not None]
    if not ranged:
        return []
    widest, value, width = max(ranged, key=lambda each: each[2] or 0.0)
    typical = median(each[2] or 0.0 for each in ranged)
    sentences = [
        f"The {100 * confidence:g} % interval of image AUROC is {show_value(typical)} wide in the median of "
        f"{len(ranged)} rankings, each of a bank on a test set, and {show_value(width or 0.0)} at its widest "
        f"({_name(widest)}: {value.plain}).",
        "Intervals cover the choice of test images alone, one by one: they are not corrected for their number, and of "
        "many a few are to be expected beside the truth.",
    ]
    chance = sum(value.low is not None and value.low <= CHANCE for _, value, _ in ranged)
    if chance:
        sentences.append(
            f"{chance} of {len(ranged)} reach {CHANCE}: these images do not show that defects are ranked there."
        )
    points = sum(saturated(value) for _, value, _ in ranged)
    if points:
        sentences.append(
            f"{points} of {len(ranged)} are the single point 1: a limit of the test images, not certainty."
        )
    return sentences


def _describe_f1(results: StudyResults, cells: Sequence[Cell]) -> list[str]:
    pairs = [(results.value(cell, "f1"), results.value(cell, "f1_floor").value) for cell in cells]
    known = [(f1, floor) for f1, floor in pairs if f1.value is not None and floor is not None]
    if not known:
        return []
    floors = sorted(floor for _, floor in known)
    ends = show_value(floors[0]) if floors[0] == floors[-1] else f"{show_value(floors[0])} to {show_value(floors[-1])}"
    reached = sum((f1.value if f1.low is None else f1.low) <= floor for f1, floor in known if f1.value is not None)
    sentences = [f"Calling every image defective has an F1 of {ends} on these images, its floor."]
    if reached:
        sentences.append(f"In {reached} of {len(known)} rows the interval of F1 reaches its floor or lies below it.")
    sentences.append("F1 and precision hold for the share of defects of these test sets and for no other.")
    return sentences


def _describe_draws(cells: Sequence[Cell]) -> list[str]:
    seeds, splits = {cell.bank.seed for cell in cells}, sorted({cell.bank.split for cell in cells})
    sentences = []
    if len(seeds) == 1:
        sentences.append("One seed per detector: how far results vary with what fitting draws is not measured.")
    else:
        sentences.append(f"Some detectors were fitted with up to {len(seeds)} seeds; no interval covers that spread.")
    if len(splits) == 1:
        sentences.append(f"One split ({splits[0]}), drawn once: how far results vary with the split is not measured.")
    else:
        sentences.append(f"{len(splits)} splits, each drawn once: how far results vary with a draw is not measured.")
    return sentences


def _describe_validation(results: StudyResults, cells: Sequence[Cell], provenance: Mapping[str, Any]) -> list[str]:
    calibrations = {cell.threshold_file: read_calibration(Path(cell.threshold_file))[0] for cell in cells}
    known = {path: one for path, one in calibrations.items() if one.threshold is not None}
    sentences = []
    lacking = len(calibrations) - len(known)
    if lacking:
        reasons = Counter(str(one.undefined) for path, one in calibrations.items() if path not in known)
        named = join_words([f"{reason} ({count})" for reason, count in reasons.most_common(MOST_REASONS)])
        sentences.append(f"{lacking} of {len(calibrations)} thresholds are undefined: {named}.")
    if not known:
        return sentences
    sentences.append(f"Thresholds are set on {_range([one.normal for one in known.values()])} good validation images.")
    settings = provenance.get("thresholds", {})
    both = {cell.threshold_file: cell for cell in cells}
    both = {path: cell for path, cell in both.items() if path in known and known[path].policy in FROM_BOTH}
    made = {path: cell for path, cell in both.items() if settings.get(cell.threshold, {}).get("defects_from")}
    mixed = {path: cell for path, cell in made.items() if _has_real_defects(cell)}
    for group, said in (
        (
            {path: cell for path, cell in both.items() if path not in made},
            ". A line without known defects cannot set such a threshold, and defects of other types than these may "
            "need another.",
        ),
        (mixed, ", some of them synthetic. Without the real ones the threshold would be another."),
        (
            {path: cell for path, cell in made.items() if path not in mixed},
            ", all synthetic: real defects may need another threshold.",
        ),
    ):
        if group:
            names = sorted({cell.threshold for cell in group.values()})
            verb = "sees" if len(names) == 1 else "see"
            noun = "Threshold" if len(names) == 1 else "Thresholds"
            seen = _range([known[path].anomalous for path in group])
            sentences.append(f"{noun} {join_words(names)} also {verb} {seen} defective ones{said}")
    elsewhere = {cell for cell in cells if cell.calibration != cell.target}
    if elsewhere:
        sentences.append(
            f"In {len(elsewhere)} of {len(cells)} rows the validation images are of another category or domain than "
            "the images tested."
        )
    return sentences


def _has_real_defects(cell: Cell) -> bool:
    """Whether validation images that set the cell's threshold are defective as they were taken."""
    paths = [split_path(f"{target.dataset}/{target.category}", cell.bank.split) for target in cell.calibrated_on]
    splits = [read_split(Path(path)) for path in paths]
    return any(not split.anomalous.isdisjoint(split.of("val")) for split in splits)


def _describe_protocol(cells: Sequence[Cell], provenance: Mapping[str, Any]) -> list[str]:
    splits = {name: provenance.get("splits", {}).get(name, {}) for name in sorted({cell.bank.split for cell in cells})}

    def of(protocol: str) -> list[str]:
        return [name for name, spec in splits.items() if spec.get("protocol") == protocol]

    sentences = []
    if of("published"):
        sentences.append(
            f"Split {join_words(of('published'))} divides images as the literature does and leaves none to validate: "
            "it has ranking metrics and no decisions."
        )
    if of("source_plan"):
        sentences.append(
            f"Split {join_words(of('source_plan'))} moves part of the datasets' defective test images to validation, "
            "so its figures are not of the test sets that published ones are of."
        )
    dirty = [name for name, spec in splits.items() if spec.get("train_contamination")]
    if dirty:
        sentences.append(f"Split {join_words(dirty)} trains on defective images taken for good, on purpose.")
    few = [f"{name} (at most {spec['train_limit']})" for name, spec in splits.items() if spec.get("train_limit")]
    if few:
        sentences.append(f"Few training images, on purpose: {join_words(few)}.")
    return sentences


def _describe_images(results: StudyResults, cells: Sequence[Cell], provenance: Mapping[str, Any]) -> list[str]:
    datasets = {
        name: provenance.get("datasets", {}).get(name, {}) for name in sorted({c.target.dataset for c in cells})
    }
    drawn = [name for name, spec in datasets.items() if spec.get("generate")]
    sentences = []
    if drawn:
        sentences.append(
            f"The images of {join_words(drawn)} are drawn by a program: nothing here is measured on a real product "
            f"{'of them' if len(drawn) < len(datasets) else 'at all'}."
        )
    cut = [f"{name} ({spec['max_per_class']})" for name, spec in datasets.items() if spec.get("max_per_class")]
    if cut:
        sentences.append(f"Not all images are used, at most so many of each class: {join_words(cut)}.")
    settings = provenance.get("domains", {})
    made = sorted({c.target.domain for c in cells if settings.get(c.target.domain, {}).get("shift", "none") != "none"})
    if made:
        sentences.append(
            f"Shifted images ({join_words(made)}) are computed from the clean ones: another camera, lamp or product "
            "may do what no such transform does."
        )
    gone = {cell.target: int(results.images(cell).relabelled.sum()) for cell in cells}
    if any(gone.values()):
        sentences.append(
            f"{sum(gone.values())} test images whose defect left the frame or is ignored count as good where that is "
            "so."
        )
    return sentences


def _describe_weights(cells: Sequence[Cell]) -> list[str]:
    untrained = sorted({cell.bank.backbone for cell in cells if cell.bank.weights == "random"})
    if not untrained:
        return []
    return [f"Backbone {join_words(untrained)} has weights that were never trained: it stands for no pretrained one."]


def _describe_undefined(results: StudyResults, cells: Sequence[Cell]) -> list[str]:
    reasons: Counter[tuple[str, str]] = Counter()
    for cell in cells:
        for metric, title in METRICS.items():
            value = results.value(cell, metric)
            if value.value is None:
                reasons[title, value.undefined] += 1
    if not reasons:
        return []
    told = [f"{title} in {count} of {len(cells)} rows ({reason})" for (title, reason), count in reasons.most_common()]
    more = [f"{len(told) - MOST_REASONS} more in metrics.csv"] if len(told) > MOST_REASONS else []
    return [f"Undefined, which is no zero: {join_words([*told[:MOST_REASONS], *more])}."]


def _ranking(cell: Cell) -> tuple[Any, ...]:
    return (cell.bank, cell.target)


def _width(value: Value) -> float | None:
    return None if value.low is None or value.high is None else value.high - value.low


def _name(cell: Cell) -> str:
    row = row_keys(cell)
    return f"{category_labels([row])[0]}, {as_called(row)['target_domain']}, {cell.bank.detector}"


def _smallest(counts: Sequence[int]) -> int | None:
    return min((count for count in counts if count), default=None)


def _range(counts: Sequence[int]) -> str:
    low, high = min(counts), max(counts)
    return str(low) if low == high else f"{low} to {high}"
