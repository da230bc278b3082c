"""Meshes of small machine parts in random proportions, for tools/render_parts.py.

Each family is a function from a random generator to one triangle mesh in its own natural frame (z is the axis of
round parts, long parts lie along z, flat parts in the xy plane); only proportions matter, the renderer scales.
Nothing here knows of materials, cameras or files.

Needs the [tools] extra: trimesh, manifold3d, shapely, mapbox_earcut, numpy.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import cast

import numpy as np
import trimesh
from numpy.random import Generator
from numpy.typing import ArrayLike, NDArray
from shapely.affinity import rotate as rotate_polygon
from shapely.affinity import scale as scale_polygon
from shapely.geometry import LineString, Point, Polygon, box
from shapely.ops import unary_union
from trimesh import Trimesh
from trimesh.transformations import rotation_matrix

TAU = 2 * np.pi

# ---------------------------------------------------------------------------------------------- building blocks


def turned(mesh: Trimesh, angle: float, axis: tuple[float, float, float]) -> Trimesh:
    """The same mesh, turned in place by `angle` radians about an axis through the origin."""
    mesh.apply_transform(rotation_matrix(angle, axis))
    return mesh


def moved(mesh: Trimesh, x: float = 0, y: float = 0, z: float = 0) -> Trimesh:
    """The same mesh, moved in place."""
    mesh.apply_translation([x, y, z])
    return mesh


def joined(meshes: Iterable[Trimesh]) -> Trimesh:
    """Several closed meshes as one; they may overlap, a renderer does not mind."""
    return cast(Trimesh, trimesh.util.concatenate(list(meshes)))


def disc(radius: float, x: float = 0, y: float = 0) -> Polygon:
    return Point(x, y).buffer(radius, 24)


def hexagon(corner_radius: float) -> Polygon:
    a = np.arange(6) / 6 * TAU
    return Polygon(np.c_[np.cos(a), np.sin(a)] * corner_radius)


def prism(polygon: Polygon, height: float) -> Trimesh:
    """The polygon extruded to z in [0, height]."""
    return trimesh.creation.extrude_polygon(polygon, height)


def _outward(mesh: Trimesh) -> Trimesh:
    """The closed mesh with its faces turned outwards."""
    a, b, c = np.moveaxis(np.asarray(mesh.triangles), 1, 0)
    if np.einsum("fk,fk", a, np.cross(b, c)) < 0:
        mesh.invert()
    return mesh


def lathe(profile_rz: ArrayLike, sections: int = 64) -> Trimesh:
    """A solid of revolution about z. The profile [(r, z)...] starts and ends on the axis, or closes on itself."""
    mesh = trimesh.creation.revolve(np.asarray(profile_rz, float), sections=sections)
    return _outward(mesh)


def cylinder(radius: float, z0: float, z1: float, chamfer: float = 0, sections: int = 48) -> Trimesh:
    c = chamfer
    return lathe([(0, z0), (radius - c, z0), (radius, z0 + c), (radius, z1 - c), (radius - c, z1), (0, z1)], sections)


def hollow(outer: float, inner: float, height: float, chamfer: float = 0, sections: int = 72) -> Trimesh:
    """A ring or tube about z, centred on the origin, with bevelled edges."""
    h, c = height / 2, chamfer
    section = [
        *((inner + c, -h), (outer - c, -h), (outer, c - h), (outer, h - c)),
        *((outer - c, h), (inner + c, h), (inner, h - c), (inner, c - h), (inner + c, -h)),
    ]
    return lathe(section, sections)


def sphere(radius: float, subdivisions: int = 2) -> Trimesh:
    return trimesh.creation.icosphere(subdivisions, radius)


def slab(x: float, y: float, z: float) -> Trimesh:
    """A box centred on the origin."""
    return trimesh.creation.box((x, y, z))


def common(a: Trimesh, b: Trimesh) -> Trimesh:
    return trimesh.boolean.intersection([a, b], engine="manifold")


def cut(a: Trimesh, *tools: Trimesh) -> Trimesh:
    return trimesh.boolean.difference([a, *tools], engine="manifold")


def _grid_faces(rows: int, columns: int, wrap_rows: bool) -> NDArray[np.int64]:
    """Two triangles for each cell of a rows x columns grid of vertices whose columns wrap around."""
    i, j = np.meshgrid(np.arange(rows if wrap_rows else rows - 1), np.arange(columns), indexing="ij")
    down, right = (i + 1) % rows, (j + 1) % columns
    a, b, c, d = (np.ravel(r * columns + k) for r, k in ((i, j), (i, right), (down, j), (down, right)))
    return np.concatenate([np.c_[a, b, c], np.c_[b, d, c]])


def _capped(rings: NDArray[np.float64]) -> Trimesh:
    """A closed mesh over a stack of rings [R, S, 3], each end closed by a fan around its centre."""
    rows, columns = rings.shape[:2]
    s, last = np.arange(columns), (rows - 1) * columns
    after = (s + 1) % columns
    first_centre, last_centre = rows * columns, rows * columns + 1
    vertices = np.vstack([rings.reshape(-1, 3), rings[0].mean(0), rings[-1].mean(0)])
    caps = (np.c_[0 * s + first_centre, after, s], np.c_[0 * s + last_centre, last + s, last + after])
    mesh = Trimesh(vertices, np.vstack([_grid_faces(rows, columns, False), *caps]), process=False)
    return _outward(mesh)


def _rings_along(
    path: NDArray[np.float64], radius: float, up: ArrayLike, sections: int, closed: bool
) -> NDArray[np.float64]:
    ahead = np.roll(path, -1, 0) - np.roll(path, 1, 0) if closed else np.gradient(path, axis=0)
    ahead = ahead / np.linalg.norm(ahead, axis=1, keepdims=True)
    side = np.cross(ahead, np.asarray(up, float))
    side /= np.linalg.norm(side, axis=1, keepdims=True)
    above = np.cross(ahead, side)
    a = np.arange(sections) / sections * TAU
    return path[:, None] + radius * (np.cos(a)[:, None] * side[:, None] + np.sin(a)[:, None] * above[:, None])


def wire(
    path: ArrayLike, radius: float, up: ArrayLike = (0, 0, 1), sections: int = 14, closed: bool = False
) -> Trimesh:
    """A round wire along path [N, 3]. `up` is nowhere parallel to the path: the normal of a plane curve will do."""
    rings = _rings_along(np.asarray(path, float), radius, up, sections, closed)
    if not closed:
        return _capped(rings)
    mesh = Trimesh(rings.reshape(-1, 3), _grid_faces(len(rings), sections, True), process=False)
    return _outward(mesh)


def pipe(path: ArrayLike, outer: float, inner: float, up: ArrayLike, sections: int = 36) -> Trimesh:
    """An open pipe along path [N, 3]: outer wall, end faces and bore as one closed surface."""
    path = np.asarray(path, float)
    walls = [_rings_along(path, outer, up, sections, False), _rings_along(path, inner, up, sections, False)[::-1]]
    rings = np.concatenate(walls)
    mesh = Trimesh(rings.reshape(-1, 3), _grid_faces(len(rings), sections, True), process=False)
    return _outward(mesh)


def smooth_path(corners: ArrayLike, rounds: int = 3) -> NDArray[np.float64]:
    """Corners [N, 3] rounded by Chaikin's cutting; the ends stay."""
    p = np.asarray(corners, float)
    for _ in range(rounds):
        inner = np.stack([0.75 * p[:-1] + 0.25 * p[1:], 0.25 * p[:-1] + 0.75 * p[1:]], 1).reshape(-1, 3)
        p = np.vstack([p[:1], inner, p[-1:]])
    return p


