"""A machined cast-iron flange on a conveyor belt.

Tested in tests/data/test_demo.py.
"""

import cmath
from dataclasses import dataclass, replace

import numpy as np

from patchshift.data.demo import marks
from patchshift.data.demo.canvas import Canvas, FloatArray, blob_distance, log_uniform, path_distance, ramp, wander
from patchshift.data.demo.photograph import Light, Surface
from patchshift.data.demo.pose import Pose
from patchshift.data.demo.scene import Category

EDGE, FACE, HUB, BORE = 92.0, 60.0, 33.0, 15.0  # radii, units
BOLT_CIRCLE, BOLT, BOLTS = 76.0, 6.2, 6
RIBS, RIB_WIDTH = 6, 3.4
RINGS = 512  # turning marks per RING_STEP units of radius
RING_STEP = 0.25
NONE = np.zeros((1, 1), dtype=np.float32)


@dataclass(frozen=True)
class Flange:
    """One photograph's flange. `x`, `y`: coordinates turned with the piece, float32 [F, F], units."""

    canvas: Canvas
    light: Light
    x: FloatArray
    y: FloatArray
    pose: Pose
    turning: FloatArray  # [RINGS], unit variance
    sand: FloatArray  # cast skin
    skin: FloatArray  # slow variation of brightness
    belt: FloatArray
    scuffs: FloatArray
    belt_phase: float
    metal: float
    bite: FloatArray  # units taken from the outer edge; negative adds


def draw(canvas: Canvas, rng: np.random.Generator) -> Flange:
    """A flange under a natural pose and light."""
    pose = Pose.draw(rng, shift=2.5, turn=1.6, scale=0.01)
    x, y = pose.frame(canvas)
    turning = rng.standard_normal(RINGS).astype(np.float32)
    return Flange(
        canvas=canvas,
        light=Light.draw(rng, azimuth=-125, elevation=52),
        x=x,
        y=y,
        pose=pose,
        turning=(turning + 0.7 * np.roll(turning, 1)) / 1.22,
        sand=0.8 * canvas.noise(rng, 1.6) + 0.5 * canvas.noise(rng, 4),
        skin=canvas.noise(rng, 30),
        belt=canvas.noise(rng, 0.8),
        scuffs=canvas.noise(rng, 22),
        belt_phase=float(rng.uniform(0, 2 * np.pi)),
        metal=float(rng.normal(1, 0.03)),
        bite=NONE,
    )


def render(piece: Flange) -> Surface:
    """The flange's surface, lying on the belt."""
    x, y = piece.x, piece.y
    radius = np.hypot(x, y)
    angle = np.arctan2(y, x)
    edge = radius + piece.bite
    bolt = _bolt_distance(radius, angle)
    keyway = np.maximum(np.abs(x) - 3.2, np.abs(y + BORE + 1) - 5)
    bore = np.minimum(radius - BORE, keyway)
    through = np.maximum(ramp(bolt, 0.5, -0.5), ramp(bore, 0.5, -0.5))
    solid = ramp(edge, EDGE + 0.5, EDGE - 0.5) * (1 - through)

    recess = ramp(radius, HUB + 0.5, HUB + 4) * ramp(radius, FACE, FACE - 4)
    spoke = np.abs(((angle * np.float32(RIBS / (2 * np.pi)) + 0.5) % 1) - 0.5) * np.float32(2 * np.pi / RIBS) * radius
    rib = ramp(spoke, RIB_WIDTH + 1.6, RIB_WIDTH - 1.6)
    rough = recess * (1 - 0.35 * rib)
    height = 12 - 6.5 * recess * (1 - 0.62 * rib) + 3.0 * ramp(radius, HUB + 1.5, HUB - 1)
    height -= 2.2 * ramp(edge, EDGE - 3.0, EDGE) + 1.6 * ramp(bolt, 2.2, 0) + 2.0 * ramp(bore, 2.6, 0)
    height += 0.20 * rough * piece.sand + 0.02 * (1 - rough) * piece.belt
    height = height * solid + 0.10 * (1 - solid) * piece.belt

    position = (radius * np.float32(1 / RING_STEP)).clip(0, RINGS - 2)
    lower = position.astype(np.intp)
    groove = piece.turning[lower] + (piece.turning[lower + 1] - piece.turning[lower]) * (position - lower)
    across = np.sin(angle + np.float32(piece.pose.angle - piece.light.azimuth))
    # Turning marks reflect like a bundle of fine wires: brightest where they run across the light.
    sheen = np.exp(-np.float32(5.0) * across * across)
    machined = 0.24 + 0.34 * sheen + (0.014 + 0.03 * sheen) * groove
    cast = 0.115 + 0.013 * piece.sand + 0.006 * piece.skin
    grey = np.float32(piece.metal) * (machined + (cast - machined) * rough) * (1 + 0.02 * piece.skin)
    belt = 0.050 + 0.004 * piece.belt + 0.003 * piece.scuffs + 0.007 * _ribbing(piece)
    albedo = np.stack([grey * solid * m + belt * (1 - solid) * b for m, b in ((1.0, 0.92), (1.0, 1.04), (0.985, 1.0))])
    albedo *= 1 - 0.5 * through
    gloss = solid * (1 - rough) * 0.10 + 0.004
    return Surface(height, albedo, gloss, _shadow(piece, solid, through))


