"""The config models of datasets and splits: where images come from, and who is train, val and test.

Field descriptions are the text of docs/config.md.
"""

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from patchshift.plan.base import Name, RelativePath, Seed, Share, Spec
from patchshift.plan.loading import did_you_mean

SINGLE_CATEGORY: frozenset[str] = frozenset({"mtd", "ksdd2"})
"""Adapters whose dataset is one category, without a folder level of categories."""

GENERATED_CATEGORIES = ("weave", "casting", "connector")
"""What the built-in dataset can draw (`patchshift.data.demo`)."""

VISA_SPLIT = "split_csv/1cls.csv"
"""The official parts of VisA, in the dataset's folder."""

VISA_TYPES = "image_anno.csv"
"""Its defect types, in each category's folder."""

KAGGLE = "kaggle:"
"""Begins the address of an archive that Kaggle's command-line client downloads: `kaggle:owner/dataset`."""


class GeneratorSpec(Spec):
    """How the built-in synthetic dataset is drawn."""

    seed: Seed = Field(0, description="Seed of all drawing; the same seed gives the same bytes.")
    image_size: int = Field(256, ge=256, le=1024, description="Height and width in pixels.")
    train_good: int = Field(48, ge=2, description="Good training images per category.")
    test_good: int = Field(20, ge=1, description="Good test images per category.")
    test_per_defect: int = Field(8, ge=1, description="Defective test images per defect type.")


def _can_be_fetched(address: str) -> str:
    if not re.fullmatch(rf"https?://[^\s/]+(/\S*)?|{KAGGLE}[\w.-]+/[\w.-]+", address):
        raise ValueError("must begin with https:// or http://, or be kaggle:owner/dataset")
    return address


def _is_checksum(text: str) -> str:
    if not re.fullmatch(r"sha256:[0-9a-f]{8,64}|md5:[0-9a-f]{32}", text):
        raise ValueError("must be sha256: and 64 (or the first 8 or more of them), or md5: and 32 digits 0-9a-f")
    return text


Address = Annotated[str, AfterValidator(_can_be_fetched)]
Checksum = Annotated[str, AfterValidator(_is_checksum)]


class ArchiveSpec(Spec):
    """One place where a dataset's archive can be had."""

    address: Address = Field(
        description="`https://...`, `http://...`, or `kaggle:owner/dataset` (needs Kaggle's client)."
    )
    checksum: Checksum | None = Field(None, description="`sha256:...` or `md5:...` of the archive; default: unchecked.")


class DatasetSpec(Spec):
    """Where a dataset's images are and how its folders are read."""

    adapter: Literal["mvtec_ad", "visa", "ksdd2", "mtd", "btad", "folder"] = Field(
        description="The reader of the folder layout."
    )
    categories: list[Name] = Field(min_length=1, description="Category names.")
    folder: RelativePath | None = Field(
        None,
        description="Folder under `data_dir`; default: the dataset's id. It holds one folder per category; with "
        "adapter `folder` and one category, the images themselves.",
    )
    manifest: RelativePath | None = Field(
        None, description="Adapter `folder`: CSV file in each category's folder that lists the images (docs/data.md)."
    )
    address: Address | None = Field(None, description="Archive to download when the folder is missing.")
    checksum: Checksum | None = Field(None, description="`sha256:...` or `md5:...` of that archive.")
    mirrors: list[ArchiveSpec] = Field([], description="Other places, tried in order when the address fails.")
    unpacked_gigabytes: float = Field(50, gt=0, description="An archive that unpacks to more is refused.")
    licence: str = Field("", description="Licence of the images, shown before a download.")
    masks: Literal["required", "optional"] = Field(
        "required", description="`optional`: a category without masks is accepted, its pixel metrics are undefined."
    )
    ignore_mask: RelativePath | None = Field(
        None,
        description="In each category's folder: an image whose non-zero pixels are left out of scores and pixel "
        "metrics, or a folder of such images, named like the images they belong to.",
    )
    max_per_class: int | None = Field(
        None, ge=2, description="Use at most this many images per official split and defect type (a seeded choice)."
    )
    generate: GeneratorSpec | None = Field(None, description="Draw the images instead of reading them (`demo`).")

    @property
    def archives(self) -> list[ArchiveSpec]:
        """Where the dataset can be had, in the order to try."""
        own = [ArchiveSpec(address=self.address, checksum=self.checksum)] if self.address else []
        return [*own, *self.mirrors]

    @property
    def is_one_folder(self) -> bool:
        """Whether the dataset's folder is the folder of its only category."""
        return self.adapter in SINGLE_CATEGORY or (self.adapter == "folder" and len(self.categories) == 1)

    @model_validator(mode="after")
    def _categories_fit_the_adapter(self) -> "DatasetSpec":
        if self.adapter in SINGLE_CATEGORY and len(self.categories) != 1:
            raise ValueError(f"adapter '{self.adapter}' reads one category: name one, not {len(self.categories)}")
        if self.manifest and self.adapter != "folder":
            raise ValueError(f"adapter '{self.adapter}' does not use manifest: remove it, or use adapter 'folder'")
        if self.checksum and not self.address:
            raise ValueError("checksum belongs to an address: give both, or neither")
        return self

    @model_validator(mode="after")
    def _what_is_drawn_is_not_read(self) -> "DatasetSpec":
        if self.generate is None:
            return self
        if self.adapter != "mvtec_ad":
            raise ValueError(f"generate draws the layout of adapter 'mvtec_ad', not of '{self.adapter}'")
        for category in self.categories:
            if category not in GENERATED_CATEGORIES:
                hint = did_you_mean(category, GENERATED_CATEGORIES)
                raise ValueError(f"generate: '{category}' is not a category that can be drawn{hint}")
        for field in ("folder", "address", "mirrors", "ignore_mask"):
            if getattr(self, field):
                raise ValueError(f"a dataset with generate does not use {field}: remove it")
        return self


