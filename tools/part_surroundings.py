"""Floors, lamps and litter around a rendered part, for tools/render_parts.py.

The one place that says which floors and lamps belong to which side: everything a teacher, a student's start or the
pool is made of uses the POOL side, the labelled check images the CHECK side. What is chosen by trying (a learning rate,
say) is chosen on the STUDY side, so that nothing is ever chosen on check images. No two sides share anything.
Textures and lamps are plain arrays; nothing here knows of the renderer.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from part_meshes import TAU, joined, moved, smooth_path, sphere, turned, wire
from PIL import Image, ImageDraw, ImageFilter
from trimesh import Trimesh

Array = NDArray[Any]  # of floats
Side = Literal["pool", "check", "study"]

FLOORS: dict[Side, tuple[str, ...]] = {
    "pool": ("concrete", "wood", "steel"),
    "check": ("paper", "conveyor"),
    "study": ("cardboard", "tiles", "cloth"),
}
LAMPS: dict[Side, tuple[str, ...]] = {
    "pool": ("softbox", "window"),
    "check": ("ring lamp", "strip lamp"),
    "study": ("bulb", "overcast"),
}
CLUTTER = ("none", "debris", "shavings", "cable", "scratches", "chalk marks", "stain", "dust")

TEXTURE_PX = 384  # texels a side of a floor texture
TEXTURE_UNITS = 8.0  # world units a side; a part is about two units long
SKY_SHAPE = (96, 192)  # rows, columns of a lamp panorama


@dataclass(frozen=True)
class Surface:
    """What a texture needs: linear base colour [n,n,3] and roughness [n,n,1] in 0..1, metallic in 0..1."""

    colour: Array
    roughness: Array
    metallic: float


# ------------------------------------------------------------------------------------------------------ noise


def _enlarged(a: Array, shape: tuple[int, int]) -> Array:
    return np.asarray(Image.fromarray(a.astype(np.float32)).resize(shape[::-1], Image.Resampling.BICUBIC))


def cloud(g: Generator, n: int, coarsest: int = 2, octaves: int = 6, fade: float = 0.6) -> Array:
    """Smooth fractal noise [n, n] of mean 0 and standard deviation 1."""
    out = np.zeros((n, n), np.float32)
    for k in range(octaves):
        cells = min(n, coarsest * 2**k + 1)
        out += fade**k * _enlarged(g.standard_normal((cells, cells)), (n, n))
    return (out - out.mean()) / (out.std() + 1e-6)


def streaks(g: Generator, n: int, across: int, along: int) -> Array:
    """Noise [n, n] drawn out along the columns, standard deviation 1."""
    fine = _enlarged(g.standard_normal((across, along)), (n, n))
    return fine / (fine.std() + 1e-6)


def _drawing(n: int) -> tuple[Image.Image, ImageDraw.ImageDraw]:
    image = Image.new("L", (n, n))
    return image, ImageDraw.Draw(image)


def _strokes(g: Generator, n: int, count: int, length: float, width: int, wobble: float = 0.0) -> Array:
    """A mask [n, n] in 0..1 of `count` strokes; wobble in radians a step bends them."""
    image, pen = _drawing(n)
    for _ in range(count):
        angle, x, y = g.uniform(0, TAU), *g.uniform(0, n, 2)
        points = [(x, y)]
        for _ in range(12):
            angle += g.normal(0, wobble)
            x, y = x + length / 12 * np.cos(angle), y + length / 12 * np.sin(angle)
            points.append((x, y))
        pen.line(points, fill=int(g.integers(120, 256)), width=width)
    return np.asarray(image.filter(ImageFilter.GaussianBlur(0.6)), np.float32) / 255


def _mix(colour: Array, mask: Array, other: tuple[float, float, float]) -> Array:
    return colour + mask[..., None] * (np.asarray(other, np.float32) - colour)


# ------------------------------------------------------------------------------------------------------ floors


def _concrete(g: Generator, n: int) -> Surface:
    tone = g.uniform(0.16, 0.5) * (1 + g.normal(0, 0.03, 3))
    shade = 1 + g.uniform(0.08, 0.18) * cloud(g, n, 3) + 0.05 * cloud(g, n, 48, 3, 0.9)
    pits = cloud(g, n, 40, 3, 0.8) > g.uniform(2.1, 2.8)
    colour = tone * shade[..., None] * (1 - 0.45 * pits[..., None])
    if g.random() < 0.4:
        colour = _mix(colour, 0.75 * _strokes(g, n, int(g.integers(1, 4)), 0.9 * n, 1, 0.6), (0.05, 0.05, 0.045))
    return Surface(colour, np.full((n, n, 1), 0.85), 0)


def _wood(g: Generator, n: int) -> Surface:
    dark, light = _WOODS[int(g.integers(len(_WOODS)))]
    planks = int(g.integers(3, 7))
    row = np.arange(n)[:, None] * planks / n
    plank = row.astype(int) % planks
    tone = g.uniform(0.75, 1.2, planks)[plank]
    shift = g.uniform(0, 50, planks)[plank]
    bend = _enlarged(g.standard_normal((9, 4)), (n, n))
    rings = 0.5 + 0.5 * np.sin(TAU * (g.uniform(2.5, 5) * row + 0.5 * bend + shift))
    grain = np.clip(0.6 * rings + 0.3 + 0.16 * streaks(g, n, n // 2, 10), 0, 1)
    colour = np.asarray(dark) + grain[..., None] * (np.asarray(light) - np.asarray(dark))
    gap = np.abs(row - np.round(row)) < 1.2 * planks / n
    colour = colour * tone[..., None] * np.where(gap, 0.3, 1)[..., None]
    return Surface(colour * g.uniform(0.8, 1.15), np.full((n, n, 1), g.uniform(0.45, 0.7)), 0)


_WOODS = (  # linear dark and light of the grain: pine, oak, walnut, beech, weathered
    ((0.36, 0.19, 0.075), (0.62, 0.39, 0.19)),
    ((0.22, 0.115, 0.045), (0.42, 0.25, 0.12)),
    ((0.075, 0.035, 0.018), (0.19, 0.095, 0.05)),
    ((0.40, 0.21, 0.11), (0.58, 0.35, 0.21)),
    ((0.14, 0.115, 0.09), (0.33, 0.29, 0.24)),
)


def _steel(g: Generator, n: int) -> Surface:
    grain = streaks(g, n, n, 6)
    tone = g.uniform(0.3, 0.6) * (1 + g.normal(0, 0.015, 3))
    colour = tone * (1 + 0.05 * grain + 0.05 * cloud(g, n, 3))[..., None]
    roughness = np.clip(g.uniform(0.38, 0.52) + 0.05 * grain, 0.25, 0.8)[..., None]
    colour = _mix(colour, 0.35 * _strokes(g, n, int(g.integers(4, 30)), 0.3 * n, 1), (0.75, 0.75, 0.76))
    if g.random() < 0.2:  # perforated plate
        pitch = int(g.integers(40, 72))
        y, x = np.mgrid[:n, :n] % pitch - pitch / 2
        hole = np.clip(0.2 * pitch - np.hypot(x, y) + 0.5, 0, 1).astype(np.float32)
        colour, roughness = _mix(colour, hole, (0.01, 0.01, 0.01)), np.maximum(roughness, 0.9 * hole[..., None])
    if g.random() < 0.3:
        rust = np.clip(cloud(g, n, 4) - 1.4, 0, 0.7)
        colour, roughness = _mix(colour, rust, (0.2, 0.08, 0.03)), np.clip(roughness + 0.6 * rust[..., None], 0, 0.9)
    return Surface(colour, roughness, g.uniform(0.7, 0.9))


def _paper(g: Generator, n: int) -> Surface:
    tone = g.uniform(0.7, 0.88) * np.array([1, g.uniform(0.97, 1), g.uniform(0.86, 1)])
    colour = tone * (1 + 0.012 * cloud(g, n, 60, 3, 0.9) + 0.012 * cloud(g, n, 3, 3))[..., None]
    print_ = g.choice(["plain", "ruled", "squared"], p=[0.4, 0.3, 0.3])
    if print_ != "plain":
        pitch = int(g.integers(14, 28))
        line = (np.arange(n) % pitch == 0).astype(np.float32)
        mask = np.broadcast_to(line[:, None], (n, n))
        if print_ == "squared":
            mask = np.maximum(mask, line[None])
        ink = ((0.12, 0.25, 0.6), (0.35, 0.4, 0.45), (0.55, 0.15, 0.12), (0.1, 0.4, 0.3))[int(g.integers(4))]
        colour = _mix(colour, g.uniform(0.35, 0.7) * mask, ink)
    if g.random() < 0.5:  # folds: a soft light and dark edge
        for _ in range(int(g.integers(1, 4))):
            a, place = g.uniform(0, TAU), g.uniform(0.2, 0.8) * n
            y, x = np.mgrid[:n, :n]
            off = (x * np.cos(a) + y * np.sin(a) - place * (np.cos(a) + np.sin(a))) / 7
            colour = colour * (1 - 0.22 * off * np.exp(-(off**2)))[..., None]
    return Surface(colour, np.full((n, n, 1), 0.9), 0)


def _conveyor(g: Generator, n: int) -> Surface:
    belt = _BELTS[int(g.integers(len(_BELTS)))]
    y, x = np.mgrid[:n, :n]
    pitch = int(g.integers(12, 26))
    pattern = g.choice(["ribs", "weave", "chevrons", "studs"])
    if pattern == "ribs":
        raised = (y % pitch) < 0.5 * pitch
    elif pattern == "weave":
        raised = ((x + y) % pitch < 0.5 * pitch) ^ ((x - y) % pitch < 0.5 * pitch)
    elif pattern == "chevrons":
        raised = (y + np.abs(x % (4 * pitch) - 2 * pitch)) % (2 * pitch) < 0.6 * pitch
    else:
        raised = np.hypot(x % pitch - pitch / 2, y % pitch - pitch / 2) < 0.3 * pitch
    stamped = Image.fromarray((raised * 255).astype(np.uint8)).filter(ImageFilter.GaussianBlur(0.9))
    relief = np.asarray(stamped, np.float32)
    wear = np.clip(1 + 0.18 * streaks(g, n, 40, 3) + 0.12 * cloud(g, n, 3), 0.5, 1.8)
    colour = np.asarray(belt) * g.uniform(0.8, 1.5) * ((0.6 + 0.9 * relief / 255) * wear)[..., None]
    return Surface(colour, np.full((n, n, 1), g.uniform(0.5, 0.75)), 0)


# black, green, blue, grey
_BELTS = ((0.035, 0.036, 0.038), (0.02, 0.075, 0.045), (0.02, 0.045, 0.11), (0.09, 0.09, 0.088))


def _cardboard(g: Generator, n: int) -> Surface:
    tone = g.uniform(0.8, 1.15) * np.array([0.42, 0.27, 0.15])
    flutes = np.sin(TAU * np.arange(n) / g.uniform(5, 9))[:, None]
    shade = 1 + g.uniform(0.01, 0.04) * flutes + 0.04 * cloud(g, n, 50, 3, 0.9) + 0.05 * cloud(g, n, 3)
    colour = tone * shade[..., None]
    if g.random() < 0.5:  # a strip of tape
        low = g.uniform(0, 0.8) * n
        tape = ((np.arange(n) > low) & (np.arange(n) < low + g.uniform(0.08, 0.18) * n)).astype(np.float32)
        colour = _mix(colour, np.broadcast_to(0.7 * tape, (n, n)), (0.5, 0.36, 0.2))
    return Surface(colour, np.full((n, n, 1), 0.88), 0)


def _tiles(g: Generator, n: int) -> Surface:
    pitch = int(g.integers(70, 150))
    y, x = np.mgrid[:n, :n] + g.integers(0, pitch, 2)[:, None, None]
    glaze = np.asarray(_GLAZES[int(g.integers(len(_GLAZES)))])
    each = g.uniform(0.88, 1.12, (n // pitch + 2, n // pitch + 2))[y // pitch, x // pitch]
    colour = glaze * (each * (1 + 0.04 * cloud(g, n, 4)))[..., None]
    joint = ((y % pitch < 5) | (x % pitch < 5)).astype(np.float32)
    grout = g.uniform(0.15, 0.6)
    roughness = g.uniform(0.25, 0.5) * (1 - joint) + 0.9 * joint
    return Surface(_mix(colour, joint, (grout, 0.97 * grout, 0.92 * grout)), roughness[..., None], 0)


# white, terracotta, slate, sea green, cream
_GLAZES = ((0.72, 0.72, 0.7), (0.42, 0.16, 0.09), (0.09, 0.1, 0.12), (0.18, 0.36, 0.33), (0.6, 0.52, 0.38))


def _cloth(g: Generator, n: int) -> Surface:
    y, x = np.mgrid[:n, :n]
    first, second = (np.asarray(_DYES[k]) for k in g.integers(len(_DYES), size=2))
    check = g.choice(["plain", "stripes", "checks"])
    wide = int(g.integers(30, 90))
    across, along = (x // wide) % 2, (y // wide) % 2
    share = {"plain": 0.0 * x, "stripes": 1.0 * across, "checks": 0.5 * (across + along)}[str(check)]
    colour = first + share[..., None] * (second - first)
    weave = 1 + 0.12 * np.sin(TAU * x / 4) * np.sin(TAU * y / 4) + 0.05 * cloud(g, n, 3)
    creases = 1 + 0.12 * np.clip(cloud(g, n, 2, 3, 0.5), -2, 2)
    return Surface(colour * (weave * creases)[..., None], np.full((n, n, 1), 0.95), 0)


# grey, denim, wine, mustard, white, olive
_DYES = (
    (0.25, 0.25, 0.26),
    (0.05, 0.1, 0.24),
    (0.22, 0.03, 0.06),
    (0.5, 0.33, 0.06),
    (0.7, 0.69, 0.66),
    (0.14, 0.16, 0.07),
)

_FLOOR_MAKERS = {
    "concrete": _concrete,
    "wood": _wood,
    "steel": _steel,
    "paper": _paper,
    "conveyor": _conveyor,
    "cardboard": _cardboard,
    "tiles": _tiles,
    "cloth": _cloth,
}


def floor_surface(floor: str, clutter: str, g: Generator) -> Surface:
    """The texture of a floor, with the litter that lies flat (scratches, chalk, stains, dust) drawn into it."""
    n = TEXTURE_PX
    made = _FLOOR_MAKERS[floor](g, n)
    colour, roughness = made.colour, made.roughness
    if clutter == "scratches":
        shine = 0.8 if colour.mean() < 0.35 else 0.15
        colour = _mix(colour, 0.6 * _strokes(g, n, int(g.integers(30, 70)), 0.25 * n, 1, 0.02), (shine,) * 3)
    elif clutter == "chalk marks":
        chalk = ((0.85, 0.85, 0.82), (0.8, 0.65, 0.1), (0.2, 0.4, 0.75))[int(g.integers(3))]
        rubbed = np.clip(0.75 + 0.3 * cloud(g, n, 60, 2), 0.2, 1)
        colour = _mix(colour, rubbed * _strokes(g, n, int(g.integers(5, 11)), 0.4 * n, 4, 0.25), chalk)
    elif clutter == "stain":
        spill = np.clip(1.6 * (cloud(g, n, 3, 4, 0.4) - 0.5), 0, 0.75)
        colour, roughness = _mix(colour, spill, (0.03, 0.022, 0.015)), roughness - 0.25 * spill[..., None]
    elif clutter == "dust":
        specks = (cloud(g, n, 64, 3, 0.9) > 1.9).astype(np.float32)
        colour = _mix(colour, 0.7 * specks, (0.06, 0.05, 0.04) if colour.mean() > 0.3 else (0.5, 0.47, 0.42))
    finished = (np.clip(colour, 0.004, 0.95), np.clip(roughness, 0.2, 0.95))
    return Surface(finished[0].astype(np.float32), finished[1].astype(np.float32), made.metallic)


# ------------------------------------------------------------------------------------------------------ lamps


def _directions() -> Array:
    """World direction [rows, columns, 3] of each panorama pixel, z up, as the renderer's sky maps them."""
    rows, columns = SKY_SHAPE
    theta = (np.arange(rows) + 0.5)[:, None] / rows * np.pi
    phi = (np.arange(columns) + 0.5) / columns * TAU
    high = np.cos(theta) + 0 * phi
    return np.stack([np.sin(theta) * np.sin(phi), np.sin(theta) * np.cos(phi), high], -1).astype(np.float32)


