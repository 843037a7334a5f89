from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from patchshift.data.index import ImageRow
from patchshift.data.splits import PARTS, Split, identical_across_parts, read_split, split_images, write_split
from patchshift.errors import UserError
from patchshift.plan.specs import SplitSpec

PLAN = SplitSpec(protocol="source_plan", train_share=0.8, val_anomalous_share=0.3)
PUBLISHED = SplitSpec(protocol="published")


def images(*, train: int = 0, good: int = 0, unassigned: int = 0, **defects: int) -> list[ImageRow]:
    """`train` and `good` images of the official train and test set, or `unassigned` ones, and images with defects."""
    official = "" if unassigned else "test"
    groups = [("train", "train", "", train), ("good", "test", "", good), ("free", "", "", unassigned)]
    groups += [(defect, official, defect, count) for defect, count in defects.items()]
    return [
        ImageRow(f"{name}/{number:03d}.png", "", split, int(bool(defect)), defect, digest=f"{name} {number}")
        for name, split, defect, count in groups
        for number in range(count)
    ]


def counts(split: Split) -> Counter[tuple[str, str]]:
    """(part, folder) -> number of images."""
    return Counter((part, key.partition("/")[0]) for key, part in split.parts.items())


DATASETS = st.builds(
    images,
    train=st.integers(2, 30),
    good=st.integers(0, 10),
    unassigned=st.sampled_from([0, 10, 25]),
    crack=st.integers(1, 12),
    dent=st.integers(0, 7),
)
SPECS = st.builds(
    SplitSpec,
    protocol=st.just("source_plan"),
    train_share=st.floats(0.5, 0.95),
    val_anomalous_share=st.floats(0, 0.6),
    official_train_share=st.floats(0.3, 0.9),
    train_limit=st.none() | st.integers(1, 20),
    seed=st.integers(0, 2**32 - 1),
) | st.builds(SplitSpec, protocol=st.just("published"), seed=st.integers(0, 2**32 - 1))


@given(DATASETS, SPECS)
def test_every_image_is_in_exactly_one_part_and_training_has_no_anomaly(rows: list[ImageRow], spec: SplitSpec) -> None:
    split = split_images(rows, spec)
    assert list(split.parts) == [row.key for row in rows]
    assert sorted(key for part in PARTS for key in split.of(part)) == sorted(split.parts)
    assert split.anomalous == {row.key for row in rows if row.label}
    assert split.of("train") == split.normal_training
    assert split.of("train")
    assert split.of("test")
    assert split == split_images(rows, spec)


@given(DATASETS, SPECS)
def test_images_of_the_official_test_set_never_train(rows: list[ImageRow], spec: SplitSpec) -> None:
    official = {row.key: row.official_split for row in rows}
    assert "test" not in {official[key] for key in split_images(rows, spec).of("train")}


def test_the_source_plan_divides_by_its_shares_within_each_defect_type() -> None:
    split = split_images(images(train=100, good=20, crack=10, dent=40), PLAN)
    assert counts(split) == {
        ("train", "train"): 80,
        ("val", "train"): 20,
        ("test", "good"): 20,
        ("val", "crack"): 3,
        ("test", "crack"): 7,
        ("val", "dent"): 12,
        ("test", "dent"): 28,
    }


def test_shares_round_down_without_floating_point_slips() -> None:
    rows = images(train=150, good=1, crack=10)
    for percent in range(1, 100):  # 0.29 * 100 is 28.999999999999996
        spec = SplitSpec(protocol="source_plan", train_share=percent / 100, val_anomalous_share=percent / 100)
        split = split_images(rows[50:], spec)
        assert counts(split)["train", "train"] == percent
        assert counts(split)["val", "crack"] == percent // 10
        assert counts(split_images(rows, spec))["train", "train"] == percent * 3 // 2


def test_a_rare_defect_type_stays_in_test() -> None:
    split = split_images(images(train=10, good=1, crack=3), PLAN)
    assert counts(split)["test", "crack"] == 3


def test_a_dataset_without_official_split_keeps_good_images_in_test() -> None:
    split = split_images(images(unassigned=100, crack=10), PLAN)
    assert counts(split) == {
        ("train", "free"): 64,  # 0.8 of the official 0.8
        ("val", "free"): 16,
        ("test", "free"): 20,
        ("val", "crack"): 3,
        ("test", "crack"): 7,
    }


