"""The report's section on paired comparisons: which setups are told apart, read back from `comparisons.csv`.

Plain text: the template escapes it.
Tested in tests/report/test_comparisons.py.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from patchshift.evaluation.comparisons import count_categories, find_level
from patchshift.report.analyses.comparisons import CATEGORY, OVER_CATEGORIES, WITH_BASELINE
from patchshift.report.analyses.digits import show_ends, show_value
from patchshift.report.analyses.study_data import StudyData
from patchshift.report.labels import name_backbone
from patchshift.report.results import Value, as_value, read_rows

SHOWN = 20
"""Rows on a page; a table says the others."""

_CONDITION = ("split", "trained_on", "train_domain", "target_domain")
_PAIR = ("first_backbone", "first_detector", "second_backbone", "second_detector")

Row = dict[str, str]


@dataclass(frozen=True)
class PairedRow:
    """Two setups on the same images.

    Attributes:
        condition: on what, as far as pairs differ in it.
        higher: the setup whose image AUROC is at least that of the other.
        lower: the other.
        over: the category, or the number of them.
        difference: image AUROC of the first minus that of the other, with its interval.
        test: what p is of; empty where nothing was tested.
        p: corrected for the number of tests of the experiment; None where undefined.
        told_apart: whether p and the interval both say that the first is higher.
        undefined: why nothing was tested.
        by_category: in how many of several categories, each by itself, the two are told apart; empty for one.
    """

    condition: str
    higher: str
    lower: str
    over: str
    difference: Value
    test: str
    p: float | None
    told_apart: bool
    undefined: str
    by_category: str

    @property
    def shown_p(self) -> str:
        """p with as many digits as matter."""
        if self.p is None:
            return ""
        return "< 0.001" if self.p < 0.001 else f"{self.p:.3f}" if self.p < 0.1 else f"{self.p:.2f}"

    @property
    def shown_difference(self) -> str:
        """With its sign and the digits that its interval supports; empty where it is undefined."""
        value = self.difference
        return "" if value.value is None else show_value(value.value, value.low, value.high, signed=True)

    @property
    def shown_interval(self) -> str:
        """`+0.02 to +0.11`; empty where there is none."""
        value = self.difference
        if value.value is None or value.low is None or value.high is None:
            return ""
        return " to ".join(show_ends(value.value, value.low, value.high, signed=True))

    @property
    def verdict(self) -> str:
        """What may be said of the two."""
        if self.p is None:
            return f"not tested: {self.undefined}"
        return "told apart" if self.told_apart else "not told apart"


@dataclass(frozen=True)
class ComparisonsSection:
    """What the report shows of an experiment's paired comparisons.

    Attributes:
        sentences: what they say, in words.
        rows: pairs that are told apart first, the largest difference first; then the others by p.
        hidden: number of pairs that are not among `rows`.
        hidden_apart: how many of them are told apart.
        table: path of all, from the study's folder.
    """

    sentences: list[str]
    rows: list[PairedRow]
    hidden: int
    hidden_apart: int
    table: str

    @property
    def has_conditions(self) -> bool:
        """Whether pairs differ in what they were scored on."""
        return any(row.condition for row in self.rows)


def describe_comparisons(data: StudyData, experiment: str) -> ComparisonsSection | None:
    """What `comparisons.csv` says; None where there was nothing to compare."""
    path = data.experiment_folder(experiment) / "comparisons.csv"
    found = read_rows(path)
    if not found:
        return None
    alpha = find_level(data.spec.confidence)
    pairs: dict[tuple[str, ...], list[Row]] = {}
    for row in found:
        pairs.setdefault(tuple(row[key] for key in (*_CONDITION, *_PAIR)), []).append(row)
    aspects = [key for key in _CONDITION if len({row[key] for row in found}) > 1]
    naming = _Naming(found, data.plan.external)
    tests = sum(bool(row["wilcoxon_p"]) for row in found)
    rows = [_describe_pair(of_pair, aspects, naming, alpha, tests) for of_pair in pairs.values()]
    rows.sort(key=lambda row: (not row.told_apart, _order(row)))
    return ComparisonsSection(
        sentences=_word(rows, found, naming.shared, alpha),
        rows=rows[:SHOWN],
        hidden=len(rows[SHOWN:]),
        hidden_apart=sum(row.told_apart for row in rows[SHOWN:]),
        table=path.relative_to(data.folder).as_posix(),
    )


def _order(row: PairedRow) -> float:
    if row.told_apart:
        return -(row.difference.value or 0.0)
    return 2.0 if row.p is None else row.p


class _Naming:
    """Names of setups: only what varies is said, and what all share once."""

    def __init__(self, rows: Sequence[Row], external: dict[str, str]) -> None:
        self.external = external
        sides = [(row, side) for row in rows for side in ("first", "second")]
        detectors = {row[f"{side}_detector"] for row, side in sides}
        backbones = {
            name_backbone(row[f"{side}_backbone"], row[f"{side}_weights"])
            for row, side in sides
            if row[f"{side}_detector"] not in external
        }
        self.say_detector, self.say_backbone = len(detectors) > 1, len(backbones) > 1
        same_backbone = "" if self.say_backbone else next(iter(backbones), "")
        self.shared = (f"on {same_backbone}" if same_backbone else "") if self.say_detector else f"of {min(detectors)}"

    def __call__(self, row: Row, side: str) -> str:
        detector = row[f"{side}_detector"]
        backbone = name_backbone(row[f"{side}_backbone"], row[f"{side}_weights"])
        if detector in self.external or not self.say_backbone:
            return detector
        return f"{detector} on {backbone}" if self.say_detector else backbone


def _describe_pair(
    rows: Sequence[Row], aspects: Sequence[str], naming: _Naming, alpha: float, signed_rank_tests: int
) -> PairedRow:
    over = next(row for row in rows if row["level"] == OVER_CATEGORIES)
    of_categories = [row for row in rows if row["level"] == CATEGORY]
    several = int(over["categories"]) > 1
    if several:
        row, place = over, count_categories(int(over["categories"]))
        # its smallest p is 2 / 2^n: where that is too large for its share of alpha, its answer is known beforehand
        can_tell = signed_rank_tests * 2.0 ** (1 - int(row["categories"])) <= alpha
        both = (("Wilcoxon", row["wilcoxon_p_holm"]), ("paired t", row["t_p_holm"]))
        tests = [(name, p) for name, p in (both if can_tell else both[::-1]) if p]
    else:
        row = next((row for row in of_categories if row["p_holm"]), of_categories[0])
        place = row["target_category"]
        tests = [("DeLong", row["p_holm"])] if row["p_holm"] else []
    test, p = (tests[0][0], float(tests[0][1])) if tests else ("", None)
    difference, first, second = as_value(row, "difference"), naming(row, "first"), naming(row, "second")
    turned = difference.value is not None and difference.value < 0
    if turned:
        first, second, difference = second, first, _turn(difference)
    return PairedRow(
        condition=", ".join(f"fitted on {row[key]}" if key == "train_domain" else row[key] for key in aspects),
        higher=first,
        lower=second,
        over=place,
        difference=difference,
        test=test,
        p=p,
        told_apart=p is not None and p < alpha and difference.low is not None and difference.low > 0,
        undefined=row["undefined"],
        by_category=_count_by_category(of_categories, turned, alpha) if several else "",
    )


def _count_by_category(rows: Sequence[Row], turned: bool, alpha: float) -> str:
    """In how many categories the first is higher, and in how many it is lower, by DeLong's test."""
    apart = [float(row["difference"]) for row in rows if row["p_holm"] and float(row["p_holm"]) < alpha]
    higher, lower = (sum(sign * difference > 0 for difference in apart) for sign in ((-1, 1) if turned else (1, -1)))
    counts = [f"higher in {higher}"] * bool(higher) + [f"lower in {lower}"] * bool(lower)
    return f"single categories: {', '.join(counts) or 'told apart in none'} of {len(rows)}"


