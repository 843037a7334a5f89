"""Datasets' folder layouts, each read by one function into image rows. A new dataset is one more function.

Layouts and sources: docs/data.md. Tested in tests/data/test_adapters.py.
"""

from collections.abc import Callable, Iterator
from pathlib import Path

from patchshift.data.index import ImageRow, add_digests, limit_per_class
from patchshift.errors import UserError

IMAGE_SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff"}
MTD_DEFECTS = ("Blowhole", "Break", "Crack", "Fray", "Uneven")

Adapter = Callable[[Path], Iterator[ImageRow]]


def list_mvtec_ad(root: Path) -> Iterator[ImageRow]:
    """MVTec AD: `train/good`, `test/{good,defect}`, `ground_truth/{defect}/NNN_mask.png` (Bergmann et al. 2019)."""
    for split in ("train", "test"):
        for folder in _folders(root / split):
            normal = folder.name == "good"
            for path in _images(folder):
                mask = root / "ground_truth" / folder.name / f"{path.stem}_mask.png"
                yield ImageRow(
                    image=path.relative_to(root).as_posix(),
                    mask="" if normal or not mask.is_file() else mask.relative_to(root).as_posix(),
                    official_split=split,
                    label=int(not normal),
                    defect="" if normal else folder.name,
                )


def list_mtd(root: Path) -> Iterator[ImageRow]:
    """Magnetic Tile Defects: `MT_{Free,defect}/Imgs/*.jpg`, masks beside as `.png`; no official split (Huang 2020)."""
    for defect in ("Free", *MTD_DEFECTS):
        for path in sorted(_folder(root / f"MT_{defect}" / "Imgs").glob("*.jpg")):
            mask = path.with_suffix(".png")
            yield ImageRow(
                image=path.relative_to(root).as_posix(),
                mask="" if defect == "Free" or not mask.is_file() else mask.relative_to(root).as_posix(),
                official_split="",
                label=int(defect != "Free"),
                defect="" if defect == "Free" else defect.lower(),
            )


ADAPTERS: dict[str, Adapter] = {"mvtec_ad": list_mvtec_ad, "mtd": list_mtd}


def index_images(root: Path, adapter: str, *, dataset: str, masks: str, max_per_class: int | None) -> list[ImageRow]:
    """All images of one category, with digests.

    Args:
        root: the category's folder.
        adapter: which layout it has.
        dataset: the dataset's id, for messages.
        masks: `required`: each defective image must have a mask; `optional`: a category may have none at all.
        max_per_class: see `index.limit_per_class`.

    Raises:
        UserError: if the folder has not this layout, has no images, or masks are missing.
    """
    rows = list(ADAPTERS[adapter](root))
    if not rows:
        raise UserError(f"dataset '{dataset}': no images under {root}: is this the layout of adapter '{adapter}'?")
    without = [row.image for row in rows if row.label and not row.mask]
    some_have = any(row.mask for row in rows)
    if without and (masks == "required" or some_have):
        named = ", ".join(without[:10]) + (f" and {len(without) - 10} more" if len(without) > 10 else "")
        remedy = (
            "bring the masks"
            if some_have
            else f"bring the masks, or set `datasets.{dataset}.masks: optional` to go on without pixel metrics"
        )
        raise UserError(
            f"dataset '{dataset}': {len(without)} defective images under {root} have no mask ({named}): {remedy}"
        )
    return add_digests(rows if max_per_class is None else limit_per_class(rows, max_per_class), root)


def _folder(path: Path) -> Path:
    if not path.is_dir():
        raise UserError(f"folder {path} does not exist: it belongs to this dataset's layout (docs/data.md)")
    return path


def _folders(path: Path) -> list[Path]:
    return sorted(entry for entry in _folder(path).iterdir() if entry.is_dir())


def _images(folder: Path) -> list[Path]:
    return sorted(entry for entry in folder.iterdir() if entry.suffix.lower() in IMAGE_SUFFIXES)
