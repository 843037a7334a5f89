import logging
from collections.abc import Callable
from pathlib import Path

import pytest

from patchshift.data.adapters import ADAPTERS, index_images, list_images
from patchshift.data.images import read_mask
from patchshift.data.index import ImageRow, read_index, write_index
from patchshift.data.splits import split_images
from patchshift.errors import UserError
from patchshift.plan.data_specs import VISA_SPLIT, SplitSpec
from patchshift.runtime.files import digest_file

MakeTree = Callable[..., Path]

WITHOUT_OFFICIAL_SPLIT = {"mtd", "folder"}

SPLITS = [
    SplitSpec(protocol="source_plan", train_share=0.6, val_anomalous_share=0.3),
    SplitSpec(protocol="source_plan", train_share=0.6, val_anomalous_share=0.3, ignore_official=True),
    SplitSpec(protocol="normals_only", train_share=0.6),
    SplitSpec(protocol="official", train_share=0.6, val_anomalous_share=0.3),
    SplitSpec(protocol="published"),
    SplitSpec(protocol="published", train_limit=2, train_contamination=0.3),
]


def index(root: Path, adapter: str = "mvtec_ad", **options: object) -> list[ImageRow]:
    settings = {"dataset": "mine", "masks": "required", "max_per_class": None, **options}
    return index_images(root, adapter, **settings)  # type: ignore[arg-type]


def by_image(rows: list[ImageRow]) -> dict[str, ImageRow]:
    return {row.image: row for row in rows}


