"""The printed report's results: the answer, and what shifts and shared banks cost.

Tested in tests/report/test_document.py.
"""

from collections.abc import Sequence

from patchshift.report import wording
from patchshift.report.analyses.study_data import StudyData
from patchshift.report.conditions import (
    IN_DOMAIN,
    Setup,
)
from patchshift.report.document import (
    NEEDED,
    TELLING,
    Block,
    Bullets,
    Field,
    Figure,
    Heading,
    Paragraph,
    Row,
    Table,
    estimate,
    find_figure,
    refer,
    share,
)
from patchshift.report.plots import recovery
from patchshift.report.plots.registry import STUDY_PLOTS
from patchshift.report.pools import PoolComparison, compare_pools
from patchshift.report.recommendation import Recommendation
from patchshift.report.sections.robustness import ConditionRow, RobustnessSection
from patchshift.report.shift import Outcome, list_outcomes
from patchshift.report.templating import show_figure

MOST_SETUPS = 24
"""Rows of a table of means; of more setups those with the highest image AUROC."""


def describe_answer(data: StudyData, recommendation: Recommendation | None) -> list[Block]:
    """The setup recommended: every category, and beside the others."""
    if recommendation is None:
        return []
    cells = [(cell, IN_DOMAIN) for cell in recommendation.cells]
    rows = [
        Row(
            [
                Field(each.category),
                estimate(each.auroc),
                Field(_name_threshold(each)),
                share(each.misses),
                share(each.false_alarms),
            ]
        )
        for each in list_outcomes(data.results, cells, data.spec)
    ]
    name = wording.name_setup(recommendation.setup)
    place = f"in domain {recommendation.domain}"
    if recommendation.other_splits:
        place += f", on split {recommendation.setup.split}"
    blocks: list[Block] = [
        Heading(f"In domain {recommendation.domain}", 2),
        Paragraph(
            [
                *refer("Table", "answer"),
                f" has {wording.name_decided(recommendation)} on every category, each figure over its interval.",
            ]
        ),
        Table(
            "answer",
            f"{wording.name_decided(recommendation)}, {place}.",
            ["category", "image AUROC", "threshold", "missed defects", "false alarms"],
            rows,
            source="metrics.csv",
            weight=NEEDED,
        ),
    ]
    if recommendation.rivals:
        first = Row([Field(name, is_bold=True), estimate(recommendation.summary.auroc), Field("")])
        others = [
            Row([Field(wording.name_setup(rival.setup)), estimate(rival.auroc), estimate(rival.advantage, signed=True)])
            for rival in recommendation.rivals
        ]
        several = len(rows) > 1
        note = "Where the interval of a difference does not lie above zero, these images do not tell the two apart."
        blocks += [
            Paragraph([*refer("Table", "rivals"), " sets it beside the other setups on the same images."]),
            Table(
                "rivals",
                f"Setups compared {place}, on the same images and resamples.",
                ["setup", "mean image AUROC" if several else "image AUROC", "the first one's minus this"],
                [first, *cut_rows(others)],
                notes=[note, *count_hidden(len(others))],
                weight=TELLING,
            ),
        ]
    return blocks


def _name_threshold(outcome: Outcome) -> str:
    if outcome.by_zones:
        return "by zones"
    return "undefined" if outcome.threshold is None else f"{outcome.threshold:.4g}"


