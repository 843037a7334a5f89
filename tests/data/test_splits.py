from collections import Counter
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from patchshift.data.index import ImageRow
from patchshift.data.protocols import PROTOCOLS
from patchshift.data.splits import (
    PARTS,
    ROLES,
    Split,
    count_images,
    identical_across_parts,
    read_split,
    split_images,
    write_split,
)
from patchshift.errors import UserError
from patchshift.plan.data_specs import SplitSpec

PLAN = SplitSpec(protocol="source_plan", train_share=0.8, val_anomalous_share=0.3)
NORMALS = SplitSpec(protocol="normals_only", train_share=0.8)
OFFICIAL = SplitSpec(protocol="official", train_share=0.8, val_anomalous_share=0.3)
PUBLISHED = SplitSpec(protocol="published")
ALL = [PLAN, NORMALS, OFFICIAL, PUBLISHED]


def images(*, train: int = 0, good: int = 0, unassigned: int = 0, **defects: int) -> list[ImageRow]:
    """`train` and `good` images of the official train and test set, or `unassigned` ones, and images with defects.

    A defect type `train_x` holds images of type `x` in the official training set.
    """
    official = "" if unassigned else "test"
    groups = [("train", "train", "", train), ("good", "test", "", good), ("free", "", "", unassigned)]
    groups += [
        (name, "train" if name.startswith("train_") else official, name.removeprefix("train_"), count)
        for name, count in defects.items()
    ]
    return [
        ImageRow(f"{name}/{number:03d}.png", "", split, int(bool(defect)), defect, digest=f"{name} {number}")
        for name, split, defect, count in groups
        for number in range(count)
    ]


def counts(split: Split) -> Counter[tuple[str, str]]:
    """(part, folder) -> number of images."""
    return Counter((part, key.partition("/")[0]) for key, part in split.parts.items())


def vary(spec: SplitSpec, **changes: object) -> SplitSpec:
    return SplitSpec.model_validate(spec.model_dump() | changes)


DATASETS = st.builds(
    images,
    train=st.integers(2, 30),
    good=st.integers(0, 10),
    crack=st.integers(3, 12),
    dent=st.integers(0, 7),
    train_crack=st.integers(0, 6),
    train_hole=st.integers(0, 4),
) | st.builds(images, unassigned=st.sampled_from([10, 25]), crack=st.integers(3, 12), dent=st.integers(0, 7))
SEEDS = st.integers(0, 2**32 - 1)
SHARES = {"train_share": st.floats(0.5, 0.95), "seed": SEEDS}
DIVIDED = SHARES | {"official_train_share": st.floats(0.3, 0.9)}
LIMITS = st.none() | st.integers(1, 20)
SPECS = st.one_of(
    st.builds(
        SplitSpec,
        protocol=st.just("source_plan"),
        val_anomalous_share=st.floats(0, 0.6),
        ignore_official=st.booleans(),
        train_limit=LIMITS,
        **DIVIDED,
    ),
    st.builds(
        SplitSpec, protocol=st.just("normals_only"), ignore_official=st.booleans(), train_limit=LIMITS, **DIVIDED
    ),
    st.builds(
        SplitSpec, protocol=st.just("official"), val_anomalous_share=st.floats(0, 0.6), train_limit=LIMITS, **SHARES
    ),
    st.builds(SplitSpec, protocol=st.just("published"), train_limit=LIMITS, seed=SEEDS),
)


def can_split(rows: list[ImageRow], spec: SplitSpec) -> bool:
    official = any(row.official_split for row in rows)
    enough = sum(not row.label for row in rows) >= 10  # half of 0.3 of them is one
    return (official or spec.protocol != "official") and (enough or not spec.ignore_official)


@given(DATASETS, SPECS)
def test_every_image_is_in_exactly_one_part_and_anomalous_ones_train_as_positives_only(
    rows: list[ImageRow], spec: SplitSpec
) -> None:
    assume(can_split(rows, spec))
    split = split_images(rows, spec)
    assert list(split.parts) == [row.key for row in rows]
    assert sorted(key for part in PARTS for key in split.of(part)) == sorted(split.parts)
    assert split.anomalous == {row.key for row in rows if row.label}
    assert not split.contaminants
    assert split.taken_for_good == [key for key in split.of("train") if split.role(key) == "normal"]
    assert split.taken_for_good
    assert split.of("test")
    assert split == split_images(rows, spec)


