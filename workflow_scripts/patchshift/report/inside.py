"""What looks inside the features have drawn, as a study's report shows it.

Tested in tests/report/test_inside.py.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from patchshift.data.images import read_image
from patchshift.report.labels import name_backbone
from patchshift.report.pictures import to_data_uri

WIDTH = 480  # pixels of a preview; the figure itself is a click away

TITLES = {
    "patch_map.png": "Map of patches",
    "separability.png": "Separability by layer",
    "activation_energy.png": "Activation energy",
    "attention.png": "Attention of the class token",
}


@dataclass(frozen=True)
class Preview:
    """A figure that lies beside the page.

    Attributes:
        title: what it shows.
        address: of the figure, from the page.
        picture: the same small, a data URI.
    """

    title: str
    address: str
    picture: str


def arrange_looks(
    figures: Sequence[Path], folder: Path, weights: Mapping[str, str]
) -> dict[str, dict[str, list[Preview]]]:
    """Category -> backbone, and whether it is untrained -> its figures.

    Args:
        figures: `inspections/{dataset}/{category}/{backbone}/*.png` in the study's folder.
        folder: the study's folder, where the page lies.
        weights: backbone -> its weight file, `random` or `none`.
    """
    looks: dict[str, dict[str, list[Preview]]] = {}
    for figure in figures:
        address = figure.relative_to(folder)
        _, dataset, category, backbone, name = address.parts
        of_category = looks.setdefault(f"{dataset}/{category}", {})
        of_backbone = of_category.setdefault(name_backbone(backbone, weights.get(backbone)), [])
        of_backbone.append(Preview(TITLES[name], address.as_posix(), _shrink(figure)))
    return looks


def _shrink(figure: Path) -> str:
    small = Image.fromarray(read_image(figure))
    small.thumbnail((WIDTH, small.height), Image.Resampling.LANCZOS)
    return to_data_uri(np.asarray(small, np.float64))
