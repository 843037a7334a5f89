"""Datasets' folder layouts, each read by one module into image rows. A new dataset is one more function.

Layouts and sources: docs/data.md. Tested in tests/data/test_adapters.py.
"""

import logging
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from patchshift.data.adapters.btad import list_btad
from patchshift.data.adapters.folder import list_folder
from patchshift.data.adapters.ignore_masks import add_ignore_masks
from patchshift.data.adapters.ksdd2 import list_ksdd2
from patchshift.data.adapters.manifest import read_manifest
from patchshift.data.adapters.mtd import list_mtd
from patchshift.data.adapters.mvtec_ad import list_mvtec_ad
from patchshift.data.adapters.tree import IMAGE_SUFFIXES, Tree, name_some
from patchshift.data.adapters.visa import list_visa
from patchshift.data.index import ImageRow, add_digests, limit_per_class
from patchshift.errors import UserError

__all__ = ["ADAPTERS", "IMAGE_SUFFIXES", "index_images", "list_images", "require_masks"]

Adapter = Callable[[Tree], Iterable[ImageRow]]

ADAPTERS: dict[str, Adapter] = {
    "mvtec_ad": list_mvtec_ad,
    "visa": list_visa,
    "ksdd2": list_ksdd2,
    "mtd": list_mtd,
    "btad": list_btad,
    "folder": list_folder,
}

log = logging.getLogger(__name__)


def list_images(
    root: Path, adapter: str, *, manifest: str | None = None, ignore_mask: str | None = None
) -> list[ImageRow]:
    """All images of one category, without digests. Images in places that the adapter does not read are reported.

    Args:
        root: the category's folder.
        adapter: which layout it has.
        manifest: path below `root` of a CSV file that lists the images, in place of a layout (adapter `folder`).
        ignore_mask: path below `root`; see `ignore_masks.add_ignore_masks`.

    Raises:
        UserError: if the folder has not this layout, has no images, or the list or the ignore masks are wrong.
    """
    tree = Tree(root)
    rows = read_manifest(tree, manifest) if manifest else list(ADAPTERS[adapter](tree))
    if not rows:
        hint = f"{manifest} lists none" if manifest else f"is this the layout of adapter '{adapter}'?"
        raise UserError(f"no images under {root}: {hint}")
    twice = [image for image, times in Counter(row.key for row in rows).items() if times > 1]
    if twice:
        raise UserError(f"images under {root} are listed twice: {name_some(twice)}")
    if ignore_mask:
        rows = add_ignore_masks(rows, tree, ignore_mask)
    left_out = tree.unseen_images()
    if left_out:
        reader = f"{manifest} does not list them" if manifest else f"adapter '{adapter}' does not read these places"
        log.warning("%d images under %s are left out (%s): %s", len(left_out), root, name_some(left_out), reader)
    return rows


def index_images(
    root: Path,
    adapter: str,
    *,
    dataset: str,
    masks: str,
    max_per_class: int | None,
    manifest: str | None = None,
    ignore_mask: str | None = None,
    cache: Path | None = None,
) -> list[ImageRow]:
    """All images of one category, with digests.

    Args:
        root: the category's folder.
        adapter: which layout it has.
        dataset: the dataset's id, for messages.
        masks: `required`: each defective image must have a mask; `optional`: a category may have none at all.
        max_per_class: see `index.limit_per_class`.
        manifest: see `list_images`.
        ignore_mask: see `list_images`.
        cache: see `index.add_digests`.

    Raises:
        UserError: as `list_images`; or if masks are missing.
    """
    rows = list_images(root, adapter, manifest=manifest, ignore_mask=ignore_mask)
    require_masks(rows, root, dataset, required=masks == "required")
    return add_digests(rows if max_per_class is None else limit_per_class(rows, max_per_class), root, cache)


def require_masks(rows: Sequence[ImageRow], root: Path, dataset: str, *, required: bool) -> None:
    """Refuse defective images without a mask where others have one; with `required`, where none has.

    Raises:
        UserError: naming some of them.
    """
    without = [row.image for row in rows if row.label and not row.mask]
    some_have = any(row.mask for row in rows)
    if without and (required or some_have):
        remedy = (
            "bring the masks"
            if some_have
            else f"bring the masks, or set `datasets.{dataset}.masks: optional` to go on without pixel metrics"
        )
        raise UserError(
            f"dataset '{dataset}': {len(without)} defective images under {root} have no mask ({name_some(without)}): "
            f"{remedy}"
        )
