"""Render the example's machine parts: sets of small photos-that-never-were, each a function of a name and a number.

    python tools/render_parts.py pool  --out examples/parts/pool  --processes 2
    python tools/render_parts.py check --out examples/parts/check --processes 2

A set is a list of (family, seed); `scene(family, seed, side)` samples what is in the picture, `render` draws it,
`caption` says true things about it. Same set, seed and variant: same images, whatever the number of processes.
Meshes are in part_meshes.py; floors and lamps, and which side may use which, in part_surroundings.py.

Needs the [tools] extra. mitsuba's `scalar_rgb` variant runs anywhere; `--variant llvm_ad_rgb` is several times
faster and needs an LLVM library of version 17 or later (DRJIT_LIBLLVM_PATH names it where it is not found).
"""

from __future__ import annotations

import argparse
import hashlib
import json
import logging
import os
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from itertools import pairwise
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from part_meshes import FAMILIES, SIX, TAU, TRAINING_ONLY, UNKNOWN, turned
from part_surroundings import (
    CLUTTER,
    FLOORS,
    LAMPS,
    TEXTURE_UNITS,
    Side,
    Surface,
    cloud,
    floor_surface,
    lamp_panorama,
    litter,
    streaks,
)
from PIL import Image, ImageDraw
from scipy.spatial import ConvexHull
from trimesh import Trimesh
from trimesh.transformations import rotation_matrix

log = logging.getLogger("render_parts")

SIZE = 176  # pixels a side of a committed image
JPEG_QUALITY = 80
SAMPLES = 12  # light paths a pixel; what noise is left passes for the camera's
PATH_LENGTH = 4
ATTEMPTS = 12  # redraws of a scene whose picture fails the guard

# ------------------------------------------------------------------------------------------- what is in a picture

METALS: dict[str, tuple[tuple[float, float, float], str]] = {  # linear base colour, colour word
    "steel": ((0.50, 0.50, 0.51), "grey"),
    "stainless steel": ((0.68, 0.67, 0.65), "silver"),
    "aluminium": ((0.82, 0.82, 0.84), "silver"),
    "brass": ((0.83, 0.60, 0.22), "golden"),
    "copper": ((0.86, 0.42, 0.28), "reddish"),
    "bronze": ((0.48, 0.28, 0.11), "brown"),
}
METAL_SHARE = (0.30, 0.18, 0.14, 0.16, 0.13, 0.09)
PAINTS: dict[str, tuple[float, float, float]] = {
    "red": (0.52, 0.03, 0.025),
    "blue": (0.03, 0.10, 0.45),
    "green": (0.03, 0.28, 0.08),
    "yellow": (0.75, 0.50, 0.02),
    "orange": (0.75, 0.20, 0.015),
    "white": (0.80, 0.80, 0.78),
    "black": (0.022, 0.022, 0.024),
}
FINISHES = ("polished", "satin", "brushed", "matte", "rusty", "blackened", "painted", "moulded")
ROUGHNESS = {"polished": (0.12, 0.2), "satin": (0.24, 0.34), "brushed": (0.28, 0.4)}
VIEWS = ("oblique", "top", "side", "close-up")
BLURS = ("sharp", "soft", "blurry")
NOISES = ("clean", "noisy", "grainy")


@dataclass(frozen=True)
class Scene:
    """Everything about a picture that a caption may mention; the rest is drawn from the same (side, family, seed)."""

    side: Side
    family: str
    seed: int
    floor: str
    lamp: str
    material: str
    finish: str
    colour: str
    view: str
    blur: str
    noise: str
    clutter: str


def _generator(side: Side, family: str, seed: int, purpose: str) -> Generator:
    digest = hashlib.blake2b(f"{side}/{family}/{seed}/{purpose}".encode(), digest_size=16).digest()
    return np.random.default_rng(int.from_bytes(digest, "big"))


def _pick(g: Generator, options: tuple[str, ...], shares: tuple[float, ...] | None = None) -> str:
    return str(g.choice(np.asarray(options, object), p=shares))


HIDING = (("black", "conveyor"), ("white", "paper"), ("white", "cloth"))  # colours that cannot be told from a floor


