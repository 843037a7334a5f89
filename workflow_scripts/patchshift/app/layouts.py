"""Recognise how a folder of images is laid out.

Tested in tests/app/test_layouts.py.
"""

import csv
import re
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from patchshift.data.adapters import IMAGE_SUFFIXES
from patchshift.data.adapters.tree import name_some
from patchshift.data.tables import write_table
from patchshift.errors import UserError
from patchshift.plan.data_specs import SINGLE_CATEGORY, DatasetSpec

GOOD_NAMES = ("good", "ok", "normal", "pass", "passed", "free", "defect_free", "no_defect")
MASK_NAMES = ("mask", "masks", "ground_truth", "gt", "annotations", "labels")
OWN_LIST = "patchshift.csv"
ONE_FOLDER = {"folder", *SINGLE_CATEGORY}
"""Adapters that find a single category in the dataset's folder itself."""


@dataclass(frozen=True)
class Layout:
    """How a folder of images is read.

    Attributes:
        adapter: the adapter's name.
        data_dir: what the study's `data_dir` must be.
        folder: the dataset's folder below it.
        categories: the categories found.
        manifest: name of the CSV file that lists the images, if one does.
        reason: what it was recognised by.
        left_out: folders beside the categories that hold images too, but have no layout that is known.
    """

    adapter: str
    data_dir: Path
    folder: str
    categories: list[str]
    manifest: str | None
    reason: str
    left_out: tuple[str, ...] = ()

    @property
    def settings(self) -> dict[str, object]:
        """The dataset's entry in a config."""
        settings: dict[str, object] = {"adapter": self.adapter, "folder": self.folder, "categories": self.categories}
        return settings | ({"manifest": self.manifest} if self.manifest else {})

    def root(self, category: str) -> Path:
        """The folder of one category."""
        folder = self.data_dir / self.folder
        return folder if DatasetSpec.model_validate(self.settings).is_one_folder else folder / category


def recognise(folder: Path) -> Layout:
    """Find out which adapter reads a folder, and what its categories are.

    A folder of folders with other names, such as `ok` and `ng`, is read by a list of its images, which is written
    into it as `patchshift.csv`.

    Raises:
        UserError: if there is no such folder, its layout is none that is known (it says which are), categories differ
            in theirs, or a mask could be that of several images.
    """
    folder = folder.expanduser().resolve()
    if not folder.is_dir():
        raise UserError(f"{folder} is not a folder: give the folder that holds your images")
    found = _adapter_of(folder)
    if found:
        return _layout(folder, [folder], *found)
    inner = {path: match for path in _subfolders(folder) if (match := _adapter_of(path))}
    if inner:
        return _layout_of_categories(folder, inner)
    if _list_by_folders(folder):
        return _layout(folder, [folder], "folder", f"its folders, as listed in {OWN_LIST}", OWN_LIST)
    raise UserError(
        f"{folder}: no layout that is known. Put good images into {folder.name}/good/, defective ones into "
        f"{folder.name}/defect/TYPE/ (any type, e.g. scratch), their masks, if you have any, into "
        f"{folder.name}/masks/TYPE/, and run again. Other layouts: docs/data.md"
    )


def _layout_of_categories(folder: Path, inner: Mapping[Path, tuple[str, str]]) -> Layout:
    """The layout of a folder with categories in it: category -> its adapter, and what tells."""
    others = [path for path in _subfolders(folder) if path not in inner and not _is_mask_folder(path) and _images(path)]
    layouts = {path: adapter for path, (adapter, _) in inner.items()}
    layouts |= {path: f"folders that {OWN_LIST} must list" for path in others if _good_folders(path)}
    adapters = set(layouts.values())
    if len(adapters) > 1:
        named = ", ".join(f"{path.name} ({layout})" for path, layout in sorted(layouts.items()))
        raise UserError(f"{folder} holds categories in different layouts ({named}): make one study for each")
    left_out = tuple(f"{folder.name}/{path.name}" for path in others)
    roots, match = list(inner), next(iter(inner.values()))
    if len(roots) == 1 and adapters <= ONE_FOLDER:  # the only category of such a dataset is the dataset's folder
        folder = roots[0]
    return replace(_layout(folder, roots, *match), left_out=left_out)


