"""A plain-woven textile under a raking lamp.

Each yarn is a flattened tube that rises and falls along its length; what lies higher at a point is seen.
"""

from dataclasses import dataclass, replace

import numpy as np

from patchshift.data.demo import marks
from patchshift.data.demo.canvas import (
    Canvas,
    FloatArray,
    blob_distance,
    log_uniform,
    path_distance,
    ramp,
    rotate,
    wander,
)
from patchshift.data.demo.photograph import Light, Surface
from patchshift.data.demo.scene import Category

YARNS = 72  # more than ever cross the image
CRIMP = 1.25  # amplitude of the rise and fall, units
BULGE = 2.3  # height of a yarn's back above its edge, units
BACKING = -4.0  # height of what is seen through a gap, units
NONE = np.zeros((1, 1), dtype=np.float32)


@dataclass(frozen=True)
class Yarns:
    """One of the two parallel sets. `across` and `along` are in yarn spacings, float32 [F, F]."""

    across: FloatArray
    along: FloatArray
    shift: FloatArray  # [YARNS], sideways, in spacings
    width: FloatArray  # [YARNS, 64], half width in spacings along the length
    tone: FloatArray  # [YARNS], relative brightness
    colour: FloatArray  # [3]
    sign: int  # +1 where an even yarn lies on top at an even crossing
    absent: FloatArray  # 1 where the yarn is torn away
    lift: FloatArray  # units

    @property
    def number(self) -> FloatArray:
        """Nearest yarn at each point, as float32 whole numbers."""
        return np.rint(self.across)


@dataclass(frozen=True)
class Cloth:
    """One photograph's cloth."""

    canvas: Canvas
    light: Light
    warp: Yarns
    weft: Yarns
    fibres: FloatArray
    wear: FloatArray


def draw(canvas: Canvas, rng: np.random.Generator) -> Cloth:
    """A cloth with natural variation."""
    x, y = canvas.grid()
    x, y = rotate(x, y, rng.normal(0, np.deg2rad(1.5)))
    spacing = 8.6 * rng.uniform(0.97, 1.03)
    u = x / np.float32(spacing) + np.float32(YARNS / 2 + rng.uniform(0, 2)) + 0.12 * canvas.noise(rng, 60)
    v = y / np.float32(spacing * 1.08) + np.float32(YARNS / 2 + rng.uniform(0, 2)) + 0.12 * canvas.noise(rng, 60)
    shade = rng.normal(0, 0.025)
    return Cloth(
        canvas=canvas,
        light=Light.draw(rng, azimuth=-130, elevation=48),
        warp=_yarns(rng, u, v, np.array([0.44, 0.45, 0.43]) * (1 + shade), 1),
        weft=_yarns(rng, v, u, np.array([0.20, 0.245, 0.30]) * (1 + shade), -1),
        fibres=canvas.noise(rng, 0.7),
        wear=canvas.noise(rng, 45),
    )


def _yarns(rng: np.random.Generator, across: FloatArray, along: FloatArray, colour: FloatArray, sign: int) -> Yarns:
    rough = rng.standard_normal((YARNS, 64), dtype=np.float32)
    slubs = (rough + np.roll(rough, 1, axis=1) + np.roll(rough, 2, axis=1)) / 3
    return Yarns(
        across=across,
        along=along,
        shift=rng.normal(0, 0.035, YARNS).astype(np.float32),
        width=((0.46 + rng.normal(0, 0.018, (YARNS, 1))) * (1 + 0.05 * slubs)).astype(np.float32),
        tone=(1 + rng.normal(0, 0.05, YARNS)).astype(np.float32),
        colour=colour.astype(np.float32),
        sign=sign,
        absent=NONE,
        lift=NONE,
    )


def render(cloth: Cloth) -> Surface:
    """The cloth's surface."""
    warp_height, warp_albedo = _render_yarns(cloth.warp)
    weft_height, weft_albedo = _render_yarns(cloth.weft)
    height = np.maximum(np.maximum(warp_height, weft_height), BACKING)
    warp_shows = (warp_height >= weft_height) & (warp_height > BACKING)
    weft_shows = (weft_height > warp_height) & (weft_height > BACKING)
    brightness = np.where(warp_shows, warp_albedo, np.where(weft_shows, weft_albedo, 0))
    brightness = brightness * (1 + 0.11 * cloth.fibres + 0.03 * cloth.wear)
    warp_share = warp_shows.astype(np.float32)
    albedo = np.stack(
        [
            brightness * (cloth.weft.colour[c] + (cloth.warp.colour[c] - cloth.weft.colour[c]) * warp_share) + 0.02
            for c in range(3)
        ]
    )
    return Surface(height + 0.12 * cloth.fibres, albedo, gloss=np.full((1, 1), 0.012, np.float32), shadow=NONE + 1)