def arc(radius: float, start: float, end: float, n: int = 48) -> NDArray[np.float64]:
    """Points [n, 3] on a circle about the origin in the xy plane, from angle `start` to `end` (radians)."""
    a = np.linspace(start, end, n)
    return np.c_[radius * np.cos(a), radius * np.sin(a), 0 * a]


def threaded_rod(
    radii: tuple[float, float], z0: float, z1: float, thread_to: float, pitch: float, depth: float, tip: float
) -> Trimesh:
    """A rod from z0 (tip) up to z1 with a helical thread cut from z0 to `thread_to`.

    radii are those at z0 and z1; the last `tip` above z0 is bevelled to 60 % of the radius.
    """
    sections = 32
    fine = np.linspace(z0, thread_to, max(8, int((thread_to - z0) / pitch * 6)))
    z = np.concatenate([fine, np.linspace(thread_to, z1, 4)[1:]]) if z1 > thread_to + 1e-6 else fine
    a = np.arange(sections) / sections * TAU
    radius = radii[0] + (radii[1] - radii[0]) * (z - z0) / (z1 - z0)
    radius *= 1 - 0.4 * np.clip(1 - (z - z0) / tip, 0, 1)
    groove = np.abs(2 * ((z[:, None] / pitch - a / TAU) % 1) - 1) * (z < thread_to - pitch / 2)[:, None]
    r = radius[:, None] * (1 - depth * groove)
    return _capped(np.stack([r * np.cos(a), r * np.sin(a), np.broadcast_to(z[:, None], r.shape)], -1))


