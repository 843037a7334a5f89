from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from patchshift.app.layouts import OWN_LIST, folder_id, recognise
from patchshift.data.adapters import ADAPTERS, list_images
from patchshift.errors import UserError

MakeTree = Callable[..., Path]


def put(path: Path, count: int = 1) -> None:
    path.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        Image.fromarray(np.full((8, 9, 3), number, np.uint8)).save(path / f"{number}.png")


def listed(folder: Path) -> dict[str, list[str]]:
    """Category -> the images that the recognised layout finds, by the adapter that it names."""
    layout = recognise(folder)
    found = {}
    for category in layout.categories:
        rows = list_images(layout.root(category), layout.adapter, manifest=layout.manifest)
        found[category] = sorted(row.image for row in rows)
    return found


def test_every_layout_that_can_be_read_is_recognised(
    make_mvtec_ad: MakeTree,
    make_visa: MakeTree,
    make_ksdd2: MakeTree,
    make_mtd: MakeTree,
    make_btad: MakeTree,
    make_folder: MakeTree,
) -> None:
    makers = {
        "mvtec_ad": make_mvtec_ad,
        "visa": make_visa,
        "ksdd2": make_ksdd2,
        "mtd": make_mtd,
        "btad": make_btad,
        "folder": make_folder,
    }
    assert makers.keys() == ADAPTERS.keys()
    for adapter, make in makers.items():
        root = make()
        layout = recognise(root)
        assert (layout.adapter, layout.root(layout.categories[0])) == (adapter, root.resolve())
        assert all(listed(root).values())


def test_a_dataset_of_several_categories_is_recognised_from_above(tmp_path: Path) -> None:
    for category in ("bolt", "nut"):
        put(tmp_path / "parts" / category / "good", 2)
        put(tmp_path / "parts" / category / "defect" / "scratch", 1)
    layout = recognise(tmp_path / "parts")
    assert (layout.adapter, layout.folder, layout.categories) == ("folder", "parts", ["bolt", "nut"])
    assert layout.root("nut") == (tmp_path / "parts" / "nut").resolve()
    assert {category: len(images) for category, images in listed(tmp_path / "parts").items()} == {"bolt": 3, "nut": 3}


def test_a_folder_with_spaces_becomes_a_category_with_a_plain_name(tmp_path: Path) -> None:
    put(tmp_path / "my parts (new)" / "good")
    layout = recognise(tmp_path / "my parts (new)")
    assert layout.categories == ["my_parts_new"]
    assert layout.root("my_parts_new") == (tmp_path / "my parts (new)").resolve()


def test_folders_named_ok_and_ng_are_listed_in_a_file(tmp_path: Path) -> None:
    put(tmp_path / "knobs" / "OK", 3)
    put(tmp_path / "knobs" / "NG big", 2)
    put(tmp_path / "knobs" / "masks", 2)
    layout = recognise(tmp_path / "knobs")
    assert (layout.adapter, layout.manifest) == ("folder", OWN_LIST)
    rows = list_images(layout.root("knobs"), "folder", manifest=layout.manifest)
    assert {(row.label, row.defect) for row in rows} == {(0, ""), (1, "NG big")}
    assert len(rows) == 5
    assert recognise(tmp_path / "knobs") == recognise(tmp_path / "knobs")


def test_a_list_of_images_is_found_by_its_column(tmp_path: Path) -> None:
    put(tmp_path / "any", 2)
    (tmp_path / "prices.csv").write_text("part,price\nknob,3\n")
    (tmp_path / "list.csv").write_text("image,label\nany/0.png,0\nany/1.png,1\n")
    assert recognise(tmp_path).manifest == "list.csv"
    (tmp_path / "second.csv").write_text("image,label\n")
    with pytest.raises(UserError, match=r"several lists of images \(list\.csv, second\.csv\): leave one"):
        recognise(tmp_path)


def test_what_is_not_known_says_how_to_lay_images_out(tmp_path: Path) -> None:
    put(tmp_path / "pile")
    with pytest.raises(UserError, match="Put good images into pile/good/, defective ones into pile/defect/TYPE/"):
        recognise(tmp_path / "pile")
    with pytest.raises(UserError, match="is not a folder"):
        recognise(tmp_path / "nowhere")