def test_the_published_protocol_has_no_validation_images() -> None:
    split = split_images(images(train=10, good=4, crack=6), PUBLISHED)
    assert counts(split) == {("train", "train"): 10, ("test", "good"): 4, ("test", "crack"): 6}
    split = split_images(images(unassigned=10, crack=6), PUBLISHED)
    assert counts(split) == {("train", "free"): 8, ("test", "free"): 2, ("test", "crack"): 6}


def test_another_seed_gives_another_split_of_the_same_sizes() -> None:
    rows = images(train=50, good=9, crack=20)
    first, second = (split_images(rows, PLAN.model_copy(update={"seed": seed})) for seed in (0, 1))
    assert counts(first) == counts(second)
    assert first.of("train") != second.of("train")
    assert first.of("val") != second.of("val")


def test_images_are_drawn_at_random_not_in_order() -> None:
    drawn = split_images(images(train=100, good=1, crack=10), PLAN).of("train")
    assert drawn != [f"train/{number:03d}.png" for number in range(80)]


def test_more_images_of_one_defect_type_redraw_neither_training_nor_earlier_types() -> None:
    few, many = (split_images(images(train=50, good=5, crack=10, dent=dents), PLAN) for dents in (10, 30))
    assert few.of("train") == many.of("train")
    cracks = [[key for key in split.of("val") if "crack" in key] for split in (few, many)]
    assert cracks[0] == cracks[1]


@given(st.integers(0, 2**32 - 1))
def test_an_image_that_comes_moves_at_most_one_other_per_draw(seed: int) -> None:
    spec = PLAN.model_copy(update={"seed": seed})
    before = split_images(images(unassigned=60, crack=20), spec)
    after = split_images(images(unassigned=61, crack=20), spec)
    moved = [key for key, part in before.parts.items() if after.parts[key] != part]
    assert len(moved) <= 3  # the official share, the training share and what they pass on


def test_a_limit_on_training_leaves_out_images_but_moves_none() -> None:
    rows = images(train=100, good=9, crack=20)
    whole, limited = split_images(rows, PLAN), split_images(rows, PLAN.model_copy(update={"train_limit": 30}))
    assert len(limited.of("train")) == 30
    assert sorted(limited.of("train") + limited.of("unused")) == sorted(whole.of("train"))
    for part in ("val", "test"):
        assert limited.of(part) == whole.of(part)
    nested = split_images(rows, PLAN.model_copy(update={"train_limit": 10}))
    assert set(nested.of("train")) < set(limited.of("train"))
    assert limited.of("train") != whole.of("train")[:30]


@pytest.mark.parametrize(
    ("rows", "part"),
    [(images(crack=5, good=3), "train"), (images(train=1, good=3), "train"), (images(train=9), "test")],
)
def test_a_split_without_training_or_test_images_is_the_users_to_mend(rows: list[ImageRow], part: str) -> None:
    with pytest.raises(UserError, match=f"'source_plan' leaves no {part} image of {len(rows)}: add images, or change"):
        split_images(rows, PLAN)


def test_a_split_is_read_as_it_was_written(tmp_path: Path) -> None:
    split = split_images(images(train=10, good=2, crack=5), PLAN.model_copy(update={"train_limit": 5}))
    write_split(tmp_path / "split.csv", split)
    assert read_split(tmp_path / "split.csv") == split


@pytest.mark.parametrize(
    "damage",
    [
        b"",
        b"image,split\na.png,train\n",
        b"image,split,role\na.png,training,normal\n",
        b"image,split,role\na.png,train,normal\na.png,test,normal\n",
        b"image,split,role\na.png,train\n",
        b"image,split,role\n\xff.png,train,normal\n",
    ],
)
def test_a_damaged_split_is_named_with_the_remedy(tmp_path: Path, damage: bytes) -> None:
    (tmp_path / "split.csv").write_bytes(damage)
    with pytest.raises(UserError, match=r"split\.csv is damaged .*delete it and run again"):
        read_split(tmp_path / "split.csv")


def test_identical_files_in_different_parts_are_found() -> None:
    names = ["a", "b", "c", "d", "e", "f", "g"]
    digests = ["1", "1", "2", "2", "3", "4", "4"]
    parts = dict(zip(names, ["train", "test", "train", "train", "val", "train", "unused"], strict=True))
    rows = [ImageRow(name, "", "", 0, "", digest=digest) for name, digest in zip(names, digests, strict=True)]
    assert identical_across_parts(rows, Split(parts, frozenset())) == [["a", "b"]]
