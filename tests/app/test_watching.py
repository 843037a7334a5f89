from pathlib import Path

import pytest

from patchshift.app.prediction_tables import FIRST_COLUMNS
from patchshift.app.watching import explain_name, list_folder, list_images, watch_folder
from patchshift.errors import UserError


def write(path: Path, content: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def test_images_of_all_folders_are_listed_but_hidden_ones_and_the_output(tmp_path: Path) -> None:
    wanted = [write(tmp_path / name, b"x") for name in ("a.png", "b/c.JPG", "b/d/e.bmp")]
    for name in ("notes.txt", ".hidden.png", ".cache/f.png", "out/g.png", "out/masks/a.png"):
        write(tmp_path / name, b"x")
    assert list_folder(tmp_path, without=tmp_path / "out") == wanted
    assert len(list_folder(tmp_path)) == len(wanted) + 2


def test_heatmaps_and_masks_of_earlier_predictions_are_no_images(tmp_path: Path) -> None:
    header = ",".join(FIRST_COLUMNS).encode()
    wanted = [write(tmp_path / name, b"x") for name in ("a.png", "b/c.png", "study/d.png")]
    write(tmp_path / "study" / "predictions.csv", b"dataset,category,image,score\n")  # of a study, not of `predict`
    for folder in (tmp_path / "out", tmp_path / "b" / "out", tmp_path.parent / "elsewhere"):
        write(folder / "predictions.csv", header + b",zone\na.png,1,1,1,0,,\n")
        write(folder / "heatmaps" / "b" / "c.png.png", b"x")
        write(folder / "masks" / "a.png.png", b"x")
    (tmp_path / "linked").symlink_to(tmp_path.parent / "elsewhere")
    assert list_folder(tmp_path) == wanted
    assert list_folder(tmp_path, without=tmp_path / "next") == wanted
    polls = watch_folder(tmp_path, wait=lambda seconds: None)
    assert [next(polls), next(polls)] == [[], wanted]


def test_images_of_products_beside_their_predictions_are_read(tmp_path: Path) -> None:
    write(tmp_path / "line" / "predictions.csv", ",".join(FIRST_COLUMNS).encode())
    image = write(tmp_path / "line" / "images" / "a.png", b"x")
    drawn = write(tmp_path / "line" / "heatmaps" / "a.png", b"x")
    for folder in (tmp_path, tmp_path / "line", tmp_path / "line" / "images"):
        assert list_folder(folder) == [image]
    assert list_folder(drawn.parent) == [drawn]  # who names it wants it


def test_a_file_is_taken_once_and_only_when_it_no_longer_grows(tmp_path: Path) -> None:
    waited: list[float] = []
    polls = watch_folder(tmp_path, seconds=0.5, wait=waited.append)
    early = write(tmp_path / "early.png", b"whole")
    assert next(polls) == []
    late = write(tmp_path / "late.png", b"ha")
    assert next(polls) == [early]
    write(late, b"half")
    assert next(polls) == []
    write(late, b"half and whole")
    assert next(polls) == []
    assert next(polls) == [late]
    assert next(polls) == []
    for content in (b"", b"overwritten later"):
        write(late, content)
        assert [next(polls), next(polls)] == [[], []]
    assert set(waited) == {0.5}


def test_empty_files_wait_and_files_may_go(tmp_path: Path) -> None:
    polls = watch_folder(tmp_path, wait=lambda seconds: None)
    empty, gone = write(tmp_path / "empty.png", b""), write(tmp_path / "gone.png", b"x")
    assert next(polls) == []
    gone.unlink()
    assert [next(polls), next(polls)] == [[], []]
    write(empty, b"x")
    assert [next(polls), next(polls)] == [[], [empty]]


def test_links_to_folders_are_followed_and_each_folder_counts_once(tmp_path: Path) -> None:
    write(tmp_path / "elsewhere" / "a.png", b"x")
    own = write(tmp_path / "images" / "b" / "c.png", b"x")
    (tmp_path / "images" / "linked").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "images" / ".hidden").symlink_to(tmp_path / "images" / "b")
    (tmp_path / "images" / "b" / "loop").symlink_to(tmp_path / "images")
    (tmp_path / "images" / "twice").symlink_to(tmp_path / "elsewhere")
    assert list_folder(tmp_path / "images") == [own, tmp_path / "images" / "linked" / "a.png"]


def test_a_new_file_of_an_old_name_is_taken(tmp_path: Path) -> None:
    polls = watch_folder(tmp_path, wait=lambda seconds: None)
    image = write(tmp_path / "a.png", b"first")
    assert [next(polls), next(polls)] == [[], [image]]
    image.unlink()
    assert next(polls) == []
    write(image, b"second")
    assert [next(polls), next(polls), next(polls)] == [[], [image], []]


def test_a_folder_without_images_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"holds no images \(.*\.png"):
        list_images(tmp_path)
    with pytest.raises(UserError, match="none is not a folder"):
        list_images(tmp_path / "none")


def test_a_name_that_is_not_utf8_is_shown_by_its_bytes() -> None:
    assert explain_name("a/\udcff.png") == r"a/\udcff.png: its name is not UTF-8: rename it"
    assert explain_name("a/ä.png") is None
