"""A `summary.csv` as it is shown: blocks of setups that are compared with each other, and what others published.

The same blocks are in Markdown, LaTeX and on the page.
Tested in tests/report/test_summary.py.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from patchshift.report.analyses.digits import count_decimals, round_off, show_ends, show_value
from patchshift.report.analyses.published import UNNAMED, Figure, figures_of
from patchshift.report.analyses.study_data import StudyData
from patchshift.report.analyses.summary import CATEGORY, MACRO
from patchshift.report.conditions import CONDITIONS, IN_DOMAIN
from patchshift.report.labels import name_backbone
from patchshift.report.results import Value, read_estimate

Row = Mapping[str, str]

SHOWN = {
    "image_auroc": "image AUROC",
    "pixel_auroc": "pixel AUROC",
    "pro": "PRO",
    "aupimo": "AUPIMO",
    "f1": "F1",
    "f1_floor": "F1 floor",
    "specificity": "specificity",
}
"""Metric -> its heading."""
PLACE = ("split", "trained_on", "condition", "train_domain", "target_domain", "calibration_domain", "alias")
"""Columns that tell blocks apart."""
UNDEFINED = "undefined"


@dataclass(frozen=True)
class SetupLines:
    """One setup: its rows.

    Attributes:
        label: what tells it from the others of its block.
        whole: of its categories together; of its only category, where there is one.
        spread: standard deviations over categories.
        categories: label of a category -> its row.
    """

    label: str
    whole: Row
    spread: Row
    categories: dict[str, Row]


@dataclass(frozen=True)
class PublishedLine:
    """Figures of one publication on one set of categories, by one method.

    Attributes:
        label: the method, and of what the figures are if not of a single category.
        category: the category; empty where they are of several.
        values: metric -> the figure as text.
        source: who published it, and under which protocol.
    """

    label: str
    category: str
    values: dict[str, str]
    source: str


@dataclass(frozen=True)
class Block:
    """Setups that are compared with each other.

    Attributes:
        heading: under what circumstance.
        datasets: of the test images.
        shared: what all setups have in common, in words.
        setups: at least one.
        published: what others published of the same categories, in the order of the file.
    """

    heading: str
    datasets: list[str]
    shared: str
    setups: list[SetupLines]
    published: list[PublishedLine] = field(default_factory=list)

    @property
    def categories(self) -> list[str]:
        """The labels of all categories."""
        return list(dict.fromkeys(name for setup in self.setups for name in setup.categories))

    @property
    def baseline(self) -> str:
        """The setup that gains are measured from; empty where there is but this one."""
        return next((row["baseline"] for setup in self.setups if (row := setup.whole)["gain"]), "")

    @property
    def is_ranked(self) -> bool:
        """Whether there is anything to rank."""
        return any(setup.whole["standing"] for setup in self.setups)

    @property
    def has_level(self) -> bool:
        """Whether a setup is not told apart from the best."""
        rows = [row for setup in self.setups for row in (setup.whole, *setup.categories.values())]
        return any(row["standing"] == "level" for row in rows)

    @property
    def coverage(self) -> dict[str, int]:
        """Heading of a metric that some category lacks -> the categories that a setup's mean of it is of, at least."""
        found = {}
        for metric, heading in SHOWN.items():
            counts = [sum(bool(row[metric]) for row in setup.categories.values()) for setup in self.setups]
            if 0 < min(counts) < len(self.categories):
                found[heading] = min(counts)
        return found

    @property
    def seeds(self) -> int:
        """The most seeds that a setup has."""
        return max(int(setup.whole["seeds"] or 1) for setup in self.setups)

    @property
    def images(self) -> tuple[int, int]:
        """Normal and anomalous test images, of the setup with the most."""
        return max((int(s.whole["count_normal"]), int(s.whole["count_anomalous"])) for s in self.setups)


def read_blocks(data: StudyData, rows: Sequence[Row], figures: Sequence[Figure]) -> list[Block]:
    """The blocks of a `summary.csv`, in its order.

    Args:
        data: the study.
        rows: of the table, every field as it is written.
        figures: all published figures.
    """
    places: dict[tuple[str, ...], list[Row]] = {}
    for row in rows:
        places.setdefault(tuple(row[column] for column in PLACE), []).append(row)
    several = {column: len({row[column] for row in rows}) > 1 for column in ("split", "calibration_domain")}
    return [_block(data, own, several, figures) for own in places.values()]


def _block(data: StudyData, rows: Sequence[Row], several: Mapping[str, bool], figures: Sequence[Figure]) -> Block:
    first = rows[0]
    datasets = list(dict.fromkeys(row["target_dataset"] for row in rows if row["row"] == CATEGORY))
    setups, shared = _label_setups(rows)
    names = [row["target_category"] for row in rows if row["row"] == CATEGORY]
    condition = UNNAMED if first["trained_on"].startswith("pool ") else first["condition"]
    unshifted = data.domains.get(first["target_domain"], {}).get("shift") == "none" and not first["alias"]
    concerned = [
        figure
        for dataset in datasets
        for figure in figures_of(figures, dataset, names)
        if figure.condition == condition and (unshifted or condition != IN_DOMAIN)
    ]
    return Block(_heading(first, several), datasets, shared, setups, gather_published(concerned))


