"""BeanTech Anomaly Detection (Mishra et al. 2021).

Tested in tests/data/test_adapters.py.
"""

from collections.abc import Iterator

from patchshift.data.adapters.tree import Tree, stem
from patchshift.data.index import ImageRow

GOOD, DEFECTIVE = "ok", "ko"


def list_btad(tree: Tree) -> Iterator[ImageRow]:
    """`train/ok`, `test/{ok,ko}`, `ground_truth/ko`; a mask has its image's name, and any image suffix."""
    for split, kind in (("train", GOOD), ("test", GOOD), ("test", DEFECTIVE)):
        normal = kind == GOOD
        for image in tree.images(f"{split}/{kind}"):
            mask = tree.find_image(f"ground_truth/{kind}", stem(image))
            yield ImageRow(image, "" if normal else mask, split, int(not normal), "" if normal else DEFECTIVE)
