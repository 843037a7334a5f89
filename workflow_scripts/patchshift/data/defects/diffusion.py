"""Defects painted by a diffusion model: inpainting of `diffusers`, any checkpoint that it can load.

The libraries are an optional installation, so they are imported when a model is opened. Models are safetensors files;
code that a model brings along is never run. Tested in tests/data/test_diffusion.py.
"""

import inspect
import logging
import os
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image
from scipy.ndimage import distance_transform_edt, find_objects, label, maximum_filter

from patchshift.data.defects.boxes import Box
from patchshift.data.defects.perlin import draw_shape
from patchshift.data.defects.placement import SMALLEST_MASK, Maker, Materials, pick_pixel
from patchshift.errors import UserError
from patchshift.plan.domain_specs import DiffusionSpec

UInt8 = npt.NDArray[np.uint8]
Bool = npt.NDArray[np.bool_]
Float32 = npt.NDArray[np.float32]

CONTEXT = 2.0  # the painted square is this many times as long as the mask
SMALLEST_SQUARE = 0.25  # of the model's size: enlarging more shows the model nothing but blur
FEATHER = 3.0  # pixels within the mask over which the painting fades in
# Latents are 8 pixels wide, and a mask is sampled at one point of each: a thin mask must be widened to be seen at all.
LATENT = 8

log = logging.getLogger(__name__)


def open_painter(spec: DiffusionSpec, weights_dir: Path | None) -> Maker:
    """Load a model, and return what paints with it; see `placement.Maker`.

    Random numbers are drawn on the CPU, from the defect's own stream, also where a GPU paints.

    Raises:
        UserError: if the libraries or the model are missing, or the model cannot inpaint or does not take a setting.
    """
    pipeline = _load_pipeline(spec, weights_dir)
    options = _fit_options(pipeline, spec)

    def paint(image: UInt8, places: Bool, materials: Materials, stream: np.random.Generator) -> tuple[UInt8, Bool]:
        mask = (
            draw_shape(places, stream)
            if spec.masks == "perlin"
            else place_shape(materials.shape(stream), places, stream)
        )
        seed = int(stream.integers(2**63))
        if np.count_nonzero(mask) < SMALLEST_MASK:
            return image, mask
        box = choose_box(mask, spec.image_size)
        painted = _paint(pipeline, options, image[box.slices], mask[box.slices], spec, seed)
        changed = image.copy()
        changed[box.slices] = blend_inside(image[box.slices], painted, mask[box.slices])
        return changed, mask

    return paint


def place_shape(shape: Bool, places: Bool, stream: np.random.Generator) -> Bool:
    """One 8-connected region of a real mask, mirrored and moved at random onto `places` [H, W]; sometimes empty."""
    mask = np.zeros_like(places)
    regions, count = label(shape, np.ones((3, 3)))
    if not count:
        return mask
    number = int(stream.integers(count))
    region = (regions == number + 1)[find_objects(regions)[number]]
    flips = [slice(None, None, int(step)) for step in stream.choice([-1, 1], 2)]
    region = region[flips[0], flips[1]][: places.shape[0], : places.shape[1]]
    row, column = pick_pixel(places, stream)
    height, width = region.shape
    box = Box(row, column, row + 1, column + 1).framed(mask.shape, (height, width))
    mask[box.slices] = region
    placed: Bool = mask & places
    return placed


