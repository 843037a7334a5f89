import numpy as np
import pandas as pd
import pytest

from patchshift.evaluation.rates import Estimates
from patchshift.report.analyses import robustness
from patchshift.report.analyses.decision_losses import compare_decisions
from patchshift.report.analyses.losses import Sample, sample_metric
from patchshift.report.analyses.robustness import COLUMNS, LOSSES, robustness_table
from patchshift.report.conditions import setup_of
from patchshift.report.pairing import mean_auroc, mean_difference
from patchshift.report.sections.robustness import describe_robustness
from patchshift.report.shift import compare_shifts
from patchshift.report.templating import render
from tests.report.conftest import SPEC
from tests.report.wide_study import open_wide


@pytest.fixture
def data(tmp_path_factory, monkeypatch):
    return open_wide(tmp_path_factory, monkeypatch)


@pytest.fixture
def table(data):
    return pd.read_csv(data.folder / "robustness.csv", keep_default_na=True)


def row_of(table, domain="dark", condition="no adaptation", category="a", detector="sharp"):
    found = table[
        (table.domain == domain)
        & (table.condition == condition)
        & (table.category == category if category else table.kind == "mean")
        & (table.detector == detector)
    ]
    (row,) = found.to_dict("records")
    return row


def test_three_conditions_stand_side_by_side_everywhere(table):
    groups = table.groupby(["kind", "detector", "domain", table.category.fillna("")], sort=False)
    for _, group in groups:
        assert list(group.condition) == ["no adaptation", "recalibrated", "adapted"]
    assert len(groups) == 2 * 2 * 3  # detectors, domains, two categories and their mean


def test_what_was_not_measured_says_so_and_names_its_cell(table):
    row = row_of(table, domain="dim", condition="adapted")
    assert row["undefined"] == "not measured: no experiment fits a bank there (train_domains)"
    assert pd.isna(row["image_auroc"])
    assert row["categories"] == 0
    assert (row["train_domain"], row["target_domain"], row["calibration_domain"]) == ("dim", "dim", "dim")
    assert "calibrate_on: target" in row_of(table, domain="dim", condition="recalibrated")["undefined"]


def test_losses_are_those_of_the_report(data, table):
    for comparison in compare_shifts(data.results, "clean", SPEC):
        for category, outcomes in comparison.outcomes.items():
            for outcome in outcomes[1:]:
                row = row_of(table, outcome.domain, outcome.condition, category, comparison.setup.detector)
                change = outcome.change.value
                assert row["image_auroc_loss"] == pytest.approx(-change.value)
                assert row["image_auroc_loss_low"] == pytest.approx(-change.high)
                assert row["image_auroc_loss_high"] == pytest.approx(-change.low)
                assert row["f1"] == pytest.approx(outcome.f1.value)
                assert row["miss_rate_high"] == pytest.approx(outcome.misses.high)


def test_means_are_those_of_the_report(data, table):
    cells = {
        (cell.bank.training.domain, cell.target.domain, cell.target.category): cell
        for cell in data.results.all_cells()
        if cell.bank.detector == "sharp" and cell.target.dataset == "d"
        if cell.bank.training.category == cell.target.category and cell.calibration.domain != "dim"
    }
    start, shifted, adapted = (
        [cells[trained, tested, category] for category in "ab"]
        for trained, tested in (("clean", "clean"), ("clean", "dark"), ("dark", "dark"))
    )
    row = row_of(table, condition="adapted", category=None)
    mean = mean_auroc(data.results, adapted, SPEC)
    loss, recovery = (mean_difference(data.results, *sides, SPEC) for sides in ((start, adapted), (adapted, shifted)))
    for name, value in (("image_auroc", mean), ("image_auroc_loss", loss), ("image_auroc_recovery", recovery)):
        found = [row[f"{name}{end}"] for end in ("", "_low", "_high")]
        assert found == pytest.approx([value.value, value.low, value.high])
    both = [row_of(table, condition="adapted", category=category) for category in "ab"]
    for metric in ("f1", "recall", "specificity", "miss_rate"):
        assert row[metric] == pytest.approx(sum(each[metric] for each in both) / 2)
        assert row[f"{metric}_low"] <= row[metric] <= row[f"{metric}_high"]
    assert row["recall_loss"] == pytest.approx(row["miss_rate"] - row["miss_rate_reference"])
    assert row["specificity_low"] < row["specificity_high"]  # also where every single share is 1