def _around(n: int, radius: float, phase: float = 0) -> list[tuple[float, float]]:
    return [(radius * np.cos(a), radius * np.sin(a)) for a in (np.arange(n) + phase) / n * TAU]


def _with_holes(polygon: Polygon, centres: Iterable[tuple[float, float]], radius: float) -> Polygon:
    return polygon.difference(unary_union([disc(radius, x, y) for x, y in centres]))


# ------------------------------------------------------------------------------------------- the six of the example


def hex_bolt(g: Generator) -> Trimesh:
    corner, height, length = g.uniform(1.75, 2.0), g.uniform(1.1, 1.5), g.uniform(4.0, 8.5)
    bevel = (corner - 0.84 * corner) * np.tan(g.uniform(0.4, 0.65))
    top = [(0, 0), (1.1 * corner, 0), (1.1 * corner, height - 2 * bevel), (0.84 * corner, height), (0, height)]
    pieces = [common(prism(hexagon(corner), height), lathe(top, 48))]
    if g.random() < 0.25:  # flange bolt
        pieces.append(cylinder(1.12 * corner, -0.15, 0.14, 0.05))
    thread_to = -length + length * g.uniform(0.4, 0.95)
    pieces.append(threaded_rod((1, 1), -length, 0.1, thread_to, g.uniform(0.3, 0.45), g.uniform(0.13, 0.2), 0.3))
    return joined(pieces)


def hex_nut(g: Generator) -> Trimesh:
    bore, height = g.uniform(0.46, 0.6), g.choice([g.uniform(0.42, 0.55), g.uniform(0.65, 0.95)], p=[0.25, 0.75])
    bevel, both = 0.2 * np.tan(g.uniform(0.4, 0.6)), g.random() < 0.6
    teeth = int(g.integers(4, 8))
    z = np.linspace(0, height, 2 * teeth + 1)
    thread = np.c_[bore + 0.05 * (np.arange(len(z)) % 2 == 0), z][::-1]
    low = [(0.84, 0), (1.1, 1.3 * bevel)] if both else [(1.1, 0)]
    body = lathe(np.vstack([thread, low, [(1.1, height - 1.3 * bevel), (0.84, height)], thread[:1]]), 48)
    nut = common(prism(hexagon(1), height), body)
    if g.random() < 0.15:  # flange nut
        nut = joined([nut, moved(hollow(1.25, bore + 0.02, 0.16, 0.04), z=0.08)])
    return nut


def washer(g: Generator) -> Trimesh:
    inner, height = g.uniform(0.38, 0.62), g.uniform(0.08, 0.17)
    ring = hollow(1, inner, height, 0.02)
    if g.random() < 0.12:  # spring lock washer: thicker and split
        ring = hollow(1, g.uniform(0.55, 0.65), 0.25, 0.02)
        ring = cut(ring, turned(moved(slab(1.2, 0.07, 1), 0.8), 0.5, (1, 0, 0)))
    return ring


