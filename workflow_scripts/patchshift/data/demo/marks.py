"""Marks left on a finished surface: stains, fibres, scratches, cracks, pits.

Each takes the distance (float32 [F, F], units) to the mark's outline or centre line and returns a changed surface.
Tested in tests/data/test_demo.py.
"""

from dataclasses import replace

import numpy as np

from patchshift.data.demo.canvas import FloatArray, ramp
from patchshift.data.demo.photograph import Surface


def stain(
    surface: Surface,
    distance: FloatArray,
    strength: float,
    tint: tuple[float, float, float],
    *,
    rim: float,
    softness: float,
) -> Surface:
    """Darken inside an outline.

    Args:
        strength: share of the light lost.
        tint: how much of that loss each of red, green and blue takes.
        rim: relative extra loss just inside the outline, as where a drop has dried.
        softness: half the width over which it fades out, units.
    """
    loss = strength * ramp(distance, softness, -softness) * (1 + rim * ramp(distance, -6, -0.5))
    albedo = np.stack([surface.albedo[c] * (1 - (loss * tint[c]).clip(0, 0.95)) for c in range(3)])
    return replace(surface, albedo=albedo)


def fibre(surface: Surface, distance: FloatArray, width: float, colour: FloatArray, opacity: float) -> Surface:
    """Lay a thin round fibre of half width `width` and RGB albedo `colour` on top, with its contact shadow."""
    cover = opacity * ramp(distance, width + 0.35, width - 0.35)
    contact = 1 - 0.25 * opacity * ramp(distance, 2.5 * width + 1, width)
    albedo = np.stack([surface.albedo[c] * contact * (1 - cover) + colour[c] * cover for c in range(3)])
    return replace(surface, albedo=albedo, height=surface.height + cover * width)


def groove(surface: Surface, distance: FloatArray, width: FloatArray, depth: float, tone: float) -> Surface:
    """Cut a groove along a line.

    Args:
        width: half width, float32 broadcast to [F, F]; it may taper to nothing.
        depth: units; the shading of its two flanks comes from it.
        tone: relative change of albedo in it: below 0 for a dark crack, above for bared bright metal.
    """
    inside = ((width + 0.3 - distance) / 0.6).clip(0, 1) * (width > 0.05)
    return replace(
        surface,
        height=surface.height - depth * inside,
        albedo=surface.albedo * (1 + tone * inside),
        gloss=surface.gloss * (1 - 0.8 * inside),
    )


def pit(surface: Surface, distance: FloatArray, depth: float, tone: float) -> Surface:
    """Sink a round-bottomed hollow inside an outline; `tone` as in `groove`."""
    inside = ramp(distance, 0.5, -1.0)
    return replace(
        surface,
        height=surface.height - depth * ramp(distance, 0.3, -2.5),
        albedo=surface.albedo * (1 + tone * inside),
        gloss=surface.gloss * (1 - inside),
    )


def drop(surface: Surface, distance: FloatArray, radius: float) -> Surface:
    """Set a bright round drop of metal, `radius` units, on the surface inside an outline."""
    inside = ramp(distance, 0.4, -0.4)
    dome = np.sqrt((1 - ((distance + radius) / radius) ** 2).clip(0, 1)) * radius * 0.8
    return replace(
        surface,
        height=surface.height + inside * dome,
        albedo=surface.albedo * (1 - inside) + 0.36 * inside,
        gloss=surface.gloss * (1 - inside) + 0.5 * inside,
    )