def scene(family: str, seed: int, side: Side = "pool") -> Scene:
    """The scene of this family and seed on one side's floors and under its lamps: a function of the three alone."""
    g = _generator(side, family, seed, "scene")
    floor, lamp = _pick(g, FLOORS[side]), _pick(g, LAMPS[side])
    material, finish, colour = _look(family, g)
    while (colour, floor) in HIDING:
        material, finish, colour = _look(family, g)
    return Scene(
        side=side,
        family=family,
        seed=seed,
        floor=floor,
        lamp=lamp,
        material=material,
        finish=finish,
        colour=colour,
        view=_pick(g, VIEWS, (0.45, 0.2, 0.15, 0.2)),
        blur=_pick(g, BLURS, (0.7, 0.22, 0.08)),
        noise=_pick(g, NOISES, (0.7, 0.22, 0.08)),
        clutter=_pick(g, CLUTTER, (0.44, 0.1, 0.1, 0.08, 0.08, 0.08, 0.06, 0.06)),
    )


def _look(family: str, g: Generator) -> tuple[str, str, str]:
    """Material, finish and colour word that go together."""
    if family == "O-ring" and g.random() < 0.75:
        return "rubber", "moulded", _pick(g, ("black", "red", "blue", "orange"), (0.6, 0.15, 0.1, 0.15))
    if (
        family not in ("ball bearing", "coil spring", "wood screw", "nail", "circlip", "cotter pin")
        and g.random() < 0.1
    ):
        return "plastic", "moulded", _pick(g, tuple(PAINTS))
    material = _pick(g, tuple(METALS), METAL_SHARE)
    if material in ("steel", "aluminium") and family != "ball bearing" and g.random() < 0.14:
        return material, "painted", _pick(g, tuple(PAINTS))
    if material == "steel" and g.random() < 0.3:
        finish = _pick(g, ("rusty", "blackened"))
        return material, finish, {"rusty": "brown", "blackened": "black"}[finish]
    return material, _pick(g, ("polished", "satin", "brushed", "matte"), (0.3, 0.3, 0.2, 0.2)), METALS[material][1]


# ------------------------------------------------------------------------------------------- saying what it shows

FLOOR_PHRASES = {
    "concrete": ("on a concrete floor", "on concrete", "lying on rough concrete"),
    "wood": ("on a wooden floor", "on a wooden bench", "on wood", "on a wooden table"),
    "steel": ("on a metal plate", "on a sheet of metal", "on a metal worktop"),
    "paper": ("on paper", "on a sheet of paper", "on white paper"),
    "conveyor": ("on a conveyor belt", "on a rubber belt"),
    "cardboard": ("on cardboard", "on a sheet of cardboard"),
    "tiles": ("on tiles", "on a tiled floor"),
    "cloth": ("on cloth", "on a piece of fabric"),
}
LAMP_PHRASES = {
    "softbox": ("under a softbox", "in studio light"),
    "window": ("by a window", "in window light"),
    "ring lamp": ("under a ring lamp", "lit by a ring light"),
    "strip lamp": ("under strip lights", "under a strip lamp"),
    "bulb": ("under a bare bulb", "in the light of a bulb"),
    "overcast": ("under an overcast sky", "in soft daylight"),
}
CLUTTER_PHRASES = {
    "debris": ("with some debris around it", "among bits of dirt"),
    "shavings": ("with shavings around it", "among metal chips"),
    "cable": ("next to a cable", "with a cable beside it"),
    "scratches": ("on a scratched surface",),
    "chalk marks": ("with chalk marks around it",),
    "stain": ("near a dark stain",),
    "dust": ("in the dust", "with dust around it"),
}
VIEW_PHRASES = {
    "oblique": ("a photo of {}", "{} seen at an angle"),
    "top": ("a top view of {}", "{} seen from above", "a photo of {} from above"),
    "side": ("a side view of {}", "{} seen from the side", "a photo of {} from a low angle"),
    "close-up": ("a close-up of {}", "a close-up photo of {}", "{} up close"),
}
PLAIN_PHRASES = ("{}", "{}", "a photo of {}", "a picture of {}", "an image of {}", "a rendering of {}")


