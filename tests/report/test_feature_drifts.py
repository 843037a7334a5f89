import warnings
from dataclasses import replace

import pandas as pd
import pytest
from matplotlib.colors import to_hex

from patchshift.report.analyses.feature_drifts import name_features, read_drifts, read_features
from patchshift.report.analyses.feature_robustness import COLUMNS
from patchshift.report.plots.feature_drifts import draw_feature_drifts
from patchshift.report.sections.drifts import SHOWN, rank_drifts
from patchshift.report.sections.robustness import describe_robustness
from patchshift.report.style import PALETTE
from tests.report.test_robustness import render_section
from tests.report.wide_study import open_wide


@pytest.fixture
def data(tmp_path_factory, monkeypatch):
    return open_wide(tmp_path_factory, monkeypatch)


@pytest.fixture(autouse=True)
def no_warning():
    """Of a figure that is too small for what it holds, or of letters that its type lacks."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def features(backbone, layers, fusion, away, *, home=0.01, rank=None, **others):
    keys = {"kind": "features", "split": "s", "backbone": backbone, "weights": "w", "layers": layers, "fusion": fusion}
    return {**keys, "pairs": 4, "feature_drift": away, "home_feature_drift": home, "drift_rank": rank, **others}


def made_up(data, tmp_path, rows):
    table = pd.DataFrame(rows, columns=COLUMNS).astype({"drift_rank": "Int64"})
    table.to_csv(tmp_path / "feature_robustness.csv", index=False)
    return replace(data, folder=tmp_path)


@pytest.fixture
def two_backbones(data, tmp_path):
    rows = [
        features("net", "layer2", "single", 0.5, rank=4),
        features("net", "layer3", "single", 0.2, rank=2),
        features("net", "layer2 layer3", "weighted (1 layer2 + 2 layer3)", 0.3, rank=3, home=None),
        features("waves", "first", "single", 0.1, rank=1),
        features("waves", "second", "single", None, pairs=0, home=None, undefined="a mean vector is zero"),
    ]
    return made_up(data, tmp_path, rows)


def test_drifts_are_read_apart_at_home_and_away(data):
    found = read_drifts(data)
    table = pd.read_csv(data.folder / "feature_drifts.csv")
    assert [(each.layers, each.fusion) for each in found] == [
        ("fine", "single"), ("coarse", "single"), ("fine coarse", "concat")
    ]  # fmt: skip
    for features, drifts in found.items():
        own = table[table.layers == features.layers]
        assert [value.value for value in drifts.home.values()] == list(own[own.at_home == 1].value)
        assert [value.value for value in drifts.away.values()] == list(own[own.at_home == 0].value)


def test_a_study_without_distances_has_no_drifts_and_no_figure(data, tmp_path):
    lean = made_up(data, tmp_path, [{"kind": "setup", "split": "s"}])
    assert read_drifts(lean) == {}
    assert read_features(lean) == []
    assert draw_feature_drifts(lean) is None
    assert rank_drifts(lean) is None
    assert draw_feature_drifts(made_up(data, tmp_path, [features("net", "layer2", "single", 0.5)])) is None


def test_layers_and_fusions_are_named_in_words():
    cached = ["layer1", "layer2", "layer3"]
    assert name_features("layer2", "single", cached) == "layer2"
    assert name_features("layer1 layer2 layer3", "concat", cached) == "concat of all layers"
    assert name_features("layer2 layer3", "adaptive (inverse)", cached) == "adaptive (inverse) of layer2, layer3"


def test_splits_are_named_where_there_are_several(data, tmp_path):
    rows = [features("net", "layer2", "single", 0.5, split=split) for split in ("s", "t")]
    assert [row.backbone for row in read_features(made_up(data, tmp_path, rows))] == ["net, s", "net, t"]


def test_the_figure_has_a_filled_mark_away_and_an_open_one_at_home_lowest_first_in_each_backbone(two_backbones):
    drawn = draw_feature_drifts(two_backbones)
    assert drawn.data.to_dict("list") == {
        "backbone": ["net", "net", "net", "waves"],
        "features": ["layer3", "weighted (1 layer2 + 2 layer3)", "layer2", "first"],
        "pairs": [4, 4, 4, 4],
        "feature_drift": [0.2, 0.3, 0.5, 0.1],
        "home_feature_drift": [0.01, pytest.approx(float("nan"), nan_ok=True), 0.01, 0.01],
    }
    (axes,) = drawn.figure.axes
    marks = [line for line in axes.lines if len(line.get_xdata()) == 1]
    filled = [line for line in marks if to_hex(line.get_markerfacecolor()) != "#ffffff"]
    assert [float(line.get_xdata()[0]) for line in filled] == [0.2, 0.3, 0.5, 0.1]
    assert [to_hex(line.get_color()).upper() for line in filled] == [*[PALETTE[0]] * 3, PALETTE[1]]
    assert [float(line.get_xdata()[0]) for line in marks if line not in filled] == [0.01] * 3
    places = [float(line.get_ydata()[0]) for line in filled]
    assert places == sorted(places)
    assert [label.get_text() for label in axes.get_yticklabels()] == list(drawn.data.features)
    (legend,) = drawn.figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["net", "waves", "at home: no shift"]
    assert axes.get_xlim()[0] == 0


def test_the_section_ranks_layers_and_fusions_and_says_what_is_measured_where_nothing_has_shifted(two_backbones):
    ranking = rank_drifts(two_backbones)
    assert [row.rank for row in ranking.rows] == ["1", "2", "3", "4", ""]
    assert ranking.hidden == 0
    assert ranking.least == (
        "Least drift away from home: first of waves (0.100 of the mean's length, at home 0.010); layer3 of net (0.200 "
        "of the mean's length, at home 0.010). Features that move less need not detect better: they may see less."
    )


def test_all_that_drift_as_little_are_named_and_what_is_not_ranked_is_not(data, tmp_path):
    rows = [features("net", "layer2", "single", 0.0, rank=1), features("net", "layer3", "single", 0.0, rank=1)]
    assert rank_drifts(made_up(data, tmp_path, rows)).least.startswith(
        "Least drift away from home: layer2 and layer3 (0.000 of the mean's length). "
    )
    rows = [features("net", "layer2", "single", 0.1), features("waves", "first", "single", 0.2)]
    assert rank_drifts(made_up(data, tmp_path, rows)).least == ""


def test_a_long_ranking_is_cut_and_says_so(data, tmp_path, monkeypatch):
    rows = [features("net", f"layer{n}", "single", 0.1 * n, rank=n + 1) for n in range(SHOWN + 3)]
    ranking = rank_drifts(made_up(data, tmp_path, rows))
    assert (len(ranking.rows), ranking.hidden) == (SHOWN, 3)
    assert ranking.least.startswith("Least drift away from home: layer0 (0.000 of")
    page = render_section(replace(describe_robustness(data), drifts=ranking), monkeypatch)
    assert '3 more in <a href="feature_robustness.csv">' in page


def test_the_page_shows_the_ranking_only_where_it_is_measured(data, monkeypatch):
    section = describe_robustness(data)
    page = render_section(section, monkeypatch)
    table = page.split("<h4>Which layers and fusions drift</h4>")[1].split("</table>")[0]
    assert table.count('<tr><th scope="row">') == 3
    assert table.index("coarse") < table.index("fine")
    assert {row.name for row in section.features} == {"blunt on net", "sharp on net"}  # setups stand apart
    assert "Which layers and fusions drift" not in render_section(replace(section, drifts=None), monkeypatch)