def test_categories_in_different_layouts_are_not_mixed(tmp_path: Path) -> None:
    put(tmp_path / "a" / "good")
    put(tmp_path / "b" / "train" / "ok")
    put(tmp_path / "b" / "test" / "ok")
    with pytest.raises(UserError, match=r"different layouts \(a \(folder\), b \(btad\)\)"):
        recognise(tmp_path)


def test_a_category_of_folders_to_be_listed_is_not_passed_over(tmp_path: Path) -> None:
    for folder in ("x/good", "x/defect/scratch", "y/ok", "y/ng"):
        put(tmp_path / "parts" / folder)
    with pytest.raises(
        UserError, match=r"x \(folder\), y \(folders that patchshift\.csv must list\)\): make one study"
    ):
        recognise(tmp_path / "parts")


@pytest.mark.parametrize("categories", [["bolt"], ["bolt", "nut"]])
def test_folders_of_images_that_are_no_category_are_named(tmp_path: Path, categories: list[str]) -> None:
    for category in categories:
        put(tmp_path / "parts" / category / "good")
    put(tmp_path / "parts" / "unsorted" / "monday")
    put(tmp_path / "parts" / "masks")
    (tmp_path / "parts" / "notes").mkdir()
    layout = recognise(tmp_path / "parts")
    assert (layout.categories, layout.left_out) == (categories, ("parts/unsorted",))


def test_a_category_folder_that_cannot_be_an_id_is_named(tmp_path: Path) -> None:
    put(tmp_path / "parts" / "my bolt" / "good")
    put(tmp_path / "parts" / "nut" / "good")
    with pytest.raises(UserError, match="rename 'my bolt'"):
        recognise(tmp_path / "parts")


@pytest.mark.parametrize(("name", "expected"), [("a b", "a_b"), ("__x__", "x"), ("ä", "images"), ("01", "01")])
def test_an_id_keeps_what_it_can_of_a_folders_name(name: str, expected: str) -> None:
    assert folder_id(name) == expected


def labels(folder: Path) -> dict[str, list[str]]:
    """Defect type (empty: good) -> the images that are read, of a folder with one category."""
    layout = recognise(folder)
    (category,) = layout.categories
    found: dict[str, list[str]] = {}
    for row in list_images(layout.root(category), layout.adapter, manifest=layout.manifest):
        found.setdefault(row.defect, []).append(row.image)
    return found


@pytest.mark.parametrize("bad", ["bad", "ng/scratch", "defect", "defect/scratch"])
def test_no_folder_of_defects_beside_the_good_images_is_passed_over(tmp_path: Path, bad: str) -> None:
    put(tmp_path / "knob" / "good", 3)
    put(tmp_path / "knob" / bad, 2)
    found = labels(tmp_path / "knob")
    assert {defect: len(images) for defect, images in found.items()} == {"": 3, Path(bad).name: 2}


def test_a_type_called_defect_in_mvtec_ads_layout_is_one_of_its_types(tmp_path: Path) -> None:
    for place in ("train/good", "test/good", "test/defect", "ground_truth/defect"):
        put(tmp_path / "knob" / place, 2)
    layout = recognise(tmp_path / "knob")
    assert layout.adapter == "mvtec_ad"
    assert len(labels(tmp_path / "knob")["defect"]) == 2


def test_masks_beside_ok_and_ng_are_listed(tmp_path: Path) -> None:
    put(tmp_path / "knob" / "ok", 2)
    put(tmp_path / "knob" / "ng" / "scratch", 2)
    put(tmp_path / "knob" / "masks" / "scratch", 2)
    layout = recognise(tmp_path / "knob")
    rows = list_images(layout.root("knob"), "folder", manifest=layout.manifest)
    assert {row.image: row.mask for row in rows if row.label} == {
        f"ng/scratch/{number}.png": f"masks/scratch/{number}.png" for number in range(2)
    }


def masks(folder: Path) -> dict[str, str]:
    """Defective image -> its mask, of a folder with one category."""
    layout = recognise(folder)
    rows = list_images(layout.root(folder.name), layout.adapter, manifest=layout.manifest)
    return {row.image: row.mask for row in rows if row.label}


