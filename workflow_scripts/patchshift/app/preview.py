"""Show an image under every shift and severity, to choose those that your camera can undergo.

docs/images/shifts.jpg was made by `patchshift preview-shifts --seed 1634 --output docs/images/shifts.jpg`.
Tested in tests/app/test_preview.py.
"""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from patchshift.data.images import read_image, read_mask
from patchshift.errors import UserError

if TYPE_CHECKING:
    from patchshift.report.shift_gallery import Picture

JPEG = (".jpg", ".jpeg")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument(
        "image", type=Path, nargs="?", help="an image of yours; default: a defective casting of the built-in dataset"
    )
    parser.add_argument("--mask", type=Path, help="its mask, outlined and moved along")
    parser.add_argument("--seed", type=int, default=0, help="seed of the shifts, as in a domain's settings; default: 0")
    parser.add_argument(
        "--output", type=Path, default=Path("shifts.png"), help="picture to write, PNG or JPEG; default: shifts.png"
    )


def run(args: argparse.Namespace) -> None:
    """Write the picture.

    Raises:
        UserError: if the image or its mask cannot be read, they differ in size, a mask comes without its image, or the
            output is neither PNG nor JPEG.
    """
    # seconds that --help need not take
    from patchshift.report.shift_gallery import draw_transform_gallery
    from patchshift.report.style import save_figure, save_jpeg
    from patchshift.report.transform_gallery import show_transforms

    suffix = args.output.suffix.lower()
    if suffix not in (".png", *JPEG):
        raise UserError(f"{args.output} is neither PNG nor JPEG: end its name with .png or .jpg")
    picture = _read(args.image, args.mask)
    figure = draw_transform_gallery(show_transforms(picture, seed=args.seed))
    save = save_jpeg if suffix in JPEG else save_figure
    save(figure, args.output)
    print(f"Wrote {args.output}")


def _read(image_path: Path | None, mask_path: Path | None) -> "Picture":
    """The user's image, or the built-in one."""
    from patchshift.data.demo import take_photograph
    from patchshift.report.shift_gallery import Picture

    if image_path is None:
        if mask_path:
            raise UserError(f"mask {mask_path} comes without its image: name the image, too")
        photograph = take_photograph("casting", "test/discolouration", 4, seed=0, image_size=256)
        return Picture(photograph.image, photograph.mask)
    image = read_image(image_path)
    mask = read_mask(mask_path) if mask_path else np.zeros(image.shape[:2], bool)
    if mask.shape != image.shape[:2]:
        sizes = f"mask {mask_path} is {mask.shape}, its image {image_path} is {image.shape[:2]}"
        raise UserError(f"{sizes}: they must match")
    return Picture(image, mask)
