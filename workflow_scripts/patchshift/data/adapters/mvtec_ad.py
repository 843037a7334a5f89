"""MVTec AD (Bergmann et al. 2019).

Tested in tests/data/test_adapters.py.
"""

from collections.abc import Iterator

from patchshift.data.adapters.tree import Tree, stem
from patchshift.data.index import ImageRow

GOOD = "good"


def list_mvtec_ad(tree: Tree) -> Iterator[ImageRow]:
    """`train/good`, `test/{good,defect}`, `ground_truth/{defect}/NNN_mask.png`."""
    for split in ("train", "test"):
        for kind in tree.folders(split):
            normal = kind == GOOD
            for image in tree.images(f"{split}/{kind}"):
                mask = tree.find(f"ground_truth/{kind}/{stem(image)}_mask.png")
                yield ImageRow(image, "" if normal else mask, split, int(not normal), "" if normal else kind)