def _pointing(azimuth: float, elevation: float) -> NDArray[np.float64]:
    return np.array([np.cos(azimuth) * np.cos(elevation), np.sin(azimuth) * np.cos(elevation), np.sin(elevation)])


def _lamp_plane(sky: Array, azimuth: float, elevation: float, roll: float = 0) -> tuple[Array, Array, Array]:
    """Tangent-plane coordinates p, q of every direction as seen from the part, and where the plane is in front."""
    n = _pointing(azimuth, elevation)
    level = np.array([-np.sin(azimuth), np.cos(azimuth), 0])
    upright = np.cross(n, level)
    t, b = np.cos(roll) * level + np.sin(roll) * upright, np.cos(roll) * upright - np.sin(roll) * level
    depth = sky @ n
    ahead = depth > 0.05
    depth = np.where(ahead, depth, 1)
    return sky @ t / depth, sky @ b / depth, ahead


def _within(distance: Array, soft: float) -> Array:
    """1 where distance < 0, fading to 0 over `soft`."""
    return np.clip(0.5 - distance / soft, 0, 1)


def _panel(plane: tuple[Array, Array, Array], half_p: float, half_q: float, soft: float) -> Array:
    p, q, ahead = plane
    return ahead * _within(np.maximum(np.abs(p) - half_p, np.abs(q) - half_q), soft)


