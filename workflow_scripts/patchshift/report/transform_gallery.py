"""One image under every transform and severity, as a picture.

usage: python -m patchshift.report.transform_gallery [--image FILE [--mask FILE]] [--seed N] FILE

Without an image, it is a defective casting of the built-in dataset. docs/images/shifts.jpg was made by
`python -m patchshift.report.transform_gallery --seed 1634 docs/images/shifts.jpg`.
The module stands apart from `shift_gallery`, which draws what it is given, because it needs all that shifts need.
Tested in tests/report/test_transform_gallery.py.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from patchshift.data.demo import take_photograph
from patchshift.data.images import read_image, read_mask
from patchshift.data.shifts import shift_image
from patchshift.data.shifts.geometric import GEOMETRIC
from patchshift.data.shifts.photometric import PHOTOMETRIC
from patchshift.plan.domain_specs import COMPOSITIONS, DomainSpec
from patchshift.report.shift_gallery import SEVERITIES, WIDTH, Picture, draw_transform_gallery
from patchshift.report.style import figure_style, save_png
from patchshift.runtime.files import atomic_path, digest_bytes

Bool = npt.NDArray[np.bool_]

QUALITY = 85
PIXELS = 1600  # width of the picture
# what these do is too fine for a small picture of the whole image
CLOSE_UPS = ("gaussian_blur", "motion_blur", "defocus", "gaussian_noise", "shot_noise", "salt_and_pepper", "jpeg")
CLOSE_UP_SHARE = 0.4  # of height and width


def show_transforms(picture: Picture, *, seed: int = 0) -> dict[str, list[Picture]]:
    """An image, clean and at each severity of each transform and composition, by the name of that.

    Blurs, noises and compression are shown in a close-up of the defect, or of the middle where there is none.
    """
    digest = digest_bytes(picture.image.tobytes())
    shown: dict[str, list[Picture]] = {}
    for shift in [*GEOMETRIC, *PHOTOMETRIC, *COMPOSITIONS]:
        pictures = [picture]
        for severity in SEVERITIES[1:]:
            spec = DomainSpec.model_validate({"shift": shift, "severity": severity, "seed": seed})
            image, (mask,) = shift_image(picture.image, [picture.mask], digest, spec)
            pictures.append(Picture(image, mask))
        if shift in CLOSE_UPS:
            window = choose_window(picture.mask)
            pictures = [Picture(each.image[window], each.mask[window]) for each in pictures]
        shown[shift.replace("_", " ")] = pictures
    return shown


def choose_window(mask: Bool) -> tuple[slice, slice]:
    """The rows and columns of a close-up: around the middle of what is marked, inside the image."""
    slices = []
    for length, marked in zip(mask.shape, np.nonzero(mask), strict=True):
        size = max(1, round(CLOSE_UP_SHARE * length))
        middle = (marked.min() + marked.max()) // 2 if marked.size else length // 2
        start = int(np.clip(middle - size // 2, 0, length - size))
        slices.append(slice(start, start + size))
    return slices[0], slices[1]


def main(argv: Sequence[str] | None = None) -> None:
    """Draw the gallery of an image into a JPEG or PNG file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--image", type=Path, help="default: a defective casting of the built-in dataset")
    parser.add_argument("--mask", type=Path, help="mask of the image; default: no defect")
    parser.add_argument("--seed", type=int, default=0, help="shift seed")
    parser.add_argument("file", type=Path, help="JPEG or PNG to write")
    args = parser.parse_args(argv)

    if args.image:
        image = read_image(args.image)
        picture = Picture(image, read_mask(args.mask) if args.mask else np.zeros(image.shape[:2], bool))
    else:
        photograph = take_photograph("casting", "test/discolouration", 4, seed=0, image_size=256)
        picture = Picture(photograph.image, photograph.mask)
    figure = draw_transform_gallery(show_transforms(picture, seed=args.seed))
    if args.file.suffix.lower() == ".png":
        save_png(figure, args.file)
        return
    with atomic_path(args.file) as partial, figure_style():
        options: dict[str, Any] = {"quality": QUALITY, "subsampling": 0}
        figure.savefig(partial, format="jpeg", dpi=PIXELS / WIDTH, pil_kwargs=options)


if __name__ == "__main__":
    main()
