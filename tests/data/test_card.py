from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from patchshift.data.card import PATCH_SHARE, CategoryCard, CategoryFiles, Count, DataCard, read_card, write_card
from patchshift.data.card_measures import EXAMPLES, measure_category
from patchshift.data.index import ImageRow, add_digests, write_index
from patchshift.data.packs import write_pack
from patchshift.data.splits import Split, write_split
from patchshift.errors import UserError
from patchshift.runtime.files import read_json

Measure = Callable[..., CategoryCard]

HEIGHT, WIDTH = 60, 40


class Images:
    """Images of a category that a test draws itself: each of its own content, unless it is a copy."""

    def __init__(self, folder: Path) -> None:
        self.root = folder / "images"
        self.root.mkdir()
        self.rows: list[ImageRow] = []
        self.random = np.random.default_rng(0)

    def add(
        self,
        name: str,
        defect: str = "",
        squares: Mapping[tuple[int, int], int] | None = None,
        *,
        part: str = "",
        size: tuple[int, int] = (HEIGHT, WIDTH),
        grey: bool = False,
        copy_of: str = "",
        ignored_rows: int = 0,
    ) -> None:
        """`squares`: upper left corner -> side; None: no mask."""
        pixels = self.random.integers(0, 255, (*size, 1 if grey else 3), np.uint8)
        if copy_of:
            (self.root / name).write_bytes((self.root / copy_of).read_bytes())
        else:
            Image.fromarray(np.broadcast_to(pixels, (*size, 3)).copy()).save(self.root / name)
        mask, ignore = np.zeros(size, np.uint8), np.zeros(size, np.uint8)
        for (top, left), side in (squares or {}).items():
            mask[top : top + side, left : left + side] = 255
        ignore[:ignored_rows] = 255
        names = {"mask": f"{name}.mask.png" if squares is not None else ""}
        names["ignore"] = f"{name}.ignore.png" if ignored_rows else ""
        for pixels, key in ((mask, "mask"), (ignore, "ignore")):
            if names[key]:
                Image.fromarray(pixels).save(self.root / names[key])
        self.rows.append(ImageRow(name, names["mask"], part, int(bool(defect)), defect, ignore=names["ignore"]))


@pytest.fixture
def images(tmp_path: Path) -> Images:
    return Images(tmp_path)