@pytest.fixture(params=sorted(ADAPTERS))
def adapter(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def root(adapter: str, request: pytest.FixtureRequest) -> Path:
    """A small category in the adapter's layout: each adapter needs a fixture `make_{adapter}` that writes one."""
    made: Path = request.getfixturevalue(f"make_{adapter}")()
    return made


def test_every_adapter_labels_its_images_and_finds_their_masks(adapter: str, root: Path) -> None:
    rows = index(root, adapter)
    assert {row.label for row in rows} == {0, 1}
    assert len({row.key for row in rows}) == len(rows)
    for row in rows:
        assert bool(row.label) == bool(row.defect) == bool(row.mask)
        assert row.official_split in ({""} if adapter in WITHOUT_OFFICIAL_SPLIT else {"train", "test"})
        assert row.digest == digest_file(root / row.image)
        assert (row.source, row.ignore) == ("", "")
        if row.mask:
            assert read_mask(root / row.mask).any()


def test_every_adapter_reads_every_image_of_its_layout_and_no_mask(
    adapter: str, root: Path, caplog: pytest.LogCaptureFixture
) -> None:
    listed = {row.image for row in list_images(root, adapter)}
    assert "are left out (" not in caplog.text
    files = {path.relative_to(root).as_posix() for path in root.rglob("*.*") if path.suffix.lower() != ".csv"}
    masks = {path for path in files if any(word in path for word in ("mask", "Mask", "ground_truth", "_GT", "copy"))}
    masks |= {path for path in files if adapter == "mtd" and path.endswith(".png")}
    assert listed == files - masks


def test_every_adapter_lists_in_one_order_without_absolute_paths(adapter: str, root: Path, tmp_path: Path) -> None:
    rows = list_images(root, adapter)
    assert rows == list_images(root, adapter)
    images = [row.image for row in rows]
    by_class = [
        [row.image for row in rows if (row.official_split, row.defect) == key]
        for key in {(row.official_split, row.defect) for row in rows}
    ]
    assert all(group == sorted(group) for group in by_class)
    assert not any(Path(path).is_absolute() or "\\" in path or str(tmp_path) in path for path in images)


def test_every_adapters_index_is_read_as_it_was_written(adapter: str, root: Path, tmp_path: Path) -> None:
    rows = index(root, adapter)
    write_index(tmp_path / "index.csv", rows)
    assert read_index(tmp_path / "index.csv") == rows
    assert str(tmp_path) not in (tmp_path / "index.csv").read_text()


@pytest.mark.parametrize("spec", SPLITS, ids=lambda spec: spec.canonical())
def test_every_adapters_images_can_be_split_or_it_is_said_why_not(adapter: str, root: Path, spec: SplitSpec) -> None:
    rows = list_images(root, adapter)
    if adapter in WITHOUT_OFFICIAL_SPLIT and spec.protocol == "official":
        with pytest.raises(UserError, match="'official' needs a dataset with a training and a test set of its own"):
            split_images(rows, spec)
        return
    split = split_images(rows, spec)
    assert set(split.parts) == {row.key for row in rows}
    assert split.taken_for_good
    assert split.anomalous & set(split.of("test"))


def test_every_adapter_takes_other_names_with_spaces_and_letters_of_any_script(adapter: str, root: Path) -> None:
    before = list_images(root, adapter)
    renamed = next(row for row in before if not row.label)
    mask = (root / renamed.image).with_name(f"{Path(renamed.image).stem}_GT.png")
    new = Path(renamed.image).with_stem("grün 表面 1")
    (root / renamed.image).rename(root / new)
    if mask.is_file():
        mask.rename(mask.with_stem("grün 表面 1_GT"))
    if adapter == "visa":
        path = root.parent / VISA_SPLIT
        path.write_text(path.read_text().replace(renamed.image, new.as_posix()))
    after = list_images(root, adapter)
    assert len(after) == len(before)
    assert new.as_posix() in {row.image for row in after}


def test_every_adapter_reports_images_that_it_leaves_out(
    adapter: str, root: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (root / "elsewhere" / "deeper").mkdir(parents=True)
    for name in ("b.png", "a.JPG", "notes.txt", ".hidden.png"):
        (root / "elsewhere" / "deeper" / name).touch()
    rows = list_images(root, adapter)
    assert not any("elsewhere" in row.image for row in rows)
    assert f"2 images under {root} are left out (elsewhere/deeper/a.JPG, elsewhere/deeper/b.png)" in caplog.text


def test_hidden_files_are_no_images(make_mvtec_ad: MakeTree) -> None:
    root = make_mvtec_ad()
    before = index(root)
    (root / "train" / "good" / "._000.png").touch()  # what macOS leaves on foreign disks
    (root / "test" / ".Trash").mkdir()
    assert index(root) == before


def test_linked_folders_are_followed_and_circles_are_not(make_mvtec_ad: MakeTree, tmp_path: Path) -> None:
    root = make_mvtec_ad()
    before = index(root)
    (root / "train").rename(tmp_path / "disk")
    (root / "train").symlink_to(tmp_path / "disk")
    (root / "test" / "good" / "again").symlink_to(root)
    assert index(root) == before


def test_a_broken_link_is_an_error_not_a_missing_image(make_mvtec_ad: MakeTree, tmp_path: Path) -> None:
    root = make_mvtec_ad()
    (root / "train" / "good" / "900.png").symlink_to(tmp_path / "gone.png")
    with pytest.raises(UserError, match=r"900\.png does not exist: bring it there"):
        index(root)


def test_names_that_no_csv_can_hold_are_named(make_mvtec_ad: MakeTree) -> None:
    root = make_mvtec_ad()
    Path(root, "train", "good", "\udcff.png").touch()
    with pytest.raises(UserError, match=r"train/good: rename '\\udcff\.png': these names are not UTF-8"):
        index(root)


def test_mvtec_ad_takes_label_defect_and_split_from_the_folders(make_mvtec_ad: MakeTree) -> None:
    rows = by_image(index(make_mvtec_ad()))
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
    bad = next(row for row in rows if row.defect == "fray")
    assert bad.mask == bad.image.removesuffix(".jpg") + ".png"


def test_visa_takes_parts_and_defect_types_from_its_lists(make_visa: MakeTree) -> None:
    rows = by_image(index(make_visa(), "visa"))
    assert len(rows) == 6 + 3
    assert [row.official_split for row in rows.values()] == ["train"] * 4 + ["test"] * 5
    assert [row.defect for row in rows.values() if row.label] == ["burnt", "small_scratches", "combined"]
    assert rows["Data/Images/Anomaly/001.JPG"].mask == "Data/Masks/Anomaly/001.png"


def test_visa_goes_on_without_its_lists_and_says_so(make_visa: MakeTree, caplog: pytest.LogCaptureFixture) -> None:
    root = make_visa()
    (root.parent / VISA_SPLIT).unlink()
    (root / "image_anno.csv").unlink()
    rows = index(root, "visa")
    assert {row.official_split for row in rows} == {""}
    assert {row.defect for row in rows} == {"", "anomaly"}
    assert f"1cls.csv does not exist: {root} has no official split" in caplog.text


def test_visa_names_all_images_that_its_list_lacks(make_visa: MakeTree) -> None:
    root = make_visa()
    for kind in ("Normal", "Anomaly"):
        (root / f"Data/Images/{kind}/000.JPG").rename(root / f"Data/Images/{kind}/900.JPG")
    (root / "Data/Masks/Anomaly/000.png").rename(root / "Data/Masks/Anomaly/900.png")
    with pytest.raises(UserError) as caught:
        index(root, "visa")
    message = str(caught.value)
    assert (
        "1cls.csv does not list 2 images of 'cashew' (Data/Images/Normal/900.JPG, Data/Images/Anomaly/900.JPG)"
        in message
    )
    assert "or remove it to go on without an official split" in message


def test_visa_warns_of_listed_images_that_are_missing(make_visa: MakeTree, caplog: pytest.LogCaptureFixture) -> None:
    root = make_visa()
    (root / "Data/Images/Normal/003.JPG").unlink()
    assert len(index(root, "visa")) == 8
    assert "are missing (Data/Images/Normal/003.JPG)" in caplog.text


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        ("object,split,label,image,mask\ncashew,val,normal,cashew/Data/a.JPG,\n", r"line 2: split 'val' is neither"),
        ("object,split,label,image,mask\ncashew,train\n", r"line 2: 2 values for 5 columns"),
        ("split,label,image\n", r"has no column object: its first line names the columns"),
        ("", r"has no column object, split, image"),
    ],
)
def test_a_damaged_visa_list_is_named_by_line(make_visa: MakeTree, damage: str, message: str) -> None:
    root = make_visa()
    (root.parent / VISA_SPLIT).write_text(damage)
    with pytest.raises(UserError, match=message):
        index(root, "visa")