def _render_yarns(yarns: Yarns) -> tuple[FloatArray, FloatArray]:
    number = yarns.number
    index = number.astype(np.intp).clip(0, YARNS - 1)
    length = (yarns.along * np.float32(64 / YARNS)).astype(np.intp).clip(0, 63)
    sideways = (yarns.across - number - yarns.shift[index]) / yarns.width[index, length]
    round_back = np.sqrt((1 - sideways * sideways).clip(0, 1))
    parity = (1 - 2 * (index & 1)).astype(np.float32) * yarns.sign
    crest = np.cos(np.float32(np.pi) * yarns.along) * parity
    height = BULGE * (round_back - 1) + CRIMP * crest + yarns.lift
    height = np.where((np.abs(sideways) < 1) & (yarns.absent < 0.5), height, 2 * BACKING)
    twist = np.sin(np.float32(2 * np.pi) * (2.6 * yarns.along + 1.1 * sideways) + index * 1.7)
    return height, yarns.tone[index] * (0.78 + 0.20 * crest + 0.075 * twist)


def _place(rng: np.random.Generator, margin: float = 20) -> tuple[float, float]:
    x, y = rng.uniform(margin - 128, 128 - margin, 2)
    return float(x), float(y)


def hole(cloth: Cloth, surface: Surface, rng: np.random.Generator) -> Surface:
    """Yarns torn away, ragged at their ends."""
    radius = log_uniform(rng, 3, 16)
    distance = blob_distance(*cloth.canvas.around(_place(rng)), rng, radius, roughness=0.3)
    ragged = 0.16 * radius + 0.8

    def torn(yarns: Yarns) -> Yarns:
        ends = rng.normal(0, ragged, YARNS).astype(np.float32)[yarns.number.astype(np.intp).clip(0, YARNS - 1)]
        return replace(yarns, absent=(distance + ends < 0).astype(np.float32))

    return render(replace(cloth, warp=torn(cloth.warp), weft=torn(cloth.weft)))


def _choose_yarn(cloth: Cloth, rng: np.random.Generator, spacings: float) -> tuple[str, FloatArray]:
    """A set's name, and 1 on a stretch of one of its yarns, `spacings` long."""
    name = str(rng.choice(["warp", "weft"]))
    yarns: Yarns = getattr(cloth, name)
    chosen = YARNS // 2 + int(rng.integers(-10, 11))
    middle = YARNS / 2 + rng.uniform(-8, 8)
    return name, (yarns.number == chosen) * ramp(np.abs(yarns.along - middle), spacings / 2 + 0.3, spacings / 2)


def missing_yarn(cloth: Cloth, surface: Surface, rng: np.random.Generator) -> Surface:
    """A yarn broken and pulled out over some length."""
    name, stretch = _choose_yarn(cloth, rng, log_uniform(rng, 0.8, 22))
    return render(replace(cloth, **{name: replace(getattr(cloth, name), absent=stretch)}))


def float_yarn(cloth: Cloth, surface: Surface, rng: np.random.Generator) -> Surface:
    """A yarn that skips crossings and lies on top of the cloth."""
    name, stretch = _choose_yarn(cloth, rng, rng.uniform(1.5, 8))
    return render(replace(cloth, **{name: replace(getattr(cloth, name), lift=2 * CRIMP * stretch)}))


def stain(cloth: Cloth, surface: Surface, rng: np.random.Generator) -> Surface:
    """A dried spill, oil or dye."""
    radius = log_uniform(rng, 7, 36)
    strength = log_uniform(rng, 0.18, 0.6)
    distance = blob_distance(*cloth.canvas.around(_place(rng)), rng, radius, roughness=0.3) + 1.5 * cloth.canvas.noise(
        rng, 9
    )
    return marks.stain(surface, distance, strength, tint=(0.75, 1.0, 1.2), rim=0.25, softness=1.5)


def foreign_fibre(cloth: Cloth, surface: Surface, rng: np.random.Generator) -> Surface:
    """A hair or lint fibre lying on the cloth."""
    length = log_uniform(rng, 10, 90)
    points = wander(rng, _place(rng, 40), rng.uniform(0, 7), length, bend=0.05, jitter=0.03)
    width = rng.uniform(0.5, 1.2)
    distance, _ = path_distance(cloth.canvas, points, 5)
    colour = np.array([[0.05, 0.045, 0.04], [0.5, 0.47, 0.42], [0.34, 0.06, 0.05]], np.float32)[rng.integers(3)]
    return marks.fibre(surface, distance, width, colour, opacity=rng.uniform(0.6, 1.0))


CATEGORY = Category(
    draw=draw,
    render=render,
    defects={
        "float_yarn": float_yarn,
        "foreign_fibre": foreign_fibre,
        "hole": hole,
        "missing_yarn": missing_yarn,
        "stain": stain,
    },
)
