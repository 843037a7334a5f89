"""A pin header lying on an antistatic mat: a moulded housing and a row of plated pins.

Tested in tests/data/test_demo.py.
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from patchshift.data.demo import marks
from patchshift.data.demo.canvas import (
    Canvas,
    FloatArray,
    blob_distance,
    log_uniform,
    path_distance,
    ramp,
    resize,
    wander,
)
from patchshift.data.demo.photograph import Light, Surface
from patchshift.data.demo.pose import Pose
from patchshift.data.demo.scene import Category

PINS, PITCH, HALF_WIDTH = 8, 23.0, 3.3
TOP, BOTTOM = -78.0, 88.0  # y of the pins' ends, units from the centre of the header
HOUSING_TOP, HOUSING_BOTTOM = -46.0, -4.0
BEND_FROM = 20.0  # y where a bend begins
TAPER = 1.5  # units by which a pin narrows on each side at its tip
PIN_HEIGHT, HOUSING_HEIGHT = 9.0, 17.0
PLATING = (1.0, 0.80, 0.46)


@dataclass(frozen=True)
class Header:
    """One photograph's header. `x`, `y`: coordinates turned with the piece, float32 [F, F], units."""

    canvas: Canvas
    light: Light
    x: FloatArray
    y: FloatArray
    pose: Pose
    shift: FloatArray  # [PINS], sideways, units
    bend: FloatArray  # [PINS], sideways at the lower tip, units
    top: FloatArray  # [PINS], y
    bottom: FloatArray  # [PINS], y
    point: FloatArray  # [PINS], taper of the lower tip, units
    tone: FloatArray  # [PINS], relative brightness
    plating: FloatArray  # small variation of reflection
    moulding: FloatArray  # texture of the housing
    mat: FloatArray
    mat_tone: FloatArray


def draw(canvas: Canvas, rng: np.random.Generator) -> Header:
    """A header under a natural pose and light."""
    pose = Pose.draw(rng, shift=2.5, turn=0.8, scale=0.008)
    x, y = pose.frame(canvas)

    def vary(nominal: float, deviation: float) -> FloatArray:
        return rng.normal(nominal, deviation, PINS).astype(np.float32)

    return Header(
        canvas=canvas,
        light=Light.draw(rng, azimuth=-60, elevation=55),
        x=x,
        y=y,
        pose=pose,
        shift=vary(0, 0.25),
        bend=vary(0, 0.35),
        top=vary(TOP, 0.4),
        bottom=vary(BOTTOM, 0.5),
        point=vary(TAPER, 0.05),
        tone=vary(1, 0.04),
        plating=canvas.noise(rng, 2.2),
        moulding=canvas.noise(rng, 0.9),
        mat=canvas.noise(rng, 0.9),
        mat_tone=canvas.noise(rng, 40),
    )


@dataclass(frozen=True)
class Outline:
    """Where pins and housing are, at each point of a grid."""

    pin: FloatArray  # 0..1, share covered
    housing: FloatArray  # 0..1, share covered
    nearest: NDArray[np.intp]  # which pin
    sideways: FloatArray  # units from that pin's axis
    inset: FloatArray  # units inwards from the edge of the housing, or of the pin beside it