def test_relative_figures_follow_from_the_absolute_ones(table):
    measured = table[(table.categories > 0) & (table.left_out == 0)]
    for row in measured.to_dict("records"):
        for metric in LOSSES:
            reference, value = row[f"{metric}_reference"], row[metric]
            assert row[f"{metric}_loss"] == pytest.approx(reference - value)
            assert row[f"{metric}_loss_relative"] == pytest.approx((reference - value) / reference)
        above = (row["image_auroc_reference"] - row["image_auroc"]) / (row["image_auroc_reference"] - 0.5)
        assert row["image_auroc_loss_above_chance"] == pytest.approx(above)


def test_no_difference_of_decisions_is_a_single_point(table):
    """Some change on every image or on none, here too: a bootstrap of these has no length."""
    measured = table[table.categories > 0]
    for metric in ("f1", "recall", "specificity"):
        for part in ("loss", "recovery"):
            found = measured[measured[f"{metric}_{part}"].notna()]
            assert len(found)
            assert (found[f"{metric}_{part}_high"] - found[f"{metric}_{part}_low"] > 0.01).all()
            assert (found[f"{metric}_{part}_low"] >= -1).all()
            assert (found[f"{metric}_{part}_high"] <= 1).all()
    shares = measured[measured["specificity_recovery_relative"].notna()]
    assert (shares["specificity_recovery_relative_high"] > shares["specificity_recovery_relative_low"]).all()


def test_recalibration_moves_the_threshold_alone(table):
    row, none = (row_of(table, condition=condition) for condition in ("recalibrated", "no adaptation"))
    assert [row[f"image_auroc_recovery{end}"] for end in ("", "_low", "_high")] == [0, 0, 0]
    assert none["specificity"] == 0
    assert row["specificity_recovery"] == pytest.approx(row["specificity"])
    assert row["specificity_recovery_low"] > 0
    expected = (row["specificity"] - none["specificity"]) / (none["specificity_reference"] - none["specificity"])
    assert row["specificity_recovery_relative"] == pytest.approx(expected)


def test_a_share_of_a_loss_needs_a_loss(table):
    for row in table[(table.categories > 0) & (table.condition != "no adaptation")].to_dict("records"):
        category = row["category"] if row["kind"] == "category" else None
        none = row_of(table, row["domain"], "no adaptation", category, row["detector"])
        for metric in LOSSES:
            if none[f"{metric}_loss_low"] > 0:
                assert pd.notna(row[f"{metric}_recovery_relative"])
            else:
                assert pd.isna(row[f"{metric}_recovery_relative"])
                assert row[f"{metric}_undefined"] == "no loss told apart from zero"


