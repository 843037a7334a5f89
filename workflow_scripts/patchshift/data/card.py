"""Data cards: what a dataset holds, as JSON. Shares are of 1, lengths are pixels.

Measured by `data/card_measures.py`, shown by `report/data_card.py`.
Tested in tests/data/test_card.py.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

from pydantic import TypeAdapter, ValidationError

from patchshift.errors import UserError
from patchshift.plan.cells import CLEAN
from patchshift.runtime.files import write_json

PATCH, INPUT_SIZE = 8, 224
"""The finest patch of the backbones in the catalog, and the size that they squash images to."""

PATCH_SHARE = (PATCH / INPUT_SIZE) ** 2


@dataclass(frozen=True)
class Spread:
    """Minimum, quartiles (interpolated) and maximum of some values."""

    count: int
    minimum: float
    first_quartile: float
    median: float
    third_quartile: float
    maximum: float


@dataclass(frozen=True)
class SizeCount:
    """How many images have one size."""

    height: int
    width: int
    images: int


@dataclass(frozen=True)
class Sizes:
    """The sizes of a category's images, the most frequent first; `pixels` is height times width."""

    distinct: list[SizeCount]
    height: Spread
    width: Spread
    aspect: Spread
    pixels: Spread


@dataclass(frozen=True)
class Count:
    """How many images one part has of one kind.

    Attributes:
        part: train, val, test or unused; of an official split train, test or empty (it says nothing of them).
        role: normal, positive or contaminant.
        defect: defect type, empty for good images.
        images: how many.
    """

    part: str
    role: str
    defect: str
    images: int


@dataclass(frozen=True)
class Placed:
    """An image and where it stands: a part of a split, or a defect type (empty: good)."""

    image: str
    place: str


@dataclass(frozen=True)
class SplitCard:
    """One split of a category.

    Attributes:
        split: split id.
        counts: images of each part, role and defect type.
        shares: part -> its share of all images.
        anomalous: val and test -> share of their images that are anomalous; None for a part without images.
        f1_floor: 2 P / (2 P + N) of test's P anomalous and N normal images; None without an anomalous one. Defects
            that are wholly ignored count as normal, as in all metrics.
        identical_across: groups of images with the same content in several of train, val and test.
        identical_within: part -> number of groups of images with the same content inside it.
    """

    split: str
    counts: list[Count]
    shares: dict[str, float]
    anomalous: dict[str, float | None]
    f1_floor: float | None
    identical_across: list[list[Placed]]
    identical_within: dict[str, int]


@dataclass(frozen=True)
class DefectCard:
    """The images of one defect type.

    Attributes:
        defect: its name.
        images: how many there are.
        areas: share of an image's pixels that its mask marks, ignored or not; rising; without masks that mark nothing.
        area: spread of these; None if there are none.
        regions: spread of the number of 8-connected regions of a mask; None likewise.
        below_patch: how many cover less than `PATCH_SHARE`.
    """

    defect: str
    images: int
    areas: list[float]
    area: Spread | None
    regions: Spread | None
    below_patch: int


@dataclass(frozen=True)
class CategoryCard:
    """One category of a dataset.

    Attributes:
        category: its name.
        normal: number of good images, by the dataset's own labels.
        anomalous: number of the others.
        official: images of each part of the dataset's own split, role and defect type.
        splits: the study's splits.
        sizes: image sizes.
        grey: how many images have no colour.
        defects: the defect types, by name.
        area: spread of the areas of all its defects; None if none was measured.
        below_patch: share of the measured defects that are smaller than a patch; None likewise.
        empty_masks: anomalous images whose mask marks nothing.
        without_mask: anomalous images that have no mask.
        hidden: anomalous images whose defect is wholly ignored, so that they count as normal.
        ignored: spread of the ignored share of an image; None if no image has an ignore mask.
        label_conflicts: groups of images with the same content, good and anomalous ones among them.
        examples: images to show: a good one, and for the most frequent defect types one of middle area each.
    """

    category: str
    normal: int
    anomalous: int
    official: list[Count]
    splits: list[SplitCard]
    sizes: Sizes
    grey: int
    defects: list[DefectCard]
    area: Spread | None
    below_patch: float | None
    empty_masks: list[str]
    without_mask: list[str]
    hidden: list[str]
    ignored: Spread | None
    label_conflicts: list[list[Placed]]
    examples: list[Placed]

    @property
    def images(self) -> int:
        """Number of images."""
        return self.normal + self.anomalous


@dataclass(frozen=True)
class DataCard:
    """A dataset: its settings in the catalog, its categories, and how the card was made."""

    dataset: str
    settings: dict[str, Any]
    categories: list[CategoryCard]
    provenance: dict[str, Any]
    patch_share: float = PATCH_SHARE


@dataclass(frozen=True)
class CategoryFiles:
    """Where the artifacts of a category are that its card is made from; `splits`: split id -> file."""

    category: str
    index: Path
    pack: Path
    splits: dict[str, Path]

    @classmethod
    def of(cls, dataset: str, category: str, splits: Sequence[str] = ()) -> Self:
        """The places where the rules put them."""
        return cls(
            category,
            Path(f"results/images/{dataset}/{category}.csv"),
            Path(f"results/packs/{dataset}/{category}/{CLEAN}.h5"),
            {split: Path(f"results/splits/{dataset}/{category}/{split}.csv") for split in splits},
        )


def write_card(path: Path, card: DataCard) -> None:
    """Save a card as JSON."""
    write_json(path, asdict(card))


def read_card(path: Path) -> DataCard:
    """Read a saved card.

    Raises:
        UserError: if there is none, or it is damaged.
    """
    try:
        return TypeAdapter(DataCard).validate_json(path.read_bytes())
    except FileNotFoundError:
        raise UserError(f"{path} does not exist: run the stage that makes it, write_data_card") from None
    except ValidationError as error:
        raise UserError(f"{path} is damaged ({error.error_count()} faults): delete it and run again") from None
