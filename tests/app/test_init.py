import re
from collections.abc import Callable
from pathlib import Path

import pytest

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