def test_ksdd2_takes_the_label_from_the_mask(make_ksdd2: MakeTree) -> None:
    rows = by_image(index(make_ksdd2(good=3, defective=2), "ksdd2"))
    assert [(row.official_split, row.label) for row in rows.values()] == [
        (part, label) for part in ("train", "test") for label in (0, 0, 0, 1, 1)
    ]
    assert rows["test/20004.png"].mask == "test/20004_GT.png"
    assert rows["test/20000.png"].mask == ""
    assert {row.defect for row in rows.values()} == {"", "defect"}


def test_ksdd2_leaves_out_stray_copies_and_names_them(make_ksdd2: MakeTree, caplog: pytest.LogCaptureFixture) -> None:
    root = make_ksdd2()
    before = index(root, "ksdd2")
    (root / "test" / "20000.png").rename(root / "test" / "20000 (2nd Copy).png")
    (root / "test" / "20000_GT.png").unlink()
    caplog.clear()
    after = index(root, "ksdd2")
    assert {row.image for row in before} - {row.image for row in after} == {"test/20000.png"}
    [record] = caplog.records
    assert record.levelno == logging.WARNING
    assert record.getMessage() == (
        f"{root}: 2 stray copies are left out: train/10001_GT (copy).png, test/20000 (2nd Copy).png"
    )


def test_ksdd2_names_all_images_without_mask_and_all_masks_that_cannot_be_read(make_ksdd2: MakeTree) -> None:
    root = make_ksdd2()
    for name in ("train/10000", "test/20003"):
        (root / f"{name}_GT.png").write_bytes(b"no image")
    with pytest.raises(UserError, match=r"(?s)2 files cannot be used:.*10000_GT\.png: not.*20003_GT\.png: not"):
        index(root, "ksdd2")
    for name in ("train/10000", "test/20003"):
        (root / f"{name}_GT.png").unlink()
    with pytest.raises(UserError, match=r"2 images under .* \(train/10000\.png, test/20003\.png\): in KSDD2 good"):
        index(root, "ksdd2")


def test_btad_takes_masks_of_any_image_suffix(make_btad: MakeTree) -> None:
    root = make_btad()
    masks = root / "ground_truth" / "ko"
    (masks / "0001.png").rename(masks / "0001.bmp")
    rows = by_image(index(root, "btad"))
    assert len(rows) == 5 + 2 + 4
    assert [rows[f"test/ko/000{number}.bmp"].mask[-3:] for number in range(3)] == ["png", "bmp", "png"]
    assert rows["train/ok/0000.bmp"].official_split == "train"
    assert {row.defect for row in rows.values()} == {"", "ko"}
    (masks / "0002.tiff").touch()
    with pytest.raises(UserError, match=r"0002\.png and ground_truth/ko/0002\.tiff have one name"):
        index(root, "btad")


def test_ones_own_images_can_be_divided_into_train_and_test(make_folder: MakeTree) -> None:
    rows = by_image(index(make_folder(divided=True), "folder"))
    assert len(rows) == 2 * (6 + 3 + 2)
    assert all(row.official_split == row.image.partition("/")[0] for row in rows.values())
    bad = rows["test/defect/dent/001.png"]
    assert (bad.label, bad.defect, bad.mask) == (1, "dent", "test/masks/dent/001.png")


def test_ones_own_training_images_may_all_be_good_and_test_images_all_defective(make_folder: MakeTree) -> None:
    root = make_folder(divided=True)
    for folder in ("train/defect", "train/masks", "test/good"):
        (root / folder).rename(root.parent / folder.replace("/", "_"))
    rows = index(root, "folder")
    assert [(row.official_split, row.label) for row in rows] == [("train", 0)] * 6 + [("test", 1)] * 5