@pytest.fixture
def measure(images: Images, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Measure:
    """Write index, pack and splits of the images, and measure them."""
    monkeypatch.chdir(tmp_path)

    def run(contaminants: frozenset[str] = frozenset(), **splits: dict[str, str]) -> CategoryCard:
        files = CategoryFiles.of("d", "c", list(splits))
        rows = add_digests(images.rows, images.root)
        write_index(files.index, rows)
        write_pack(files.pack, rows, images.root, {})
        anomalous = frozenset(row.image for row in rows if row.label) - contaminants
        for name, path in files.splits.items():
            write_split(path, Split(splits[name], anomalous, contaminants))
        return measure_category(files)

    return run


def test_images_are_counted_by_official_part_class_and_defect_type(images: Images, measure: Measure) -> None:
    for number in range(3):
        images.add(f"train{number}.png", part="train")
    images.add("good.png", part="test")
    images.add("a.png", "crack", {(0, 0): 5}, part="test")
    images.add("b.png", "dent", {(0, 0): 5}, part="test")
    card = measure()
    assert (card.normal, card.anomalous, card.images) == (4, 2, 6)
    assert card.official == [
        Count("test", "normal", "", 1),
        Count("test", "positive", "crack", 1),
        Count("test", "positive", "dent", 1),
        Count("train", "normal", "", 3),
    ]


def test_a_split_is_counted_by_part_role_and_defect_type(images: Images, measure: Measure) -> None:
    parts = {"t1": "train", "t2": "train", "v1": "val", "e1": "test", "u1": "unused"}
    for name in parts:
        images.add(name + ".png")
    defects = {"c1": "train", "c2": "val", "c3": "test", "c4": "test", "c5": "test"}
    for name in defects:
        images.add(name + ".png", "crack", {(0, 0): 9})
    parts = {f"{name}.png": part for name, part in (parts | defects).items()}
    card = measure(frozenset({"c1.png"}), plan=parts)
    (split,) = card.splits
    assert split.counts == [
        Count("test", "normal", "", 1),
        Count("test", "positive", "crack", 3),
        Count("train", "contaminant", "crack", 1),
        Count("train", "normal", "", 2),
        Count("unused", "normal", "", 1),
        Count("val", "normal", "", 1),
        Count("val", "positive", "crack", 1),
    ]
    assert split.shares == {"train": 0.3, "val": 0.2, "test": 0.4, "unused": 0.1}
    assert split.anomalous == {"val": 0.5, "test": 0.75}
    assert split.f1_floor == pytest.approx(2 * 3 / (2 * 3 + 1))


def test_a_part_without_images_has_no_share_of_anomalous_ones(images: Images, measure: Measure) -> None:
    images.add("a.png")
    images.add("b.png")
    (split,) = measure(s={"a.png": "train", "b.png": "test"}).splits
    assert split.anomalous == {"val": None, "test": 0.0}
    assert split.f1_floor is None


def test_area_and_regions_of_known_squares_are_exact(images: Images, measure: Measure) -> None:
    images.add("a.png", "crack", {(0, 0): 6})
    images.add("b.png", "crack", {(0, 0): 12, (20, 20): 12})
    images.add("c.png", "crack", {(0, 0): 10, (10, 10): 10})  # they touch at a corner
    images.add("d.png", "hole", {(5, 5): 1})
    card = measure()
    crack, hole = card.defects
    pixels = HEIGHT * WIDTH
    assert crack.areas == pytest.approx([36 / pixels, 200 / pixels, 288 / pixels])
    assert crack.area is not None
    assert crack.area.median == pytest.approx(200 / pixels)
    assert crack.area.maximum == pytest.approx(288 / pixels)
    assert crack.regions is not None
    assert (crack.regions.minimum, crack.regions.median, crack.regions.maximum) == (1, 1, 2)
    assert (crack.below_patch, hole.below_patch) == (0, 1)
    assert 1 / pixels < PATCH_SHARE < 36 / pixels
    assert card.below_patch == 0.25


def test_masks_that_mark_nothing_are_named_and_not_measured(images: Images, measure: Measure) -> None:
    images.add("empty.png", "crack", {})
    images.add("marked.png", "crack", {(0, 0): 6})
    images.add("hopeless.png", "dent", {})
    card = measure()
    assert card.empty_masks == ["empty.png", "hopeless.png"]
    crack, dent = card.defects
    assert (crack.images, len(crack.areas)) == (2, 1)
    assert (dent.images, dent.areas, dent.area, dent.regions) == (1, [], None, None)
    assert [example.image for example in card.examples] == ["marked.png", "hopeless.png"]


def test_a_category_without_masks_has_no_areas(images: Images, measure: Measure) -> None:
    images.add("a.png")
    images.add("b.png", "crack")
    card = measure()
    assert card.without_mask == ["b.png"]
    assert (card.empty_masks, card.below_patch, card.area) == ([], None, None)


def test_identical_images_are_found_within_and_across_the_parts_of_each_split(images: Images, measure: Measure) -> None:
    images.add("a.png")
    for name in ("b.png", "c.png"):
        images.add(name, copy_of="a.png")
    images.add("d.png")
    across, within = measure(
        apart={"a.png": "train", "b.png": "train", "c.png": "test", "d.png": "test"},
        together={"a.png": "train", "b.png": "train", "c.png": "unused", "d.png": "test"},
    ).splits
    assert [[(each.image, each.place) for each in group] for group in across.identical_across] == [
        [("a.png", "train"), ("b.png", "train"), ("c.png", "test")]
    ]
    assert within.identical_across == []
    assert across.identical_within == within.identical_within == {"train": 1}


def test_the_same_content_with_different_labels_is_a_conflict(images: Images, measure: Measure) -> None:
    images.add("good.png")
    images.add("bad.png", "crack", {(0, 0): 6}, copy_of="good.png")
    images.add("one.png", "crack", {(0, 0): 6})
    images.add("two.png", "dent", {(0, 0): 6}, copy_of="one.png")
    (conflict,) = measure().label_conflicts
    assert [(each.image, each.place) for each in conflict] == [("good.png", ""), ("bad.png", "crack")]


def test_sizes_and_colour_are_summed_up(images: Images, measure: Measure) -> None:
    images.add("a.png", size=(10, 20))
    images.add("b.png", size=(30, 20), grey=True)
    images.add("c.png", size=(30, 20))
    card = measure()
    assert [(each.height, each.width, each.images) for each in card.sizes.distinct] == [(30, 20, 2), (10, 20, 1)]
    assert (card.sizes.height.minimum, card.sizes.height.median, card.sizes.height.maximum) == (10, 30, 30)
    assert (card.sizes.pixels.minimum, card.sizes.pixels.maximum) == (200, 600)
    assert (card.sizes.aspect.minimum, card.sizes.aspect.maximum) == (pytest.approx(2 / 3), 2)
    assert card.grey == 1


def test_a_defect_that_is_wholly_ignored_is_named_and_lowers_the_floor(images: Images, measure: Measure) -> None:
    images.add("train.png", ignored_rows=15)
    images.add("good.png", ignored_rows=15)
    images.add("hidden.png", "crack", {(0, 0): 6}, ignored_rows=15)
    images.add("seen.png", "crack", {(30, 0): 6}, ignored_rows=30)
    parts = dict.fromkeys(("good.png", "hidden.png", "seen.png"), "test") | {"train.png": "train"}
    card = measure(s=parts)
    assert card.hidden == ["hidden.png"]
    assert card.ignored is not None
    assert (card.ignored.minimum, card.ignored.maximum) == (0.25, 0.5)
    assert card.splits[0].f1_floor == 0.5  # one anomalous image of three
    assert card.anomalous == 2


def test_examples_are_a_good_image_and_one_of_middle_area_per_frequent_defect_type(
    images: Images, measure: Measure
) -> None:
    images.add("good.png")
    for side in (3, 7, 11):
        images.add(f"crack{side}.png", "crack", {(0, 0): side})
    for number in range(EXAMPLES):
        images.add(f"rare{number}.png", f"rare{number}", {(0, 0): 5})
    examples = measure().examples
    assert len(examples) == EXAMPLES
    assert [example.image for example in examples[:3]] == ["good.png", "crack7.png", "rare0.png"]


def test_a_split_of_other_images_is_refused(images: Images, measure: Measure) -> None:
    images.add("a.png")
    with pytest.raises(UserError, match=r"s\.csv is not of the images of the index"):
        measure(s={"other.png": "train"})


def test_a_card_that_is_saved_reads_back_and_equal_cards_give_equal_bytes(
    images: Images, measure: Measure, tmp_path: Path
) -> None:
    images.add("a.png")
    images.add("b.png", "crack", {(0, 0): 6})
    parts = {"a.png": "train", "b.png": "test"}
    for name in ("one.json", "two.json"):
        write_card(tmp_path / name, DataCard("d", {"licence": "free"}, [measure(s=parts)], {"stage": "x"}))
    assert (tmp_path / "one.json").read_bytes() == (tmp_path / "two.json").read_bytes()
    card = read_card(tmp_path / "one.json")
    assert asdict(card) == read_json(tmp_path / "one.json")
    assert card.categories == [measure(s=parts)]
    assert replace(card, dataset="e") != card


@pytest.mark.parametrize(("content", "message"), [(None, "does not exist"), ('{"dataset": 1}', "is damaged")])
def test_a_card_that_is_missing_or_damaged_is_named(tmp_path: Path, content: str | None, message: str) -> None:
    path = tmp_path / "card.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(UserError, match=rf"card\.json {message}"):
        read_card(path)