@pytest.mark.parametrize("lost", [0.0, 0.1])
@pytest.mark.parametrize(
    ("metric", "reference", "reason"),
    [
        ("f1", 0.0, "the reference is 0"),
        ("specificity", 0.0, "the reference is 0"),
        ("image_auroc", 0.5, "the reference is not above chance"),
        ("image_auroc", 0.4, "the reference is not above chance"),
    ],
)
def test_a_share_of_no_reference_is_empty_with_the_reason(data, monkeypatch, lost, metric, reference, reason):
    def value_of(cell):
        return reference - (lost if cell.target.domain == "dark" else 0)

    def measure(results, cell, asked, spec, **options):
        if asked != metric:
            return sample_metric(results, cell, asked, spec, **options)
        return Sample(value_of(cell), np.full(spec.bootstrap_resamples, value_of(cell)))

    def compare(results, cells, asked, spec, **options):
        if asked != metric:
            return compare_decisions(results, cells, asked, spec, **options)
        values = np.array([value_of(cell) for cell in cells])
        return Estimates(values, values - 0.1, values + 0.1, np.eye(len(cells)))

    monkeypatch.setattr(robustness, "sample_metric", measure)
    monkeypatch.setattr(robustness, "compare_decisions", compare)
    found = robustness_table(data)
    assert not np.isinf(found.select_dtypes("number").to_numpy(float, na_value=np.nan)).any()
    share = f"{metric}_loss_{'above_chance' if metric == 'image_auroc' else 'relative'}"
    for condition in ("no adaptation", "recalibrated", "adapted"):
        for category in ("a", None):
            row = row_of(found, condition=condition, category=category)
            assert [pd.isna(row[f"{share}{end}"]) for end in ("", "_low", "_high")] == [True] * 3
            assert row[f"{metric}_undefined"] == reason
            assert pd.notna(row[f"{metric}_loss"])


def test_shift_and_severity_are_named(table):
    assert {(row.domain, row.shift, row.severity) for row in table.itertuples()} == {
        ("dark", "photometric", 3.0), ("dim", "photometric", 1.0),
    }  # fmt: skip


def test_a_natural_shift_is_resampled_apart(make_study):
    data = make_study(
        camera=True,
        detectors=("sharp",),
        clean={"title": "", "train": ["d/a"]},
        other={"title": "", "train": ["d/a"], "target_domains": ["camera_b"]},
    ).data
    (comparison,) = compare_shifts(data.results, "clean", SPEC)
    change = comparison.outcomes["a"][1].change
    row = row_of(robustness_table(data), "camera_b")
    assert (row["shift"], row["alias"], row["target_dataset"], row["left_out"]) == ("natural", "camera_b", "e", 0)
    assert not change.paired
    assert row["image_auroc_loss_low"] == pytest.approx(-change.value.high)


def test_images_whose_defect_is_gone_are_left_out(make_study):
    chosen = {"title": "", "train": ["d/a"]}
    data = make_study(gone=2, detectors=("sharp",), clean=chosen, shifted={**chosen, "target_domains": ["dark"]}).data
    table = robustness_table(data)
    assert set(table[table.condition == "no adaptation"].left_out) == {2}
    (comparison,) = compare_shifts(data.results, "clean", SPEC)
    assert row_of(table)["image_auroc_loss"] == pytest.approx(-comparison.outcomes["a"][1].change.value.value)


def test_undefined_decisions_leave_the_ranking(make_study):
    chosen = {"title": "", "train": ["d/a"]}
    data = make_study(
        validation=False, detectors=("sharp",), clean=chosen, shifted={**chosen, "target_domains": ["dark"]}
    ).data
    row = row_of(robustness_table(data))
    assert pd.notna(row["image_auroc_loss"])
    assert pd.isna(row["f1_loss"])
    assert "valid" in row["undefined"]
    assert row["f1_undefined"] == row["undefined"]
    said = row_of(robustness_table(data), condition="no adaptation", category=None)
    assert pd.isna(said["specificity"])


def test_no_shift_makes_an_empty_table(make_study):
    data = make_study(clean={"title": "", "train": ["d/a"]}).data
    table = robustness_table(data)
    assert list(table.columns) == COLUMNS
    assert table.empty


def test_section_says_what_intervals_tell(data, table):
    section = describe_robustness(data)
    assert section.reference == "clean"
    assert [setup.name for setup in section.setups] == ["blunt on net", "sharp on net"]
    assert section.told is None
    sharp = section.setups[1]
    assert [row.condition for row in sharp.domains["dark"]] == ["no adaptation", "recalibrated", "adapted"]
    row = row_of(table, category=None)
    dark, dim = (" ".join(sharp.sentences[domain]) for domain in ("dark", "dim"))
    assert dark.startswith("Used as it is, ")
    assert f"false alarms rise by {100 * row['specificity_loss']:.0f} of 100 (" in dark
    assert "With a threshold from shifted images instead, " in dark
    assert "false alarms fall by" in dark
    assert ("image AUROC falls" in dark) == (row["image_auroc_loss_low"] > 0)
    assert "With bank" not in dim  # not measured, so nothing is said of it
    assert section.tables == ["robustness.csv", "cross_shift.csv", "distance_effects.csv", "feature_robustness.csv"]