def test_ones_own_masks_may_lie_in_one_folder_if_names_are_unique(make_folder: MakeTree) -> None:
    root = make_folder({"dent": 2})
    for mask in (root / "masks" / "dent").iterdir():
        mask.rename(root / "masks" / mask.name)
    assert by_image(index(root, "folder"))["defect/dent/001.png"].mask == "masks/001.png"
    (root / "defect" / "hole").mkdir()
    (root / "defect" / "hole" / "001.png").touch()
    with pytest.raises(UserError, match=r"masks/001\.png could be the mask of 2 images, defect/dent/001\.png among"):
        index(root, "folder")


def test_ones_own_images_need_a_folder_of_good_ones(make_folder: MakeTree) -> None:
    root = make_folder(divided=True)
    (root / "test").rename(root / "testing")
    with pytest.raises(UserError, match=r"folder .*/own/test does not exist"):
        index(root, "folder")
    (root / "train").rename(root / "training")
    with pytest.raises(UserError, match=r"folder .*/own/good does not exist"):
        index(root, "folder")


def test_any_image_suffix_is_read_and_other_files_are_not(make_mvtec_ad: MakeTree) -> None:
    root = make_mvtec_ad()
    folder = root / "train" / "good"
    (folder / "000.png").rename(folder / "000.JPG")
    for name in ("Thumbs.db", "notes.txt", "desktop.ini"):
        (folder / name).touch()
    (root / "train" / "readme.txt").touch()
    rows = list_images(root, "mvtec_ad")
    assert rows[0].image == "train/good/000.JPG"
    assert sum(row.official_split == "train" for row in rows) == 5


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


def test_a_category_without_any_mask_can_be_taken_if_the_config_says_so(make_folder: MakeTree) -> None:
    root = make_folder(masks=False)
    with pytest.raises(UserError, match=r"set `datasets\.mine\.masks: optional` to go on without pixel metrics"):
        index(root, "folder")
    assert not any(row.mask for row in index(root, "folder", masks="optional"))


def test_a_folder_that_the_layout_needs_is_named(tmp_path: Path, make_mtd: MakeTree) -> None:
    with pytest.raises(UserError, match=r"folder .*/train does not exist: it belongs to this dataset's layout"):
        index(tmp_path)
    (make_mtd() / "MT_Fray").rename(tmp_path / "elsewhere")
    with pytest.raises(UserError, match=r"folder .*/MT_Fray/Imgs does not exist"):
        list_images(tmp_path / "mtd", "mtd")


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


def test_one_ignore_mask_holds_for_all_images(adapter: str, root: Path) -> None:
    (root / "camera.png").touch()
    assert {row.ignore for row in index(root, adapter, ignore_mask="camera.png")} == {"camera.png"}


def test_ignore_masks_are_found_by_an_images_path_or_by_its_name(
    make_folder: MakeTree, caplog: pytest.LogCaptureFixture
) -> None:
    root = make_folder({"dent": 2})
    for name in ("good/001.png", "defect/dent/001.png", "003.png", "unknown.png"):
        (root / "ignore" / name).parent.mkdir(parents=True, exist_ok=True)
        (root / "ignore" / name).touch()
    found = {row.image: row.ignore for row in index(root, "folder", ignore_mask="ignore/") if row.ignore}
    assert found == {
        "good/001.png": "ignore/good/001.png",
        "good/003.png": "ignore/003.png",
        "defect/dent/001.png": "ignore/defect/dent/001.png",
    }
    assert f"1 images under {root} are left out (ignore/unknown.png)" in caplog.text


def test_an_ignore_mask_that_could_belong_to_several_images_is_an_error(make_folder: MakeTree) -> None:
    root = make_folder()
    (root / "ignore").mkdir()
    (root / "ignore" / "000.png").touch()
    with pytest.raises(UserError, match=r"ignore/000\.png could belong to 3 images: .* ignore/good/000\.png"):
        index(root, "folder", ignore_mask="ignore")


def test_ignore_masks_that_are_missing_or_match_nothing_are_the_users_to_mend(make_folder: MakeTree) -> None:
    root = make_folder()
    with pytest.raises(UserError, match=r"ignore_mask: .*/regions does not exist: bring it there, or remove the key"):
        index(root, "folder", ignore_mask="regions")
    (root / "regions").mkdir()
    (root / "regions" / "unknown.png").touch()
    with pytest.raises(UserError, match=r"no file in .*/regions has the name of an image, such as good/000\.png"):
        index(root, "folder", ignore_mask="regions")
