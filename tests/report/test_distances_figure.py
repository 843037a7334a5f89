from collections.abc import Callable, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from patchshift.errors import UserError
from patchshift.evaluation.distance_intervals import DISTANCES
from patchshift.plan.cells import Target
from patchshift.plan.experiments import Experiment, Selection, StudyPlan
from patchshift.plan.inspections import DomainPair, pair_domains
from patchshift.report.distances import HEADINGS, draw_distances, is_at_home, tidy_distances, tidy_drifts
from patchshift.report.results import read_rows
from patchshift.report.style import PALETTE, RULE
from patchshift.runtime.files import write_json, write_text

SELECT = Selection(splits=["s"], backbones=["net", "waves"], detectors=["bank"], thresholds=["t"])
WEIGHTS = {"net": "random", "waves": "none"}


def plan_study(**experiment: Any) -> StudyPlan:
    settings = {"title": "", "train": ["d/a"], "target_domains": ["clean", "dim", "dark"], **experiment}
    return StudyPlan(
        study="made",
        select=SELECT,
        order=["one"],
        experiments={"one": Experiment(**settings)},
        datasets={"d": ["a", "b"], "e": ["c"], "f": ["a"]},
        pools={"all": ["d"], "twins": ["d/a", "f/a"]},
        weights=WEIGHTS,
    )


@pytest.fixture
def measure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[StudyPlan], list[DomainPair]]:
    """Write made-up distances of all pairs of a study, in a folder of their own."""
    monkeypatch.chdir(tmp_path)

    def measure(plan: StudyPlan, undefined: tuple[str, ...] = ()) -> list[DomainPair]:
        pairs = pair_domains(plan, SELECT.backbones)
        for number, pair in enumerate(pairs):
            distances: dict[str, Mapping[str, float | str]] = {}
            for place, name in enumerate(DISTANCES):
                value = 0.1 * number + place
                distances[name] = {"value": value, "low": value - 0.05, "high": value + 0.1, "plug_in": value + 0.01}
                if name in undefined:
                    distances[name] = {"undefined": "a mean vector is zero"}
            drifts = [
                {"layers": ["one"], "fusion": "single", "undefined": "a mean vector is zero"},
                {"layers": ["one", "two"], "fusion": "weighted", "weights": {"one": 1, "two": 3}, "width": 4}
                | {"value": 0.1 * number, "plug_in": 0.1 * number + 0.01, "undefined": "no interval: few images"},
                {"layers": ["one", "two"], "fusion": "adaptive", "inverse": True}
                | {"value": 0.2, "low": 0.1, "high": 0.3, "plug_in": 0.2},
            ]
            write_json(
                Path(pair.path),
                {"distances": distances, "drifts": drifts, "counts": {"training_images": 9, "target_images": 4}},
            )
        return pairs

    return measure


def rows_of(plan: StudyPlan, pairs: list[DomainPair]) -> list[dict[str, str]]:
    write_text(Path("distances.csv"), tidy_distances(pairs, plan.weights).to_csv(index=False))
    return read_rows(Path("distances.csv"))


def names(figure: Figure) -> list[list[str]]:
    """The targets named beside each row of panels."""
    return [[label.get_text() for label in axes.get_yticklabels()] for axes in figure.axes[:: len(HEADINGS)]]


def titles(figure: Figure) -> list[str]:
    """What each row of panels is of."""
    return [axes.texts[-1].get_text() for axes in figure.axes[:: len(HEADINGS)]]


def test_the_figure_shows_every_distance_that_is_measured() -> None:
    assert list(HEADINGS) == list(DISTANCES)


def test_the_table_has_a_row_for_each_pair_and_distance(measure) -> None:
    plan = plan_study()
    pairs = measure(plan)
    table = tidy_distances(pairs, plan.weights)
    assert len(table) == len(pairs) * len(DISTANCES) == 2 * 3 * 5
    assert table.columns.tolist() == [
        "train_dataset", "train_category", "train_domain", "target_dataset", "target_category", "target_domain",
        "at_home", "split", "backbone", "weights", "distance", "value", "low", "high", "plug_in", "undefined",
        "training_images", "target_images",
    ]  # fmt: skip
    (row,) = table[(table.backbone == "net") & (table.target_domain == "dim") & (table.distance == "frechet_distance")
                   ].to_dict("records")  # fmt: skip
    number = pairs.index(
        DomainPair(plan.study, Target("d", "a", "clean"), "s", "net", Target("d", "a", "dim"), at_home=False)
    )
    expected = {"value": 0.1 * number + 2, "low": 0.1 * number + 1.95, "high": 0.1 * number + 2.1}
    assert {key: row[key] for key in expected} == pytest.approx(expected)
    assert (row["weights"], row["training_images"], row["target_images"]) == ("random", 9, 4)


