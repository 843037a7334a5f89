import re
from collections.abc import Callable
from pathlib import Path

import pytest

from patchshift.app.layouts import OWN_LIST
from patchshift.app.main import main
from patchshift.plan import load_study, read_yaml

MakeTree = Callable[..., Path]


@pytest.fixture
def checkout(tmp_path: Path, repository: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "checkout"
    (folder / "configs").mkdir(parents=True)
    (folder / "configs/catalog.yaml").write_bytes((repository / "configs/catalog.yaml").read_bytes())
    monkeypatch.chdir(folder)
    return folder


def test_it_writes_a_study_that_plans_and_prints_how_to_run_it(
    make_folder: MakeTree, checkout: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = make_folder()
    assert main(["init", str(root)]) == 0
    printed = capsys.readouterr().out
    config = Path(f"configs/{root.name}.yaml")
    assert re.search(rf"\n  snakemake --cores \d+ --configfile {config} all\n$", printed)
    study = load_study(read_yaml(config), str(config))
    assert study.name == root.name
    (dataset,) = {cell.target.dataset for cell in study.all_cells()}
    assert Path(study.image_root(dataset, root.name)) == root.resolve()


def test_every_choice_stands_beside_its_reason(make_mvtec_ad: MakeTree, checkout: Path) -> None:
    assert main(["init", str(make_mvtec_ad({"crack": 12})), "--name", "bracket"]) == 0
    text = Path("configs/bracket.yaml").read_text()
    for line in (
        "12 defective (12 crack, 12 with a mask)",
        "# every defective image has a mask",
        "choose the threshold",
    ):
        assert line in text


def test_a_config_that_is_there_is_not_overwritten(
    make_folder: MakeTree, checkout: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (checkout / "configs/mine.yaml").write_text("precious")
    assert main(["init", str(make_folder()), "--name", "mine"]) == 1
    assert "configs/mine.yaml exists: choose another --name or --config" in capsys.readouterr().err
    assert (checkout / "configs/mine.yaml").read_text() == "precious"
    assert main(["init", str(make_folder()), "--name", "mine", "--overwrite"]) == 0
    assert (checkout / "configs/mine.yaml").read_text() != "precious"


def test_a_folder_with_an_id_of_the_catalog_gets_another(make_mtd: MakeTree, checkout: Path) -> None:
    assert main(["init", str(make_mtd())]) == 0
    assert list(read_yaml(Path("configs/mtd.yaml"))["add"]["datasets"]) == ["mtd_own"]


def test_it_says_where_it_must_be_run(
    make_folder: MakeTree, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["init", str(make_folder())]) == 1
    assert capsys.readouterr().err.startswith("error: configs/catalog.yaml is not here: run this in the folder of")


def test_odd_names_of_folders_and_defects_make_a_valid_config(
    tmp_path: Path, make_folder: MakeTree, checkout: Path
) -> None:
    root = make_folder()
    odd = tmp_path / "it's 100% 'ok': #1"
    root.rename(odd)
    (odd / "defect" / next((odd / "defect").iterdir()).name).rename(odd / "defect" / 'no: "really" #2')
    if (odd / "masks").is_dir():
        (odd / "masks" / next((odd / "masks").iterdir()).name).rename(odd / "masks" / 'no: "really" #2')
    assert main(["init", str(odd), "--name", "odd"]) == 0
    study = load_study(read_yaml(Path("configs/odd.yaml")), "odd.yaml")
    assert Path(study.image_root("odd", study.catalog.datasets["odd"].categories[0])) == odd.resolve()


def test_masks_of_some_defects_are_refused_before_anything_is_written(
    make_mvtec_ad: MakeTree, checkout: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = make_mvtec_ad({"crack": 12})
    (root / "ground_truth/crack/003_mask.png").unlink()
    assert main(["init", str(root), "--name", "part"]) == 1
    assert "1 defective images" in capsys.readouterr().err
    assert not Path("configs/part.yaml").exists()


@pytest.mark.parametrize(
    "name", ["01", "2024-05-01", "2024-13-45", "1.5", "no", "on", "true", "null", "0x1F", "12:30", "own"]
)
def test_a_name_that_yaml_takes_for_something_else_stays_text(
    name: str, tmp_path: Path, make_folder: MakeTree, checkout: Path
) -> None:
    root = make_folder().rename(tmp_path / name)
    assert main(["init", str(root)]) == 0
    study_id = name.replace(":", "_")
    config = read_yaml(Path(f"configs/{study_id}.yaml"))
    assert (config["study"], list(config["add"]["datasets"])) == (study_id, [study_id])
    assert {tuple(experiment["train"]) for experiment in config["experiments"].values()} == {(study_id,)}
    assert load_study(config, "config").image_root(study_id, study_id) == str(root.resolve())


def test_an_ordinary_name_stands_without_quotes(make_folder: MakeTree, checkout: Path) -> None:
    assert main(["init", str(make_folder()), "--name", "knob_2.a"]) == 0
    text = Path("configs/knob_2.a.yaml").read_text()
    assert text.count("\nstudy: knob_2.a\n") == text.count("\n    knob_2.a:\n") == 1
    assert text.count("train: [knob_2.a]\n") == 3


@pytest.mark.parametrize("listed", [None, "image,label\nmine.png,0\n"])
def test_a_study_that_does_not_plan_leaves_everything_as_it_was(
    listed: str | None, tmp_path: Path, make_folder: MakeTree, checkout: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = make_folder(masks=False)
    (root / "good").rename(root / "ok")
    if listed:
        (root / OWN_LIST).write_text(listed)
    catalog = Path("configs/catalog.yaml")
    catalog.write_text(catalog.read_text().replace("photometric_moderate", "photometric_other"))
    before = sorted(tmp_path.rglob("*"))
    assert main(["init", str(root), "--config", "new/knob.yaml"]) == 1
    assert "1 mistake in the config:\n  new/knob.yaml: " in capsys.readouterr().err
    assert sorted(tmp_path.rglob("*")) == before
    assert not listed or (root / OWN_LIST).read_text() == listed


def test_a_config_is_not_overwritten_by_one_that_does_not_plan(make_folder: MakeTree, checkout: Path) -> None:
    Path("configs/mine.yaml").write_text("precious")
    catalog = Path("configs/catalog.yaml")
    catalog.write_text(catalog.read_text().replace("photometric_moderate", "photometric_other"))
    assert main(["init", str(make_folder()), "--name", "mine", "--overwrite"]) == 1
    assert Path("configs/mine.yaml").read_text() == "precious"


def test_folders_that_are_left_out_are_named_in_the_output_and_in_the_config(
    make_folder: MakeTree, checkout: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = make_folder()
    (root.parent / "unsorted").mkdir()
    (root / "good/000.png").rename(root.parent / "unsorted/000.png")
    assert main(["init", str(root.parent), "--name", "parts"]) == 0
    note = f"the images in {root.parent.name}/unsorted are left out: their layout is none that is known"
    assert f"note: {note}" in capsys.readouterr().out
    assert f"# Note: {note}" in Path("configs/parts.yaml").read_text()


def test_a_mask_that_could_be_that_of_two_images_is_refused_by_name(
    make_folder: MakeTree, checkout: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = make_folder({"scratch": 1, "dent": 1})
    (root / "good").rename(root / "ok")
    (root / "defect").rename(root / "ng")
    (root / "masks/dent/000.png").rename(root / "masks/000.png")
    (root / "masks/scratch/000.png").unlink()
    assert main(["init", str(root), "--name", "knob"]) == 1
    assert "masks/000.png (ng/dent/000.png, ng/scratch/000.png)" in capsys.readouterr().err
    assert not Path("configs/knob.yaml").exists()


def test_the_config_says_which_categories_have_no_masks(make_folder: MakeTree, tmp_path: Path, checkout: Path) -> None:
    make_folder().rename(tmp_path / "bolt")
    make_folder(masks=False).rename(tmp_path / "nut")
    (tmp_path / "parts").mkdir()
    for category in ("bolt", "nut"):
        (tmp_path / category).rename(tmp_path / "parts" / category)
    assert main(["init", str(tmp_path / "parts")]) == 0
    assert "masks: optional  # no masks in nut: pixels are measured in" in Path("configs/parts.yaml").read_text()
