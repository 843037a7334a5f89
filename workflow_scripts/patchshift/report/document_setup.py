"""The first sections of the printed report: what is asked, what words mean, the images, the methods, the protocol.

Tested in tests/report/test_document.py.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from patchshift.data.card import CategoryCard, DataCard, SplitCard
from patchshift.plan.cells import POOLS, Cell, Target
from patchshift.plan.specs import EvaluationSpec
from patchshift.report.analyses.study_data import StudyData
from patchshift.report.analyses.summary_blocks import SHOWN
from patchshift.report.conditions import CONDITIONS, condition_of, setup_of
from patchshift.report.data_wording import describe_colour, describe_inputs, list_findings, name_some
from patchshift.report.definitions import define_metrics
from patchshift.report.document import (
    NEEDED,
    Block,
    Bullets,
    Heading,
    Paragraph,
    Row,
    Table,
    fields,
    refer,
)
from patchshift.report.document_settings import SHARED, list_ids
from patchshift.report.grammar import count
from patchshift.report.results import StudyResults
from patchshift.report.study_cards import list_members, read_cards
from patchshift.report.wording import explain_intervals, join_words

TERMS = {
    "domain": "Images as one camera and light give them: clean, or shifted by a stated transform or another camera.",
    "split": "Which images train, which validate and which are tested; no image has two of these parts.",
    "bank": "What a detector keeps of training images that are taken for good: patch features, or their statistics.",
    "image score": "How unlike the bank an image's patches are; higher is more anomalous.",
    "threshold": "Images whose score reaches it are called defective. Validation images alone set it.",
}
KINDS = {
    "splits": "Splits",
    "backbones": "Backbones",
    "detectors": "Detectors",
    "thresholds": "Threshold policies",
    "domains": "Domains",
}
"""Kinds of ids whose settings are printed, in this order."""


def describe_context(data: StudyData, provenance: Mapping[str, Any], reference: str | None) -> list[Block]:
    """What the study asks, and the words that the report uses."""
    cells = data.results.all_cells()
    experiments, setups = len(data.results.cells), len({setup_of(cell) for cell in cells})
    targets = {(cell.target.dataset, cell.target.category) for cell in cells}
    rows = [Row(fields([name, meaning])) for name, meaning in TERMS.items()]
    defined = [
        title
        for name, title in SHOWN.items()
        if any(data.results.value(cell, name).value is not None for cell in cells)
    ]
    meanings = define_metrics(data.spec)
    rows += [
        Row(fields([title, meanings[title]]), opens=number == 0)
        for number, title in enumerate([*defined, "miss rate", "false-alarm rate"])
    ]
    met = {condition_of(cell, reference) for cell in data.results.all_views()} if reference else set()
    named = [(name, f"{said[0].upper()}{said[1:]}.") for name, said in CONDITIONS.items() if name in met]
    if len(named) > 1:
        rows += [Row(fields(pair), opens=number == 0) for number, pair in enumerate(named)]
    return [
        Heading("Context and definitions"),
        Paragraph(
            "The detectors compared here learn what good products look like and call defective what is unlike them. "
            f"This study asks: {provenance['question']}"
        ),
        Paragraph(
            [
                f"It has {count(experiments, 'experiment')} with {count(setups, 'setup')} (split, backbone, "
                f"detector, seed and threshold) on {count(len(targets), 'category', 'categories')}, "
                f"{count(len(cells), 'combination')} of bank, test images and threshold in all. ",
                *refer("Table", "terms"),
                " says what the words mean; all definitions are in docs/protocol.md.",
            ]
        ),
        Table("terms", "Words of this report.", ["term", "meaning"], rows, words=(0, 1), weight=NEEDED, is_whole=True),
    ]


def describe_data(data: StudyData, backbones: Mapping[str, Mapping[str, Any]]) -> list[Block]:
    """The datasets: how many images, of what size, who trains and who is tested, and what is to be heeded."""
    targets = ((cell.target.dataset, cell.target.category) for cell in data.results.all_cells())
    used = {*list_members(data), *targets}
    cards = read_cards(data)
    blocks: list[Block] = [
        Heading("Data and splits"),
        Paragraph(
            [
                *([describe_inputs(backbones), " "] if backbones else []),
                *refer("Table", "data"),
                " counts the images of each part, good and defective ones. ",
                *(f"Licence of {card.dataset}: {card.settings.get('licence') or 'none stated'}. " for card in cards),
            ]
        ),
        _tabulate_images(cards, used),
    ]
    for card in cards:
        found = list_findings([each for each in card.categories if (card.dataset, each.category) in used])
        if found:
            items = []
            for finding in found:
                details = [f"{names}: {said}" if names else said for names, said in finding.details]
                shown = (
                    " ".join(details)
                    if len(details) <= MOST_DETAILS
                    else f"{name_some([n for n, _ in finding.details])}."
                )
                items.append(f"{finding.heading}. {shown} {finding.remedy}")
            blocks.append(Bullets(f"What to heed of {card.dataset}, found by measuring its images:", items))
    return blocks


MOST_DETAILS = 4
"""Places of one finding that are told one by one; of more, their names alone."""


def _tabulate_images(cards: Sequence[DataCard], used: set[tuple[str, str]]) -> Table:
    several_splits = len({split.split for card in cards for each in card.categories for split in each.splits}) > 1
    rows = []
    for card in cards:
        own = [each for each in card.categories if (card.dataset, each.category) in used]
        if len(cards) > 1:
            rows.append(Row(title=card.dataset, opens=True))
        for category in own:
            for split in category.splits:
                named = [category.category, *([split.split] if several_splits else [])]
                floor = "undefined" if split.f1_floor is None else f"{split.f1_floor:.3f}"
                parts = [_count_part(split, part) for part in ("train", "val", "test")]
                rows.append(Row(fields([*named, _show_sizes(category), *parts, floor])))
    header = ["category", *(["split"] if several_splits else []), "height × width", "training", "validation", "test"]
    return Table(
        "data",
        "Images of each category: good + defective ones of each part, and the F1 of calling every test image "
        "defective.",
        [*header, "F1 floor"],
        rows,
        words=(0, 1) if several_splits else (0,),
        weight=NEEDED,
    )


def _count_part(split: SplitCard, part: str) -> str:
    good = sum(count.images for count in split.counts if count.part == part and count.role == "normal")
    defective = sum(count.images for count in split.counts if count.part == part and count.role != "normal")
    if not good and not defective:
        return "none"
    return f"{good} + {defective}" if defective or part != "train" else f"{good}"


def _show_sizes(category: CategoryCard) -> str:
    sizes = category.sizes
    colour = describe_colour(category) if category.grey in (0, category.images) else "some grey"
    if len(sizes.distinct) == 1:
        return f"{sizes.distinct[0].height} × {sizes.distinct[0].width}, {colour}"
    return (
        f"{sizes.height.minimum:g}–{sizes.height.maximum:g} × {sizes.width.minimum:g}–{sizes.width.maximum:g}, {colour}"
    )


def describe_methods(data: StudyData, provenance: Mapping[str, Any]) -> list[Block]:
    """How detectors work, and every setting that their results depend on."""
    cells = data.results.all_cells()
    seeds = sorted({cell.bank.seed for cell in cells if cell.bank.is_fitted})
    rows: list[Row] = []
    for kind, heading in KINDS.items():
        ids = provenance.get(kind) or {}
        if kind == "domains" and all(settings.get("shift") == "none" for settings in ids.values()):
            continue
        rows += list_ids(heading, ids)
    external = sorted({cell.bank.detector for cell in cells if not cell.bank.is_fitted})
    blocks: list[Block] = [
        Heading("Methods and settings"),
        Paragraph(
            [
                "A backbone turns an image into maps of features. A detector joins them to one vector per patch, "
                "keeps a bank of those of training images that are taken for good (a dual one also of known defects), "
                "and scores a patch by its distance to the bank; "
                "the image score comes from its patches. ",
                *refer("Table", "settings"),
                f" has every setting. Detectors draw from {'seed' if len(seeds) == 1 else 'seeds'} "
                f"{join_words(list(map(str, seeds)))}."
                if seeds
                else " has every setting.",
            ]
        ),
    ]
    if external:
        blocks.append(Paragraph(f"Scores of {join_words(external)} were made elsewhere and are but evaluated here."))
    note = "Unless stated: what those of one kind and method have, where their own row does not say another value."
    notes = [note] if any(row.fields and row.fields[0].text == SHARED for row in rows) else []
    table = Table(
        "settings",
        "Settings of every id of this study.",
        ["id", "settings"],
        rows,
        words=(0, 1),
        is_code=True,
        notes=notes,
        weight=NEEDED,
    )
    return [*blocks, table]


def describe_protocol(results: StudyResults, spec: EvaluationSpec) -> list[Block]:
    """What is fitted, calibrated and scored on what, and how intervals and tests are made."""
    rows = [_experiment_row(results.titles[name], cells) for name, cells in results.cells.items()]
    return [
        Heading("Protocol"),
        Paragraph(
            [
                *refer("Table", "experiments"),
                " lists the experiments. Test images never fit a bank and never set a threshold. Metrics of images are "
                "of all test images of a category; those of pixels pool the pixels of all of them. Means over "
                "categories weigh each alike. A metric that does not exist is undefined, with its reason, never zero.",
            ]
        ),
        Table(
            "experiments",
            "Experiments: what banks are fitted on, what is scored, and whose validation images set the threshold.",
            ["experiment", "fitted on", "scored on", "threshold from", "setups"],
            rows,
            words=(0, 1, 2, 3),
            weight=NEEDED,
        ),
        Paragraph(
            f"{explain_intervals(spec)} p is corrected for the number of tests (Holm); two setups are told apart where "
            "p and the interval of their difference both say so. Numbers have the digits that their intervals support."
        ),
    ]


def _experiment_row(title: str, cells: Sequence[Cell]) -> Row:
    setups = len({setup_of(cell) for cell in cells})
    return Row(
        fields(
            [
                title,
                _name_places([cell.bank.training for cell in cells]),
                _name_places([cell.target for cell in cells]),
                _name_places([cell.calibration for cell in cells]),
                setups,
            ]
        ),
        opens=True,
    )


def _name_places(places: Sequence[Target]) -> str:
    """`3 categories: clean`, or the name of the only one; pools by name."""
    pools = list(dict.fromkeys(f"pool {place.category}" for place in places if place.dataset == POOLS))
    own = list(dict.fromkeys(place.category for place in places if place.dataset != POOLS))
    named = [*pools, *([own[0]] if len(own) == 1 else [f"{len(own)} categories"] if own else [])]
    return f"{join_words(named)}: {join_words(list(dict.fromkeys(place.domain for place in places)))}"