@given(DATASETS, SPECS)
def test_images_of_the_official_test_set_never_train(rows: list[ImageRow], spec: SplitSpec) -> None:
    assume(can_split(rows, spec) and not spec.ignore_official)
    official = {row.key: row.official_split for row in rows}
    assert "test" not in {official[key] for key in split_images(rows, spec).of("train")}


@given(DATASETS, SPECS)
def test_anomalous_training_images_are_positives_and_never_tested(rows: list[ImageRow], spec: SplitSpec) -> None:
    assume(can_split(rows, spec) and not spec.ignore_official)
    split = split_images(rows, spec)
    places = {split.parts[row.key] for row in rows if row.label and row.official_split == "train"}
    assert places <= ({"train", "val"} if spec.protocol == "official" else {"train"})


@given(DATASETS, SPECS, st.floats(0.01, 0.5))
def test_contaminants_come_from_test_alone_and_are_no_positives(
    rows: list[ImageRow], spec: SplitSpec, share: float
) -> None:
    assume(can_split(rows, spec) and spec.protocol != "official")
    clean = split_images(rows, spec)
    try:
        split = split_images(rows, vary(spec, train_contamination=share))
    except UserError as error:
        assert "with these images it can be at most" in str(error)  # noqa: PT017
        return
    good = [key for key in clean.of("train") if clean.role(key) == "normal"]
    assert len(split.contaminants) == int(share * len(good) / (1 - share) + 0.5 + 1e-9)
    assert {key for key, part in split.parts.items() if part != clean.parts[key]} == split.contaminants
    assert {clean.parts[key] for key in split.contaminants} <= {"test"}
    assert set(split.taken_for_good) == {*good, *split.contaminants}
    assert split.anomalous == clean.anomalous - split.contaminants
    assert split.anomalous & set(split.of("test"))


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


def test_without_anomalies_in_validation_all_of_them_are_tested() -> None:
    split = split_images(images(train=100, good=20, crack=10), NORMALS)
    assert counts(split) == {
        ("train", "train"): 80,
        ("val", "train"): 20,
        ("test", "good"): 20,
        ("test", "crack"): 10,
    }
    plan = split_images(images(train=100, good=20, crack=10), PLAN)
    assert split.of("train") == plan.of("train")
    assert set(split.of("val")) < set(plan.of("val"))


def test_the_official_test_set_is_untouched_and_training_defects_help_to_calibrate() -> None:
    split = split_images(images(train=100, good=20, crack=10, train_crack=20, train_dent=7), OFFICIAL)
    assert counts(split) == {
        ("train", "train"): 80,
        ("val", "train"): 20,
        ("train", "train_crack"): 14,
        ("val", "train_crack"): 6,
        ("train", "train_dent"): 5,
        ("val", "train_dent"): 2,
        ("test", "good"): 20,
        ("test", "crack"): 10,
    }
    assert len(split.taken_for_good) == 80


@pytest.mark.parametrize("spec", [PLAN, NORMALS, PUBLISHED])
def test_training_defects_train_whole_in_the_other_protocols(spec: SplitSpec) -> None:
    split = split_images(images(train=10, good=2, crack=10, train_crack=20), spec)
    assert counts(split)["train", "train_crack"] == 20
    assert all(split.role(key) == "positive" for key in split.of("train") if "crack" in key)


def test_the_official_protocol_needs_an_official_split() -> None:
    with pytest.raises(UserError, match=r"'official' needs a dataset .*use a split with protocol 'source_plan'"):
        split_images(images(unassigned=20, crack=5), OFFICIAL)


@pytest.mark.parametrize("spec", [PLAN, NORMALS, PUBLISHED])
def test_an_official_split_that_is_not_heeded_counts_as_none(spec: SplitSpec) -> None:
    rows = images(train=60, good=40, crack=10, train_crack=20)
    split = split_images(rows, vary(spec, ignore_official=True))
    without = [replace(row, official_split="") for row in rows]
    assert split == split_images(without, spec)
    assert len([key for key in split.parts if "crack" not in key and split.parts[key] == "test"]) == 20
    assert not {key for key in split.of("train") if "crack" in key}