class FetchSpec(Spec):
    """What a download depends on: a part of `DatasetSpec` (`Study.fetch_spec`)."""

    address: Address | None = None
    checksum: Checksum | None = None
    mirrors: list[ArchiveSpec] = Field([])
    unpacked_gigabytes: float = Field(50, gt=0)
    licence: str = ""
    categories: list[Name] = Field([])

    @property
    def archives(self) -> list[ArchiveSpec]:
        """Where the dataset can be had, in the order to try."""
        own = [ArchiveSpec(address=self.address, checksum=self.checksum)] if self.address else []
        return [*own, *self.mirrors]


def _captures_a_number(pattern: str) -> str:
    try:
        groups = re.compile(pattern).groups
    except re.error as error:
        raise ValueError(f"is no regular expression ({error})") from None
    if groups != 1:
        raise ValueError(f"must have one group in parentheses, which finds the number, not {groups}")
    return pattern


class SeriesSpec(Spec):
    """Which images show one part, taken one after the other (in several lights, from several sides)."""

    pattern: Annotated[str, AfterValidator(_captures_a_number)] = Field(
        description=r"Regular expression that finds a number in an image's path, such as `num_(\d+)`."
    )
    gap: int = Field(ge=0, description="Images whose numbers follow each other by at most this are one series.")


class SplitSpec(Spec):
    """How images are divided into train, val and test."""

    protocol: Literal["source_plan", "normals_only", "official", "published"] = Field(
        description="`source_plan`: train = `train_share` of the good training images, val = the others plus "
        "`val_anomalous_share` of the anomalous test images, test = the rest. `normals_only`: the same without any "
        "anomaly in val. `official`: test = the dataset's own test set, untouched; val = what `train_share` leaves of "
        "the good training images, and `val_anomalous_share` of the anomalous training images where there are any. "
        "`published`: no val; train and test as the literature divides the dataset (so threshold metrics are "
        "undefined)."
    )
    train_share: Share | None = Field(
        None, description="All but `published`: share of the good training images that train."
    )
    val_anomalous_share: Annotated[float, Field(ge=0, lt=1)] | None = Field(
        None,
        description="`source_plan`: share of the anomalous test images that go to val; `official`: of the anomalous "
        "training images. Within each defect type.",
    )
    ignore_official: bool = Field(
        False, description="Divide as if the dataset had no official split. Not for `official`."
    )
    official_train_share: Share = Field(
        0.8,
        description="For a dataset without an official split: share of its good images that count as training images.",
    )
    train_limit: int | None = Field(
        None, ge=1, description="k-shot: train on at most this many good images of each category (a seeded choice)."
    )
    train_contamination: float = Field(
        0.0,
        ge=0,
        le=0.5,
        description="Share of the training images that are anomalous and taken for good, moved there from test.",
    )
    train_anomalous_share: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="Share of the anomalous test images that train as positives of dual banks, within each defect "
        "type; no bank of normal images is fitted on them. Not for `official`.",
    )
    series: SeriesSpec | None = Field(
        None,
        description="Images of one part: random draws take all of a series or none, so no part is on both sides. Good "
        "images and those of each defect type have series of their own.",
    )
    seed: Seed = Field(42, description="Split seed.")

    @model_validator(mode="after")
    def _series_are_whole(self) -> "SplitSpec":
        if self.series and self.train_contamination:
            raise ValueError("train_contamination draws single images, which would tear series apart: remove one")
        return self

    @model_validator(mode="after")
    def _shares_fit_the_protocol(self) -> "SplitSpec":
        owner = f"protocol '{self.protocol}'"
        self._belongs(self.protocol != "published", owner, "train_share")
        self._belongs(self.protocol in ("source_plan", "official"), owner, "val_anomalous_share")
        if self.protocol == "official" and self.ignore_official:
            raise ValueError("protocol 'official' needs the official split: remove ignore_official")
        if self.protocol == "official":
            self._unused(owner, "official_train_share")
        if self.protocol == "official" and self.train_contamination:
            raise ValueError("protocol 'official' leaves the test set untouched: remove train_contamination")
        if self.protocol == "official" and self.train_anomalous_share:
            raise ValueError("protocol 'official' leaves the test set untouched: remove train_anomalous_share")
        if self.train_anomalous_share and self.train_anomalous_share + (self.val_anomalous_share or 0) >= 1:
            raise ValueError(
                "train_anomalous_share and val_anomalous_share leave no anomalous image to test: lower one of them"
            )
        return self
