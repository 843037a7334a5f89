"""Show an image under every shift and severity, to choose those that your camera can undergo.

Tested in tests/app/test_preview.py.
"""

import argparse
from pathlib import Path

import numpy as np

from patchshift.data.images import read_image, read_mask
from patchshift.errors import UserError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("image", type=Path, help="an image of yours")
    parser.add_argument("--mask", type=Path, help="its mask, outlined and moved along")
    parser.add_argument("--seed", type=int, default=0, help="seed of the shifts, as in a domain's settings; default: 0")
    parser.add_argument("--output", type=Path, default=Path("shifts.png"), help="picture to write; default: shifts.png")


def run(args: argparse.Namespace) -> None:
    """Write the picture.

    Raises:
        UserError: if the image or its mask cannot be read, or they differ in size.
    """
    from patchshift.report.shift_gallery import Picture, draw_transform_gallery  # seconds that --help need not take
    from patchshift.report.style import save_png
    from patchshift.report.transform_gallery import show_transforms

    image = read_image(args.image)
    mask = read_mask(args.mask) if args.mask else np.zeros(image.shape[:2], bool)
    if mask.shape != image.shape[:2]:
        sizes = f"mask {args.mask} is {mask.shape}, its image {args.image} is {image.shape[:2]}"
        raise UserError(f"{sizes}: they must match")
    save_png(draw_transform_gallery(show_transforms(Picture(image, mask), seed=args.seed)), args.output)
    print(f"Wrote {args.output}")