def describe_shifts(
    data: StudyData, section: RobustnessSection | None, told: Setup | None, note: str = ""
) -> list[Block]:
    """What shifts cost, and what recalibration and adaptation bring back, of the first setup of the section.

    Args:
        data: the study.
        section: what its tables say.
        told: the setup that the section begins with; None where that is the first of the tables.
        note: why that is not the recommended one; empty where it is.
    """
    if section is None or not section.setups:
        return []
    setup = section.setups[0]
    blocks: list[Block] = [Heading(f"From domain {section.reference} to shifted ones", 2)]
    path = find_figure(data.folder, data.folder, "recovery")
    is_own = told is None or not setup.is_told or recovery.is_drawn_of(told, data)
    figure = Figure("recovery", path, STUDY_PLOTS["recovery"].caption, TELLING) if path and is_own else None
    seen = [*refer("Figure", "recovery"), " and "] if figure else []
    table = refer("Table", "shifts")
    verb = " show " if figure else " shows "
    blocks.append(
        Paragraph(
            [
                *seen,
                *table,
                f"{verb}{setup.name} in the shifted domains that it was scored in. In words, as far as intervals tell:",
            ]
        )
    )
    blocks += [Paragraph(note)] if note and setup.is_told else []
    blocks += [Paragraph(" ".join(said), lead=domains) for domains, said in setup.paragraphs.items()]
    rows = [_condition_row(setup.start, f"{section.reference}, in domain")] if setup.start else []
    for domain, found in setup.domains.items():
        rows.append(Row(title=domain, opens=True))
        rows += [_condition_row(row, row.condition) for row in found if row.categories]
        missing = [row.condition for row in found if not row.categories]
        if missing:
            rows.append(Row(title=f"not measured: {wording.join_words(missing)}"))
    notes = [
        f"Change: image AUROC minus that in domain {section.reference}, on the same images and resamples; a shift that "
        "shows other images is resampled apart. Recalibration moves the threshold alone, so it changes no image AUROC. "
        "Rates are means over the categories, with intervals from theirs (MOVER)."
    ]
    if len(section.setups) + section.hidden > 1:
        notes.append("Other setups: report.html and robustness.csv.")
    blocks.append(
        Table(
            "shifts",
            f"{setup.name}: means over the categories under each condition.",
            ["condition", "image AUROC", "change", "F1", "F1 floor", "miss rate", "false-alarm rate"],
            rows,
            notes=notes,
            source="robustness.csv",
            weight=NEEDED,
        )
    )
    if figure:
        blocks.append(figure)
    if section.correlations:
        figures = _study_figure(data, "distance_effects")
        seen = [" (", *refer("Figure", "distance_effects"), ")"] if figures else []
        opening = [f"Does the distance of features ({section.distance}) foretell what is lost?", *seen]
        blocks += [Bullets(opening, section.correlations), *figures]
    if section.ranking:
        blocks.append(Paragraph(" ".join(section.ranking)))
    return blocks


def _study_figure(data: StudyData, name: str) -> list[Block]:
    path = find_figure(data.folder, data.folder, name)
    return [Figure(name, path, STUDY_PLOTS[name].caption)] if path else []


def _condition_row(row: ConditionRow, name: str) -> Row:
    values = [
        estimate(row.auroc),
        Field("") if row.change.value is None else estimate(row.change, signed=True),
        estimate(row.f1),
        Field(show_figure(row.floor)),
        estimate(row.misses),
        estimate(row.alarms),
    ]
    return Row([Field(name), *values])


def describe_pools(data: StudyData) -> list[Block]:
    """What one bank for several categories costs."""
    blocks: list[Block] = []
    for number, pool in enumerate(compare_pools(data.results, data.plan, data.spec)):
        blocks += _describe_pool(pool, f"pool-{number}")
    return [Heading("One bank for all categories, or one each", 2), *blocks] if blocks else []


def _describe_pool(pool: PoolComparison, name: str) -> list[Block]:
    whose = "its own categories" if pool.of_members else "categories that it has not"
    lead = f"Pool {pool.pool} on {whose}, {pool.domain}"
    sharing = wording.describe_sharing(pool.difference, pool.losses, len(pool.pairs))
    said = " ".join(filter(None, (sharing, wording.describe_left_out(pool.left_out))))
    rows = [
        Row(
            [
                Field(own.category),
                estimate(own.auroc),
                estimate(shared.auroc),
                estimate(pool.losses[own.category], signed=True),
                share(own.misses),
                share(shared.misses),
                share(own.false_alarms),
                share(shared.false_alarms),
            ]
        )
        for own, shared in pool.pairs
    ]
    header = [
        "category",
        "AUROC, own bank",
        "shared bank",
        "lost",
        "missed, own",
        "shared",
        "false alarms, own",
        "shared",
    ]
    caption = f"{lead}, {wording.name_setup(pool.setup)}: a bank per category, and the shared one. Lost: image AUROC."
    text = [f"{said} ", *refer("Table", name), " has every category."]
    return [Paragraph(text, lead=lead), Table(name, caption, header, rows, weight=TELLING)]


def cut_rows(rows: Sequence[Row]) -> list[Row]:
    """As many rows as a table shows."""
    return list(rows[:MOST_SETUPS])


def count_hidden(number: int) -> list[str]:
    """The note that says how many of `number` rows a table does not show, if any."""
    return [f"{number - MOST_SETUPS} more are in report.html."] if number > MOST_SETUPS else []
