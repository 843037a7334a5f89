import base64
import io
import json
import re
from collections.abc import Sequence
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from patchshift.data.card import CategoryCard, CategoryFiles, DataCard, Placed, read_card
from patchshift.data.card_measures import measure_category
from patchshift.data.index import ImageRow, add_digests, write_index
from patchshift.data.packs import write_pack
from patchshift.data.splits import Split, write_split
from patchshift.errors import UserError
from patchshift.report.data_card import OPEN_CATEGORIES, render_card, show_outlined, tabulate_counts
from patchshift.report.data_figures import draw_areas, draw_balance, shorten
from patchshift.report.data_wording import Finding, describe_inputs, describe_sizes, list_findings
from patchshift.report.pictures import MASK_COLOUR
from patchshift.report.templating import show_percent

NASTY = "<script>alert('defect')</script>"
NASTY_FILE = "<img src=x onerror=alert(1)>.png"
VOID = {"meta", "link", "img", "br", "hr"}


class Page(HTMLParser):
    """What a page holds; fails where its tags do not close."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.text = ""
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attributes)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attributes)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data

    def all(self, name: str) -> list[dict[str, str | None]]:
        return [attributes for tag, attributes in self.tags if tag == name]


def write_category(category: str = "c", *, side: int = 6, count: int = 2, defect: str = NASTY) -> CategoryCard:
    """A category of 40 x 60 images in the working folder, half of them with a square defect, and its card."""
    root, random = Path("images") / category, np.random.default_rng(len(category))
    root.mkdir(parents=True)
    rows, parts = [], {}
    names = [f"{kind}{number}.png" for kind in ("train", "good", "bad") for number in range(count)]
    names[-1] = NASTY_FILE
    for number, name in enumerate(names):
        Image.fromarray(random.integers(0, 255, (40, 60, 3), np.uint8)).save(root / name)
        bad = number >= 2 * count
        if bad:
            mask = np.zeros((40, 60), np.uint8)
            mask[5 : 5 + side, 5 : 5 + side] = 255
            Image.fromarray(mask).save(root / f"mask{number}.png")
        rows.append(ImageRow(name, f"mask{number}.png" if bad else "", "", int(bad), defect if bad else ""))
        parts[name] = "train" if number < count else "test"
    files = CategoryFiles.of("d", category, ["s"])
    rows = add_digests(rows, root)
    write_index(files.index, rows)
    write_pack(files.pack, rows, root, {})
    write_split(files.splits["s"], Split(parts, frozenset(row.image for row in rows if row.label)))
    return measure_category(files)


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def make_card(*categories: CategoryCard, **settings: Any) -> DataCard:
    return DataCard("d", settings, list(categories), {})


def find(categories: Sequence[CategoryCard], heading: str) -> Finding | None:
    return next((finding for finding in list_findings(categories) if finding.heading == heading), None)


def said(category: CategoryCard, heading: str) -> str:
    finding = find([category], heading)
    assert finding is not None
    ((names, sentence),) = finding.details
    assert names == ""
    return sentence


def test_names_are_text_never_markup() -> None:
    page = Page(render_card(make_card(write_category(), licence=NASTY, address="https://x/<b>")))
    assert not page.all("script")
    assert all("onerror" not in attributes for attributes in page.all("img"))
    assert NASTY in page.text
    assert NASTY_FILE in page.text
    assert f"Licence: {NASTY}." in page.text
    assert "address: https://x/<b>" in page.text


def test_a_page_asks_for_nothing_outside_itself() -> None:
    page = Page(render_card(make_card(write_category())))
    addresses = [
        attributes[key] or ""
        for _, attributes in page.tags
        for key in ("src", "href", "xlink:href")
        if key in attributes
    ]
    assert addresses
    assert all(address.startswith(("#", "data:")) for address in addresses)
    assert not re.search(r"url\((?!#)", render_card(make_card(write_category("e"))))


def test_links_inside_the_page_lead_somewhere() -> None:
    page = Page(render_card(make_card(write_category())))
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    assert {link["href"][1:] for link in page.all("a") if link["href"]} <= set(ids)


def test_every_picture_has_words_for_those_who_do_not_see_it() -> None:
    page = Page(render_card(make_card(write_category())))
    assert [image["alt"] for image in page.all("img")] == ["c: good", f"c: {NASTY}, its mask outlined"]
    drawings = [each for each in page.all("div") if each.get("class") == "drawing"]
    assert len(drawings) == 2
    assert all(drawing["role"] == "img" and drawing["aria-label"] for drawing in drawings)


def test_a_page_of_fifteen_categories_folds_away_all_but_the_first() -> None:
    first = write_category()
    write = [replace(first, category=f"c{number:02d}") for number in range(15)]
    pack = CategoryFiles.of("d", "c").pack.read_bytes()
    for category in write:
        CategoryFiles.of("d", category.category).pack.parent.mkdir()
        CategoryFiles.of("d", category.category).pack.write_bytes(pack)
    page = Page(render_card(make_card(*write)))
    folded = [each for each in page.all("details") if each.get("class") == "category"]
    assert len(folded) == 15
    assert ["open" in each for each in folded] == [True] * OPEN_CATEGORIES + [False] * (15 - OPEN_CATEGORIES)
    assert "60 good and 30 defective images of 15 categories" in page.text


def test_a_category_without_masks_has_a_page_without_areas() -> None:
    card = write_category()
    bare = [replace(defect, areas=[], area=None, regions=None, below_patch=0) for defect in card.defects]
    card = replace(card, defects=bare, area=None, below_patch=None, without_mask=["bad0.png"])
    page = Page(render_card(make_card(card)))
    assert draw_areas([card]) is None
    assert "How large defects are" not in page.text
    assert "1 of 2 defective images: bad0.png." in page.text


def test_equal_cards_give_equal_pages() -> None:
    card = make_card(write_category())
    assert render_card(card) == render_card(card)


def test_script_writes_page_and_card(tmp_path: Path) -> None:
    import write_data_card

    expected = write_category()
    for name in ("one", "two"):
        arguments = ["--dataset", "d", "--categories", "c", "--splits", "s", "--stage", "1"]
        arguments += ["--settings", json.dumps({"licence": "free"}), "--json", f"{name}.json", "--html", f"{name}.html"]
        write_data_card.main(arguments)
    for suffix in ("json", "html"):
        assert Path(f"one.{suffix}").read_bytes() == Path(f"two.{suffix}").read_bytes()
    card = read_card(Path("one.json"))
    assert card.categories == [expected]
    assert card.settings == {"licence": "free"}
    assert set(card.provenance["inputs"]) == {"indexes", "packs", "splits"}
    assert render_card(card) == Path("one.html").read_text(encoding="utf-8")
    assert str(tmp_path) not in Path("one.json").read_text(encoding="utf-8")


def test_a_card_whose_pack_lost_an_image_says_so() -> None:
    card = write_category()
    card = replace(card, examples=[Placed("gone.png", "")])
    with pytest.raises(UserError, match=r"clean\.h5 lacks gone\.png"):
        render_card(make_card(card))


def test_counts_stand_under_the_split_and_part_that_they_belong_to() -> None:
    table = tabulate_counts(write_category())
    assert table.groups == [("split s", 2)]
    assert table.parts == ["train", "test"]
    assert [(kind, images, [cell.images for cell in cells]) for kind, _, images, cells in table.rows] == [
        ("good", 4, [2, 2]),
        (NASTY, 2, [0, 2]),
    ]


def test_contaminants_are_counted_as_defects_that_are_taken_for_good() -> None:
    card = write_category()
    (split,) = card.splits
    moved = [
        replace(count, part="train", role="contaminant") if count.role == "positive" else count
        for count in split.counts
    ]
    table = tabulate_counts(replace(card, splits=[replace(split, counts=moved)]))
    assert [(cell.images, cell.contaminants) for cell in table.rows[1][3]] == [(2, 2), (0, 0)]


def test_a_defect_type_called_good_is_not_counted_among_good_images() -> None:
    table = tabulate_counts(write_category(defect="good"))
    assert [(kind, [cell.images for cell in cells]) for kind, _, _, cells in table.rows] == [
        ("good", [2, 2]),
        ("good", [0, 2]),
    ]


def test_images_seen_in_training_are_counted_and_named() -> None:
    card = write_category()
    groups = [[Placed("x.png", "train"), Placed("y.png", "test"), Placed("z.png", "test")]]
    groups += [[Placed("v.png", "val"), Placed("w.png", "test")]]
    card = replace(card, splits=[replace(card.splits[0], identical_across=groups)])
    sentence = said(card, "Images with identical content in several parts")
    assert sentence.startswith("Split s: 3 images of test are identical to images of train and val: ")
    assert "train: x.png = test: y.png = test: z.png" in sentence


def test_many_names_are_cut_to_a_few() -> None:
    card = replace(write_category(), empty_masks=[f"{number}.png" for number in range(9)], anomalous=20)
    sentence = said(card, "Masks that mark nothing")
    assert sentence == "9 of 20 defective images: 0.png, 1.png, 2.png, 3.png, 4.png and 4 more."


def test_label_conflicts_name_both_labels() -> None:
    card = replace(write_category(), label_conflicts=[[Placed("a.png", ""), Placed("b.png", "crack")]])
    assert said(card, "Identical images with different labels") == "a.png (good) = b.png (crack)."


@pytest.mark.parametrize(("side", "found"), [(1, True), (6, False)])
def test_only_defects_below_a_patch_are_called_small(side: int, found: bool) -> None:
    card = write_category(side=side, defect="scratch")
    finding = find([card], "Defects smaller than a patch")
    assert (finding is not None) == found
    if finding:
        assert finding.details[0][1].replace("\N{NO-BREAK SPACE}", " ") == (
            "The median scratch covers 0.042 % of its image; 100 % of all defects are smaller than a patch."
        )


def test_categories_of_which_the_same_is_said_are_named_together() -> None:
    card = write_category()
    finding = find([card, replace(card, category="e")], "No validation images")
    assert finding is not None
    assert finding.details == [("c and e", "Split s.")]
    every = find([replace(card, category=name) for name in "cef"], "No validation images")
    assert every is not None
    assert every.details == [("All 3 categories", "Split s.")]


def test_few_images_are_counted_by_kind() -> None:
    assert said(write_category(), "Fewer than 20 images to judge by") == "Split s, test: 2 good and 2 defective images."


def test_nothing_is_found_in_a_dataset_that_is_in_order() -> None:
    card = write_category(count=25, side=8)
    (split,) = card.splits
    counts = [replace(count, part="val") for count in split.counts if count.part == "test"]
    split = replace(split, counts=[*split.counts, *counts], shares={**split.shares, "val": 0.4})
    square = replace(card.sizes, aspect=replace(card.sizes.aspect, minimum=1, maximum=1))
    good = replace(card, splits=[split], sizes=square)
    assert list_findings([good]) == []
    assert "Nothing: " in Page(render_card(make_card(good))).text


@pytest.mark.parametrize(
    ("change", "heading"),
    [
        ({"grey": 3}, "Grey images among images in colour"),
        ({"hidden": ["bad0.png"]}, "Defects that lie wholly inside ignored regions"),
        ({"without_mask": ["bad0.png"]}, "Defective images without a mask"),
    ],
)
def test_each_defect_of_a_dataset_has_its_heading(change: dict[str, Any], heading: str) -> None:
    card = write_category()
    assert find([card], heading) is None
    assert find([replace(card, **change)], heading) is not None


def test_sizes_are_said_in_words() -> None:
    assert describe_sizes(write_category()) == "6 images of 40 × 60 pixels, height × width; in colour."


@pytest.mark.parametrize(
    ("share", "words"),
    [(0, "0 %"), (0.5, "50 %"), (0.0123, "1.2 %"), (0.00129, "0.13 %"), (1e-6, "0.0001 %"), (0.999, "100 %")],
)
def test_shares_are_shown_in_percent(share: float, words: str) -> None:
    assert show_percent(share) == words.replace(" ", "\N{NO-BREAK SPACE}")


def test_figures_show_each_category_and_each_split() -> None:
    card = write_category()
    more = [replace(card, category=name) for name in ("one", "two", "three", "four")]
    areas = draw_areas(more)
    assert areas is not None
    assert [axes.get_title(loc="left") for axes in areas.axes if axes.get_visible()] == ["one", "two", "three", "four"]
    balance = draw_balance(more)
    assert [axes.get_title(loc="left") for axes in balance.axes] == ["split s"]
    widths = [patch.get_width() for patch in balance.axes[0].patches if patch.get_width()]
    assert sorted(widths) == [2] * 12  # two images of each kind in each of four categories


def test_long_names_are_cut_beside_axes() -> None:
    assert shorten("crack", 5) == "crack"
    assert shorten("crack and dent", 8) == "crack a…"


def decode(address: str) -> np.ndarray:
    with Image.open(io.BytesIO(base64.b64decode(address.partition(",")[2]))) as picture:
        return np.asarray(picture.convert("RGB"), np.float64)


def jpeg(value: int) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (80, 80), (value,) * 3).save(buffer, "JPEG")
    return buffer.getvalue()


def test_a_defect_is_outlined_and_not_covered() -> None:
    mask = np.zeros((160, 160), bool)
    mask[40:120, 40:120] = True
    shown = decode(show_outlined(jpeg(200), mask, np.zeros_like(mask)))
    assert shown.shape == (80, 80, 3)
    blue = np.abs(shown - MASK_COLOUR).max(axis=2) < 40
    assert blue[18, 30:50].all()  # two pixels above the square's first row, 20
    assert np.abs(shown[30:50, 30:50] - 200).max() < 12
    assert np.abs(shown[:10, :10] - 200).max() < 12


def test_an_image_without_defect_is_shown_as_it_is() -> None:
    nothing = np.zeros((160, 160), bool)
    assert np.abs(decode(show_outlined(jpeg(200), nothing, nothing)) - 200).max() < 4


def test_ignored_regions_are_pale() -> None:
    ignore = np.zeros((160, 160), bool)
    ignore[:80] = True
    shown = decode(show_outlined(jpeg(20), np.zeros_like(ignore), ignore))
    assert shown[:35].min() > 90
    assert shown[45:].max() < 40


def test_what_backbones_see_is_said_in_their_own_sizes() -> None:
    tiled = {"image_size": [384, 256], "tiling": {"tile": 128, "overlap": 64}}
    sizes = {"net": {"image_size": 96}, "wide": {"image_size": [320, 224]}, "tiled": tiled, "waves": {"image_size": 96}}
    assert describe_inputs(sizes) == (
        "Every image is resized, height × width, to 96 × 96 pixels (net and waves), 320 × 224 pixels (wide) and "
        "384 × 256 pixels in tiles of 128 × 128 (tiled)."
    )