def _ribbing(piece: Flange) -> FloatArray:
    """The belt's moulded diamond pattern, -1..1; it does not turn with the piece."""
    x, y = piece.canvas.grid()
    frequency = np.float32(2 * np.pi / 7.5)
    waves: FloatArray = np.sin(frequency * (x + y) + np.float32(piece.belt_phase)) * np.sin(frequency * (x - y))
    return waves


def _bolt_distance(radius: FloatArray, angle: FloatArray) -> FloatArray:
    sector = np.float32(2 * np.pi / BOLTS)
    folded = (angle + sector / 2) % sector - sector / 2
    centre = np.hypot(radius * np.cos(folded) - np.float32(BOLT_CIRCLE), radius * np.sin(folded))
    return np.asarray(centre - np.float32(BOLT))


def _shadow(piece: Flange, solid: FloatArray, through: FloatArray) -> FloatArray:
    """Light that reaches each point: the belt beside the piece and the holes' floors lie in its shadow."""
    dx, dy = piece.pose.direction(*piece.light.offset(9.0))
    rim = np.hypot(piece.x - np.float32(dx), piece.y - np.float32(dy)) + piece.bite
    cast = 1 - 0.85 * ramp(rim, EDGE + 5, EDGE - 4)
    arrives: FloatArray = solid + (1 - solid) * cast * (1 - 0.8 * through)
    return arrives


def _anywhere(
    piece: Flange, rng: np.random.Generator, low: float = BORE + 4, high: float = EDGE - 4
) -> tuple[float, float]:
    return piece.pose.to_image(cmath.rect(float(np.sqrt(rng.uniform(low**2, high**2))), rng.uniform(-np.pi, np.pi)))


def _beyond(piece: Flange, distance: FloatArray) -> FloatArray:
    """The distance, large beside the piece: nothing can mark it there."""
    return distance + 99 * ramp(np.hypot(piece.x, piece.y), EDGE - 0.5, EDGE + 0.5)