def spur_gear(g: Generator) -> Trimesh:
    teeth, thickness = int(g.integers(12, 33)), g.uniform(0.22, 0.5)
    depth = min(0.24, 3.6 / teeth) * g.uniform(0.85, 1.1)
    flank = np.array([(0.12, 1), (0.22, 1 - 0.6 * depth), (0.29, 1 - depth)])
    tooth = np.vstack([flank[::-1] * [-1, 1], flank])
    a = ((np.arange(teeth)[:, None] + tooth[:, 0]) / teeth * TAU).ravel()
    outline = np.tile(tooth[:, 1], teeth)[:, None] * np.c_[np.cos(a), np.sin(a)]
    bore, rim = g.uniform(0.13, 0.26), 1 - depth
    body = Polygon(outline).difference(disc(bore))
    if g.random() < 0.35:
        body = body.difference(box(0, -0.3 * bore, 1.35 * bore, 0.3 * bore))  # keyway
    style = g.choice(["solid", "holes", "spokes", "recess"], p=[0.3, 0.3, 0.2, 0.2])
    hub = bore + g.uniform(0.1, 0.16)
    if style == "holes":
        n, middle = int(g.integers(4, 8)), (hub + rim - 0.06) / 2
        body = _with_holes(body, _around(n, middle), min(0.4 * (rim - hub), 2.2 * middle / n))
    elif style == "spokes":
        n = int(g.integers(3, 7))
        arms = unary_union([rotate_polygon(box(0, -0.08, 1, 0.08), 360 * k / n, origin=(0, 0)) for k in range(n)])
        window = disc(rim - 0.14).difference(disc(hub + 0.04)).difference(arms)
        body = body.difference(window.buffer(-0.02).buffer(0.02) if n < 6 else window)
    gear = prism(body, thickness)
    if style == "recess":
        web = moved(hollow(rim - 0.12, hub + 0.04, 0.3 * thickness), z=0.85 * thickness + 0.001)
        gear = cut(gear, web)
    if style != "recess" and g.random() < 0.5:  # a raised hub
        gear = joined([gear, moved(hollow(hub, bore, thickness * g.uniform(1.3, 1.8), 0.015), z=0.5 * thickness)])
    return moved(gear, z=-thickness / 2)


def coil_spring(g: Generator) -> Trimesh:
    turns, radius, gauge = g.uniform(5, 10), g.uniform(0.32, 0.55), g.uniform(0.045, 0.085)
    t = np.linspace(0, 1, int(44 * turns))
    rise = np.clip((t * turns - 0.8) / (turns - 1.6), 0, 1)  # closed ends: the first and last coil hardly climb
    z = 2 * rise - 1 + 2 * gauge * (np.clip(t * turns, 0, 0.8) + np.clip(t * turns - turns + 0.8, 0, 0.8) - 0.8)
    taper = 1 - g.uniform(0.1, 0.5) * t if g.random() < 0.2 else np.ones_like(t)
    a = TAU * turns * t * g.choice([-1, 1])
    return wire(np.c_[radius * taper * np.cos(a), radius * taper * np.sin(a), z], gauge, sections=11)


def ball_bearing(g: Generator) -> Trimesh:
    width, bore = g.uniform(0.36, 0.6), g.uniform(0.34, 0.5)
    gap = 1 - bore
    outer_wall, inner_wall = 1 - 0.2 * gap * g.uniform(0.7, 1.1), bore + 0.24 * gap * g.uniform(0.8, 1.1)
    pitch, ball = (outer_wall + inner_wall) / 2, 0.56 * (outer_wall - inner_wall)
    h, c = width / 2, 0.03
    grooved = np.linspace(-0.55, 0.55, 7)

    def ring(land: float, rim: float, inward: float) -> Trimesh:
        groove = [(pitch - inward * 1.04 * ball * np.cos(a), 1.04 * ball * np.sin(a)) for a in grooved]
        rim_edge = [(rim + inward * c, h), (rim, h - c), (rim, c - h), (rim + inward * c, -h)]
        return lathe([(land, -h), *groove, (land, h), *rim_edge, (land, -h)], 72)

    pieces = [ring(outer_wall, 1, -1), ring(inner_wall, bore, 1)]
    n = int(TAU * pitch / (2 * ball) * g.uniform(0.62, 0.9))
    pieces += [moved(sphere(ball), x, y) for x, y in _around(n, pitch)]
    if g.random() < 0.5:  # cage
        pieces.append(hollow(pitch + 0.45 * ball, pitch - 0.45 * ball, 0.7 * ball))
    return joined(pieces)


# ------------------------------------------------------------------------------------------- other parts: the unknowns


def dowel_pin(g: Generator) -> Trimesh:
    length = g.uniform(5, 9)
    pin = cylinder(1, -length / 2, length / 2, g.uniform(0.12, 0.3))
    if g.random() < 0.4:
        pin = cut(pin, moved(hollow(1.3, 0.85, 0.3), z=length * g.uniform(0.25, 0.38)))
    return pin


