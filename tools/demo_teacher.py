"""Make the example's teacher and start: a small open-vocabulary image-text model, and a student distilled from it.

    python tools/demo_teacher.py --data DATA --weights WEIGHTS --renders RENDERS --out examples

writes OUT/teacher (an ordinary open_clip `local-dir`, with its mean feature) and OUT/start (student.safetensors,
student.json); the cards beside them are demo_card.py's. Stages, each kept under --work and not done twice:

    words    a meaning for each of 87,000 words                            teacher_text.py, teacher_words.py
    text     open_clip's text tower, taught those meanings
    views    photos as crops, sketches, cartoons ...; renders; through the frozen front half of the tower
    image    the back half and the head, taught to say what the captions say   teacher_image.py, teacher_styles.py
             (and evened out: a matter of a minute, done anew each time)
    start    the small student, distilled from the finished teacher          demo_start.py

Only what SOURCES (demo_card.py) names is ever read; no evaluation set is among it. RENDERS holds `teacher/` as
tools/render_parts.py makes it: pool-side floors and lamps alone. A `start/` beside it may hold renders of parts that
are not on the example's list; without it the start learns from the photos alone. Needs the [tools] extra and WordNet's
files (Debian: wordnet-base); about an hour on a quiet machine of 2 cores.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import re
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")

from edgedistill.teacher.torchvision_ops import ensure_torchvision

ensure_torchvision()

import demo_start  # noqa: E402
import numpy as np  # noqa: E402
import open_clip  # noqa: E402
import teacher_image as image  # noqa: E402
import teacher_text as text  # noqa: E402
import timm  # noqa: E402
import torch  # noqa: E402
from demo_card import SOURCES  # noqa: E402
from part_meshes import FAMILIES  # noqa: E402
from safetensors.torch import load_file, save_file  # noqa: E402
from torch import Tensor, nn  # noqa: E402
from torch.nn import functional as fn  # noqa: E402

log = logging.getLogger("demo_teacher")


GENERAL = tuple(Path(s.place).name for s in SOURCES if s.place.startswith("data/"))  # all that is read below --data
COLOURS = ("red", "green", "blue", "yellow", "orange", "purple", "pink", "brown", "black", "white", "grey", "gray",
           "silver", "golden", "turquoise", "beige", "dark", "bright")  # fmt: skip
MATTER = ("steel", "brass", "copper", "aluminium", "aluminum", "titanium", "iron", "zinc", "bronze", "chrome",
          "plastic", "rubber", "wooden", "metallic", "shiny", "matte", "rusty", "brushed", "polished", "galvanised",
          "painted", "concrete", "wood", "stone", "glass", "leather", "ceramic", "fabric")  # fmt: skip
LOOKS = ("sketch", "drawing", "cartoon", "painting", "artwork", "art", "photo", "white background", "night", "blur",
         "blurry", "black and white", "grainy", "close-up", "toy", "conveyor belt", "workbench", "table", "floor",
         "machine part", "fastener", "industrial part", "aerial view", "satellite image", "texture",
         "pattern")  # fmt: skip
PART_WORDS = ("bolt", "nut", "gear", "spring", "bearing", "hex-head bolt", "hexagon nut", "flat washer", "cogwheel",
              "helical spring")  # fmt: skip
SCALE = 30.0  # exp(logit_scale)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="holds general/imagenet1k_one_each, general/grocery")
    parser.add_argument("--weights", type=Path, required=True, help="holds the ImageNet towers and clip_text/")
    parser.add_argument(
        "--renders", type=Path, required=True, help="holds teacher/, and start/ if the start is to see other parts"
    )
    parser.add_argument("--wordnet", type=Path, default=Path("/usr/share/wordnet"), help="WordNet's data.noun")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--work", type=Path, default=Path(".edgedistill/demo_teacher"), help="finished stages")
    parser.add_argument("--only", choices=["teacher", "start"], help="make one of the two")
    parser.add_argument("--text-steps", type=int, default=1500)
    parser.add_argument("--front-steps", type=int, default=300)
    parser.add_argument("--image-steps", type=int, default=300)
    parser.add_argument("--head-steps", type=int, default=400)
    parser.add_argument("--start-epochs", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    torch.set_num_threads(options.threads)
    options.work.mkdir(parents=True, exist_ok=True)
    if options.only != "start":
        make_teacher(options)
    if options.only != "teacher":
        photos = [photo.path for photo in general_photos(options.data)]
        others = options.renders / "start"
        demo_start.make_start(options, photos, rendered_parts(others) if others.exists() else [])


def make_teacher(options: argparse.Namespace) -> None:
    torch.manual_seed(options.seed)
    photos, parts = general_photos(options.data), rendered_parts(options.renders / "teacher")
    space, targets = stage_words(options, photos, parts)
    tower_text = stage_text(options, space, targets, parts)
    tower = stage_views(options, photos, parts)
    head = stage_image(options, tower, space, targets, photos, parts)
    features = image.tower_features(tower, photos)
    image.even_out(head, features)
    write_teacher(options, tower, head, tower_text, features)


# ---- what is read ----------------------------------------------------------------------------------------------------


def general_photos(data: Path) -> list[image.Photo]:
    """The broad pool, and nothing else below `data`."""
    found = []
    for group in GENERAL:
        files = sorted(path for path in (data / "general" / group).glob("*/*") if path.suffix.lower() == ".jpg")
        found += [image.Photo(path, group, path.parent.name) for path in files]
    return found


def rendered_parts(folder: Path) -> list[dict[str, Any]]:
    """captions.jsonl: file, family, caption and the scene's attributes. Refuses check-side scenes."""
    lines = (folder / "captions.jsonl").read_text(encoding="utf-8").splitlines()
    parts = [json.loads(line) | {"path": folder / json.loads(line)["file"]} for line in lines]
    if any(part["side"] != "pool" for part in parts):
        raise SystemExit(f"{folder} holds check-side scenes: the models must not see those floors and lamps")
    return parts