def crack(piece: Flange, surface: Surface, rng: np.random.Generator) -> Surface:
    """A jagged dark line from a stressed edge: a bolt hole, the bore or the rim, tapering to nothing."""
    start_radius, inwards = ((BOLT_CIRCLE, 1), (BORE + 1, 1), (EDGE - 1, -1))[rng.integers(3)]
    angle = rng.uniform(-np.pi, np.pi)
    if start_radius == BOLT_CIRCLE:
        angle = 2 * np.pi / BOLTS * int(rng.integers(BOLTS))
        start_radius, inwards = (BOLT_CIRCLE + BOLT, 1) if rng.random() < 0.4 else (BOLT_CIRCLE - BOLT, -1)
    heading = angle + piece.pose.angle + (0 if inwards > 0 else np.pi) + rng.normal(0, 0.5)
    length = log_uniform(rng, 14, 60)
    points = wander(rng, piece.pose.to_image(cmath.rect(start_radius, angle)), heading, length, bend=0.02, jitter=0.35)
    distance, along = path_distance(piece.canvas, points, 3)
    width = np.float32(rng.uniform(0.7, 1.6)) * np.sqrt(1 - along)
    return marks.groove(
        surface, _beyond(piece, distance), width, depth=rng.uniform(0.4, 1.2), tone=-rng.uniform(0.55, 0.9)
    )


def scratch(piece: Flange, surface: Surface, rng: np.random.Generator) -> Surface:
    """One to three handling scratches, bared bright metal or a dull score."""
    heading, tone = rng.uniform(0, 7), float(rng.choice([-0.5, 0.6]) * rng.uniform(0.6, 1.2))
    for _ in range(int(rng.integers(1, 4))):
        length = log_uniform(rng, 20, 80)
        start = _anywhere(piece, rng, HUB, EDGE - 6)
        points = wander(rng, start, heading + rng.normal(0, 0.08), length, bend=0.006, jitter=0.0)
        distance, along = path_distance(piece.canvas, points, 3)
        width = np.float32(rng.uniform(0.4, 0.9)) * np.sqrt(4 * along * (1 - along))
        surface = marks.groove(surface, _beyond(piece, distance), width, depth=0.25, tone=tone)
    return surface


def porosity(piece: Flange, surface: Surface, rng: np.random.Generator) -> Surface:
    """Gas pores opened by machining: one, or a cluster."""
    centre = np.array(_anywhere(piece, rng))
    count = int(rng.choice([1, 2, 4, 7]))
    for _ in range(count):
        x, y = piece.canvas.around(tuple(centre + rng.normal(0, 2.2 * np.sqrt(count), 2)))
        radius = log_uniform(rng, 1.5, 5)
        surface = marks.pit(
            surface, blob_distance(x, y, rng, radius, roughness=0.12), depth=0.7 * radius, tone=-rng.uniform(0.45, 0.8)
        )
    return surface


def chipped_edge(piece: Flange, surface: Surface, rng: np.random.Generator) -> Surface:
    """A piece broken out of the rim, or a burr left on it."""
    size = log_uniform(rng, 2.0, 11)
    x, y = piece.canvas.around(piece.pose.to_image(cmath.rect(EDGE, rng.uniform(-np.pi, np.pi))))
    distance = blob_distance(x, y, rng, size, roughness=0.3) + 0.10 * size * piece.canvas.noise(rng, 3)
    depth = rng.uniform(0.5, 1.0) * size * (1 if rng.random() < 0.7 else -0.45)
    return render(replace(piece, bite=np.float32(depth) * ramp(distance, 0.25 * size, -0.6 * size)))


def discolouration(piece: Flange, surface: Surface, rng: np.random.Generator) -> Surface:
    """Rust, heat tint or dried coolant."""
    radius = log_uniform(rng, 7, 28)
    x, y = piece.canvas.around(_anywhere(piece, rng))
    distance = blob_distance(x, y, rng, radius, roughness=0.3) + 1.2 * piece.canvas.noise(rng, 6)
    tint = ((0.6, 1.0, 1.3), (1.15, 1.0, 0.85), (1.0, 1.0, 1.0))[rng.integers(3)]
    strength = log_uniform(rng, 0.27, 0.6)
    return marks.stain(surface, _beyond(piece, distance), strength, tint, rim=0.3, softness=rng.uniform(1.5, 5))


CATEGORY = Category(
    draw=draw,
    render=render,
    defects={
        "chipped_edge": chipped_edge,
        "crack": crack,
        "discolouration": discolouration,
        "porosity": porosity,
        "scratch": scratch,
    },
)
