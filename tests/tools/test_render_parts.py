"""The part renderer, and the image sets that were made with it."""

from __future__ import annotations

import importlib.util
import json
import re
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

ROOT = Path(__file__).parents[2]

needs_meshes = pytest.mark.skipif(
    not all(importlib.util.find_spec(name) for name in ("trimesh", "shapely", "manifold3d", "mapbox_earcut", "scipy")),
    reason="part meshes need the [tools] extra",
)
needs_renderer = pytest.mark.skipif(
    importlib.util.find_spec("mitsuba") is None, reason="rendering needs mitsuba, from the [tools] extra"
)

if importlib.util.find_spec("trimesh") and importlib.util.find_spec("shapely"):
    sys.path.insert(0, str(ROOT / "tools"))
    import part_meshes
    import part_surroundings
    import render_parts

    FAMILIES = sorted(part_meshes.FAMILIES)
else:
    FAMILIES = ["needs the [tools] extra"]

families, sides = st.sampled_from(FAMILIES), st.sampled_from(["pool", "check", "study"])
seeds = st.integers(min_value=0, max_value=2**48)


@needs_meshes
class TestSides:
    def test_no_floor_and_no_lamp_is_on_two_sides(self) -> None:
        for options in (part_surroundings.FLOORS, part_surroundings.LAMPS):
            assert set(options) == {"pool", "check", "study"}
            assert all(options.values())
            everything = [name for names in options.values() for name in names]
            assert len(everything) == len(set(everything))

    def test_what_models_are_made_of_is_on_the_pool_side(self) -> None:
        sides = {name: made.side for name, made in render_parts.SETS.items()}
        assert sides == {"pool": "pool", "teacher": "pool", "start": "pool", "check": "check", "other": "check",
                         "study": "study"}  # fmt: skip

    def test_no_family_belongs_to_two_groups(self) -> None:
        groups = (part_meshes.SIX, part_meshes.UNKNOWN, part_meshes.TRAINING_ONLY)
        assert [len(group) for group in groups] == [6, 6, 16]
        assert len(part_meshes.FAMILIES) == sum(len(group) for group in groups)

    @settings(deadline=None)
    @given(families, seeds, sides)
    def test_a_scene_uses_its_own_side_only(self, family: str, seed: int, side: str) -> None:
        made = render_parts.scene(family, seed, side)
        assert made.floor in part_surroundings.FLOORS[side]
        assert made.lamp in part_surroundings.LAMPS[side]


@needs_meshes
class TestSets:
    def test_the_start_and_the_unknowns_show_none_of_the_six(self) -> None:
        for name in ("start", "other"):
            shown = {render_parts.family_of(name, k) for k in range(render_parts.SETS[name].count)}
            assert not shown & set(part_meshes.SIX)
        assert shown == set(part_meshes.UNKNOWN)

    def test_the_teacher_sees_no_unknown_and_each_of_the_six_equally_often(self) -> None:
        shown = Counter(render_parts.family_of("teacher", k) for k in range(3400))
        assert {shown[family] for family in part_meshes.SIX} == {400}
        others = [shown[family] for family in part_meshes.TRAINING_ONLY]
        assert sum(others) == 1000
        assert max(others) - min(others) <= 1
        assert not set(shown) & set(part_meshes.UNKNOWN)

    @settings(deadline=None)
    @given(st.sampled_from(["pool", "check", "study", "other", "teacher", "start"]), st.integers(20, 400))
    def test_every_prefix_is_balanced(self, name: str, count: int) -> None:
        shown = Counter(render_parts.family_of(name, k) for k in range(count))
        for group in (part_meshes.SIX, part_meshes.UNKNOWN, part_meshes.TRAINING_ONLY):
            counts = [shown[family] for family in group]
            assert max(counts) - min(counts) <= 2

    def test_two_sets_share_no_seed(self) -> None:
        seen = [item.scene.seed for name in render_parts.SETS for item in _items(name, 200)]
        assert len(set(seen)) == len(seen)

    def test_flat_names_do_not_tell_the_class(self) -> None:
        assert all(re.fullmatch(r"[0-9a-f]{12}\.jpg", item.file) for item in _items("pool", 60))


def _items(name: str, count: int) -> list[render_parts.Item]:
    return [render_parts.Item(name, 0, k) for k in range(count)]