def lamp_panorama(lamp: str, camera_azimuth: float, camera_elevation: float, g: Generator) -> Array:
    """Light from all around [rows, columns, 3], linear, any scale: a dim room with the lamp in it."""
    sky = _directions()
    up = sky[..., 2]
    room = 0.25 + 0.2 * up + 0.12 * np.sin(np.arctan2(sky[..., 1], sky[..., 0]) + g.uniform(0, TAU))
    light = (g.uniform(0.4, 1.1) * np.clip(room, 0.05, 1))[..., None] * (1 + g.normal(0, 0.04, 3))
    tint = np.asarray(_TINTS[int(g.integers(len(_TINTS)))])
    if lamp == "softbox":
        for _ in range(int(g.integers(1, 4))):
            plane = _lamp_plane(sky, g.uniform(0, TAU), g.uniform(0.6, 1.45), g.uniform(0, TAU))
            half_p, half_q = g.uniform(0.25, 0.55, 2)
            light = light + g.uniform(4, 10) * _panel(plane, half_p, half_q, 0.12)[..., None] * tint
    elif lamp == "window":
        day = np.array([0.88, 0.97, 1.12]) if g.random() < 0.7 else np.array([1.15, 0.97, 0.75])
        plane = _lamp_plane(sky, g.uniform(0, TAU), g.uniform(0.4, 0.75))
        half_p, half_q = g.uniform(0.35, 0.6), g.uniform(0.4, 0.65)
        panes_p, panes_q = int(g.integers(1, 3)), int(g.integers(2, 4))
        bar = 0.035
        p = np.abs((plane[0] + half_p) * panes_p / half_p % 2 - 1)  # 1 at the edge of a pane
        q = np.abs((plane[1] + half_q) * panes_q / half_q % 2 - 1)
        glass = np.minimum((1 - p) * half_p / panes_p, (1 - q) * half_q / panes_q) > bar
        light = light + g.uniform(9, 18) * (_panel(plane, half_p, half_q, 0.04) * glass)[..., None] * day
    elif lamp == "ring lamp":  # around the lens, or hung over the part
        over = g.random() < 0.5
        at = (g.uniform(0, TAU), g.uniform(1.3, 1.55)) if over else (camera_azimuth, camera_elevation)
        p, q, ahead = _lamp_plane(sky, *at)
        radius, width = g.uniform(0.35, 0.6), g.uniform(0.07, 0.12)
        ring = ahead * _within(np.abs(np.hypot(p, q) - radius) - width, 0.05)
        light = 0.6 * light + g.uniform(11, 18) * ring[..., None] * np.array([0.98, 1, 1.05])
    elif lamp == "bulb":  # small and bare: hard shadows
        p, q, ahead = _lamp_plane(sky, g.uniform(0, TAU), g.uniform(0.7, 1.4))
        bare = ahead * _within(np.hypot(p, q) - g.uniform(0.1, 0.16), 0.05)
        light = 0.7 * light + g.uniform(60, 110) * bare[..., None] * np.array([1.15, 0.97, 0.75])
    elif lamp == "overcast":  # a bright sky all over: hardly any shadow
        light = light + g.uniform(1.2, 2.4) * np.clip(0.3 + 0.7 * up, 0, 1)[..., None] * np.array([0.95, 0.99, 1.06])
    else:  # strip lamp
        azimuth, elevation, roll = g.uniform(0, TAU), g.uniform(1.0, 1.5), g.uniform(0, TAU)
        p, q, ahead = _lamp_plane(sky, azimuth, elevation, roll)
        count, step = int(g.integers(1, 4)), g.uniform(0.45, 0.8)
        for k in range(count):
            shifted = (p - step * (k - (count - 1) / 2), q, ahead)
            light = light + g.uniform(13, 24) * _panel(shifted, 0.06, g.uniform(1.1, 1.8), 0.05)[..., None] * tint
    return np.clip(light, 0.01, None).astype(np.float32)