def caption(scene: Scene, rng: Generator) -> str:
    """A true sentence about the scene: always its family, and as many of its other attributes as chance has it."""

    def says(share: float) -> bool:
        return bool(rng.random() < share)

    words = []
    if scene.finish not in ("moulded",) and says(0.3):
        words.append(scene.finish)
    if says(0.6 if scene.finish in ("painted", "moulded") else 0.2):
        words.insert(0, scene.colour)
    if says(0.55):
        words.append(scene.material)
    thing = " ".join([*words, scene.family])
    thing = f"{'an' if thing[0].lower() in 'aeio' else 'a'} {thing}"

    if scene.blur == "blurry" and says(0.4):
        sentence = f"a blurry photo of {thing}"
    elif scene.noise == "grainy" and says(0.4):
        sentence = f"a grainy photo of {thing}"
    else:
        sentence = _pick(rng, VIEW_PHRASES[scene.view] if says(0.4) else PLAIN_PHRASES).format(thing)
    if says(0.5):
        sentence += f" {_pick(rng, FLOOR_PHRASES[scene.floor])}"
    if scene.clutter != "none" and scene.view != "close-up" and says(0.25):  # a close-up may leave it out
        sentence += f" {_pick(rng, CLUTTER_PHRASES[scene.clutter])}"
    if says(0.12):
        sentence += f" {_pick(rng, LAMP_PHRASES[scene.lamp])}"
    return sentence


# ------------------------------------------------------------------------------------------- placing part and camera

FLAT = ("hex nut", "washer", "spur gear", "ball bearing", "circlip", "wing nut", "pulley", "O-ring", "propeller")
LONG = ("hex bolt", "coil spring", "dowel pin", "tube", "eye bolt", "cotter pin", "rivet", "wood screw", "nail")
FILLS_FRAME = {"oblique": (0.55, 0.82), "top": (0.55, 0.82), "side": (0.6, 0.85), "close-up": (0.86, 0.94)}
ELEVATION = {"oblique": (0.6, 1.05), "top": (1.2, 1.52), "side": (0.36, 0.56), "close-up": (0.55, 1.25)}  # radians


Vectors = NDArray[np.float64]  # [..., 3], or [..., 2] in the image


@dataclass(frozen=True)
class Shot:
    """A placed part and the camera that looks at it. World units: the part is two long; z is up, the floor at 0."""

    corners: Vectors  # [F, 3, 3] triangle corners
    normals: Vectors  # [F, 3, 3]
    uv: Vectors  # [F, 3, 2]
    eye: Vectors
    target: Vectors
    up: Vectors
    field_of_view: float  # radians
    azimuth: float
    elevation: float

    def project(self, points: Vectors) -> Vectors:
        """Points [..., 3] to image coordinates [..., 2]: -1..1 over the frame, x to the right and y down."""
        return _project(points, self.eye, self.target, self.up, self.field_of_view)


def _project(points: Vectors, eye: Vectors, target: Vectors, up: Vectors, field_of_view: float) -> Vectors:
    ahead = (target - eye) / np.linalg.norm(target - eye)
    right = np.cross(ahead, up)
    right /= np.linalg.norm(right)
    down = np.cross(ahead, right)
    away = points - eye
    depth = np.tan(field_of_view / 2) * (away @ ahead)
    return np.stack([away @ right / depth, away @ down / depth], -1)


def crease_normals(mesh: Trimesh, crease: float = 0.6) -> Vectors:
    """Normals [F, 3, 3] of the corners, smooth over edges that bend by less than `crease` radians."""
    around = mesh.vertex_faces[mesh.faces]  # [F, 3, most faces at a vertex], padded with -1
    of_face = np.asarray(mesh.face_normals)
    bent = np.einsum("fcnk,fk->fcn", of_face[around], of_face)
    weight = np.where((around >= 0) & (bent > np.cos(crease)), mesh.area_faces[around], 0)
    summed = np.einsum("fcn,fcnk->fck", weight, of_face[around])
    length = np.linalg.norm(summed, axis=-1, keepdims=True)
    return np.where(length > 1e-12, summed / np.maximum(length, 1e-12), of_face[:, None])


def _settled(mesh: Trimesh) -> Trimesh:
    """Rolled and pitched onto the floor edge that lies under its middle: how a long part comes to rest."""
    points = mesh.vertices[ConvexHull(mesh.vertices).vertices]
    pose = np.eye(3)
    for axis, across in (((1, 0, 0), 1), ((0, 1, 0), 0), ((1, 0, 0), 1)):
        outline = sorted((points @ pose.T)[:, [across, 2]].round(6).tolist())
        lower: list[list[float]] = []  # its lower hull
        for p in outline:
            while len(lower) > 1 and _bends_right(lower[-2], lower[-1], p):
                lower.pop()
            lower.append(p)
        middle = (outline[0][0] + outline[-1][0]) / 2
        left, right = next((a, b) for a, b in pairwise(lower) if a[0] <= middle <= b[0])
        slope = np.arctan2(right[1] - left[1], right[0] - left[0])
        pose = rotation_matrix(slope if across == 0 else -slope, axis)[:3, :3] @ pose
    settled = np.eye(4)
    settled[:3, :3] = pose
    mesh.apply_transform(settled)
    return mesh