def circlip(g: Generator) -> Trimesh:
    inner, gap = g.uniform(0.76, 0.84), g.uniform(0.18, 0.4)
    band = disc(1).difference(disc(inner, 0, -0.5 * (1 - inner) + 0.03))
    band = band.difference(Polygon([(0, 0), (2 * np.sin(gap), 2 * np.cos(gap)), (-2 * np.sin(gap), 2 * np.cos(gap))]))
    lug, place = g.uniform(0.13, 0.17), gap + 0.14
    outward = g.choice([0.86, 1.04])
    ears = [(s * outward * np.sin(place), outward * np.cos(place)) for s in (-1, 1)]
    body = unary_union([band, *(disc(lug, x, y) for x, y in ears)])
    return prism(_with_holes(body, ears, 0.45 * lug), g.uniform(0.07, 0.12))


def wing_nut(g: Generator) -> Trimesh:
    bore, height = g.uniform(0.28, 0.36), g.uniform(0.6, 0.9)
    top = g.uniform(0.48, 0.55)
    hub = lathe([(bore, 0), (0.68, 0), (0.68, 0.15), (top, height), (bore, height), (bore, 0)])
    span, thick = g.uniform(0.95, 1.25), g.uniform(0.14, 0.2)
    wing = scale_polygon(disc(1), 0.5 * span, 0.42 * span, origin=(0, 0))
    wing = unary_union([wing, box(-0.5 * span, -0.5, 0, 0.2)])
    lean = g.uniform(0.45, 0.7)
    plates = []
    for side in (0, np.pi):
        plate = turned(moved(prism(wing, thick), z=-thick / 2), np.pi / 2, (1, 0, 0))
        plate = moved(turned(plate, -lean, (0, 1, 0)), 0.52 + 0.32 * span, 0, height * 0.55 + 0.3 * span)
        plates.append(turned(plate, side, (0, 0, 1)))
    return joined([hub, *plates])


def tube(g: Generator) -> Trimesh:
    return hollow(1, g.uniform(0.68, 0.86), g.uniform(3.5, 7), 0.03)


def eye_bolt(g: Generator) -> Trimesh:
    ring, gauge, length = g.uniform(1.9, 2.5), g.uniform(0.55, 0.75), g.uniform(3, 6)
    eye = turned(wire(arc(ring, 0, TAU, 65)[:-1], gauge, closed=True), np.pi / 2, (1, 0, 0))
    shank = threaded_rod((0.8, 0.8), -length, 0.1, -length * g.uniform(0.05, 0.3), 0.32, 0.18, 0.3)
    return joined([moved(eye, z=ring + 0.4), moved(cylinder(1.25, -0.25, 0.25, 0.1)), shank])


def cotter_pin(g: Generator) -> Trimesh:
    eye, leg, spread = g.uniform(0.24, 0.34), g.uniform(1.9, 2.6), g.uniform(0.0, 0.12)
    loop = arc(eye, -TAU / 4 - 0.5, -TAU * 1.25 + 0.5, 24) + np.array([0, eye + 0.12, 0])
    legs = np.array([[-0.085 - spread, -leg, 0], [-0.085, -0.4 * leg, 0], [-0.085, 0, 0]])
    other = legs[::-1] * [-1, g.uniform(0.8, 0.95), 1]
    return turned(wire(smooth_path(np.vstack([legs, loop, other])), 0.075), np.pi / 2, (1, 0, 0))


# ------------------------------------------------------------------------------------------- other parts: training only


def rivet(g: Generator) -> Trimesh:
    head, rise, length = g.uniform(1.7, 2.1), g.uniform(0.9, 1.4), g.uniform(1.8, 4)
    a = np.linspace(0, TAU / 4, 12)
    dome = [(0, 0), *zip(head * np.cos(a), rise * np.sin(a), strict=True)]
    dome[-1] = (0, rise)
    return joined([lathe(dome), cylinder(1, -length, 0.1, 0.12)])