_TINTS = ((1, 1, 1), (1.12, 0.98, 0.8), (0.9, 0.99, 1.12), (1.05, 1, 0.93))  # neutral, warm, cool, slightly warm


# ------------------------------------------------------------------------------------------------------ litter


@dataclass(frozen=True)
class Litter:
    """Small things that stand on the floor: a mesh, its linear colour, and metallic in 0..1."""

    mesh: Trimesh
    colour: tuple[float, float, float]
    metallic: float


def litter(clutter: str, keep_clear: float, g: Generator) -> Litter | None:
    """Debris, shavings or a cable around the origin, no nearer than `keep_clear`; None for clutter that is flat."""
    if clutter == "debris":
        pieces = []
        for _ in range(int(g.integers(4, 14))):
            grain = sphere(g.uniform(0.025, 0.09), 1)
            grain.vertices *= g.uniform(0.5, 1.4, (len(grain.vertices), 3))
            pieces.append(_scattered(grain, keep_clear + 0.1, g))
        shade = g.uniform(0.03, 0.3)
        return Litter(joined(pieces), (shade, 0.92 * shade, 0.82 * shade), 0)
    if clutter == "shavings":
        pieces = []
        for _ in range(int(g.integers(4, 11))):
            a = np.linspace(0, g.uniform(1.2, 4.5), 14)
            curl = g.uniform(0.06, 0.16) * np.c_[np.cos(a), np.sin(a), g.uniform(0.05, 0.2) * a]
            pieces.append(_scattered(wire(curl, 0.014, sections=6), keep_clear + 0.17, g))
        return Litter(joined(pieces), ((0.62, 0.62, 0.63), (0.85, 0.62, 0.28))[int(g.random() < 0.3)], 0.9)
    if clutter == "cable":
        gauge, away = g.uniform(0.05, 0.085), keep_clear + g.uniform(0.12, 0.3)
        x = np.linspace(-9, 9, 12)
        line = np.c_[x, away + np.abs(g.normal(0, 0.15, 12)), np.full(12, gauge)]
        cord = turned(wire(smooth_path(line), gauge, sections=10), g.uniform(0, TAU), (0, 0, 1))
        return Litter(cord, _CORDS[int(g.integers(len(_CORDS)))], 0)
    return None


_CORDS = ((0.02, 0.02, 0.022), (0.45, 0.03, 0.025), (0.03, 0.08, 0.4), (0.5, 0.5, 0.48), (0.6, 0.4, 0.03))


def _scattered(mesh: Trimesh, nearest: float, g: Generator) -> Trimesh:
    mesh = turned(mesh, g.uniform(0, TAU), (0, 0, 1))
    away, around = nearest + abs(g.normal(0, 0.4)), g.uniform(0, TAU)
    return moved(mesh, away * np.cos(around), away * np.sin(around), -mesh.bounds[0, 2])