def _outline(header: Header, x: FloatArray, y: FloatArray, softness: float) -> Outline:
    column = x / np.float32(PITCH) + np.float32((PINS - 1) / 2)
    curve = ((y - BEND_FROM) / (BOTTOM - BEND_FROM)).clip(0) ** 2
    nearest = np.zeros(x.shape, dtype=np.intp)
    for left in range(PINS - 1):
        nearest += column > left + 0.5 + np.float32((header.bend[left] + header.bend[left + 1]) / (2 * PITCH)) * curve
    sideways = (column - nearest) * np.float32(PITCH) - header.shift[nearest] - header.bend[nearest] * curve
    to_top, to_bottom = y - header.top[nearest], header.bottom[nearest] - y
    ends = np.minimum(to_top, to_bottom)
    half_width = HALF_WIDTH - TAPER * ramp(to_top, 7, 0) - header.point[nearest] * ramp(to_bottom, 7, 0)
    inset = np.minimum(half_width - np.abs(sideways), ends)
    cell = np.abs(column - np.rint(column.clip(-0.49, PINS - 0.51))) * np.float32(PITCH)
    chamfer = (cell - 6.5).clip(0) * 0.8
    middle = np.float32((HOUSING_TOP + HOUSING_BOTTOM) / 2)
    into = np.minimum((HOUSING_BOTTOM - HOUSING_TOP) / 2 - chamfer - np.abs(y - middle), PITCH * PINS / 2 - np.abs(x))
    soft = softness / 2
    return Outline(
        ramp(inset, -soft, soft), ramp(into, -soft, soft), nearest, sideways, np.where(into > 0, into, inset)
    )


def render(header: Header) -> Surface:
    """The header's surface, lying on the mat."""
    x, y = header.x, header.y
    outline = _outline(header, x, y, 0.8)
    housing, pin = outline.housing, outline.pin * (1 - outline.housing)
    mat = 1 - housing - pin
    bevel = ramp(outline.inset, 1.5, 0)
    height = pin * (PIN_HEIGHT - 1.5 * bevel + 0.03 * header.plating) + mat * 0.09 * header.mat
    height += housing * (HOUSING_HEIGHT - 1.8 * ramp(outline.inset, 2.5, 0) + 0.12 * header.moulding)
    height -= housing * 1.2 * ramp(np.abs(np.abs(outline.sideways) - PITCH / 2), 1.4, 0.4)

    # A flat pin mirrors the lamp's long box: one bright streak, its place set by where the lamp stands.
    streak = np.float32(0.9 * np.cos(header.light.azimuth - header.pose.angle))
    mirrored = np.exp(-((outline.sideways - streak) ** 2) / np.float32(1.3)) * (
        0.75 + 0.25 * np.cos(y / np.float32(30))
    )
    metal = header.tone[outline.nearest] * (0.20 + 0.60 * mirrored + 0.014 * header.plating) * (1 - 0.45 * bevel)
    plastic = 0.030 + 0.004 * header.moulding
    cloth = 0.30 + 0.008 * header.mat + 0.004 * header.mat_tone
    albedo = np.stack(
        [
            pin * metal * plating + housing * plastic + mat * cloth * base
            for plating, base in zip(PLATING, (0.90, 0.99, 1.02), strict=True)
        ]
    )
    gloss = pin * 0.22 + housing * 0.035 + mat * 0.004
    return Surface(height, albedo, gloss, _shadow(header, housing, pin))


def _shadow(header: Header, housing: FloatArray, pin: FloatArray) -> FloatArray:
    """Light that reaches each point: pins throw a near shadow on the mat, the housing a wide one on mat and pins."""
    mat = 1 - np.maximum(housing, pin)
    under_pins = _displaced(header, PIN_HEIGHT * 0.7).pin
    under_housing = _displaced(header, HOUSING_HEIGHT * 0.8).housing
    side = header.canvas.fine
    light: FloatArray = 1 - 0.85 * mat * resize(under_pins, side)
    return light * (1 - 0.85 * (1 - housing) * resize(under_housing, side))


def _displaced(header: Header, height: float) -> Outline:
    """The blurred outline where the shadow of something `height` units high falls, at half the resolution."""
    dx, dy = header.pose.direction(*header.light.offset(height))
    return _outline(header, header.x[::2, ::2] - np.float32(dx), header.y[::2, ::2] - np.float32(dy), softness=5.0)


def _change_pin(values: FloatArray, pin: int, value: float) -> FloatArray:
    changed = values.copy()
    changed[pin] = value
    return changed