def angle_bracket(g: Generator) -> Trimesh:
    width, thick = g.uniform(0.6, 1.1), g.uniform(0.09, 0.15)
    legs = []
    for _ in range(2):
        length = g.uniform(1.2, 1.8)
        n = 1 if length < 1.35 else 2
        holes = [(x, 0.0) for x in np.linspace(0.55, length - 0.25, n)]
        legs.append(prism(_with_holes(box(0, -width / 2, length, width / 2), holes, 0.15 * width + 0.03), thick))
    upright = turned(legs[1], -np.pi / 2, (0, 1, 0))
    pieces = [legs[0], moved(upright, thick)]
    if g.random() < 0.4:  # gusset
        web = prism(Polygon([(0.05, 0.05), (0.75, 0.05), (0.05, 0.75)]), 0.08)
        pieces.append(moved(turned(web, np.pi / 2, (1, 0, 0)), y=0.04))
    return joined(pieces)


def pipe_elbow(g: Generator) -> Trimesh:
    bend, bore = g.uniform(1.4, 2.4), g.uniform(0.72, 0.84)
    path = arc(bend, 0, TAU / 4, 28)
    collar, depth = g.uniform(1.15, 1.3), g.uniform(0.4, 0.7)
    ends = [
        moved(turned(hollow(collar, bore, depth, 0.04), np.pi / 2, (1, 0, 0)), bend, 0.1),
        moved(turned(hollow(collar, bore, depth, 0.04), np.pi / 2, (0, 1, 0)), 0.1, bend),
    ]
    return joined([pipe(path, 1, bore, (0, 0, 1)), *ends])


def pipe_tee(g: Generator) -> Trimesh:
    run, branch, bore = g.uniform(1.8, 2.5), g.uniform(1.6, 2.3), g.uniform(0.7, 0.82)
    along = turned(cylinder(1, -run, run), np.pi / 2, (0, 1, 0))
    stem = turned(cylinder(1, 0, branch), -np.pi / 2, (1, 0, 0))
    holes = [
        turned(cylinder(bore, -run - 1, run + 1), np.pi / 2, (0, 1, 0)),
        turned(cylinder(bore, 0, branch + 1), -np.pi / 2, (1, 0, 0)),
    ]
    body = cut(trimesh.boolean.union([along, stem], engine="manifold"), *holes)
    collar = g.uniform(1.18, 1.3)
    ends = [moved(turned(hollow(collar, bore, 0.5, 0.04), np.pi / 2, (0, 1, 0)), s * run) for s in (-1, 1)]
    return joined([body, *ends, moved(turned(hollow(collar, bore, 0.5, 0.04), np.pi / 2, (1, 0, 0)), y=branch)])


def hinge(g: Generator) -> Trimesh:
    length, leaf, thick = g.uniform(1.8, 2.8), g.uniform(0.7, 1.1), 0.07
    columns = np.linspace(0.35, leaf - 0.22, 1 + (leaf > 0.9))
    holes = [(x, y) for x in columns for y in np.linspace(-0.36, 0.36, 3) * length]
    plate = _with_holes(box(0.1, -length / 2, leaf, length / 2).buffer(0.04), holes, 0.08)
    fold = g.uniform(-0.05, 0.9)
    left = turned(moved(prism(plate, thick), z=-thick), np.pi, (0, 0, 1))
    right = turned(moved(prism(plate, thick), z=-thick), -fold, (0, 1, 0))
    knuckles, n = [], int(g.integers(3, 6))
    for k in range(n):
        y0 = -length / 2 + length * k / n
        barrel = cylinder(0.15, y0 + 0.012, y0 + length / n - 0.012, 0.01, 28)
        knuckles.append(turned(barrel, -np.pi / 2, (1, 0, 0)))
    pin = turned(cylinder(0.09, -length / 2 - 0.06, length / 2 + 0.06, 0.02, 24), np.pi / 2, (1, 0, 0))
    return joined([left, right, pin, *knuckles])


def chain_link(g: Generator) -> Trimesh:
    half, radius, gauge = g.uniform(0.5, 1.0), g.uniform(0.6, 0.85), g.uniform(0.18, 0.27)
    end = arc(radius, -TAU / 4, TAU / 4, 24) + np.array([half, 0, 0])
    link = wire(np.vstack([end, end * [-1, -1, 1]]), gauge, closed=True)
    if g.random() < 0.5:
        return link
    step = 2 * (half + radius - gauge)
    second = moved(turned(link.copy(), g.uniform(0.6, 1.4), (1, 0, 0)), step)
    return joined([link, second])


