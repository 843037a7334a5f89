"""One image under every transform and severity: what `patchshift preview-shifts` draws.

The module stands apart from `shift_gallery`, which draws what it is given, because it needs all that shifts need.
Tested in tests/report/test_transform_gallery.py.
"""

import numpy as np
import numpy.typing as npt

from patchshift.data.shifts import shift_image
from patchshift.data.shifts.geometric import GEOMETRIC
from patchshift.data.shifts.photometric import PHOTOMETRIC
from patchshift.plan.domain_specs import COMPOSITIONS, DomainSpec
from patchshift.report.shift_gallery import SEVERITIES, Picture
from patchshift.runtime.files import digest_bytes

Bool = npt.NDArray[np.bool_]

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
