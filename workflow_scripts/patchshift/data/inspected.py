"""Which test images looks inside the features show: the same for activation energies and for attention.

Tested in tests/data/test_inspected.py.
"""

from collections import defaultdict

from patchshift.data.index import shuffle
from patchshift.data.packs import Pack
from patchshift.data.splits import Split


def choose_inspected(pack: Pack, split: Split, *, count: int, seed: int) -> list[str]:
    """A few test images of each defect type, and as many good ones; the same whenever asked.

    Args:
        pack: of the images' domain; it says what is defective there.
        split: only images of its part `test` are chosen.
        count: images per type, and good ones; a type that has fewer gives all.
        seed: of the choice.

    Returns:
        Image keys, good ones first, then type by type in alphabetical order.

    Raises:
        UserError: if a test image is not in the pack.
    """
    of_type: dict[str, list[str]] = defaultdict(list)
    tested = split.of("test")
    for image, row in zip(tested, pack.rows(tested), strict=True):
        of_type[pack.defects[row] if pack.labels[row] else ""].append(image)
    return [image for kind in sorted(of_type) for image in shuffle(of_type[kind], f"{seed} inspected")[:count]]