def choose_box(mask: Bool, image_size: int) -> Box:
    """The square around a mask [H, W] that the model is shown: with context, and within the image."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    tight = Box(int(rows[0]), int(columns[0]), int(rows[-1]) + 1, int(columns[-1]) + 1)
    longest = max(tight.bottom - tight.top, tight.right - tight.left)
    side = int(max(CONTEXT * longest, SMALLEST_SQUARE * image_size))
    return tight.framed((mask.shape[0], mask.shape[1]), (side, side))


def blend_inside(image: UInt8, painted: Float32, mask: Bool) -> UInt8:
    """The image with the painting inside the mask, fading in from its edge; outside nothing changes.

    Args:
        image: [h, w, 3].
        painted: [h, w, 3], 0 to 255.
        mask: [h, w].
    """
    depth = distance_transform_edt(np.pad(mask, 1))[1:-1, 1:-1]
    share = np.clip(depth / FEATHER, 0, 1)[..., None]
    blended: UInt8 = ((1 - share) * image + share * painted + 0.5).clip(0, 255).astype(np.uint8)
    return np.where(mask[..., None], blended, image)


def _load_pipeline(spec: DiffusionSpec, weights_dir: Path | None) -> Any:
    try:
        import torch

        from patchshift.runtime.torchvision_guard import make_torchvision_importable

        make_torchvision_importable()  # transformers imports torchvision where it is installed
        import diffusers
    except ModuleNotFoundError as error:
        raise UserError(
            f"type 'diffusion' needs a package that is not installed ({error.name}): pip install '.[diffusion]', or "
            "run with conda environments (envs/diffusion.yaml)"
        ) from error
    folder = None if weights_dir is None else weights_dir / spec.model
    local = folder is not None and folder.is_dir()
    gpu = torch.cuda.is_available()
    loader: Any = diffusers.AutoPipelineForInpainting
    try:
        pipeline = loader.from_pretrained(
            str(folder) if local else spec.model,
            local_files_only=local or os.environ.get("HF_HUB_OFFLINE", "0") not in ("", "0"),
            dtype=torch.float16 if gpu else torch.float32,
            use_safetensors=True,
            low_cpu_mem_usage=False,
            trust_remote_code=False,
            safety_checker=None,
            requires_safety_checker=False,
        )
    except Exception as error:  # the libraries fail in many ways on missing, damaged and unfit models
        raise UserError(_explain_missing(spec, folder, local, error)) from error
    pipeline.set_progress_bar_config(disable=True)
    log.info("%s paints on %s", spec.model, "the GPU" if gpu else "the CPU")
    return pipeline.to("cuda" if gpu else "cpu")


def _explain_missing(spec: DiffusionSpec, folder: Path | None, local: bool, error: Exception) -> str:
    reason = str(error).strip().split("\n")[0]
    if local:
        return (
            f"{folder} is no diffusers pipeline that can inpaint ({reason}): bring a whole one, with safetensors files"
        )
    place = folder or f"the folder '{spec.model}' under weights_dir"
    return (
        f"diffusion model '{spec.model}' is neither at {place} nor to be had from the hub ({reason}): put a folder "
        "that diffusers' save_pretrained wrote there, set weights_dir to the folder that holds it, or correct the id"
    )


def _fit_options(pipeline: Any, spec: DiffusionSpec) -> dict[str, Any]:
    """The settings as arguments of the pipeline; not all kinds of models take all."""
    options: dict[str, Any] = {
        "prompt": spec.prompt,
        "negative_prompt": spec.negative_prompt,
        "num_inference_steps": spec.steps,
        "strength": spec.strength,
        "guidance_scale": spec.guidance,
    }
    taken = inspect.signature(pipeline.__call__).parameters
    fields = {"num_inference_steps": "steps", "guidance_scale": "guidance"}
    for name in sorted(options.keys() - taken.keys()):
        field = fields.get(name, name)
        if options.pop(name) != DiffusionSpec.model_fields[field].default:
            raise UserError(
                f"diffusion model '{spec.model}' ({type(pipeline).__name__}) does not use {field}: remove it"
            )
    return options


def _paint(pipeline: Any, options: dict[str, Any], image: UInt8, mask: Bool, spec: DiffusionSpec, seed: int) -> Float32:
    """What the model paints where an image [h, w, 3] is masked: [h, w, 3], 0 to 255."""
    import torch

    size = (spec.image_size, spec.image_size)
    enlarged = np.asarray(Image.fromarray(mask).convert("L").resize(size, Image.Resampling.NEAREST))
    with torch.inference_mode():
        painted = pipeline(
            **options,
            image=Image.fromarray(image).resize(size, Image.Resampling.BICUBIC),
            mask_image=Image.fromarray(maximum_filter(enlarged, 2 * LATENT + 1)),
            height=spec.image_size,
            width=spec.image_size,
            generator=torch.Generator("cpu").manual_seed(seed),
            output_type="np",
        ).images[0]
    if not np.isfinite(painted).all() or (painted.max() == 0 and image.max() > 0):
        raise UserError(
            f"diffusion model '{spec.model}' paints undefined values or pure black: its weights are damaged, or too "
            "large for the half precision of a GPU; use another model"
        )
    back = Image.fromarray((painted * 255 + 0.5).clip(0, 255).astype(np.uint8))
    return np.asarray(back.resize((image.shape[1], image.shape[0]), Image.Resampling.BICUBIC)).astype(np.float32)