def key(g: Generator) -> Trimesh:
    bow = disc(g.uniform(0.5, 0.62)) if g.random() < 0.5 else hexagon(0.62).buffer(0.08)
    bow = scale_polygon(bow, 1, g.uniform(0.8, 1.15))
    length, width = g.uniform(1.5, 2.2), g.uniform(0.28, 0.38)
    blade = box(0.3, -width / 2, length, width / 2)
    blade = unary_union([blade, Polygon([(length, -width / 2), (length + 0.15, 0), (length, width / 2)])])
    bites, x = [], 0.95
    while x < length - 0.1:
        top = g.uniform(0.05, 0.17) - width / 2
        bites.append(Polygon([(x - 0.11, -width), (x - 0.04, top), (x + 0.04, top), (x + 0.11, -width)]))
        x += g.uniform(0.15, 0.22)
    return prism(unary_union([bow, blade]).difference(unary_union([*bites, disc(0.17, -0.25)])), g.uniform(0.09, 0.14))


def hook(g: Generator) -> Trimesh:
    bend, gauge, shank = g.uniform(0.5, 0.7), g.uniform(0.1, 0.17), g.uniform(0.7, 1.2)
    bow = arc(bend, TAU / 2, TAU / 2 + g.uniform(0.56, 0.66) * TAU, 40) + np.array([bend, 0, 0])
    body = wire(np.vstack([[(0, shank, 0), (0, shank / 2, 0)], bow]), gauge)
    ring = 2.1 * gauge
    return joined([body, moved(wire(arc(ring, 0, TAU, 41)[:-1], 0.8 * gauge, closed=True), 0, shank + ring)])


def pulley(g: Generator) -> Trimesh:
    width, groove, bore = g.uniform(0.35, 0.6), g.uniform(0.14, 0.25), g.uniform(0.12, 0.22)
    h, rim, hub = width / 2, 1 - groove - g.uniform(0.08, 0.13), bore + 0.12
    web = h * g.uniform(0.3, 0.7)
    flank, floor = 0.12 * width, 0.18 * width
    outline = [
        *((bore, -h), (hub, -h), (hub, -web), (rim, -web), (rim, -h), (1, -h), (1, flank - h)),
        *((1 - groove, -floor), (1 - groove, floor), (1, h - flank), (1, h), (rim, h), (rim, web)),
        *((hub, web), (hub, h), (bore, h), (bore, -h)),
    ]
    wheel = lathe(outline, 72)
    if g.random() < 0.5:
        n, middle = int(g.integers(4, 7)), (hub + rim) / 2
        wheel = cut(wheel, *(moved(cylinder(0.35 * (rim - hub), -1, 1, 0, 24), x, y) for x, y in _around(n, middle)))
    return wheel


def o_ring(g: Generator) -> Trimesh:
    return wire(arc(1, 0, TAU, 81)[:-1], g.uniform(0.08, 0.2), closed=True, sections=20)


def wood_screw(g: Generator) -> Trimesh:
    length, head = g.uniform(5.5, 10), g.uniform(1.8, 2.2)
    top = lathe([(0, -head + 0.6), (0.7, -head + 0.6), (head, -0.12), (head, 0), (0, 0.0)], 40)
    slots = [slab(1.7 * head if g.random() < 0.4 else 1.2 * head, 0.34, 0.9)]
    if g.random() < 0.6:
        slots = [slab(1.15 * head, 0.34, 1.1), slab(0.34, 1.15 * head, 1.1)]
    shank = threaded_rod((0.72, 1.0), -length, -0.5, -length * g.uniform(0.1, 0.4), g.uniform(0.55, 0.75), 0.32, 1.6)
    return joined([cut(top, *slots), shank])


def nail(g: Generator) -> Trimesh:
    length, head = g.uniform(11, 17), g.uniform(1.9, 2.5)
    shank = [(0, -length), (0.95, -length + 2.2), (1, -0.1)]
    return lathe([*shank, (head, -0.1), (head, 0.25), (0.9 * head, 0.42), (0, 0.42)], 32)