def test_every_protocol_of_the_config_is_one_and_none_is_missing() -> None:
    assert {spec.protocol for spec in ALL} == set(PROTOCOLS)
    schema = SplitSpec.model_json_schema()["properties"]["protocol"]
    assert set(schema["enum"]) == set(PROTOCOLS)


def test_draws_are_the_same_on_every_machine_and_in_every_version() -> None:
    split = split_images(images(train=12, good=2, crack=10), PLAN)
    good, cracks = (1, 2, 11), (1, 5, 9)
    assert split.of("val") == [
        *(f"train/{number:03d}.png" for number in good),
        *(f"crack/{number:03d}.png" for number in cracks),
    ]


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


@given(SEEDS, st.sampled_from(["source_plan", "normals_only", "published"]))
def test_an_image_that_comes_moves_at_most_one_other_per_draw(seed: int, protocol: str) -> None:
    spec = next(spec for spec in ALL if spec.protocol == protocol).model_copy(update={"seed": seed})
    before = split_images(images(unassigned=60, crack=20), spec)
    after = split_images(images(unassigned=61, crack=20), spec)
    moved = [key for key, part in before.parts.items() if after.parts[key] != part]
    assert len(moved) <= 3  # the official share, the training share and what they pass on


@given(SEEDS)
def test_an_image_that_comes_to_the_official_training_set_moves_at_most_one_other_of_its_kind(seed: int) -> None:
    spec = OFFICIAL.model_copy(update={"seed": seed})
    before = split_images(images(train=40, good=9, crack=5, train_crack=20), spec)
    for more in ({"train": 41, "train_crack": 20}, {"train": 40, "train_crack": 21}):
        after = split_images(images(good=9, crack=5, **more), spec)
        assert sum(after.parts[key] != part for key, part in before.parts.items()) <= 1


@given(SEEDS)
def test_an_anomalous_image_that_comes_changes_few_contaminants(seed: int) -> None:
    spec = vary(NORMALS, train_contamination=0.2, seed=seed)
    before, after = (split_images(images(train=50, good=9, crack=cracks, dent=9), spec) for cracks in (15, 16))
    assert len(before.contaminants - after.contaminants) <= 1


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


@given(SEEDS, st.integers(1, 40), st.integers(1, 40))
def test_smaller_limits_are_nested_in_larger_ones_and_never_touch_positives(seed: int, first: int, second: int) -> None:
    rows = images(train=50, good=9, crack=5, train_crack=8)
    few, many = (split_images(rows, vary(OFFICIAL, train_limit=limit, seed=seed)) for limit in sorted([first, second]))
    assert len(few.taken_for_good) == min(first, second)
    assert set(few.taken_for_good) <= set(many.taken_for_good)
    positives = [{key for key in split.of("train") if split.role(key) == "positive"} for split in (few, many)]
    assert positives[0] == positives[1]
    assert len(positives[0]) == 6
    assert {key.partition("/")[0] for key in few.of("unused")} <= {"train"}


@given(DATASETS, SPECS, st.floats(0.01, 0.99), st.sampled_from([0.0, 0.2]))
def test_positives_move_from_test_to_train_within_each_defect_type_and_no_other_image_moves(
    rows: list[ImageRow], spec: SplitSpec, share: float, contamination: float
) -> None:
    assume(can_split(rows, spec) and spec.protocol != "official")
    assume(share + (spec.val_anomalous_share or 0) < 1)
    before = split_images(rows, spec)
    split = split_images(rows, vary(spec, train_anomalous_share=share))
    moved = [key for key, part in split.parts.items() if part != before.parts[key]]
    assert {(before.parts[key], split.parts[key], split.role(key)) for key in moved} <= {("test", "train", "positive")}
    assert split.taken_for_good == before.taken_for_good
    official = any(row.official_split for row in rows) and not spec.ignore_official
    for defect in {row.defect for row in rows if row.label}:
        tested = [row.key for row in rows if row.defect == defect and not (official and row.official_split == "train")]
        drawn = [key for key in moved if key in tested]
        assert len(drawn) == int(share * len(tested) + 1e-9)
        assert not tested or any(split.parts[key] == "test" for key in tested)
    try:
        both = split_images(rows, vary(spec, train_anomalous_share=share, train_contamination=contamination))
    except UserError as error:
        assert "with these images it can be at most" in str(error)  # noqa: PT017
        return
    assert {key for key in moved if both.role(key) == "positive" and both.parts[key] == "train"} == set(moved)