@pytest.mark.parametrize(
    ("images", "mask"),
    [
        (["ng/dent", "ng/scratch"], "masks/0.png"),  # by the name alone
        (["bad/dent", "ng/dent"], "masks/dent/0.png"),  # by the path in the folder of defects
        (["bad", "ng"], "masks/0.png"),
        (["ng", "ng/dent"], "masks/0.png"),
    ],
)
def test_a_mask_is_never_that_of_two_images(tmp_path: Path, images: list[str], mask: str) -> None:
    for folder in ("ok", *images, Path(mask).parent):
        put(tmp_path / "knob" / folder)
    with pytest.raises(UserError) as refused:
        recognise(tmp_path / "knob")
    first, second = (f"{folder}/0.png" for folder in images)
    assert f"several images: {mask} ({first}, {second}). Put each" in str(refused.value)
    assert f"such as masks/{first}" in str(refused.value)
    assert not (tmp_path / "knob" / OWN_LIST).exists()
    for folder in images:  # as the message says
        put(tmp_path / "knob" / "masks" / folder)
    (tmp_path / "knob" / mask).unlink()
    assert masks(tmp_path / "knob") == {f"{folder}/0.png": f"masks/{folder}/0.png" for folder in images}


def test_a_name_that_two_defects_share_does_not_say_whose_a_mask_is(tmp_path: Path) -> None:
    for folder in ("ok", "ng/dent", "ng/scratch", "masks", "masks/scratch"):
        put(tmp_path / "knob" / folder)
    with pytest.raises(
        UserError, match=r"masks/0\.png \(ng/dent/0\.png, ng/scratch/0\.png\)\. .* masks/ng/dent/0\.png"
    ):
        recognise(tmp_path / "knob")


def test_a_mask_of_two_files_of_one_name_is_refused(tmp_path: Path) -> None:
    for folder in ("ok", "ng", "masks"):
        put(tmp_path / "knob" / folder)
    Image.new("RGB", (9, 8)).save(tmp_path / "knob" / "ng" / "0.bmp")
    with pytest.raises(UserError, match=r"\(ng/0\.bmp, ng/0\.png\)\. .* or give the images names of their own"):
        recognise(tmp_path / "knob")


def test_masks_laid_out_like_the_folder_of_defects_need_no_names_of_their_own(tmp_path: Path) -> None:
    for folder in ("ok", "ng", "ng/dent", "masks", "masks/dent"):
        put(tmp_path / "knob" / folder)
    assert masks(tmp_path / "knob") == {"ng/0.png": "masks/0.png", "ng/dent/0.png": "masks/dent/0.png"}


def test_a_mask_under_its_name_alone_is_that_of_the_only_defect_of_that_name(tmp_path: Path) -> None:
    for folder in ("ok", "ng/dent", "masks"):
        put(tmp_path / "knob" / folder)
    assert masks(tmp_path / "knob") == {"ng/dent/0.png": "masks/0.png"}


def test_defect_types_keep_the_names_of_their_folders(tmp_path: Path) -> None:
    for folder in ("ok", "ng/划痕", "ng/凹坑", "ng/it's: 1, 2"):
        put(tmp_path / "knob" / folder)
    assert labels(tmp_path / "knob") == {
        "": ["ok/0.png"],
        "划痕": ["ng/划痕/0.png"],
        "凹坑": ["ng/凹坑/0.png"],
        "it's: 1, 2": ["ng/it's: 1, 2/0.png"],
    }


def test_a_list_of_folders_is_made_anew(tmp_path: Path) -> None:
    put(tmp_path / "knob" / "ok", 2)
    put(tmp_path / "knob" / "ng", 1)
    labels(tmp_path / "knob")
    put(tmp_path / "knob" / "ng", 3)
    assert len(labels(tmp_path / "knob")["ng"]) == 3


def test_a_folder_that_holds_one_category_alone_leads_to_it(tmp_path: Path) -> None:
    put(tmp_path / "parts" / "bolt" / "good", 2)
    put(tmp_path / "parts" / "bolt" / "defect" / "dent", 1)
    layout = recognise(tmp_path / "parts")
    assert (layout.folder, layout.categories) == ("bolt", ["bolt"])
    assert labels(tmp_path / "parts").keys() == {"", "dent"}