def _adapter_of(folder: Path) -> tuple[str, str] | None:
    """The adapter that reads a folder as one category, and what tells."""
    for adapter, (tells, matches) in TELLS.items():
        if matches(folder):
            return adapter, tells
    return None


def _manifests(folder: Path) -> list[str]:
    """The CSV files of a folder that have a column `image`, without the one that is written here."""
    found = []
    for path in sorted(folder.glob("*.csv")):
        with path.open(encoding="utf-8-sig", errors="replace", newline="") as file:
            header = next(csv.reader(file), [])
        if "image" in [name.strip() for name in header] and path.name != OWN_LIST:
            found.append(path.name)
    return found


def _has(*names: str) -> Callable[[Path], bool]:
    return lambda folder: all((folder / name).is_dir() for name in names)


def _has_types(defects: Path) -> bool:
    """Whether a folder of defects holds a folder for each type, as adapter `folder` reads it, and no image itself."""
    directly = any(path.suffix.lower() in IMAGE_SUFFIXES for path in defects.iterdir()) if defects.is_dir() else True
    return not directly and bool(_subfolders(defects))


def _has_train_and_test(folder: Path) -> bool:
    return _has("train/good", "test")(folder) and not _has_types(folder / "test/defect")


def _is_all_good_and_defect(folder: Path) -> bool:
    """Whether adapter `folder` reads all images: it would leave out `bad/`, and `defect/` without types."""
    if not _has("good")(folder):
        return _has("train/good", "test")(folder) and _has_types(folder / "test/defect")
    others = [path for path in _subfolders(folder) if path.name not in ("good", "defect") and not _is_mask_folder(path)]
    defects = folder / "defect"
    return not any(map(_images, others)) and (not defects.is_dir() or _has_types(defects) or not _images(defects))


def _has_ksdd2_masks(folder: Path) -> bool:
    return _has("train", "test")(folder) and next((folder / "train").glob("*_GT.png"), None) is not None


TELLS: dict[str, tuple[str, Callable[[Path], bool]]] = {
    "mvtec_ad": ("train/good and test", _has_train_and_test),
    "btad": ("train/ok and test/ok", _has("train/ok", "test/ok")),
    "visa": ("Data/Images", _has("Data/Images")),
    "mtd": ("MT_Free", _has("MT_Free")),
    "ksdd2": ("train/*_GT.png", _has_ksdd2_masks),
    "folder": (
        "good, or train/good and test/defect, or a CSV file with a column `image`",
        lambda folder: bool(_manifests(folder)) or _is_all_good_and_defect(folder),
    ),
}


def _layout(folder: Path, roots: list[Path], adapter: str, reason: str, manifest: str | None = None) -> Layout:
    one_folder = roots == [folder] and adapter in ONE_FOLDER
    # Adapters with a folder level of categories find a single category one level up.
    dataset = folder if one_folder or roots != [folder] else folder.parent
    if not dataset.name:
        raise UserError(f"{folder} lies too near the root of the file system: move it into a folder of its own")
    categories = [folder_id(root.name) if one_folder else root.name for root in roots]
    unfit = [name for name in categories if folder_id(name) != name]
    if unfit:
        raise UserError(f"{folder}: rename {', '.join(map(repr, unfit))}: letters, digits, '_', '-' and '.' only")
    lists = [manifest] if manifest else _manifests(roots[0]) if adapter == "folder" else []
    if len(lists) > 1:
        raise UserError(f"{roots[0]} holds several lists of images ({', '.join(lists)}): leave one")
    return Layout(adapter, dataset.parent, dataset.name, categories, next(iter(lists), None), reason)


