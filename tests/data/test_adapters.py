from collections.abc import Callable
from pathlib import Path

import pytest

from patchshift.data.adapters import ADAPTERS, index_images, list_mtd, list_mvtec_ad
from patchshift.data.index import ImageRow
from patchshift.errors import UserError

MakeTree = Callable[..., Path]


def index(root: Path, adapter: str = "mvtec_ad", **options: object) -> list[ImageRow]:
    settings = {"dataset": "mine", "masks": "required", "max_per_class": None, **options}
    return index_images(root, adapter, **settings)  # type: ignore[arg-type]


def test_mvtec_ad_takes_label_defect_and_split_from_the_folders(make_mvtec_ad: MakeTree) -> None:
    rows = {row.image: row for row in index(make_mvtec_ad())}
    assert len(rows) == 5 + 3 + 3 + 2
    good, bad = rows["train/good/004.png"], rows["test/scratch/001.png"]
    assert (good.label, good.defect, good.mask, good.official_split, good.source) == (0, "", "", "train", "")
    assert (bad.label, bad.defect, bad.official_split) == (1, "scratch", "test")
    assert bad.mask == "ground_truth/scratch/001_mask.png"
    assert len({row.digest for row in rows.values()}) == len(rows)


def test_mtd_reads_masks_beside_images_and_has_no_official_split(make_mtd: MakeTree) -> None:
    rows = index(make_mtd(), "mtd")
    assert len(rows) == 6 + 5 * 2
    assert {row.official_split for row in rows} == {""}
    assert {row.defect for row in rows} == {"", "blowhole", "break", "crack", "fray", "uneven"}
    assert all(bool(row.mask) == bool(row.label) == bool(row.defect) for row in rows)
    bad = next(row for row in rows if row.defect == "fray")
    assert bad.mask == bad.image.removesuffix(".jpg") + ".png"


def test_every_adapter_lists_in_one_order_on_every_file_system(make_mvtec_ad: MakeTree, make_mtd: MakeTree) -> None:
    roots = {"mvtec_ad": make_mvtec_ad(), "mtd": make_mtd()}
    assert roots.keys() == ADAPTERS.keys()
    for adapter, root in roots.items():
        images = [row.image for row in ADAPTERS[adapter](root)]
        by_folder = [[image for image in images if Path(image).parent == folder] for folder in map(Path, images)]
        assert all(group == sorted(group) for group in by_folder)
        assert not any(Path(image).is_absolute() or "\\" in image for image in images)


def test_any_image_suffix_is_read_and_other_files_are_not(make_mvtec_ad: MakeTree) -> None:
    root = make_mvtec_ad()
    folder = root / "train" / "good"
    (folder / "000.png").rename(folder / "000.JPG")
    for name in ("Thumbs.db", "notes.txt", "desktop.ini"):
        (folder / name).touch()
    (root / "train" / "readme.txt").touch()
    assert next(list_mvtec_ad(root)).image == "train/good/000.JPG"
    assert sum(row.official_split == "train" for row in list_mvtec_ad(root)) == 5


def test_missing_masks_are_named_and_the_remedy_is_to_bring_them(make_mvtec_ad: MakeTree) -> None:
    root = make_mvtec_ad({"crack": 14})
    for number in range(1, 14):
        (root / "ground_truth" / "crack" / f"{number:03d}_mask.png").unlink()
    for masks in ("required", "optional"):  # some images have masks: the others must not count as free of defects
        with pytest.raises(UserError) as caught:
            index(root, masks=masks)
        message = str(caught.value)
        assert message.startswith(f"dataset 'mine': 13 defective images under {root} have no mask (test/crack/001.png,")
        assert "test/crack/010.png and 3 more): bring the masks" in message
        assert "optional" not in message


def test_a_category_without_any_mask_can_be_taken_if_the_config_says_so(make_mvtec_ad: MakeTree) -> None:
    root = make_mvtec_ad()
    for mask in (root / "ground_truth").rglob("*.png"):
        mask.unlink()
    with pytest.raises(UserError, match=r"set `datasets\.mine\.masks: optional` to go on without pixel metrics"):
        index(root)
    assert not any(row.mask for row in index(root, masks="optional"))


def test_a_folder_that_the_layout_needs_is_named(tmp_path: Path, make_mtd: MakeTree) -> None:
    with pytest.raises(UserError, match=r"folder .*/train does not exist: it belongs to this dataset's layout"):
        index(tmp_path)
    (make_mtd() / "MT_Fray").rename(tmp_path / "elsewhere")
    with pytest.raises(UserError, match=r"folder .*/MT_Fray/Imgs does not exist"):
        list(list_mtd(tmp_path / "mtd"))


def test_a_folder_without_images_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "train" / "good").mkdir(parents=True)
    (tmp_path / "test").mkdir()
    with pytest.raises(UserError, match=r"no images under .*is this the layout of adapter 'mvtec_ad'\?"):
        index(tmp_path)


def test_a_limit_keeps_the_same_images_of_each_class(make_mtd: MakeTree) -> None:
    root = make_mtd(free=8, per_defect=4)
    rows = index(root, "mtd", max_per_class=3)
    assert rows == index(root, "mtd", max_per_class=3)
    assert [row.defect for row in rows].count("") == [row.defect for row in rows].count("crack") == 3
    assert all(row.digest for row in rows)