def _bends_right(a: list[float], b: list[float], c: list[float]) -> bool:
    return (b[0] - a[0]) * (c[1] - a[1]) <= (b[1] - a[1]) * (c[0] - a[0])


def _shot(scene: Scene, g: Generator) -> Shot:
    part = FAMILIES[scene.family](g)
    part.apply_translation(-part.bounds.mean(0))
    part.apply_scale(2 / np.ptp(part.bounds, axis=0).max())
    x, y, z = np.asarray(part.vertices).T
    uv = 0.5 * np.c_[x + 0.6 * z, y - 0.55 * z] + g.uniform(0, 1, 2)  # drawn out on walls, like tool marks
    elevation = g.uniform(*ELEVATION[scene.view])
    azimuth = g.uniform(0, TAU)
    low = elevation < 1.1
    if scene.family in LONG and not (low and scene.family != "nail" and g.random() < 0.15):
        turned(part, np.pi / 2, (0, 1, 0))
        turned(part, g.uniform(0, TAU), (1, 0, 0))
        part = _settled(part)
        # never end-on, a bolt seen along its axis is a hexagon; but a tube must show its bore
        away = (0.4, 0.9) if scene.family == "tube" else (0.7, np.pi - 0.7)
        azimuth = g.choice([-1, 1]) * g.uniform(*away) if low else azimuth
    elif scene.family in LONG:
        turned(part, np.pi if scene.family in ("hex bolt", "rivet", "eye bolt") else 0, (1, 0, 0))
    elif scene.family in FLAT and low and g.random() < 0.22:  # on edge, its face towards the camera
        turned(part, np.pi / 2, (0, 1, 0))
        part = _settled(part)
        azimuth = g.choice([0, np.pi]) + g.uniform(-0.8, 0.8)
    elif scene.family in FLAT and scene.family not in ("hex nut", "wing nut") and g.random() < 0.5:
        turned(part, np.pi, (1, 0, 0))
    spin = g.uniform(0, TAU)
    turned(part, spin, (0, 0, 1))
    azimuth += spin
    part.apply_translation([*-part.bounds.mean(0)[:2], 0.001 - part.bounds[0, 2]])

    corners = np.asarray(part.triangles)
    seen = np.unique(corners.reshape(-1, 3).round(5), axis=0)
    field_of_view, fill = g.uniform(0.33, 0.56), g.uniform(*FILLS_FRAME[scene.view])
    wanted = (1 - fill - 0.04) * g.uniform(-0.8, 0.8, 2)
    towards = np.array([np.cos(azimuth) * np.cos(elevation), np.sin(azimuth) * np.cos(elevation), np.sin(elevation)])
    right = np.array([-np.sin(azimuth), np.cos(azimuth), 0])
    lean = g.normal(0, 0.08)
    up = np.cross(towards, right) * np.cos(lean) + right * np.sin(lean)
    target, distance = part.bounds.mean(0), 6.0
    for _ in range(8):  # slide and step back until the part fills its share of the frame where it is wanted
        xy = _project(seen, target + distance * towards, target, up, field_of_view)
        low_xy, high_xy = xy.min(0), xy.max(0)
        across = np.cross(-towards, up)
        off = ((low_xy + high_xy) / 2 - wanted) * distance * np.tan(field_of_view / 2)
        target = target + off[0] * across / np.linalg.norm(across) - off[1] * up
        distance *= float((high_xy - low_xy).max() / 2 / fill)
    return Shot(
        corners=corners,
        normals=crease_normals(part),
        uv=uv[part.faces],
        eye=target + distance * towards,
        target=target,
        up=up,
        field_of_view=field_of_view,
        azimuth=azimuth,
        elevation=elevation,
    )


def silhouette(shot: Shot, size: int) -> NDArray[np.bool_]:
    """Which pixels [size, size] the part covers, from its projected triangles; no renderer needed."""
    xy = (shot.project(shot.corners) + 1) / 2 * size
    image = Image.new("1", (size, size))
    pen = ImageDraw.Draw(image)
    small = np.ptp(xy, axis=1).max(1) < 1.2
    for triangle in xy[~small]:
        pen.polygon(triangle.ravel().tolist(), fill=1)
    pen.point(xy[small].mean(1).ravel().tolist(), fill=1)
    return np.asarray(image)