def test_rows_hold_both_sides_of_decisions_and_the_sign_of_the_change(data, table):
    (setup,) = (setup for setup in describe_robustness(data).setups if setup.name == "sharp on net")
    shown, row = setup.domains["dark"][0], row_of(table, category=None)
    assert (shown.misses.value, shown.alarms.value) == pytest.approx((row["miss_rate"], row["false_alarm_rate"]))
    assert (shown.f1.value, shown.floor.value) == pytest.approx((row["f1"], row["f1_floor"]))
    assert row["f1_floor"] == pytest.approx(2 / 3)  # as many defective images as good ones
    assert shown.change.value == pytest.approx(row["image_auroc"] - row["image_auroc_reference"])
    assert shown.change.low == pytest.approx(-row["image_auroc_loss_high"])
    start = setup.start
    assert (start.domain, start.condition, start.categories) == ("clean", "in domain", 2)
    assert start.auroc.value == pytest.approx(row["image_auroc_reference"])
    assert start.alarms.value == pytest.approx(row["false_alarm_rate_reference"])
    assert start.change.value is None


def test_the_setup_told_above_comes_first_and_is_not_told_again(data, monkeypatch):
    cell = next(cell for cell in data.results.all_cells() if cell.bank.detector == "sharp")
    section = describe_robustness(data, setup_of(cell), 3)
    assert [setup.name for setup in section.setups] == ["sharp on net", "blunt on net"]
    assert section.told is section.setups[0]
    assert "Used as it is (measured on 2 of 3 categories), " in section.told.sentences["dark"][0]
    page = render_section(section, monkeypatch)
    assert page.count('<a href="#changes">under the recommendation</a>') == 1
    assert page.count("Used as it is") == sum(len(setup.paragraphs) for setup in section.setups[1:])
    assert page.count("<small>2 of 3 categories</small>") == 2 + 1 + 1  # dark and dim, and dark's other conditions


def test_section_ranks_features_and_says_whether_intervals_overlap(data):
    section = describe_robustness(data)
    assert {row.name for row in section.features} == {"blunt on net", "sharp on net"}
    assert len(section.ranking) == 2
    assert all("its interval" in sentence for sentence in section.ranking)
    assert len(section.correlations) == 2
    assert all("pairs." in sentence.replace("\N{NO-BREAK SPACE}", " ") for sentence in section.correlations)


def test_section_is_drawn_with_all_conditions_and_links(data, monkeypatch):
    page = render_section(describe_robustness(data), monkeypatch)
    assert page.count("<td>recalibrated</td>") == 4
    assert page.count("not measured: no experiment fits a bank there") == 2
    for name in ("robustness", "cross_shift", "distance_effects", "feature_robustness"):
        assert f'href="{name}.csv"' in page


def render_section(section, monkeypatch):
    from jinja2 import DictLoader, PackageLoader

    from patchshift.report import templating

    class Loader(PackageLoader):
        def get_source(self, environment, template):
            if template == "page":
                text = '{% from "robustness.html" import robustness %}{{ robustness(section) }}'
                return DictLoader({"page": text}).get_source(environment, template)
            return super().get_source(environment, template)

    monkeypatch.setattr(templating, "PackageLoader", Loader)
    return render("page", {"section": section})


def test_nothing_away_from_home_has_no_section(make_study):
    data = make_study(clean={"title": "", "train": ["d/a"]}).data
    for name in ("robustness", "cross_shift", "distance_effects", "feature_robustness"):
        (data.folder / f"{name}.csv").write_text("kind\n", encoding="utf-8")
    assert describe_robustness(data) is None