@needs_meshes
class TestScene:
    @settings(deadline=None)
    @given(families, seeds, sides)
    def test_depends_on_side_family_and_seed_alone(self, family: str, seed: int, side: str) -> None:
        first = render_parts.scene(family, seed, side)
        np.random.seed(seed % 2**32)  # global state must not matter
        render_parts.scene(family, seed + 1, side)
        assert render_parts.scene(family, seed, side) == first

    def test_depends_on_each_of_the_three(self) -> None:
        def looks(family: str, side: str, first_seed: int) -> list[tuple[str, ...]]:
            made = [render_parts.scene(family, first_seed + k, side) for k in range(30)]
            return [(scene.material, scene.finish, scene.view, scene.clutter) for scene in made]

        here = looks("washer", "pool", 0)
        assert here != looks("hex nut", "pool", 0)
        assert here != looks("washer", "check", 0)
        assert here != looks("washer", "pool", 1000)

    @settings(deadline=None)
    @given(families, seeds, sides)
    def test_material_finish_and_colour_go_together(self, family: str, seed: int, side: str) -> None:
        made = render_parts.scene(family, seed, side)
        if made.finish in ("painted", "moulded"):
            assert made.colour in render_parts.PAINTS
        elif made.finish in ("rusty", "blackened"):
            assert made.material == "steel"
        else:
            assert made.colour == render_parts.METALS[made.material][1]
        assert (made.colour, made.floor) not in render_parts.HIDING


@needs_meshes
class TestMeshes:
    @pytest.mark.parametrize("family", FAMILIES)
    @settings(max_examples=4, deadline=None)
    @given(seed=seeds)
    def test_closed_finite_and_not_empty(self, family: str, seed: int) -> None:
        mesh = part_meshes.FAMILIES[family](np.random.default_rng(seed))
        assert len(mesh.faces) > 100
        assert np.isfinite(mesh.vertices).all()
        assert mesh.is_watertight
        assert mesh.volume > 0
        assert len(mesh.faces) < 20_000

    def test_crease_normals_are_unit_and_round_a_sphere_but_not_a_box(self) -> None:
        ball, cube = part_meshes.sphere(2.0), part_meshes.slab(1, 1, 1)
        smooth, flat = render_parts.crease_normals(ball), render_parts.crease_normals(cube)
        np.testing.assert_allclose(np.linalg.norm(smooth, axis=-1), 1)
        assert (smooth * ball.triangles / 2).sum(-1).min() > 0.99
        np.testing.assert_allclose(flat, np.repeat(cube.face_normals[:, None], 3, 1))

    @pytest.mark.parametrize("family", ["hex bolt", "coil spring", "nail", "hex nut"])
    def test_a_part_rests_on_the_floor_inside_the_frame(self, family: str) -> None:
        for seed in range(5):
            made = render_parts.scene(family, seed)
            shot = render_parts._shot(made, np.random.default_rng(seed))
            assert shot.corners[..., 2].min() == pytest.approx(0.001, abs=1e-6)
            image_xy = shot.project(shot.corners)
            fill = np.ptp(image_xy.reshape(-1, 2), axis=0).max() / 2
            low, high = render_parts.FILLS_FRAME[made.view]
            assert low - 0.02 <= fill <= high + 0.02
            assert np.abs(image_xy).max() < 1


def _says(sentence: str, words: str) -> bool:
    return re.search(rf"\b{re.escape(words)}\b", sentence) is not None


@needs_meshes
class TestCaption:
    @settings(max_examples=200, deadline=None)
    @given(families, seeds, sides, st.integers(0, 1000))
    def test_names_the_family_and_tells_no_lie(self, family: str, seed: int, side: str, luck: int) -> None:
        made = render_parts.scene(family, seed, side)
        sentence = render_parts.caption(made, np.random.default_rng(luck))
        assert _says(sentence, family)

        for phrases, truth in (
            (render_parts.FLOOR_PHRASES, made.floor),
            (render_parts.LAMP_PHRASES, made.lamp),
            (render_parts.CLUTTER_PHRASES, made.clutter),
        ):
            for attribute, wordings in phrases.items():
                if attribute != truth:
                    assert not any(sentence.endswith(words) or f" {words} " in sentence for words in wordings)

        # what is said of the part itself comes before its name
        of_part = sentence.split(family)[0]
        if made.material != "stainless steel":
            assert not _says(of_part, "stainless")
        for material in {*render_parts.METALS, "plastic", "rubber"} - {made.material}:
            assert not _says(of_part, material) or made.material.endswith(material)
        for colour in {colour for _, colour in render_parts.METALS.values()} | set(render_parts.PAINTS):
            assert colour == made.colour or not _says(of_part, colour)
        for finish in render_parts.FINISHES:
            assert finish == made.finish or not _says(of_part, finish)
        assert not _says(sentence, "blurry") or made.blur == "blurry"
        assert not _says(sentence, "grainy") or made.noise == "grainy"
        assert not _says(sentence, "close-up") or made.view == "close-up"
        assert not _says(sentence, "from above") or made.view == "top"
        assert not _says(sentence, "side") or made.view == "side"

    def test_varies(self) -> None:
        made, rng = render_parts.scene("hex nut", 3), np.random.default_rng(0)
        assert len({render_parts.caption(made, rng) for _ in range(40)}) > 20

    def test_uses_the_right_article(self) -> None:
        rng = np.random.default_rng(0)
        for family in ("O-ring", "angle bracket", "hinge", "eye bolt"):
            for seed in range(60):
                sentence = render_parts.caption(render_parts.scene(family, seed), rng)
                for article, initial in re.findall(r"\b(an?) (\w)", sentence):
                    assert (article == "an") == (initial.lower() in "aeiou"), sentence