def class_order(data: Path) -> tuple[list[str], list[str]]:
    """Folder names and WordNet synsets of the 1000 ImageNet classes, in the classifier's order, which is theirs."""
    table = (data / "general/imagenet1k_one_each/SOURCE.md").read_text(encoding="utf-8")
    rows = sorted(re.findall(r"^\| (\S+) \| 1 \| 1 \| n(\d+) \|", table, re.M), key=lambda row: row[1])
    return [name for name, _ in rows], [synset for _, synset in rows]


# ---- stages ----------------------------------------------------------------------------------------------------------


def stage_words(
    options: argparse.Namespace, photos: list[image.Photo], parts: list[dict[str, Any]]
) -> tuple[text.Space, Tensor]:
    groceries = sorted({photo.label.replace("_", " ") for photo in photos if photo.group == "grocery"})
    all_parts = [name.lower() for name in sorted(FAMILIES)]  # names alone: what is not rendered is a word like others
    extra = list(dict.fromkeys([*groceries, *all_parts, *PART_WORDS, *COLOURS, *MATTER, *LOOKS]))
    _, synsets = class_order(options.data)
    space = text.build_space(text.WordNet(options.wordnet), options.weights, synsets, extra, options.work)
    return space, text.spread(space, space.captions(), sorted({part["family"].lower() for part in parts}))


def part_goal(space: text.Space, targets: Tensor, part: dict[str, Any], said: str | None = None) -> Tensor:
    """[512], unit: the family, and a little of material, colour, finish and view; only those `said`, if given."""
    goal = targets[space.index[part["family"].lower()]]
    attributes = [part["material"], part["colour"], part["finish"], part["view"] if part["view"] != "oblique" else ""]
    for word in attributes:
        if word in space.index and (said is None or word in said):
            goal = goal + 0.15 * space.meaning[space.index[word]]
    return fn.normalize(goal, dim=0)


def stage_text(
    options: argparse.Namespace, space: text.Space, targets: Tensor, parts: list[dict[str, Any]]
) -> nn.Module:
    done = options.work / "text.safetensors"
    tower = text.new_text_tower(space, targets)
    if done.exists():
        tower.load_state_dict(load_file(done), strict=False)
        return tower.eval()
    captions = [(part["caption"], part_goal(space, targets, part, part["caption"])) for part in parts]
    text.train_text_tower(tower, space, targets, captions, steps=options.text_steps, seed=options.seed)
    for name, rows in (("seen", list(range(0, space.core, 7))), ("new", text.held_out(space))):
        u = text.encode_text(tower, [f"a photo of a {space.words[i]}." for i in rows])
        cosine = (u * targets[rows]).sum(1).mean()
        retrieval = ((u @ targets[rows].T).argmax(1) == torch.arange(len(rows))).float().mean()
        log.info("text, %s words: cosine %.3f, retrieval among %d %.3f", name, cosine, len(rows), retrieval)
    save_file({k: v.contiguous() for k, v in tower.state_dict().items()}, done)
    return tower


def stage_views(options: argparse.Namespace, photos: list[image.Photo], parts: list[dict[str, Any]]) -> nn.Module:
    """Caches views; returns the plain tower, whose back half is not yet trained."""
    reference = image.reference_tower(options.weights)
    front, known = options.work / "front.safetensors", options.work / "reference.safetensors"
    if not front.exists():
        sample = np.stack([image.centre(photo.path) for photo in photos if photo.group == GENERAL[0]])
        tower = image.plain_tower(reference, sample[::10])
        image.tune_front(tower, reference, sample, steps=options.front_steps, seed=options.seed)
        save_file({name: value.contiguous() for name, value in tower.state_dict().items()}, front)
    tower = timm.create_model(image.TIMM_NAME).eval()
    tower.load_state_dict(load_file(front))
    image.cache_views(tower, photos, options.work / "views-general", seed=options.seed)
    image.cache_views(tower, renders_as_photos(parts), options.work / "views-renders", seed=options.seed + 1)
    if not known.exists():
        log.info("what the tower as it was trained sees in %d photos", len(photos))
        save_file({"features": image.tower_features(reference, photos)}, known)
    return tower


