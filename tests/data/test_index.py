import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from patchshift.data.index import ImageRow, add_digests, limit_per_class, read_index, write_index
from patchshift.errors import UserError
from patchshift.runtime.files import digest_bytes

TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\x00\r"), max_size=20)
ROWS = st.lists(st.builds(ImageRow, TEXT, TEXT, TEXT, st.integers(0, 1), TEXT, TEXT, TEXT, TEXT), max_size=5)


def rows(**groups: int) -> list[ImageRow]:
    """Images by `{official split}_{defect}`."""
    return [
        ImageRow(f"{group}/{number:03d}.png", "", split, int(defect != "good"), "" if defect == "good" else defect)
        for group, count in groups.items()
        for split, defect in [group.split("_")]
        for number in range(count)
    ]


@settings(max_examples=20)  # each waits for the disk
@given(ROWS)
def test_an_index_is_read_as_it_was_written_with_commas_quotes_and_line_breaks_in_names(
    tmp_path_factory: pytest.TempPathFactory, rows: list[ImageRow]
) -> None:
    path = tmp_path_factory.getbasetemp() / "index.csv"
    write_index(path, rows)
    assert read_index(path) == rows


def test_the_key_of_an_image_is_its_original() -> None:
    assert ImageRow("a.png", "", "", 0, "").key == "a.png"
    assert ImageRow("images/a.png.png", "", "", 0, "", source="a.png").key == "a.png"


@pytest.mark.parametrize(
    "damage",
    [
        b"",
        b"image,mask\na.png,\n",
        b"image,mask,official_split,label,defect,source,digest,ignore\na.png,,train\n",
        b"image,mask,official_split,label,defect,source,digest,ignore\na.png,,train,0,,,d,,more\n",
        b"image,mask,official_split,label,defect,source,digest,ignore\na.png,,train,good,,,d,\n",
        b"image,mask,official_split,label,defect,source,digest,ignore\n\xff\xfe.png,,train,0,,,d,\n",
        b'image,mask,official_split,label,defect,source,digest,ignore\n"' + b"a" * 200_000,
    ],
)
def test_a_damaged_index_is_named_with_the_remedy(tmp_path: Path, damage: bytes) -> None:
    path = tmp_path / "index.csv"
    path.write_bytes(damage)
    with pytest.raises(UserError, match=r"index\.csv is damaged .*delete it and run again"):
        read_index(path)


def test_digests_are_those_of_the_files(tmp_path: Path) -> None:
    images = [ImageRow(f"{number}.png", "", "", 0, "") for number in range(20)]
    for row in images:
        (tmp_path / row.image).write_text(row.image)
    assert [row.digest for row in add_digests(images, tmp_path)] == [digest_bytes(r.image.encode()) for r in images]


def test_a_cache_of_digests_never_changes_the_index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images = [ImageRow(f"{number}.png", "", "", 0, "") for number in range(5)]
    for row in images:
        (tmp_path / row.image).write_text(row.image)
    now = time.time_ns
    monkeypatch.setattr(time, "time_ns", lambda: now() + 60 * 10**9)
    for name, cache in (("without", None), ("first", tmp_path / "cache"), ("second", tmp_path / "cache")):
        write_index(tmp_path / name, add_digests(images, tmp_path, cache))
    assert (tmp_path / "cache").read_text().count("\n") == 6
    assert (
        (tmp_path / "first").read_bytes() == (tmp_path / "second").read_bytes() == (tmp_path / "without").read_bytes()
    )


def test_a_limit_holds_for_each_official_split_and_defect_type() -> None:
    kept = limit_per_class(rows(train_good=50, test_good=20, test_crack=9, test_dent=2), 5)
    counts = {group: sum(row.image.startswith(group) for row in kept) for group in ("train", "test_g", "test_c")}
    assert counts == {"train": 5, "test_g": 5, "test_c": 5}
    assert len(kept) == 5 * 3 + 2


def test_a_limit_chooses_at_random_but_always_the_same_in_order() -> None:
    images = rows(train_good=50)
    kept = limit_per_class(images, 10)
    assert kept == limit_per_class(images, 10)
    assert kept == sorted(kept, key=lambda row: row.image)
    assert kept != images[:10]


def test_a_limit_on_one_class_leaves_the_choice_in_others_alone() -> None:
    few, many = (limit_per_class(rows(train_good=20, test_crack=cracks), 5) for cracks in (6, 12))
    assert few[:5] == many[:5]


def test_a_missing_index_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"index\.csv does not exist: run the stage that makes it"):
        read_index(tmp_path / "index.csv")