@needs_meshes
class TestGuard:
    def test_sees_a_part_at_the_border_and_one_too_small(self) -> None:
        covered = np.zeros((88, 88), bool)
        covered[30:60, 30:60] = True
        assert render_parts.misplaced(covered) is None
        assert "border" in str(render_parts.misplaced(np.roll(covered, 30, 0)))
        covered[:] = False
        covered[40:50, 40:50] = True
        assert "little" in str(render_parts.misplaced(covered))

    def test_sees_dark_bright_flat_and_hidden(self) -> None:
        covered = np.zeros((88, 88), bool)
        covered[30:60, 30:60] = True
        rng = np.random.default_rng(0)
        grain = rng.integers(-20, 21, (88, 88, 1))
        floor = np.broadcast_to(120 + grain, (88, 88, 3))
        assert render_parts.poor(np.where(covered[..., None], 200, floor).astype(np.uint8), covered) is None
        assert "stand out" in str(render_parts.poor(floor.astype(np.uint8), covered))
        assert "dark" in str(render_parts.poor(np.zeros((88, 88, 3), np.uint8), covered))
        assert "bright" in str(render_parts.poor(np.full((88, 88, 3), 250, np.uint8), covered))
        assert "flat" in str(render_parts.poor(np.full((88, 88, 3), 120, np.uint8), covered))


@needs_meshes
@needs_renderer
class TestRender:
    def test_same_seed_same_bytes(self) -> None:
        made = render_parts.scene("hex nut", 5, "check")
        first = render_parts.render(made, 40)
        assert first.shape == (40, 40, 3)
        assert first.dtype == np.uint8
        assert first.std() > 5
        np.testing.assert_array_equal(render_parts.render(made, 40), first)
        assert (render_parts.render(render_parts.scene("hex nut", 6, "check"), 40) != first).any()

    def test_the_silhouette_is_where_the_part_is_drawn(self) -> None:
        candidates = (render_parts.scene("hex nut", seed) for seed in range(1000))
        red = next(s for s in candidates if s.colour == "red" and s.floor == "concrete" and s.clutter == "none")
        rng = np.random.default_rng(0)
        shot = render_parts._shot(red, rng)
        light, _ = render_parts._traced(red, shot, 64, rng)
        drawn = light[..., 0] > 2 * light[..., 1]
        covered = render_parts.silhouette(shot, 64)
        assert (drawn & covered).sum() > 0.85 * (drawn | covered).sum()

    def test_a_set_resumes_and_keeps_what_is_there(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(render_parts, "SIZE", 24)
        monkeypatch.setattr(render_parts, "SAMPLES", 1)
        render_parts.make_set("teacher", tmp_path, count=2)
        kept = tmp_path / "00000.jpg"
        kept.write_bytes(b"here already")
        (tmp_path / "00001.jpg").unlink()
        render_parts.make_set("teacher", tmp_path, count=3)
        assert kept.read_bytes() == b"here already"
        lines = [json.loads(line) for line in (tmp_path / "captions.jsonl").read_text("utf-8").splitlines()]
        assert [line["file"] for line in lines] == [f"{k:05d}.jpg" for k in range(3)]
        assert all(_says(line["caption"], line["family"]) for line in lines)
        assert sorted(path.name for path in tmp_path.iterdir()) == [
            *(f"{k:05d}.jpg" for k in range(3)),
            "captions.jsonl",
        ]