def _turn(value: Value) -> Value:
    """The difference the other way round."""
    number, low, high = (None if end is None else -end for end in (value.value, value.high, value.low))
    return Value(number, low, high, value.undefined)


def _word(rows: Sequence[PairedRow], found: Sequence[Row], shared: str, alpha: float) -> list[str]:
    apart = [row for row in rows if row.told_apart]
    untested = sum(row.p is None for row in rows)
    named = f"setups {shared}" if shared else "setups"
    if len(rows) == 1:
        said = f"The two {named} are {'' if apart else 'not '}told apart on the same images."
    else:
        verb = "are" if len(apart) > 1 else "is"
        said = f"{len(apart) or 'None'} of {len(rows)} pairs of {named} {verb} told apart on the same images."
    sentences = [
        f"{said} That takes p below {alpha:.2g}, corrected for the number of tests, and an interval of the difference "
        "above 0."
    ]
    if apart:
        row, where = apart[0], f" ({apart[0].condition})" if apart[0].condition else ""
        named = "The largest difference told apart" if len(rows) > 1 else "The difference"
        sentences.append(f"{named} is that of {row.higher} over {row.lower}{where}: {row.difference.plain}.")
    above = sum(not row.told_apart and row.difference.low is not None and row.difference.low > 0 for row in rows)
    if above:
        which = f"{'other ' if apart else ''}{'pair' if above == 1 else 'pairs'}"
        sentences.append(
            f"Of {above} {which} the interval alone lies above 0: on these test images the first is higher, which a "
            "test across so few categories, or of so many pairs, does not confirm."
        )
    if untested:
        sentences.append(f"{untested} {'pair' if untested == 1 else 'pairs'} could not be tested.")
    if found[0]["comparison"] == WITH_BASELINE:
        sentences.append("There are many setups, so each is compared with the baseline alone.")
    return sentences