def folder_id(name: str) -> str:
    """A folder's name as an id: other characters than letters, digits, `_`, `-`, `.` become `_`."""
    return re.sub(r"[^A-Za-z0-9_.-]+", "_", name).strip("_.-") or "images"


def _list_by_folders(folder: Path) -> bool:
    """Write a list of the images of folders like `ok` and `ng`; False where no folder has a name for good images.

    Folders inside `ng` are types of defects, and so is `ng` itself. Masks are taken from a folder that is called so.
    """
    good = _good_folders(folder)
    if not good:
        return False
    kinds = [path for path in _subfolders(folder) if path not in good and not _is_mask_folder(path)]
    defective = {image: kind for kind in kinds for image in _images(kind)}
    masks = _find_masks(folder, defective)
    rows = [
        (image.relative_to(folder).as_posix(), 1, image.parent.name, masks.get(image, ""))
        if image in defective
        else (image.relative_to(folder).as_posix(), 0, "", "")
        for image in sorted([*defective, *(image for path in good for image in _images(path))])
    ]
    write_table(folder / OWN_LIST, ("image", "label", "defect", "mask"), rows)
    return True


def _good_folders(folder: Path) -> list[Path]:
    return [path for path in _subfolders(folder) if path.name.lower() in GOOD_NAMES and _images(path)]


def _find_masks(folder: Path, defective: Mapping[Path, Path]) -> dict[Path, str]:
    """The masks of defective images, below `folder`.

    A mask is named like its image, with `_mask` behind it or not. In its folder it lies as the image does in `folder`,
    or in the folder of defects, or under the name alone.

    Args:
        folder: what holds the folders of images and of masks.
        defective: image -> the folder of defects that it is of.

    Raises:
        UserError: naming the masks that could be those of several images.
    """
    masks = {
        mask.relative_to(place).with_suffix("").as_posix(): mask.relative_to(folder).as_posix()
        for place in _subfolders(folder)
        if _is_mask_folder(place)
        for mask in _images(place)
    }
    names = {
        image: [image.relative_to(base).with_suffix("").as_posix() for base in (folder, kind, image.parent)]
        for image, kind in defective.items()
    }
    namesakes: dict[tuple[int, str], set[Path]] = defaultdict(set)
    for image, levels in names.items():
        for level in enumerate(levels):
            namesakes[level].add(image)
    found: dict[Path, str] = {}
    owners: dict[str, set[Path]] = defaultdict(set)
    for image, levels in names.items():
        for level in enumerate(levels):
            mask = masks.get(level[1]) or masks.get(f"{level[1]}_mask")
            if mask:
                found[image] = mask
                owners[mask] |= namesakes[level]
                break
    _refuse_shared(folder, found, owners)
    return found


def _refuse_shared(folder: Path, found: Mapping[Path, str], owners: Mapping[str, set[Path]]) -> None:
    """Refuse masks that could be those of several images: image -> its mask, and mask -> all that it could be of."""
    shared = {image: mask for image, mask in found.items() if len(owners[mask]) > 1}
    if not shared:
        return
    named = [
        f"{mask} ({name_some([image.relative_to(folder).as_posix() for image in sorted(owners[mask])])})"
        for mask in dict.fromkeys(shared.values())
    ]
    image, mask = next(iter(shared.items()))
    own = (Path(mask).parts[0] / image.relative_to(folder)).with_suffix(Path(mask).suffix)
    raise UserError(
        f"{folder}: masks that could be those of several images: {name_some(named)}. Put each image's mask under the "
        f"path of its image, such as {own.as_posix()}, or give the images names of their own"
    )


def _is_mask_folder(folder: Path) -> bool:
    return folder.name.lower() in MASK_NAMES


def _subfolders(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))


def _images(folder: Path) -> list[Path]:
    """The images of a folder and those below it."""
    return sorted(
        path for path in folder.rglob("*") if path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith(".")
    )