# ------------------------------------------------------------------------------------------- drawing

Linear = NDArray[Any]  # light, floats from 0


def _finished(scene: Scene, g: Generator) -> Surface:
    """The part's own surface."""
    n = 96
    if scene.finish in ("painted", "moulded"):
        base, metallic = np.asarray(PAINTS[scene.colour]) * g.uniform(0.85, 1.2), 0.0
        roughness = g.uniform(0.22, 0.45) if scene.material != "rubber" else g.uniform(0.4, 0.6)
    else:
        base, metallic = np.asarray(METALS[scene.material][0]) * g.uniform(0.9, 1.1), 1.0
        roughness = g.uniform(*ROUGHNESS.get(scene.finish, (0.4, 0.55)))
    colour = base * (1 + 0.03 * cloud(g, n, 3))[..., None]
    rough = roughness * (1 + 0.06 * cloud(g, n, 4))
    if scene.finish == "brushed":
        grain = streaks(g, n, n, 4)
        colour, rough = colour * (1 + 0.1 * grain)[..., None], rough * (1 + 0.15 * grain)
    elif scene.finish == "blackened":
        colour, metallic = 0.06 * colour + 0.004, 0.5
    elif scene.finish == "rusty":
        patchy = cloud(g, n, 3)
        rust = np.clip(0.75 + 0.35 * patchy, 0, 1)[..., None]
        shade = np.array([0.24, 0.085, 0.028]) * (1 + 0.3 * cloud(g, n, 6))[..., None]
        colour, rough, metallic = 0.4 * colour * (1 - rust) + shade * rust, rough + 0.4 * rust[..., 0], 0.25
    clipped = (np.clip(colour, 0.004, 0.97), np.clip(rough, 0.1, 0.95)[..., None])
    return Surface(clipped[0].astype(np.float32), clipped[1].astype(np.float32), metallic)


def _mitsuba() -> Any:
    import mitsuba

    if mitsuba.variant() is None:
        use_variant("scalar_rgb")
    return mitsuba


def use_variant(variant: str) -> None:
    """Choose mitsuba's variant for this process. Images of two variants differ in their noise, scenes do not."""
    import drjit
    import mitsuba

    mitsuba.set_variant(variant)
    mitsuba.set_log_level(mitsuba.LogLevel.Error)
    drjit.set_thread_count(1)  # the order of sums, and so every byte, depends on it


def _material(surface: Surface, units: float = 1) -> dict[str, Any]:
    """One kind of material for everything, always textured: a compiled kernel then serves every scene."""
    mi = _mitsuba()

    def texture(values: Linear) -> dict[str, Any]:
        to_uv = mi.ScalarTransform3f().scale(units)
        return {"type": "bitmap", "bitmap": mi.Bitmap(values), "raw": True, "wrap_mode": "mirror", "to_uv": to_uv}

    metallic = np.full((2, 2, 1), surface.metallic, np.float32)
    principled = {
        "type": "principled",
        "base_color": texture(np.ascontiguousarray(surface.colour)),
        "roughness": texture(np.ascontiguousarray(surface.roughness)),
        "metallic": texture(metallic),
        "specular": 0.5,
    }
    return {"type": "twosided", "material": principled}


def _flat_surface(colour: tuple[float, float, float], metallic: float) -> Surface:
    return Surface(np.full((2, 2, 3), colour, np.float32), np.full((2, 2, 1), 0.4, np.float32), metallic)


def _mesh(name: str, corners: Any, normals: Any, uv: Any, surface: Surface) -> Any:
    mi = _mitsuba()
    properties = mi.Properties()
    properties["bsdf"] = mi.load_dict(_material(surface))
    count = len(corners)
    mesh = mi.Mesh(name, 3 * count, count, has_vertex_normals=True, has_vertex_texcoords=True, props=properties)
    values = mi.traverse(mesh)
    values["vertex_positions"] = np.ravel(corners).astype(np.float32)
    values["vertex_normals"] = np.ravel(normals).astype(np.float32)
    values["vertex_texcoords"] = np.ravel(uv).astype(np.float32)
    values["faces"] = np.arange(3 * count, dtype=np.uint32)
    values.update()
    return mesh