def test_an_undefined_distance_has_its_reason_and_no_value(measure) -> None:
    plan = plan_study()
    rows = rows_of(plan, measure(plan, ("feature_drift",)))
    found = [row for row in rows if row["distance"] == "feature_drift"]
    assert {(row["value"], row["low"], row["undefined"]) for row in found} == {("", "", "a mean vector is zero")}
    drift = draw_distances(rows).axes[list(HEADINGS).index("feature_drift")]
    assert {text.get_text() for text in drift.texts} == {"undefined"}


def test_the_table_of_drifts_has_a_row_for_each_pair_and_fusion(measure) -> None:
    plan = plan_study()
    pairs = measure(plan)
    table = tidy_drifts(pairs, plan.weights)
    distances = tidy_distances(pairs, plan.weights)
    assert len(table) == 3 * len(pairs)
    place = list(distances.columns).index("distance")
    columns = list(distances.columns)
    assert list(table.columns) == [*columns[:place], "layers", "fusion", *columns[place + 1 :]]
    single, weighted, adaptive = table.iloc[3:6].to_dict("records")
    assert (single["layers"], single["fusion"], single["value"], single["undefined"]) == (
        "one", "single", "", "a mean vector is zero"
    )  # fmt: skip
    assert (weighted["layers"], weighted["fusion"]) == ("one two", "weighted (1 one + 3 two, width 4)")
    assert (weighted["value"], weighted["low"]) == (pytest.approx(0.1), "")
    assert (adaptive["fusion"], adaptive["low"], adaptive["target_images"]) == ("adaptive (inverse)", 0.1, 4)


def test_targets_are_named_as_seen_from_what_is_trained_on(measure) -> None:
    plan = plan_study(targets=["d", "e"])
    assert names(draw_distances(rows_of(plan, measure(plan)))) == [
        ["in domain", "dim", "dark", "b, clean", "b, dim", "b, dark", "e/c, clean", "e/c, dim", "e/c, dark"]
    ]
    plan = plan_study(train=["pools/all"], target_domains=["dim"])
    assert names(draw_distances(rows_of(plan, measure(plan)))) == [["a, in domain", "b, in domain", "a, dim", "b, dim"]]


def test_a_category_that_its_pool_leaves_out_is_not_in_domain(measure) -> None:
    plan = plan_study(train=["pools/all"], targets=["d", "e"], target_domains=["clean"])
    rows = rows_of(plan, measure(plan))
    at_home = {row["target_category"]: is_at_home(row) for row in rows}
    assert at_home == {"a": True, "b": True, "c": False}
    figure = draw_distances(rows)
    assert names(figure) == [["d/a, in domain", "d/b, in domain", "e/c, clean"]]
    grey = [patch for patch in figure.axes[0].patches if to_hex(patch.get_facecolor()) == RULE.lower()]
    assert len(grey) == 2


def test_categories_of_one_name_have_a_line_each(measure) -> None:
    plan = plan_study(train=["pools/twins"], target_domains=["clean", "dim"])
    figure = draw_distances(rows_of(plan, measure(plan)))
    assert names(figure) == [["d/a, in domain", "f/a, in domain", "d/a, dim", "f/a, dim"]]
    marks = [line for line in figure.axes[0].lines if len(line.get_xdata()) == 1]
    assert len({float(line.get_ydata()[0]) for line in marks}) == len(marks) == 2 * 4


def test_a_study_that_stays_in_its_domain_has_that_alone(measure) -> None:
    plan = plan_study(target_domains="same")
    figure = draw_distances(rows_of(plan, measure(plan)))
    assert names(figure) == [["in domain"]]
    assert len([patch for patch in figure.axes[0].patches if to_hex(patch.get_facecolor()) == RULE.lower()]) == 1


