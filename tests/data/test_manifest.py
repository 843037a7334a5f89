import csv
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from patchshift.data.adapters import list_images
from patchshift.data.index import ImageRow
from patchshift.errors import UserError

MakeTree = Callable[..., Path]

NAMES = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"], exclude_characters="/\\"), min_size=1)


def read(root: Path, text: str | bytes) -> list[ImageRow]:
    (root / "list.csv").write_bytes(text if isinstance(text, bytes) else text.encode())
    return list_images(root, "folder", manifest="list.csv")


def mistakes(root: Path, text: str) -> list[str]:
    with pytest.raises(UserError) as caught:
        read(root, text)
    return str(caught.value).splitlines()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Images a.png to d.png, and mask.png, in a folder of their own."""
    folder = tmp_path / "own images"
    folder.mkdir()
    for name in ("a", "b", "c", "d", "mask"):
        (folder / f"{name}.png").touch()
    return folder


def test_a_list_gives_labels_defect_types_masks_and_parts_in_its_own_order(root: Path) -> None:
    text = "split,image,label,mask,defect,ignore\ntest,c.png,1,mask.png,dent,d.png\nTRAIN, ./a.png ,good,,,\n\n"
    assert read(root, text) == [
        ImageRow("c.png", "mask.png", "test", 1, "dent", ignore="d.png"),
        ImageRow("a.png", "", "train", 0, ""),
    ]


@pytest.mark.parametrize("word", ["0", "good", "Normal"])
def test_words_for_good_images(root: Path, word: str) -> None:
    assert read(root, f"image,label\na.png,{word}\n") == [ImageRow("a.png", "", "", 0, "")]


@pytest.mark.parametrize("word", ["1", "defect", "Defective", "anomalous"])
def test_words_for_defective_images_without_a_type(root: Path, word: str) -> None:
    assert read(root, f"image,label\na.png,{word}\n") == [ImageRow("a.png", "", "", 1, "anomaly")]


def test_the_defect_type_alone_tells_good_from_defective(root: Path) -> None:
    rows = read(root, "image,defect\na.png,\nb.png,good\nc.png,dent\n")
    assert [(row.label, row.defect) for row in rows] == [(0, ""), (0, ""), (1, "dent")]
    rows = read(root, "image,label,defect\na.png,,\nb.png,,dent\nc.png,1,\n")
    assert [(row.label, row.defect) for row in rows] == [(0, ""), (1, "dent"), (1, "anomaly")]


def test_masks_of_good_images_are_not_used(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert read(root, "image,label,mask\na.png,0,mask.png\n")[0].mask == ""
    assert "3 images" in caplog.text  # b, c and d are not listed; the mask is
    assert "(b.png, c.png, d.png): list.csv does not list them" in caplog.text


def test_all_mistakes_of_a_list_are_reported_at_once_with_their_lines(root: Path) -> None:
    text = """image,label,defect,mask,split
a.png,0,,,train
gone.png,1,dent,missing.png,test
b.png,maybe,,,test

c.png,0,dent,,test
a.png,0,,,val
,0,,,train
d.png,1,good,,
b.png,1
/etc/a.png,0,,../mask.png,train
"""
    (first, *lines) = mistakes(root, text)
    assert first == f"{root / 'list.csv'}: 12 mistakes:"
    inside = "leaves the category's folder: no absolute path, no '..'"
    assert [line.strip() for line in lines] == [
        f"line 3: image 'gone.png' does not exist under {root}",
        f"line 3: mask 'missing.png' does not exist under {root}",
        "line 4: label 'maybe' is none of 0, good, normal, 1, defect, defective, anomalous",
        "line 6: label '0' is good, but defect is 'dent'",
        "line 7: split 'val' is neither train nor test nor empty",
        "line 7: image 'a.png' stands in line 2 already",
        "line 8: image is empty",
        "line 9: label '1' is defective, but defect is 'good'",
        "line 9: split is empty, but other images have one: fill it in for all, or for none",
        "line 10: 2 values for 5 columns",
        f"line 11: image '/etc/a.png' {inside}",
        f"line 11: mask '../mask.png' {inside}",
    ]


def test_one_image_under_two_spellings_stands_twice(root: Path) -> None:
    assert mistakes(root, "image,label\na.png,0\n.//a.png,0\n")[1] == "  line 3: image 'a.png' stands in line 2 already"


def test_a_list_cannot_reach_out_of_its_folder(root: Path) -> None:
    (root.parent / "secret.png").touch()
    (root / "sub").mkdir()
    for path in ("../secret.png", "sub/../../secret.png", f"{root.parent}/secret.png", "sub/../a.png"):
        for column in ("image", "mask", "ignore"):
            given = {"image": "a.png"} | {column: path}
            [_, line] = mistakes(root, f"label,{','.join(given)}\n1,{','.join(given.values())}\n")
            assert line == f"  line 2: {column} '{path}' leaves the category's folder: no absolute path, no '..'"


def test_a_linked_folder_of_images_is_followed(root: Path, tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "disk" / "e.png").touch()
    (root / "linked").symlink_to(tmp_path / "disk")
    assert read(root, "image,label\nlinked/e.png,0\n")[0].image == "linked/e.png"


@settings(max_examples=50)
@given(st.sets(NAMES, min_size=1, max_size=4))
def test_names_of_any_script_are_found_as_they_are(tmp_path_factory: pytest.TempPathFactory, names: set[str]) -> None:
    root = tmp_path_factory.mktemp("names")
    images = [f"{name.strip()[:20]}_.png" for name in names]
    for image in images:
        (root / image).touch()
    with (root / "list.csv").open("w", encoding="utf-8-sig", newline="") as file:
        csv.writer(file).writerows([["image", "label"], *([image, "0"] for image in dict.fromkeys(images))])
    assert [row.image for row in list_images(root, "folder", manifest="list.csv")] == list(dict.fromkeys(images))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", r"has no column image"),
        (b"image;label\na.png;0\n", r"has no column image: its first line names the columns, separated by commas"),
        (b"image\na.png\n", r"has neither a column label nor a column defect: add one"),
        (b"image,label,label\na.png,0,1\n", r"names a column twice"),
        (b"image,label\n\xff.png,0\n", r"is not UTF-8 text: save it as CSV in UTF-8"),
        (b'image,label\n"a.png,0\n', r"list\.csv, line 2: not CSV"),
        (b"image,label\n", r"no images under .*: list\.csv lists none"),
    ],
)
def test_a_file_that_is_no_list_of_images_is_named_with_the_remedy(root: Path, content: bytes, message: str) -> None:
    with pytest.raises(UserError, match=message):
        read(root, content)


def test_a_list_that_is_missing_or_a_folder_is_named(root: Path) -> None:
    with pytest.raises(UserError, match=r"own images/none\.csv does not exist: bring it there"):
        list_images(root, "folder", manifest="none.csv")
    with pytest.raises(UserError, match=r"is a folder, it should be a CSV file"):
        list_images(root.parent, "folder", manifest="own images")


def test_columns_that_mean_nothing_here_are_named(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    read(root, "image,label,splt,operator\na.png,0,train,Ann\n")
    assert "columns splt, operator are not used (image, label, defect, mask, split, ignore are)" in caplog.text


def test_an_ignore_mask_of_the_list_goes_before_the_categorys(root: Path) -> None:
    (root / "list.csv").write_text("image,label,ignore\na.png,0,c.png\nb.png,0,\n")
    rows = list_images(root, "folder", manifest="list.csv", ignore_mask="d.png")
    assert [row.ignore for row in rows] == ["c.png", "d.png"]
