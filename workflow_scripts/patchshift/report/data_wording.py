"""What a reader must know of a dataset before believing figures made with it, in words, each with its remedy.

Plain text: the page escapes it.
Tested in tests/report/test_data_card.py.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from patchshift.data.card import INPUT_SIZE, PATCH, PATCH_SHARE, CategoryCard, Placed, SplitCard
from patchshift.report.templating import show_percent
from patchshift.report.wording import FEW_IMAGES, join_words

NAMED = 5  # images or groups that a sentence names
HIGH_FLOOR = 0.8
STRETCHED = 1.5  # sides of an image: squashing it to a square changes shapes by this factor


@dataclass(frozen=True)
class Finding:
    """One kind of thing to heed.

    Attributes:
        heading: what it is.
        remedy: what it means, and what to do.
        details: where it was found: names of categories (empty where the dataset has but one), and a sentence.
    """

    heading: str
    remedy: str
    details: list[tuple[str, str]]


def list_findings(categories: Sequence[CategoryCard]) -> list[Finding]:
    """All that is to be heeded, the worst first; categories of which the same is said are named together."""
    found = []
    for heading, remedy, look in _KINDS:
        said: dict[str, list[str]] = defaultdict(list)
        for category in categories:
            for sentence in look(category):
                said[sentence].append(category.category)
        if said:
            details = [(_name_categories(names, len(categories)), sentence) for sentence, names in said.items()]
            found.append(Finding(heading, remedy, details))
    return found


def _name_categories(names: Sequence[str], of: int) -> str:
    if of == 1:
        return ""
    return f"All {of} categories" if len(names) == of > 2 else join_words(names)


def describe_inputs(backbones: Mapping[str, Mapping[str, Any]]) -> str:
    """What the backbones of a study see of an image: backbones that see the same are named together.

    Args:
        backbones: id -> its settings.
    """
    seen: dict[str, list[str]] = defaultdict(list)
    for name, settings in backbones.items():
        tiling = settings.get("tiling")
        tiles = f" in tiles of {_size(tiling['tile'])}" if tiling else ""
        seen[f"{_size(settings['image_size'])} pixels{tiles}"].append(name)
    sizes = [f"{size} ({join_words(names)})" for size, names in seen.items()]
    return f"Every image is resized, height × width, to {join_words(sizes)}."


def _size(size: int | Sequence[int]) -> str:
    height, width = (size, size) if isinstance(size, int) else size
    return f"{height} × {width}"


def describe_sizes(category: CategoryCard) -> str:
    """How large the images are, and whether they have colour."""
    sizes = category.sizes
    most = sizes.distinct[0]
    if len(sizes.distinct) == 1:
        size = f"{count_images(category.images)} of {most.height} × {most.width} pixels"
    else:
        size = (
            f"{count_images(category.images)} of {len(sizes.distinct)} sizes, {sizes.height.minimum:g} to "
            f"{sizes.height.maximum:g} pixels high (median {sizes.height.median:g}) and {sizes.width.minimum:g} to "
            f"{sizes.width.maximum:g} wide (median {sizes.width.median:g}); the most frequent is "
            f"{most.height} × {most.width} ({count_images(most.images)})"
        )
    return f"{size}, height × width; {describe_colour(category)}."


def describe_colour(category: CategoryCard) -> str:
    """Grey, in colour, or some of each."""
    if category.grey == category.images:
        return "grey"
    return "in colour" if not category.grey else f"{category.grey} of them grey, the others in colour"


def count_images(number: int) -> str:
    """A number of images in words."""
    return "1 image" if number == 1 else f"{number} images"


def name_some(names: Sequence[str]) -> str:
    """The first few names, and how many more there are."""
    more = [f"{len(names) - NAMED} more"] if len(names) > NAMED else []
    return join_words([*names[:NAMED], *more])


def _leaks(category: CategoryCard) -> Iterator[str]:
    for split in category.splits:
        for part, others in (("test", ("train", "val")), ("val", ("train",))):
            groups = _groups_over(split, part, others)
            if groups:
                copies = sum(placed.place == part for group in groups for placed in group)
                sources = join_words([other for other in others if any(_holds(group, other) for group in groups)])
                pairs = [" = ".join(f"{placed.place}: {placed.image}" for placed in group) for group in groups]
                verb = "is" if copies == 1 else "are"
                yield (
                    f"Split {split.split}: {count_images(copies)} of {part} {verb} identical to images of {sources}: "
                    f"{name_some(pairs)}."
                )


def _groups_over(split: SplitCard, part: str, others: Sequence[str]) -> list[list[Placed]]:
    return [
        group
        for group in split.identical_across
        if _holds(group, part) and any(_holds(group, other) for other in others)
    ]


def _holds(group: Sequence[Placed], place: str) -> bool:
    return any(placed.place == place for placed in group)


def _label_conflicts(category: CategoryCard) -> Iterator[str]:
    for group in category.label_conflicts:
        yield " = ".join(f"{placed.image} ({placed.place or 'good'})" for placed in group) + "."


def _copies(category: CategoryCard) -> Iterator[str]:
    for split in category.splits:
        if split.identical_within:
            parts = [
                f"{groups} {'group' if groups == 1 else 'groups'} in {part}"
                for part, groups in split.identical_within.items()
            ]
            yield f"Split {split.split}: {join_words(parts)}."


def _empty_masks(category: CategoryCard) -> Iterator[str]:
    if names := category.empty_masks:
        yield f"{len(names)} of {category.anomalous} defective images: {name_some(names)}."


def _without_mask(category: CategoryCard) -> Iterator[str]:
    if names := category.without_mask:
        yield f"{len(names)} of {category.anomalous} defective images: {name_some(names)}."


def _hidden(category: CategoryCard) -> Iterator[str]:
    if names := category.hidden:
        yield f"{len(names)} of {category.anomalous} defective images: {name_some(names)}."


def _small_defects(category: CategoryCard) -> Iterator[str]:
    small = [
        f"the median {defect.defect or 'defect'} covers {show_percent(defect.area.median)} of its image"
        for defect in category.defects
        if defect.area and defect.area.median < PATCH_SHARE
    ]
    if small:
        share = show_percent(category.below_patch or 0)
        yield f"{join_words(small)}; {share} of all defects are smaller than a patch.".replace("the", "The", 1)


def _shapes(category: CategoryCard) -> Iterator[str]:
    low, high = category.sizes.aspect.minimum, category.sizes.aspect.maximum
    if high / low > STRETCHED:
        yield f"Width is {low:.2f} to {high:.2f} times the height."
    elif max(high, 1 / low) > STRETCHED:
        yield f"Width is {category.sizes.aspect.median:.2f} times the height."


def _mixed_colour(category: CategoryCard) -> Iterator[str]:
    if 0 < category.grey < category.images:
        yield f"{category.grey} of {category.images} images are grey."


def _few(category: CategoryCard) -> Iterator[str]:
    for split in category.splits:
        for part in ("val", "test"):
            counted = Counter({"good": 0, "defective": 0})
            for count in split.counts:
                if count.part == part:
                    counted["good" if count.role == "normal" else "defective"] += count.images
            few = [f"{number or 'no'} {kind}" for kind, number in counted.items() if number < FEW_IMAGES]
            if few and any(counted.values()):
                yield f"Split {split.split}, {part}: {join_words(few)} {'image' if few[-1][:2] == '1 ' else 'images'}."


def _no_validation(category: CategoryCard) -> Iterator[str]:
    names = [split.split for split in category.splits if not split.shares["val"]]
    if names:
        yield f"{'Split' if len(names) == 1 else 'Splits'} {join_words(names)}."


def _high_floor(category: CategoryCard) -> Iterator[str]:
    high = [split for split in category.splits if split.f1_floor is not None and split.f1_floor >= HIGH_FLOOR]
    floors = [f"{split.f1_floor:.3f} in split {split.split}" for split in high]
    if floors:
        yield f"{join_words(floors)}."


_KINDS: list[tuple[str, str, Callable[[CategoryCard], Iterator[str]]]] = [
    (
        "Images with identical content in several parts",
        "What is tested was seen before, so figures flatter every detector. Delete the copies and run again.",
        _leaks,
    ),
    (
        "Identical images with different labels",
        "No detector can get both right. Look at them, and correct the label or delete one.",
        _label_conflicts,
    ),
    (
        "Masks that mark nothing",
        "These images count as anomalous, and all their pixels as normal. Draw their defects, or delete the images.",
        _empty_masks,
    ),
    (
        "Defective images without a mask",
        "Pixel metrics are undefined without them. Draw masks where localisation matters.",
        _without_mask,
    ),
    (
        "Defects that lie wholly inside ignored regions",
        "These images count as good. Check that the ignore mask covers no more than it should.",
        _hidden,
    ),
    (
        "Defects smaller than a patch",
        f"A patch of {PATCH} × {PATCH} of {INPUT_SIZE} × {INPUT_SIZE} pixels, the finest of most backbones, covers "
        f"{show_percent(PATCH_SHARE)} of the image. A larger image_size of the backbone, or images cut into tiles, "
        "make such defects larger than that.",
        _small_defects,
    ),
    (
        "Images that are not square",
        "Backbones resize every image to their image_size, a square unless it is given as [height, width]. Where that "
        "changes what a defect looks like, give it the images' shape, or cut or pad them first.",
        _shapes,
    ),
    (
        "Grey images among images in colour",
        "If good and defective images differ in that, a detector finds the camera, not the defect. Convert them "
        "all alike.",
        _mixed_colour,
    ),
    (
        "No validation images",
        "Everything that needs a threshold is undefined there; ranking metrics are not.",
        _no_validation,
    ),
    (
        f"Fewer than {FEW_IMAGES} images to judge by",
        "Thresholds and figures that rest on so few can be quite different with others: read the intervals.",
        _few,
    ),
    (
        "Mostly defective test images",
        "Calling every test image defective has this F1 already. Read F1 against it, and beside specificity.",
        _high_floor,
    ),
    (
        "Copies inside a part",
        "They count more than once in every figure of their part.",
        _copies,
    ),
]
"""Heading, remedy, and what finds it in a category; the worst first."""
