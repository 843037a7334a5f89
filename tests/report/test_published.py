from pathlib import Path

import pytest

from patchshift.errors import UserError
from patchshift.plan import read_yaml
from patchshift.report.analyses.published import COLUMNS, PUBLISHED, figures_of, matching, read_published

CATALOG = read_yaml(Path(__file__).parents[2] / "configs" / "catalog.yaml")
LINE = {
    "dataset": "d",
    "category": "a",
    "method": "patchcore",
    "backbone": "net",
    "coreset": "0.1",
    "condition": "in domain",
    "metric": "image_auroc",
    "value": "0.99",
    "value_to": "",
    "source": "someone",
    "protocol": "",
}
TEN_PERCENT = {"method": "patchcore", "sampler": {"method": "greedy", "share": 0.1}}
WIDE = "wide_resnet50_2"


def write(path: Path, *lines: dict[str, str], columns: tuple[str, ...] = COLUMNS) -> Path:
    rows = [",".join(line[column] for column in columns) for line in lines]
    path.write_text("\n".join([",".join(columns), *rows]) + "\n", encoding="utf-8")
    return path


def test_every_published_figure_has_a_source_and_is_in_range():
    figures = read_published()
    assert len(figures) > 100
    for figure in figures:
        assert figure.source.strip()
        ends = [figure.value] if figure.value_to is None else [figure.value, figure.value_to]
        # a share below one half would be a percentage divided twice; specificity does fall that low
        least = 0.0 if figure.metric in ("seconds_per_image", "specificity") else 0.5
        assert all(least < end <= 1 for end in ends)


def test_published_figures_are_of_datasets_categories_and_backbones_of_the_catalog():
    datasets = CATALOG["datasets"]
    for figure in read_published():
        categories = datasets[figure.dataset]["categories"]
        if figure.category.startswith("mean of "):
            assert figure.category == f"mean of {len(categories)}"
        else:
            assert set(figure.category.split("+")) <= set(categories)
        assert not figure.backbone or figure.backbone in CATALOG["backbones"]


def test_no_published_figure_stands_twice():
    keys = [
        (figure.dataset, figure.category, figure.names, figure.condition, figure.metric, figure.source, figure.protocol)
        for figure in read_published()
    ]
    assert len(keys) == len(set(keys))


@pytest.mark.parametrize(
    ("category", "metric", "value"),
    [("hazelnut", "image_auroc", 1.0), ("screw", "pixel_auroc", 0.994), ("mean of 15", "pro", 0.935)],
)
def test_figures_of_the_same_setup_stand_beside_measured_ones(category, metric, value):
    names = [f"c{number}" for number in range(15)] if category.startswith("mean") else [category]
    found = matching(read_published(), "mvtec_ad", names, WIDE, TEN_PERCENT)
    assert found[metric].value == value
    assert "2106.08265" in found[metric].source


@pytest.mark.parametrize(
    ("dataset", "categories", "backbone", "detector"),
    [
        ("visa", ["hazelnut"], WIDE, TEN_PERCENT),
        ("mvtec_ad", ["hazelnut", "screw"], WIDE, TEN_PERCENT),
        ("mvtec_ad", ["hazelnut"], "resnet18", TEN_PERCENT),
        ("mvtec_ad", ["hazelnut"], WIDE, {"method": "patchcore", "sampler": {"method": "greedy", "share": 0.02}}),
        ("mvtec_ad", ["hazelnut"], WIDE, {"method": "patchcore", "sampler": {"method": "kmeans", "share": 0.1}}),
        ("mvtec_ad", ["hazelnut"], WIDE, {"method": "pca"}),
        ("mtd", ["tile"], "", {"method": "patchcore"}),  # the source does not state its backbone
    ],
)
def test_figures_of_another_setup_do_not(dataset, categories, backbone, detector):
    assert matching(read_published(), dataset, categories, backbone, detector) == {}


def test_a_detector_without_a_coreset_has_figures_too():
    found = matching(read_published(), "mvtec_ad", ["zipper"], WIDE, {"method": "padim"})
    assert {name: figure.value for name, figure in found.items()} == {
        "image_auroc": 0.882,
        "pixel_auroc": 0.985,
        "pro": 0.959,
    }


def test_figures_of_an_experiment_are_of_its_categories_or_of_their_dataset():
    covered = {figure.category for figure in figures_of(read_published(), "mvtec_ad", ["hazelnut", "carpet"])}
    assert covered == {"hazelnut", "carpet", "mean of 15"}
    with_three = figures_of(read_published(), "mvtec_ad", ["hazelnut", "carpet", "zipper"])
    assert "hazelnut+carpet+zipper" in {figure.category for figure in with_three}
    assert figures_of(read_published(), "demo", ["weave"]) == []


def test_names_say_method_backbone_and_coreset(tmp_path):
    random = LINE | {"method": "patchcore+random", "coreset": "0.01"}
    one, two = read_published(write(tmp_path / "p.csv", LINE, random))
    assert one.names == "PatchCore, net, coreset 10 %"
    assert two.names == "patchcore+random, net, coreset 1 %"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"source": ""}, "p.csv, line 2: source is empty"),
        ({"value": ""}, "p.csv, line 2: value is empty"),
        ({"value": "99.1"}, "p.csv, line 2: value 99.1 is out of range; shares are of 1, not percent"),
        ({"value": "high"}, "p.csv, line 2: value 'high' is no number"),
        ({"value": "nan"}, "p.csv, line 2: value nan is out of range"),
        ({"value_to": "0.98"}, "p.csv, line 2: value_to 0.98 is not above value 0.99"),
        ({"coreset": "10"}, "p.csv, line 2: coreset 10 is out of range"),
        ({"condition": "clean"}, "p.csv, line 2: condition 'clean' is none of in domain, "),
        ({"metric": "seconds_per_image", "value": "0"}, "p.csv, line 2: value 0 is out of range"),
    ],
)
def test_a_wrong_row_is_named_with_its_line(tmp_path, change, message):
    with pytest.raises(UserError, match="^" + message.replace("(", r"\(")):
        read_published(write(tmp_path / "p.csv", LINE | change))


def test_a_missing_column_or_file_is_named(tmp_path):
    with pytest.raises(UserError, match=r"p\.csv: column 'source' is missing"):
        read_published(write(tmp_path / "p.csv", LINE, columns=tuple(name for name in COLUMNS if name != "source")))
    with pytest.raises(UserError, match=r"absent\.csv: the published figures cannot be read"):
        read_published(tmp_path / "absent.csv")


def test_the_file_lies_beside_the_module():
    assert PUBLISHED.is_file()
    assert PUBLISHED.parent.name == "report"