def renders_as_photos(parts: list[dict[str, Any]]) -> list[image.Photo]:
    return [image.Photo(part["path"], "renders", part["family"]) for part in parts]


def stage_image(
    options: argparse.Namespace,
    tower: nn.Module,
    space: text.Space,
    targets: Tensor,
    photos: list[image.Photo],
    parts: list[dict[str, Any]],
) -> nn.Module:
    """Trains the tower's back half in place, and returns the head."""
    features = load_file(options.work / "reference.safetensors")["features"]
    folders, _ = class_order(options.data)
    labels = [folders.index(photo.label) if photo.group == GENERAL[0] else -1 for photo in photos]
    meaning = image.Meaning(tower.classifier, space.classes, features, torch.tensor(labels))
    head = image.conse_head(meaning, features)
    done = options.work / "image.safetensors"
    if not done.exists():
        broad, taught = broad_views(options, space, features), part_views(options, space, targets, parts)
        lessons = (tower, head, meaning, broad, taught)
        image.teach_head(*lessons, steps=options.head_steps, seed=options.seed)
        image.train_back_half(*lessons, steps=options.image_steps, seed=options.seed)
        both = nn.ModuleDict({"tower": tower, "head": head})
        save_file({name: value.contiguous() for name, value in both.state_dict().items()}, done)
    nn.ModuleDict({"tower": tower, "head": head}).load_state_dict(load_file(done))
    return head


def broad_views(options: argparse.Namespace, space: text.Space, features: Tensor) -> image.Photos:
    maps, rows = image.read_views(options.work / "views-general")
    styles = text.style_vectors(space)
    nothing = torch.zeros(text.DIM)
    style = torch.stack([text.STYLE_SHARE * styles.get(row["style"], nothing) for row in rows])
    return image.Photos(maps, torch.tensor([row["photo"] for row in rows]), style, features)


def part_views(
    options: argparse.Namespace, space: text.Space, targets: Tensor, parts: list[dict[str, Any]]
) -> image.Parts:
    families = sorted({part["family"] for part in parts})
    names = torch.stack([targets[space.index[family.lower()]] for family in families])
    family = torch.tensor([families.index(part["family"]) for part in parts])
    goals = torch.stack([part_goal(space, targets, part) for part in parts])
    maps, rows = image.read_views(options.work / "views-renders")
    which = torch.tensor([row["photo"] for row in rows])
    return image.Parts(maps, goals[which], family[which], names)


# ---- writing ---------------------------------------------------------------------------------------------------------


def write_teacher(
    options: argparse.Namespace, tower: nn.Module, head: nn.Module, tower_text: nn.Module, features: Tensor
) -> None:
    """An ordinary open_clip folder; weights in fp16, which open_clip copies into its float32 model.

    `features` [P,1280] are the tower's, of the broad pool: what the mean feature is made of.
    """
    out = options.out / "teacher"
    out.mkdir(parents=True, exist_ok=True)
    towers = {
        "embed_dim": text.DIM,
        "vision_cfg": {"timm_model_name": image.TIMM_NAME, "timm_model_pretrained": False, "timm_pool": "avg",
                       "timm_proj": "mlp", "image_size": image.SIZE},
        "text_cfg": text.TEXT_CFG,
    }  # fmt: skip
    preprocess = {"mean": [0.5] * 3, "std": [0.5] * 3, "interpolation": "bicubic", "resize_mode": "shortest"}
    config = {"model_cfg": towers | {"custom_text": True}, "preprocess_cfg": preprocess}
    (out / "open_clip_config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")

    model = open_clip.CustomTextCLIP(**towers)
    trunk = timm.create_model(image.TIMM_NAME)
    trunk.load_state_dict(tower.state_dict())
    trunk.reset_classifier(0)
    model.visual.trunk.load_state_dict(trunk.state_dict())
    model.visual.head.mlp.load_state_dict(head.state_dict())
    model.text.load_state_dict(tower_text.state_dict(), strict=False)
    model.logit_scale.data.fill_(float(np.log(SCALE)))
    state = {name: value.half() if value.is_floating_point() else value for name, value in model.state_dict().items()}
    save_file({name: value.contiguous() for name, value in state.items()}, out / "open_clip_model.safetensors")

    with torch.inference_mode():
        mean = fn.normalize(head(features), dim=-1).mean(0)
    save_file({"mean_feature": mean.clone()}, out / "mean_feature.safetensors")
    log.info("wrote %s", out)


if __name__ == "__main__":
    main()
