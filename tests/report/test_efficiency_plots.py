"""What accuracy costs."""

from dataclasses import replace

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from patchshift.report.plots.pareto import draw_pareto, find_front, measure_costs
from patchshift.report.plots.sampling_curves import draw_reduction_curve, draw_sampling_curve

NUMBERS = st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=1, max_size=12)


@given(NUMBERS)
def test_nothing_on_the_front_is_beaten_and_all_else_is(marks):
    costs, values = zip(*marks, strict=True)
    front = find_front(costs, values)

    def beats(first, second):
        at_least = costs[first] <= costs[second] and values[first] >= values[second]
        return at_least and (costs[first], values[first]) != (costs[second], values[second])

    everyone = range(len(marks))
    assert not any(beats(other, kept) for kept in front for other in everyone)
    for left_out in set(everyone) - set(front):
        equal = any((costs[kept], values[kept]) == (costs[left_out], values[left_out]) for kept in front)
        assert equal or any(beats(kept, left_out) for kept in front)
    assert [costs[number] for number in front] == sorted(costs[number] for number in front)


@pytest.fixture
def costly(make_study):
    """The made-up study, detector `sharp` with twice the vectors and bytes and half the numbers."""
    study = make_study()
    path = study.folder / "metrics.csv"
    table = pd.read_csv(path, dtype=str, keep_default_na=False)
    sharp = table["detector"] == "sharp"
    for metric, value in (("bank_vectors", "600"), ("bank_bytes", "28800"), ("feature_dim", "6")):
        table.loc[sharp & (table["metric"] == metric), "value"] = value
    table.to_csv(path, index=False)
    for name in study.plan.experiments:
        costs = pd.read_csv(study.folder / "experiments" / name / "costs.csv", dtype=str, keep_default_na=False)
        costs.loc[costs["detector"] == "sharp", ["bank_bytes", "scoring_ms"]] = ["28800", "8"]
        costs.loc[costs["detector"] == "blunt", "scoring_ms"] = "2"
        costs.to_csv(study.folder / "experiments" / name / "costs.csv", index=False)
    return study


def test_costs_are_means_over_categories_and_time_is_said_to_be_of_scoring_where_the_rest_is_unknown(costly):
    costs = measure_costs(costly.data, "clean").set_index("group")
    assert costs["bank_bytes"].to_dict() == {"blunt": 14400, "sharp": 28800}
    assert costs["milliseconds"].to_dict() == {"blunt": 2, "sharp": 8}
    assert set(costs["time"]) == {"scoring_ms"}
    assert (costs["categories"] == 2).all()
    figure = draw_pareto(costly.data, "clean").figure
    assert [axes.get_xlabel() for axes in figure.axes] == [
        "milliseconds per image, from features to score", "bank, bytes",
    ]  # fmt: skip


def test_domains_are_no_setups_and_the_first_ones_are_named(make_study):
    shifted = {"title": "Shifted", "train": ["d"], "target_domains": ["dark", "dim"]}
    costs = measure_costs(make_study(shifted=shifted).data, "shifted")
    assert costs["group"].tolist() == ["blunt", "sharp"]
    assert set(costs["scored_on"]) == {"dark"}
    assert draw_pareto(make_study(detectors=("sharp",), shifted=shifted).data, "shifted") is None


def test_a_setup_that_lacks_a_category_is_left_out_and_said_to_be(costly):
    path = costly.data.experiment_folder("clean") / "costs.csv"
    costs = pd.read_csv(path, dtype=str, keep_default_na=False)
    third = costs[costs["detector"] == "sharp"]
    costs[~((costs["detector"] == "sharp") & (costs["target_category"] == "b"))].to_csv(path, index=False)
    assert len(third) == 2
    table = measure_costs(costly.data, "clean").set_index("group")
    assert table["left_out"].to_dict() == {"blunt": "", "sharp": "lacks 1 of 2 categories"}
    assert pd.isna(table.loc["sharp", "image_auroc"])
    assert draw_pareto(costly.data, "clean") is None


def test_linear_costs_start_at_nothing(costly):
    axes = draw_pareto(costly.data, "clean").figure.axes
    assert [panel.get_xlim()[0] for panel in axes if panel.get_xscale() == "linear"] == [0] * len(axes)
    assert axes[0].get_xlim()[1] > 8
    assert "fitted on clean, scored on clean" in axes[0].figure.get_suptitle().lower()


def test_equal_costs_are_no_panel(made):
    assert draw_pareto(made.data, "clean") is None


def test_one_setup_has_no_costs_to_compare(make_study):
    assert draw_pareto(make_study(detectors=("sharp",)).data, "clean") is None


def test_detectors_that_differ_in_their_coreset_only_are_one_line(costly):
    drawn = draw_sampling_curve(costly.data, "clean")
    assert drawn.data["bank_vectors"].tolist() == [300, 600]
    assert drawn.data["line"].nunique() == 1
    assert drawn.data["share"].tolist() == [0.01, 0.02]
    above = drawn.figure.axes[0].child_axes[0]
    assert [label.get_text() for label in above.get_xticklabels()] == ["1\N{NO-BREAK SPACE}%", "2\N{NO-BREAK SPACE}%"]
    assert draw_reduction_curve(costly.data, "clean") is None  # their shares differ, too


def test_shares_are_no_axis_where_one_is_unknown(costly):
    kept = [{"share": 0.01}, {"count": 600}]
    settings = {name: {"method": "patchcore", "sampler": {"method": "greedy", **size}}
                for name, size in zip(("blunt", "sharp"), kept, strict=True)}  # fmt: skip
    drawn = draw_sampling_curve(replace(costly.data, detectors=settings), "clean")
    assert drawn.data["share"].isna().tolist() == [False, True]
    assert not drawn.figure.axes[0].child_axes


def test_detectors_that_differ_in_their_reduction_only_are_one_line(costly):
    sizes = {"blunt": 12, "sharp": 6}
    settings = {name: {"representation": {"reduction": {"dimension": size}}} for name, size in sizes.items()}
    data = replace(costly.data, detectors=settings)
    drawn = draw_reduction_curve(data, "clean")
    assert drawn.data["feature_dim"].tolist() == [6, 12]
    assert draw_sampling_curve(data, "clean") is None