def test_the_draw_of_positives_is_seeded_and_the_same_on_every_machine() -> None:
    rows = images(train=12, good=2, crack=10, dent=5)
    splits = [split_images(rows, vary(PLAN, train_anomalous_share=0.3, seed=seed)) for seed in (42, 42, 43)]
    positives = [[key for key in split.of("train") if split.role(key) == "positive"] for split in splits]
    assert positives[0] == positives[1] != positives[2]
    assert positives[0] == ["crack/000.png", "crack/002.png", "crack/003.png", "dent/000.png"]
    smaller = split_images(rows, vary(PLAN, train_anomalous_share=0.2))
    assert {key for key in smaller.of("train") if smaller.role(key) == "positive"} < set(positives[0])


def test_contaminants_are_a_share_of_all_that_is_taken_for_good() -> None:
    rows = images(train=100, good=9, crack=30)
    for share, count in ((0.0, 0), (0.05, 4), (0.1, 9), (0.2, 20)):  # of 80 good images; 4.2, 8.9, 20
        split = split_images(rows, vary(NORMALS, train_contamination=share))
        assert len(split.contaminants) == count
        assert len(split.taken_for_good) == 80 + count
    limited = split_images(rows, vary(NORMALS, train_contamination=0.2, train_limit=12))
    assert len(limited.contaminants) == 3
    assert len(limited.taken_for_good) == 15


def test_contaminants_are_spread_evenly_over_defect_types() -> None:
    rows = images(train=100, good=9, crack=30, dent=2, hole=20, rust=1)
    split = split_images(rows, vary(NORMALS, train_contamination=0.14))
    assert len(split.contaminants) == 13
    spread = counts(split)
    assert [spread["train", defect] for defect in ("crack", "dent", "hole", "rust")] == [5, 2, 5, 1]


@given(SEEDS, st.lists(st.floats(0, 0.35), min_size=2, max_size=4))
def test_smaller_contaminations_are_nested_in_larger_ones(seed: int, shares: list[float]) -> None:
    rows = images(train=40, good=9, crack=12, dent=4, hole=7)
    splits = [split_images(rows, vary(NORMALS, train_contamination=share, seed=seed)) for share in sorted(shares)]
    for small, large in pairwise(splits):
        assert small.contaminants <= large.contaminants


def test_too_few_anomalous_images_for_a_contamination_name_the_largest_possible() -> None:
    rows = images(train=100, good=9, crack=6)
    with pytest.raises(UserError) as caught:
        split_images(rows, vary(NORMALS, train_contamination=0.07))
    message = str(caught.value)
    assert "train_contamination 0.07 takes 6 anomalous images beside 80 good ones" in message
    assert "of 6 in test one must be left: with these images it can be at most 0.064" in message
    assert len(split_images(rows, vary(NORMALS, train_contamination=0.064)).contaminants) == 5
    with pytest.raises(UserError, match="takes 6 anomalous"):
        split_images(rows, vary(NORMALS, train_contamination=0.065))
    with pytest.raises(UserError, match=r"of 1 in test one must be left: .* at most 0$"):
        split_images(images(train=100, good=9, crack=1), vary(NORMALS, train_contamination=0.1))


def test_a_contamination_of_less_than_half_an_image_is_told(caplog: pytest.LogCaptureFixture) -> None:
    split = split_images(images(train=10, good=9, crack=6), vary(PUBLISHED, train_contamination=0.04))
    assert not split.contaminants
    assert "train_contamination 0.04 of 10 good training images is less than half an image: none" in caplog.text


@pytest.mark.parametrize(
    ("rows", "part"),
    [
        (images(crack=5, good=3), "train"),
        (images(train_crack=5, good=3), "train"),
        (images(train=1, good=3), "train"),
        (images(train=9), "test"),
        (images(train=9, train_crack=3), "test"),
    ],
)
def test_a_split_without_training_or_test_images_is_the_users_to_mend(rows: list[ImageRow], part: str) -> None:
    with pytest.raises(UserError, match=f"'source_plan' leaves no {part} image of {len(rows)}: add images, or change"):
        split_images(rows, PLAN)


