import base64
import io
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from patchshift.evaluation.distance_intervals import DISTANCES
from patchshift.plan import open_study
from patchshift.plan.exhibits import list_distance_tables, list_drift_tables
from patchshift.plan.inspections import list_inspection_figures, pair_domains
from patchshift.report.distances import tidy_distances
from patchshift.report.inside import TITLES, WIDTH, arrange_looks
from patchshift.runtime.files import write_json, write_text

ROOT = Path(__file__).parents[2]
EXPERIMENT = {"clean": {"title": "In domain", "train": ["d/a"]}}


def draw(folder: Path, backbone: str, *names: str, category: str = "a") -> list[Path]:
    """Figures in the study's folder, wider than high."""
    paths = [folder / "inspections/d" / category / backbone / name for name in names]
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((500, 1000, 3), 255, np.uint8)).save(path)
    return paths


def test_figures_are_arranged_by_category_and_backbone_and_small(tmp_path: Path) -> None:
    figures = [
        *draw(tmp_path, "net", "patch_map.png", "separability.png"),
        *draw(tmp_path, "waves", "patch_map.png"),
        *draw(tmp_path, "net", "attention.png", category="b"),
    ]
    looks = arrange_looks(figures, tmp_path, {"net": "random", "waves": "none"})
    assert {category: list(backbones) for category, backbones in looks.items()} == {
        "d/a": ["net (random weights)", "waves"],
        "d/b": ["net (random weights)"],
    }
    titles = [preview.title for preview in looks["d/a"]["net (random weights)"]]
    assert titles == ["Map of patches", "Separability by layer"]
    (preview,) = looks["d/a"]["waves"]
    assert preview.address == "inspections/d/a/waves/patch_map.png"
    assert Image.open(io.BytesIO(base64.b64decode(preview.picture.split(",")[1]))).size == (WIDTH, WIDTH // 2)


def test_the_page_shows_what_looks_inside_have_drawn_and_says_what_each_is(make_study, tmp_path: Path) -> None:
    import write_report

    study = make_study(detectors=("sharp",), weights="random", **EXPERIMENT)
    pairs = pair_domains(study.plan, ["net"])
    for pair in pairs:
        distances = {name: {"value": 0.1, "low": 0.0, "high": 0.2, "plug_in": 0.1} for name in DISTANCES}
        write_json(Path(pair.path), {"distances": distances, "counts": {"training_images": 3, "target_images": 6}})
    table = study.folder / "distances.csv"
    write_text(table, tidy_distances(pairs, study.plan.weights).to_csv(index=False))
    looks = [str(figure) for figure in draw(study.folder, "net", *TITLES)]
    write_report.main([*study.arguments(tmp_path / "page.html"), "--looks", *looks, "--distances", str(table)])
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    section = page.split('<section id="inside">')[1].split("</section>")[0]
    for said in (*TITLES.values(), "docs/looking-inside.md", "<h4>net (random weights)</h4>", "Wasserstein"):
        assert said in section, said
    for name in TITLES:
        assert f'href="inspections/d/a/net/{name}"' in section
    assert '<a href="#inside">' in page
    for name in ("distances.csv", "feature_drifts.csv"):
        assert f'<a href="{name}">' in page


def test_a_study_that_does_not_look_inside_says_nothing_of_it(made_page: str) -> None:
    assert "Looking inside" not in made_page


def test_the_report_waits_for_all_that_it_shows() -> None:
    config = ROOT / "configs/small/fusions.yaml"
    study = open_study(yaml.safe_load(config.read_text(encoding="utf-8")), [config])
    assert list_distance_tables(study) == [f"{study.folder}/distances.csv"]
    assert list_drift_tables(study) == [f"{study.folder}/feature_drifts.csv"]
    assert {Path(path).name for path in list_inspection_figures(study)} <= set(TITLES)
    rule = (ROOT / "rules/studies.smk").read_text(encoding="utf-8").split("rule write_report:")[1]
    for asked in ("inspections.list_inspection_figures(study)", "exhibits.list_distance_tables(study)"):
        assert asked in rule.split("output:")[0]


@pytest.mark.parametrize("name", ["patch_map.png", "separability.png", "activation_energy.png", "attention.png"])
def test_every_figure_has_a_title_and_an_explanation(name: str) -> None:
    assert TITLES[name]
    assert f"## {name}" in (ROOT / "docs/looking-inside.md").read_text(encoding="utf-8")