def _traced(scene: Scene, shot: Shot, size: int, g: Generator) -> tuple[Linear, float]:
    """Linear light [size, size, 3] from the renderer, and the mean albedo of the floor."""
    import drjit

    mi = _mitsuba()
    floor = floor_surface(scene.floor, scene.clutter, g)
    reach = float(np.linalg.norm(shot.corners[..., :2], axis=-1).max())
    things = {"part": _mesh("part", shot.corners, shot.normals, shot.uv, _finished(scene, g))}
    around = litter(scene.clutter, reach, g)
    if around is not None:
        triangles = np.asarray(around.mesh.triangles)
        surface = _flat_surface(around.colour, around.metallic)
        zeros = np.zeros((len(triangles), 3, 2))
        things["litter"] = _mesh("litter", triangles, crease_normals(around.mesh), zeros, surface)
    half = 32.0
    place = mi.ScalarTransform4f().translate([*g.uniform(-3, 3, 2), 0]).rotate([0, 0, 1], g.uniform(0, 360)).scale(half)
    distance = float(np.linalg.norm(shot.eye - shot.target))
    sky = lamp_panorama(scene.lamp, shot.azimuth, shot.elevation, g)
    world = mi.load_dict(
        {
            "type": "scene",
            "integrator": {"type": "path", "max_depth": PATH_LENGTH, "rr_depth": 99},
            "sensor": {
                "type": "thinlens",
                "aperture_radius": distance * g.uniform(0.0005, 0.009),
                "focus_distance": distance,
                "fov": float(np.degrees(shot.field_of_view)),
                "to_world": mi.ScalarTransform4f().look_at(shot.eye.tolist(), shot.target.tolist(), shot.up.tolist()),
                "film": {"type": "hdrfilm", "width": size, "height": size, "rfilter": {"type": "gaussian"}},
                "sampler": {"type": "multijitter", "sample_count": SAMPLES},
            },
            "floor": {
                "type": "rectangle",
                "to_world": place,
                "bsdf": _material(floor, 2 * half / TEXTURE_UNITS),
            },
            "sky": {
                "type": "envmap",
                "bitmap": mi.Bitmap(sky),
                "to_world": mi.ScalarTransform4f().rotate([1, 0, 0], 90),
            },
            **things,
        }
    )
    seed: Any = int(g.integers(2**31))
    if mi.variant() != "scalar_rgb":  # numbers as data, not as constants in the code: or each scene compiles anew
        values = mi.traverse(world)
        for name in values.keys():  # noqa: SIM118  not a dict
            if drjit.is_jit_v(values[name]):
                drjit.make_opaque(values[name])
        seed = mi.UInt32(seed)
        drjit.make_opaque(seed)
    light = np.array(mi.render(world, spp=SAMPLES, seed=seed), np.float32)[..., :3]
    return light, float(floor.colour.mean())


def _without_fireflies(light: Linear) -> Linear:
    """No pixel above twice the median of its 3 x 3 neighbourhood: few light paths leave bright specks."""
    grey = light.mean(-1)
    around = np.pad(grey, 1, mode="edge")
    rows, columns = grey.shape
    nine = [around[y : y + rows, x : x + columns] for y in range(3) for x in range(3)]
    most = 2 * np.median(nine, axis=0)
    return light * np.minimum(1, most / np.maximum(grey, 1e-6))[..., None]


def _blurred(image: Linear, sigma: float) -> Linear:
    reach = max(1, int(np.ceil(2.5 * sigma)))
    kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2)
    kernel /= kernel.sum()
    for axis in (0, 1):
        pad = [(reach, reach) if a == axis else (0, 0) for a in range(3)]
        padded = np.pad(image, pad, mode="edge")
        image = sum(k * np.take(padded, np.arange(image.shape[axis]) + i, axis) for i, k in enumerate(kernel))
    return image


def _photographed(scene: Scene, light: Linear, albedo: float, g: Generator) -> NDArray[np.uint8]:
    """Exposure, white balance, vignette, defocus, tone curve and sensor noise."""
    size, light = len(light), _without_fireflies(light)
    key = 0.30 * (albedo / 0.3) ** 0.65 * g.uniform(0.8, 1.25)  # dark floors stay dark, paper stays white
    light = light * (key / max(float(np.minimum(light, 6 * np.median(light)).mean()), 1e-4))
    light = light * (1 + g.normal(0, 0.025, 3))
    y, x = np.mgrid[:size, :size] / (size - 1) * 2 - 1
    light = light * (1 - g.uniform(0, 0.16) * (x**2 + y**2))[..., None]
    if scene.blur != "sharp":
        light = _blurred(light, size / SIZE * g.uniform(*{"soft": (0.55, 0.8), "blurry": (1.1, 1.6)}[scene.blur]))
    tone = np.clip(light * (1 + light / 6) / (1 + light), 0, 1) ** (1 / 2.2) * 1.08
    grain = g.uniform(*{"clean": (0, 0.004), "noisy": (0.01, 0.016), "grainy": (0.025, 0.035)}[scene.noise])
    return (np.clip(tone + g.normal(0, grain, tone.shape), 0, 1) * 255 + 0.5).astype(np.uint8)