def _heading(row: Row, several: Mapping[str, bool]) -> str:
    domain = row["alias"] or row["target_domain"]
    if row["condition"] in CONDITIONS:
        parts = [row["condition"].capitalize(), domain]
    else:
        bank = row["trained_on"] if row["trained_on"].startswith("pool") else f"banks of {row['trained_on']}"
        parts = [bank.capitalize() if bank.startswith("banks") else f"Bank of {bank}", domain]
        parts += [f"fitted on {row['train_domain']}"] if row["train_domain"] != domain else []
        parts += [f"threshold from {row['calibration_domain']}"] if several["calibration_domain"] else []
    return ", ".join(parts + ([f"split {row['split']}"] if several["split"] else []))


def _label_setups(rows: Sequence[Row]) -> tuple[list[SetupLines], str]:
    """The setups of a block under names of what varies, and what does not vary."""
    grouped: dict[tuple[str, str, str, str], list[Row]] = {}
    for row in rows:
        grouped.setdefault((row["backbone"], row["weights"], row["detector"], row["policy"]), []).append(row)
    aspects = {
        "detector": [detector for _, _, detector, _ in grouped],
        "backbone": [name_backbone(backbone, weights) for backbone, weights, *_ in grouped],
        "policy": [policy for *_, policy in grouped],
    }
    varied = [key for key, values in aspects.items() if len(set(values)) > 1] or ["detector"]
    fixed = [f"{key} {values[0]}" for key, values in aspects.items() if key not in varied]
    weights = dict.fromkeys(weights for _, weights, *_ in grouped)
    fixed += [f"weights {', '.join(weights)}"]
    labels = [", ".join(parts) for parts in zip(*(aspects[key] for key in varied), strict=True)]
    setups = [_setup_lines(label, own) for label, own in zip(labels, grouped.values(), strict=True)]
    return setups, ", ".join([f"split {rows[0]['split']}", *fixed])


def _setup_lines(label: str, rows: Sequence[Row]) -> SetupLines:
    own = [row for row in rows if row["row"] == CATEGORY]
    whole, spread = (row for row in rows if row["row"] != CATEGORY)
    several = len({row["target_dataset"] for row in own}) > 1
    categories = {}
    for row in own:
        name = f"{row['target_dataset']}/{row['target_category']}" if several else row["target_category"]
        away = row["trained_on"].startswith("another")
        categories[f"bank of {row['train_category']} on {name}" if away else name] = row
    return SetupLines(label, whole if whole["row"] == MACRO else spread, spread, categories)


def gather_published(figures: Sequence[Figure]) -> list[PublishedLine]:
    """One line per method, categories, source and protocol; only those with a metric that is shown."""
    lines: dict[tuple[str, str, str], dict[str, str]] = {}
    for figure in figures:
        if figure.metric in SHOWN:
            single = not figure.category.startswith("mean of ") and "+" not in figure.category
            label = figure.names if single else f"{figure.names}: {_covered(figure)}"
            source = ": ".join(filter(None, (figure.source, figure.protocol)))
            lines.setdefault((label, figure.category if single else "", source), {})[figure.metric] = span(figure)
    return [PublishedLine(label, name, values, source) for (label, name, source), values in lines.items()]


def _covered(figure: Figure) -> str:
    if figure.category.startswith("mean of "):
        return f"{figure.covers.replace('mean of', 'mean of all')} categories"
    return f"mean of {figure.covers}"


def span(figure: Figure) -> str:
    """A figure with the decimals that it was published with."""
    ends = [value for value in (figure.value, figure.value_to) if value is not None]
    return " to ".join(round_off(value, figure.decimals) for value in ends)


def split_text(value: Value, *, signed: bool = False) -> tuple[str, str]:
    """A number and its interval, `0.91` and `0.86, 0.95`; the second is empty where it has none."""
    if value.value is None:
        return UNDEFINED, ""
    shown = show_value(value.value, value.low, value.high, signed=signed)
    if value.low is None or value.high is None:
        return shown, ""
    return shown, ", ".join(show_ends(value.value, value.low, value.high, signed=signed))


def show_deviation(row: Row, beside: Row, metric: str, part: str = "") -> str:
    """A standard deviation, with the decimals of the mean that it belongs to; a dash where there is none."""
    text, mean = row[f"{metric}{part}"], read_estimate(beside, metric)
    if not text or mean.value is None:
        return "-"
    return round_off(float(text), count_decimals(mean.value, mean.low, mean.high))


def show_grade(row: Row) -> str:
    """`good`; `good, perhaps fair` where the interval begins in a lower grade."""
    grade, lowest = row["grade"], row["grade_low"]
    return grade if not lowest or lowest == grade else f"{grade}, perhaps {lowest}"


def gain_of(row: Row) -> Value | None:
    """The gain over the baseline; None of the baseline itself, or where there is none."""
    return read_estimate(row, "gain") if row["gain"] else None
