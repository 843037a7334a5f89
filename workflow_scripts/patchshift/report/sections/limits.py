"""What the report says of its own limits: sentences made of the numbers at hand, each true of this study.

Plain text: the page escapes it.
Tested in tests/report/test_limits.py.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from patchshift.plan.cells import Cell
from patchshift.report.analyses.digits import show_value
from patchshift.report.analyses.study_data import StudyData
from patchshift.report.experiments import METRICS
from patchshift.report.grammar import agree, count, name_all
from patchshift.report.keys import row_keys
from patchshift.report.labels import as_called, category_labels
from patchshift.report.recommendation import CHANCE
from patchshift.report.results import StudyResults, Value
from patchshift.report.sections.validation_limits import MOST_REASONS, describe_validation, range_of
from patchshift.report.wording import FEW_IMAGES, join_words, saturated


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
        "Validation images": describe_validation(cells, provenance),
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
    sentences = [f"{tested}: {range_of(normal)} good and {range_of(anomalous)} defective images{each}."]
    steps = [
        f"{kind} of {count(number, 'image')} is {100 / number:.2g} % of them"
        for kind, number in (("one miss", _smallest(anomalous)), ("one false alarm", _smallest(normal)))
        if number
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
        f"{count(len(ranged), 'ranking')}, each of a bank on a test set, and {show_value(width or 0.0)} at its widest "
        f"({_name(widest)}: {value.plain}).",
        "Such intervals cover the choice of test images alone, one by one: they are not corrected for their number, "
        "and of many a few are to be expected beside the truth.",
    ]
    chance = sum(value.low is not None and value.low <= CHANCE for _, value, _ in ranged)
    if chance:
        sentences.append(
            f"{chance} of {len(ranged)} {agree(chance, 'reaches', 'reach')} {CHANCE}: these images do not show that "
            "defects are ranked there."
        )
    points = sum(saturated(value) for _, value, _ in ranged)
    if points:
        sentences.append(
            f"{points} of {len(ranged)} {agree(points, 'is', 'are')} the single point 1: a limit of the test images, "
            "not certainty."
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
        rows = count(len(known), "row")
        sentences.append(f"In {reached} of {rows} the interval of F1 reaches its floor or lies below it.")
    sentences.append("F1 and precision hold for the share of defects of these test sets and for no other.")
    return sentences


def _describe_draws(cells: Sequence[Cell]) -> list[str]:
    seeds, splits = {cell.bank.seed for cell in cells}, sorted({cell.bank.split for cell in cells})
    sentences = []
    if len(seeds) == 1:
        sentences.append("One seed per detector: how far results vary with what fitting draws is not measured.")
    else:
        sentences.append(
            f"Some detectors were fitted with up to {len(seeds)} seeds: intervals of means over them cover that "
            "spread, those of single banks do not."
        )
    if len(splits) == 1:
        sentences.append(f"One split ({splits[0]}), drawn once: how far results vary with the split is not measured.")
    else:
        sentences.append(f"{len(splits)} splits, each drawn once: how far results vary with a draw is not measured.")
    return sentences


def _describe_protocol(cells: Sequence[Cell], provenance: Mapping[str, Any]) -> list[str]:
    splits = {name: provenance.get("splits", {}).get(name, {}) for name in sorted({cell.bank.split for cell in cells})}

    def of(protocol: str) -> list[str]:
        return [name for name, spec in splits.items() if spec.get("protocol") == protocol]

    sentences = []
    if published := of("published"):
        sentences.append(
            f"{name_all('Split', published, 'divides', 'divide')} images as the literature does and leaves none to "
            "validate: there are ranking metrics and no decisions."
        )
    if planned := of("source_plan"):
        sentences.append(
            f"{name_all('Split', planned, 'moves', 'move')} part of the datasets' defective test images to validation, "
            "so these figures are not of the test sets that published ones are of."
        )
    dirty = [name for name, spec in splits.items() if spec.get("train_contamination")]
    if dirty:
        subject = name_all("Split", dirty, "trains", "train")
        sentences.append(f"{subject} on defective images taken for good, on purpose.")
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
    gone = sum({cell.target: int(results.images(cell).relabelled.sum()) for cell in cells}.values())
    if gone:
        sentences.append(
            f"{count(gone, 'test image')} whose defect left the frame or is ignored {agree(gone, 'counts', 'count')} "
            "as good where that is so."
        )
    return sentences


def _describe_weights(cells: Sequence[Cell]) -> list[str]:
    untrained = sorted({cell.bank.backbone for cell in cells if cell.bank.weights == "random"})
    if not untrained:
        return []
    subject = name_all("Backbone", untrained, "has", "have")
    stands = agree(len(untrained), "it stands", "they stand")
    return [f"{subject} weights that were never trained: {stands} for no pretrained one."]


def _describe_undefined(results: StudyResults, cells: Sequence[Cell]) -> list[str]:
    reasons: Counter[tuple[str, str]] = Counter()
    for cell in cells:
        for metric, title in METRICS.items():
            value = results.value(cell, metric)
            if value.value is None:
                reasons[title, value.undefined] += 1
    if not reasons:
        return []
    rows = count(len(cells), "row")
    told = [f"{title} in {number} of {rows} ({reason})" for (title, reason), number in reasons.most_common()]
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
    return min(filter(None, counts), default=None)