def lever(g: Generator) -> Trimesh:
    big, small, length, thick = g.uniform(0.42, 0.55), g.uniform(0.22, 0.3), g.uniform(1.6, 2.4), g.uniform(0.14, 0.24)
    arm = unary_union([disc(big), disc(small, length)]).convex_hull
    if g.random() < 0.4:
        arm = arm.difference(LineString([(0.35 * length, 0), (0.7 * length, 0)]).buffer(0.45 * small))
    pieces = [prism(arm.difference(disc(0.5 * big)), thick), moved(hollow(0.78 * big, 0.5 * big, 0.55, 0.03), z=0.2)]
    if g.random() < 0.7:
        pieces += [moved(cylinder(0.1, 0, 0.65), length), moved(sphere(0.26, 3), length, 0, 0.8)]
    return joined(pieces)


def handle(g: Generator) -> Trimesh:
    half, rise, gauge = g.uniform(1.1, 1.6), g.uniform(0.7, 1.0), g.uniform(0.12, 0.18)
    corner = min(0.45, 0.6 * rise)
    left, right = [(-half, 0, 0), (-half, 0, rise - corner)], [(half, 0, rise - corner), (half, 0, 0)]
    turn = np.linspace(0, TAU / 4, 12)[1:-1]
    bow = np.c_[-half + corner * (1 - np.cos(turn)), 0 * turn, rise - corner * (1 - np.sin(turn))]
    grip = [(-half + corner, 0, rise), (half - corner, 0, rise)]
    path = np.vstack([left, bow, grip, (bow * [-1, 1, 1])[::-1], right])
    feet = [moved(cylinder(2.1 * gauge, 0, 0.1, 0.02), s * half) for s in (-1, 1)]
    pull = joined([wire(path, gauge, up=(0, 1, 0), sections=18), *feet])
    return turned(pull, np.pi / 2, (1, 0, 0)) if g.random() < 0.6 else pull  # fallen over, or as screwed on


def wrench(g: Generator) -> Trimesh:
    length, jaw, head = g.uniform(3.0, 4.4), g.uniform(0.42, 0.52), g.uniform(0.72, 0.85)
    handle_half = g.uniform(0.2, 0.28)
    slot = rotate_polygon(box(-1.5, -jaw, 0.3 * head, jaw), g.uniform(-20, 20), origin=(0, 0))
    body = unary_union([disc(head), box(0, -handle_half, length, handle_half)]).buffer(0.12).buffer(-0.12)
    body = body.difference(slot)
    if g.random() < 0.7:  # ring end
        body = unary_union([body, disc(0.66, length)]).difference(Point(length, 0).buffer(0.42, 3))
    return prism(body, g.uniform(0.2, 0.3))


def propeller(g: Generator) -> Trimesh:
    blades, twist = int(g.integers(3, 6)), g.uniform(0.4, 0.75) * g.choice([-1, 1])
    length, width = g.uniform(0.85, 1.2), g.uniform(0.5, 0.75)
    leaf = scale_polygon(disc(1), 0.55 * length, 0.5 * width).intersection(box(-2, -1, 2, 0.38 * width))
    pieces = [hollow(0.27, 0.1, 0.4, 0.04)]
    for k in range(blades):
        blade = moved(turned(moved(prism(leaf, 0.05), z=-0.025), twist, (1, 0, 0)), 0.17 + 0.5 * length)
        pieces.append(turned(blade, k / blades * TAU, (0, 0, 1)))
    return joined(pieces)


Family = Callable[[Generator], Trimesh]

SIX: dict[str, Family] = {
    "hex bolt": hex_bolt,
    "hex nut": hex_nut,
    "washer": washer,
    "spur gear": spur_gear,
    "coil spring": coil_spring,
    "ball bearing": ball_bearing,
}
UNKNOWN: dict[str, Family] = {
    "dowel pin": dowel_pin,
    "circlip": circlip,
    "wing nut": wing_nut,
    "tube": tube,
    "eye bolt": eye_bolt,
    "cotter pin": cotter_pin,
}
TRAINING_ONLY: dict[str, Family] = {
    "rivet": rivet,
    "angle bracket": angle_bracket,
    "pipe elbow": pipe_elbow,
    "pipe tee": pipe_tee,
    "hinge": hinge,
    "chain link": chain_link,
    "key": key,
    "hook": hook,
    "pulley": pulley,
    "O-ring": o_ring,
    "wood screw": wood_screw,
    "nail": nail,
    "lever": lever,
    "handle": handle,
    "wrench": wrench,
    "propeller": propeller,
}
FAMILIES: dict[str, Family] = {**SIX, **UNKNOWN, **TRAINING_ONLY}