def test_a_split_is_read_as_it_was_written(tmp_path: Path) -> None:
    rows = images(train=20, good=2, crack=9, train_crack=3)
    split = split_images(rows, vary(PLAN, train_limit=10, train_contamination=0.2))
    assert {split.role(key) for key in split.parts} == set(ROLES)
    write_split(tmp_path / "split.csv", split)
    assert read_split(tmp_path / "split.csv") == split


@pytest.mark.parametrize(
    "damage",
    [
        b"",
        b"image,split\na.png,train\n",
        b"image,split,role\na.png,training,normal\n",
        b"image,split,role\na.png,train,normal\na.png,test,normal\n",
        b"image,split,role\na.png,train,anomalous\n",
        b"image,split,role\na.png,test,contaminant\n",
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


def test_images_without_digest_are_not_identical() -> None:
    rows = [ImageRow(name, "", "", 0, "") for name in "ab"]
    assert identical_across_parts(rows, Split({"a": "train", "b": "test"}, frozenset())) == []


def test_a_split_is_counted_in_one_line() -> None:
    split = split_images(images(train=20, good=2, crack=9, train_crack=3), vary(PLAN, train_contamination=0.1))
    assert count_images(split) == (
        "train: 16 normal, 3 positive, 2 contaminant; val: 4 normal, 2 positive; test: 2 normal, 5 positive"
    )
    published = split_images(images(train=20, good=2, crack=9), vary(PUBLISHED, train_limit=5))
    assert count_images(published) == "train: 5 normal; val: none; test: 2 normal, 9 positive; unused: 15 normal"


SERIES = {"pattern": r"num_(\d+)", "gap": 5}


def photographed(parts: int, shots: int, defect: str = "") -> list[ImageRow]:
    """Parts that are photographed several times, one after the other; their numbers lie 10 apart at least."""
    return [
        ImageRow(f"{defect or 'good'}/exp{shot}_num_{100 * part + 5 * shot}.png", "", "", int(bool(defect)), defect)
        for part in range(parts)
        for shot in range(shots)
    ]


@given(
    st.sampled_from([PLAN, NORMALS, PUBLISHED]),
    st.integers(3, 12),
    st.integers(1, 4),
    st.floats(0, 0.6),
    st.integers(0, 99),
)
def test_no_draw_tears_a_series_apart(spec: SplitSpec, parts: int, shots: int, share: float, seed: int) -> None:
    rows = photographed(parts, shots) + photographed(parts, shots, "crack") + photographed(parts, 1, "scratch")
    spec = vary(spec, train_anomalous_share=share, series=SERIES, seed=seed, official_train_share=0.7)
    try:
        split = split_images(rows, spec)
    except UserError:  # so few parts that none are left to train or to test
        assume(False)
    for kind in ("good", "crack"):
        for part in range(parts):
            keys = [f"{kind}/exp{shot}_num_{100 * part + 5 * shot}.png" for shot in range(shots)]
            assert len({split.parts[key] for key in keys}) == 1
    for defect in ("crack", "scratch"):
        keys = [row.key for row in rows if row.defect == defect]
        assert sum(split.parts[key] == "train" for key in keys) <= share * len(keys) + 1e-6


def test_series_of_one_image_each_are_shares_as_large_as_without() -> None:
    rows = photographed(20, 1) + photographed(20, 1, "crack")
    plain = vary(PLAN, train_anomalous_share=0.3)
    sizes = [Counter(split_images(rows, spec).parts.values()) for spec in (plain, vary(plain, series=SERIES))]
    assert sizes[0] == sizes[1]


def test_images_without_a_number_are_named() -> None:
    rows = [*photographed(4, 2), *images(unassigned=2)]
    with pytest.raises(
        UserError, match=r"series.pattern 'num_.*' finds no number in free/000.png, free/001.png \(2 in"
    ):
        split_images(rows, vary(PUBLISHED, series=SERIES))


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"series": {"pattern": r"num_\d+", "gap": 5}}, "must have one group in parentheses"),
        ({"series": {"pattern": "num_(", "gap": 5}}, "is no regular expression"),
        ({"series": SERIES, "train_contamination": 0.1}, "would tear series apart"),
    ],
)
def test_series_that_cannot_be_are_refused(changes: dict[str, object], fault: str) -> None:
    with pytest.raises(ValueError, match=fault):
        vary(PUBLISHED, **changes)