def bent_pin(header: Header, surface: Surface, rng: np.random.Generator) -> Surface:
    """A pin bent sideways."""
    pin = int(rng.integers(PINS))
    bend = float(log_uniform(rng, 3.5, 15) * rng.choice([-1, 1]))
    return render(replace(header, bend=_change_pin(header.bend, pin, bend)))


def missing_pin(header: Header, surface: Surface, rng: np.random.Generator) -> Surface:
    """A pin broken off, leaving a blunt stump, or pulled out of the housing."""
    pin = int(rng.integers(PINS))
    if rng.random() < 0.35:
        ends = {"top": HOUSING_BOTTOM - 9, "bottom": HOUSING_TOP + 9}
    else:
        ends = {
            "bottom": BOTTOM - log_uniform(rng, 4, BOTTOM - HOUSING_BOTTOM),
            "point": -0.4,
        }
    changed: dict[str, Any] = {name: _change_pin(getattr(header, name), pin, end) for name, end in ends.items()}
    return render(replace(header, **changed))


def solder_residue(header: Header, surface: Surface, rng: np.random.Generator) -> Surface:
    """A bright drop of solder on a pin or on the mat beside it, or dried flux."""
    pin_axis = (int(rng.integers(PINS)) - (PINS - 1) / 2) * PITCH
    place = complex(pin_axis + rng.normal(0, 5), rng.uniform(0, BOTTOM - 6))
    x, y = header.canvas.around(header.pose.to_image(place))
    if rng.random() < 0.5:
        radius = log_uniform(rng, 2.2, 7)
        return marks.drop(surface, blob_distance(x, y, rng, radius, roughness=0.15), radius)
    distance = blob_distance(x, y, rng, log_uniform(rng, 7, 18), roughness=0.3)
    strength = log_uniform(rng, 0.22, 0.65)
    return marks.stain(surface, distance, strength, tint=(0.6, 0.95, 1.45), rim=0.5, softness=1.5)


def scratched_housing(header: Header, surface: Surface, rng: np.random.Generator) -> Surface:
    """Pale scratches on the black plastic."""
    heading = rng.normal(0, 0.5)
    beside = 99 * (1 - _outline(header, header.x, header.y, 0.8).housing)
    for _ in range(int(rng.integers(1, 4))):
        place = complex(rng.uniform(-85, 55), rng.uniform(HOUSING_TOP + 8, HOUSING_BOTTOM - 8))
        length = log_uniform(rng, 12, 50)
        points = wander(rng, header.pose.to_image(place), heading + rng.normal(0, 0.15), length, bend=0.01, jitter=0.0)
        distance, along = path_distance(header.canvas, points, 3)
        width = np.float32(rng.uniform(0.3, 0.7)) * np.sqrt(4 * along * (1 - along))
        surface = marks.groove(surface, distance + beside, width, depth=0.3, tone=rng.uniform(1.2, 3.5))
    return surface


def tarnished_pin(header: Header, surface: Surface, rng: np.random.Generator) -> Surface:
    """Plating oxidised over part of a pin."""
    pin, middle = int(rng.integers(PINS)), rng.uniform(HOUSING_BOTTOM + 8, BOTTOM - 8)
    half_length = log_uniform(rng, 4, 35)
    outline = _outline(header, header.x, header.y, 0.8)
    patch = np.abs(header.y - np.float32(middle)) - np.float32(half_length) + 1.5 * header.canvas.noise(rng, 4)
    on_pin = patch + 99 * (1 - outline.pin * (1 - outline.housing) * (outline.nearest == pin))
    strength = log_uniform(rng, 0.25, 0.8)
    return marks.stain(surface, on_pin, strength, tint=(0.8, 1.0, 1.25), rim=0, softness=1.5)


CATEGORY = Category(
    draw=draw,
    render=render,
    defects={
        "bent_pin": bent_pin,
        "missing_pin": missing_pin,
        "scratched_housing": scratched_housing,
        "solder_residue": solder_residue,
        "tarnished_pin": tarnished_pin,
    },
)