# ------------------------------------------------------------------------------------------- the guard

LEAST_COVER = 0.035  # share of the frame
FRAME_MARGIN = 0.01


def misplaced(covered: NDArray[np.bool_]) -> str | None:
    """What is wrong with where the part stands, or None."""
    margin = max(1, round(FRAME_MARGIN * len(covered)))
    inside = covered[margin:-margin, margin:-margin]
    if covered.sum() > inside.sum():
        return "the part touches the border"
    if covered.mean() < LEAST_COVER:
        return "the part covers too little"
    return None


def poor(image: NDArray[np.uint8], covered: NDArray[np.bool_]) -> str | None:
    """What is wrong with the picture, or None."""
    grey = image.mean(-1)
    if not 28 < grey.mean() < 225:
        return "too dark or too bright"
    if grey.std() < 10:
        return "flat"
    reach = max(2, len(image) // 14)
    spread = np.pad(covered, reach)
    near = np.zeros_like(covered)
    for dy, dx in ((-1, 0), (1, 0), (0, -1), (0, 1)):
        near |= np.roll(spread, (reach * dy, reach * dx), (0, 1))[reach:-reach, reach:-reach]
    near &= ~covered
    part, floor = image[covered].astype(float), image[near].astype(float)
    apart = np.abs(part.mean(0) - floor.mean(0)).max()
    if apart + 0.7 * part.mean(1).std() - 0.7 * floor.mean(1).std() < 12:
        return "the part does not stand out"
    return None


def render(scene: Scene, size: int = SIZE) -> NDArray[np.uint8]:
    """The scene as uint8 RGB [size, size, 3].

    A picture that fails the guard is drawn again, with other proportions, pose, camera and light but the same
    attributes; after ATTEMPTS tries the last one is kept with a warning.
    """
    fault: str | None = None
    image = np.zeros((size, size, 3), np.uint8)
    for attempt in range(ATTEMPTS):
        g = _generator(scene.side, scene.family, scene.seed, f"picture {attempt}")
        shot = _shot(scene, g)
        covered = silhouette(shot, size // 2)
        fault = misplaced(covered)
        if fault and attempt < ATTEMPTS - 1:
            continue
        light, albedo = _traced(scene, shot, size, g)
        image = _photographed(scene, light, albedo, g)
        fault = fault or poor(image[::2, ::2][: size // 2, : size // 2], covered)
        if fault is None:
            return image
        log.debug("%s %s: %s, drawn again", scene.family, scene.seed, fault)
    log.warning("kept a poor picture after %d tries: %s in %s", ATTEMPTS, fault, scene)
    return image


# ------------------------------------------------------------------------------------------- the sets


@dataclass(frozen=True)
class PartSet:
    side: Side
    count: int
    cycle: int  # images after which every family has had its share
    layout: str  # flat, folders or captions


SETS = {
    "pool": PartSet("pool", 1260, 6, "flat"),
    "check": PartSet("check", 1020, 6, "folders"),
    "other": PartSet("check", 120, 6, "folders"),
    "teacher": PartSet("pool", 3400, 17, "captions"),
    "start": PartSet("pool", 1000, 16, "captions"),
    "study": PartSet("study", 900, 6, "folders"),
}


def family_of(set_name: str, index: int) -> str:
    """The family of image `index`: families take turns, so that every prefix of a set is balanced.

    The teacher's set gives twelve of seventeen images to the six families and five to training-only ones.
    """
    if set_name == "teacher":
        turn, place = divmod(index, 17)
        if place in (2, 5, 8, 11, 14):
            return tuple(TRAINING_ONLY)[(5 * turn + place // 3) % len(TRAINING_ONLY)]
        return tuple(SIX)[(place - (place + 1) // 3) % 6]
    families = {"pool": SIX, "check": SIX, "study": SIX, "other": UNKNOWN, "start": TRAINING_ONLY}[set_name]
    return tuple(families)[index % len(families)]


@dataclass(frozen=True)
class Item:
    """One image of a set."""

    set_name: str
    base_seed: int
    index: int

    @property
    def scene(self) -> Scene:
        digest = hashlib.blake2b(f"{self.set_name}/{self.base_seed}/{self.index}".encode(), digest_size=6).digest()
        seed = int.from_bytes(digest, "big")
        return scene(family_of(self.set_name, self.index), seed, SETS[self.set_name].side)

    @property
    def file(self) -> str:
        """Where it lies inside the set's folder. In a flat set nothing of the class shows in the name."""
        layout = SETS[self.set_name].layout
        if layout == "captions":
            return f"{self.index:05d}.jpg"
        made = self.scene
        if layout == "flat":
            return f"{made.seed:012x}.jpg"
        return f"{made.family.replace(' ', '_')}/{self.index:05d}.jpg"


def _write(item: Item, out: Path) -> None:
    path = out / item.file
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    Image.fromarray(render(item.scene, SIZE)).save(unfinished, "JPEG", quality=JPEG_QUALITY, optimize=True)
    unfinished.replace(path)


def _write_captions(items: list[Item], out: Path) -> None:
    """One JSON line an image that is there, in order: file, family, caption, then the scene's attributes."""
    lines = []
    for item in items:
        if (out / item.file).exists():
            made = item.scene
            words = caption(made, _generator(made.side, made.family, made.seed, "caption"))
            lines.append(json.dumps({"file": item.file, "family": made.family, "caption": words, **asdict(made)}))
    unfinished = out / ".captions.jsonl"
    unfinished.write_text("\n".join(lines) + "\n", encoding="utf-8")
    unfinished.replace(out / "captions.jsonl")


def _rendered(items: list[Item], out: Path, processes: int, variant: str) -> Iterator[None]:
    if processes == 1:
        use_variant(variant)
        for item in items:
            _write(item, out)
            yield
        return
    with ProcessPoolExecutor(processes, get_context("spawn"), use_variant, (variant,)) as workers:
        yield from workers.map(_write, items, [out] * len(items), chunksize=4)


def make_set(
    set_name: str,
    out: Path,
    *,
    count: int | None = None,
    base_seed: int = 0,
    processes: int = 1,
    variant: str = "scalar_rgb",
) -> list[Item]:
    """Render what is missing of a set into `out`; returns its items."""
    items = [Item(set_name, base_seed, k) for k in range(count or SETS[set_name].count)]
    out.mkdir(parents=True, exist_ok=True)
    missing = [item for item in items if not (out / item.file).exists()]
    log.info("%s: %d of %d to render into %s", set_name, len(missing), len(items), out)
    began = time.monotonic()
    captioned = SETS[set_name].layout == "captions"
    for done, _ in enumerate(_rendered(missing, out, processes, variant), 1):
        if done % 100 == 0 or done == len(missing):
            log.info("%s: %d of %d, %.2f s an image", set_name, done, len(missing), (time.monotonic() - began) / done)
            if captioned:
                _write_captions(items, out)
    if captioned:
        _write_captions(items, out)
    return items


def contact_sheet(items: list[Item], out: Path, columns: int = 10) -> Image.Image:
    """The first images of each family, one family a row."""
    rows: dict[str, list[Item]] = {}
    for item in items:
        rows.setdefault(item.scene.family, []).append(item)
    sheet = Image.new("RGB", (columns * SIZE, len(rows) * SIZE))
    for y, row in enumerate(rows.values()):
        for x, item in enumerate(row[:columns]):
            sheet.paste(Image.open(out / item.file), (x * SIZE, y * SIZE))
    return sheet


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("set", choices=tuple(SETS))
    parser.add_argument("--out", type=Path, required=True, help="folder; images already there are kept")
    parser.add_argument("--count", type=int, help="images in all (default: the set's own count)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--variant", default="scalar_rgb", choices=("scalar_rgb", "llvm_ad_rgb"))
    parser.add_argument("--sheet", type=Path, help="also write a contact sheet to this file")
    chosen = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    items = make_set(
        chosen.set,
        chosen.out,
        count=chosen.count,
        base_seed=chosen.seed,
        processes=chosen.processes,
        variant=chosen.variant,
    )
    if chosen.sheet:
        contact_sheet(items, chosen.out).save(chosen.sheet)


if __name__ == "__main__":
    main()