def test_the_numbers_of_small_distances_do_not_run_together(measure) -> None:
    plan = plan_study(target_domains="same")
    rows = rows_of(plan, measure(plan))
    figure = draw_distances(
        [row | {key: str(2e-4 * float(row[key])) for key in ("value", "low", "high")} for row in rows]
    )
    figure.draw_without_rendering()
    places = [
        label.get_window_extent()
        for axes in figure.axes[-len(HEADINGS) :]
        for label in axes.get_xticklabels()
        if axes.get_xlim()[0] <= label.get_position()[0] <= axes.get_xlim()[1]
    ]
    assert all(left.x1 < right.x0 for left, right in pairwise(places))


def test_marks_and_intervals_stand_at_their_values_a_colour_for_each_backbone(measure) -> None:
    plan = plan_study()
    pairs = measure(plan)
    figure = draw_distances(rows_of(plan, pairs))
    marks = [line for line in figure.axes[0].lines if len(line.get_xdata()) == 1]
    ends = [line for line in figure.axes[0].lines if len(line.get_xdata()) == 2]
    assert sorted(float(line.get_xdata()[0]) for line in marks) == pytest.approx([0.1 * n for n in range(6)])
    for mark, end in zip(marks, ends, strict=True):
        value = float(mark.get_xdata()[0])
        assert list(end.get_xdata()) == pytest.approx([value - 0.05, value + 0.1])
    assert {to_hex(line.get_color()) for line in marks} == {shade.lower() for shade in PALETTE[:2]}
    assert len({float(line.get_ydata()[0]) for line in marks}) == 6
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == [
        "net (random weights)",
        "waves",
        "in domain: no shift",
    ]
    assert figure.get_suptitle().startswith("Distances of good test images")


def test_a_single_backbone_and_its_weights_are_named(measure) -> None:
    plan = plan_study(backbones=["net"])
    (legend,) = draw_distances(rows_of(plan, [pair for pair in measure(plan) if pair.backbone == "net"])).legends
    assert legend.get_texts()[0].get_text() == "net (random weights)"


def test_headings_of_rows_and_columns_do_not_run_together(measure) -> None:
    plan = plan_study(train=["d", "e"])
    figure = draw_distances(rows_of(plan, measure(plan)))
    figure.draw_without_rendering()
    rows, columns = figure.axes[0].texts[-1], figure.axes[0]._left_title
    assert rows.get_window_extent().y1 <= columns.get_window_extent().y0


def test_each_training_domain_and_split_has_its_own_panels(measure) -> None:
    plan = plan_study(train=["d", "e"], train_domains=["clean", "dim"])
    assert titles(draw_distances(rows_of(plan, measure(plan)))) == [
        "d/a", "d/b", "d/a, dim", "d/b, dim", "e/c", "e/c, dim"
    ]  # fmt: skip
    plan = plan_study(splits=["s", "t"])
    assert titles(draw_distances(rows_of(plan, measure(plan)))) == ["a, s", "a, t"]


def test_script_draws_equal_bytes_from_the_plan(measure, tmp_path: Path) -> None:
    import collect_distances

    plan = plan_study()
    measure(plan)
    for name in ("one", "two"):
        outputs = ["--table", str(tmp_path / f"{name}.csv"), "--figure", str(tmp_path / f"{name}.png")]
        outputs += ["--drifts", str(tmp_path / f"{name}.drifts")]
        collect_distances.main(["--plan", plan.canonical(), "--backbones", "net", "waves", *outputs])
    for ending in ("csv", "png", "drifts"):
        assert (tmp_path / f"one.{ending}").read_bytes() == (tmp_path / f"two.{ending}").read_bytes()
    assert len(pd.read_csv(tmp_path / "one.csv")) == 30
    assert len(pd.read_csv(tmp_path / "one.drifts")) == 18


def test_a_study_that_looks_into_no_backbone_is_told_so(tmp_path: Path) -> None:
    import collect_distances

    outputs = ["--table", str(tmp_path / "one.csv"), "--figure", str(tmp_path / "one.png")]
    outputs += ["--drifts", str(tmp_path / "two.csv")]
    with pytest.raises(UserError, match=r"study 'made' has no distances: .*`distances: true`$"):
        collect_distances.main(["--plan", plan_study().canonical(), "--backbones", *outputs])
