"""From class names to class vectors: templates, the bank of every prompt's vector, and how the prompts are weighed.

    Labels + templates --(text tower, once)--> TextBank [C, P, D] --(weights [P])--> ClassVectors [C, D]

P is the number of templates and is equal for all classes: T_cp is the unit mean over a class's synonyms. The class
vectors are Σ_p w_p·T_cp and are *not* normalised unless asked: averaging a prompt's logits and averaging its vector are
then the same thing, and a class whose prompts agree keeps its longer vector. What is trained on is what is exported.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from ..errors import InputError
from ..labels import Label, Labels
from ..teacher.torchvision_ops import ensure_torchvision
from ..work import atomic
from ..work.console import SILENT, Progress

if TYPE_CHECKING:
    from ..teacher.teacher import Teacher

# Plain photographs, close and far, good and bad: what a camera on a device sees. Ours.
_GENERAL = (
    "{}",
    "a photo of a {}.",
    "a photo of the {}.",
    "a close-up photo of a {}.",
    "a photo of a {} seen from a distance.",
    "a photo of a {} among other things.",
    "a cropped photo of a {}.",
    "a dark, blurry photo of a {}.",
    "a bright photo of a {} on a plain background.",
    "a snapshot taken by a camera, showing a {}.",
)

# The eighteen of CLIP's CIFAR evaluation (github.com/openai/CLIP, data/prompts.md): nine looks, each with two articles.
_CIFAR_LOOKS = (
    "photo of {article} {{}}",
    "blurry photo of {article} {{}}",
    "black and white photo of {article} {{}}",
    "low contrast photo of {article} {{}}",
    "high contrast photo of {article} {{}}",
    "bad photo of {article} {{}}",
    "good photo of {article} {{}}",
    "photo of {article} small {{}}",
    "photo of {article} big {{}}",
)

CLASS_VECTORS_FILE = "class_vectors.safetensors"
WEIGHTINGS = ("W1", "W3", "W3-pool")
_TEXTS_A_PASS = 64
_ROWS_A_PIECE = 4096
_SCORED = 200_000_000  # logits that W3 looks at: some seconds; a larger pool is sampled evenly


class Features(Protocol):
    """Unit image features [N, D] that can be read a slice at a time: an array, or what stands for one on disk."""

    def __len__(self) -> int: ...
    def __getitem__(self, rows: slice, /) -> np.ndarray: ...


@dataclass(frozen=True)
class Templates:
    """A named set of prompt templates, each with one `{}`."""

    name: str
    templates: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class TextBank:
    """Every prompt as the teacher reads it. `vectors` is float32 [C, P, D] with unit rows."""

    vectors: np.ndarray
    scale: float
    """The teacher's exp(logit_scale): logits are scale · u · T."""
    names: tuple[str, ...]
    prompts: tuple[tuple[str, ...], ...]
    """For each class all texts that were read: for every template the name, then the synonyms."""
    templates: Templates
    teacher_id: str
    teacher_hash: str

    def save(self, folder: Path) -> None:
        """Writes bank.safetensors and bank.json into `folder`; same bank, same bytes."""
        write_tensors(folder / "bank.safetensors", {"vectors": self.vectors})
        description = {
            "scale": self.scale,
            "names": self.names,
            "prompts": self.prompts,
            "templates": {"name": self.templates.name, "templates": self.templates.templates},
            "teacher": {"id": self.teacher_id, "hash": self.teacher_hash},
        }
        atomic.write_json(folder / "bank.json", description)

    @classmethod
    def load(cls, folder: Path) -> TextBank:
        """Reads what `save` wrote. Raises InputError if it is damaged."""
        vectors = read_tensors(folder / "bank.safetensors", {"vectors": 3})[0]["vectors"]
        try:
            read = json.loads((folder / "bank.json").read_text(encoding="utf-8"))
            bank = cls(
                vectors=vectors,
                scale=float(read["scale"]),
                names=tuple(read["names"]),
                prompts=tuple(tuple(texts) for texts in read["prompts"]),
                templates=Templates(read["templates"]["name"], tuple(read["templates"]["templates"])),
                teacher_id=read["teacher"]["id"],
                teacher_hash=read["teacher"]["hash"],
            )
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise damaged(folder / "bank.json", error) from error
        if vectors.shape[:2] != (len(bank.names), len(bank.templates.templates)):
            raise damaged(folder, f"{vectors.shape[0]} classes and {vectors.shape[1]} prompts do not fit bank.json")
        return bank


@dataclass(frozen=True, eq=False)
class ClassVectors:
    """One vector a class, float32 [C, D], and all it takes to make one for another class later."""

    text: np.ndarray
    """From the prompts alone."""
    baked: np.ndarray
    """What is exported; the same as `text` unless refined on the pool."""
    prompt_weights: np.ndarray
    """float64 [P], sum 1."""
    weighting: str
    """How the weights were found: one of WEIGHTINGS."""
    normalised: bool
    """Whether rows have unit length."""
    scale: float
    names: tuple[str, ...]
    templates: Templates

    def save(self, folder: Path) -> None:
        """Writes class_vectors.safetensors into `folder`; same vectors, same bytes."""
        tensors = {"text": self.text, "baked": self.baked, "prompt_weights": self.prompt_weights}
        description = {
            "weighting": self.weighting,
            "normalised": self.normalised,
            "scale": self.scale,
            "names": self.names,
            "templates": {"name": self.templates.name, "templates": self.templates.templates},
        }
        write_tensors(folder / CLASS_VECTORS_FILE, tensors, description)

    @classmethod
    def load(cls, folder: Path) -> ClassVectors:
        """Reads what `save` wrote. Raises InputError if it is damaged."""
        path = folder / CLASS_VECTORS_FILE
        tensors, read = read_tensors(path, {"text": 2, "baked": 2, "prompt_weights": 1})
        try:
            vectors = cls(
                **tensors,
                weighting=read["weighting"],
                normalised=bool(read["normalised"]),
                scale=float(read["scale"]),
                names=tuple(read["names"]),
                templates=Templates(read["templates"]["name"], tuple(read["templates"]["templates"])),
            )
        except (ValueError, KeyError, TypeError) as error:
            raise damaged(path, error) from error
        shapes = (len(vectors.text), len(vectors.baked), len(vectors.prompt_weights))
        if shapes != (len(vectors.names), len(vectors.names), len(vectors.templates.templates)):
            raise damaged(path, f"{shapes} classes, baked classes and prompts do not fit its description")
        return vectors


def template_set(name: str | Path) -> Templates:
    """The templates named `general`, `imagenet` (CLIP's 80) or `cifar` (CLIP's 18), or those of a text file.

    A file has one template a line with exactly one `{}`; `#` begins a comment line. Raises InputError by line number.
    """
    if str(name) == "general":
        return Templates("general", _GENERAL)
    if str(name) == "cifar":
        return Templates(
            "cifar", tuple(f"a {look.format(article=article)}." for article in ("a", "the") for look in _CIFAR_LOOKS)
        )
    if str(name) == "imagenet":
        ensure_torchvision()
        import open_clip

        return Templates("imagenet", tuple(template("{}") for template in open_clip.OPENAI_IMAGENET_TEMPLATES))
    return _templates_from_file(Path(name))


def build_text_bank(teacher: Teacher, labels: Labels, templates: Templates, progress: Progress = SILENT) -> TextBank:
    """Runs the text tower once over every template, name and synonym."""
    prompts = tuple(_prompts_of(label, templates.templates) for label in labels.entries)
    texts = [text for of_class in prompts for text in of_class]
    progress.start("prompts", len(texts))
    features = []
    for begin in range(0, len(texts), _TEXTS_A_PASS):
        batch = texts[begin : begin + _TEXTS_A_PASS]
        features.append(teacher.encode_text(batch))
        progress.advance(len(batch))
    progress.done()

    split = np.split(np.concatenate(features), np.cumsum([len(of_class) for of_class in prompts])[:-1])
    by_template = (rows.reshape(len(templates.templates), -1, teacher.dim) for rows in split)  # [P, synonyms, D]
    vectors = np.stack([rows.mean(axis=1, dtype=np.float64) for rows in by_template])
    return TextBank(
        vectors=unit(vectors).astype(np.float32),
        scale=teacher.scale,
        names=labels.names,
        prompts=prompts,
        templates=templates,
        teacher_id=teacher.id,
        teacher_hash=teacher.files.weight_hash,
    )


def prompt_weights(
    bank: TextBank,
    weighting: str,
    features: Features | None = None,
    mean_feature: np.ndarray | None = None,
) -> np.ndarray:
    """How much each template counts: float64 [P], sum 1. No label takes part.

    W1       all alike.
    W3       ZPE (Allingham et al., ICML 2023), our reading: score_p = mean_i max_c ẑ_icp over the pool, weights
             softmax(score); ẑ is the logit less the mean of its averages over the pool and over a broad image set.
             Without that, prompts made of frequent words would win for being frequent.
    W3-pool  the same less the pool's average alone, for a teacher without a broad mean feature.

    features: float32 or float16 [N, D], unit rows, the pool's centre views; read in pieces, never whole.
    mean_feature: [D], the teacher's mean unit feature over a broad image set (W3). Logits are linear in the image
    feature, so this one vector is all that the pre-training average takes.
    """
    count = bank.vectors.shape[1]
    if weighting == "W1":
        return np.full(count, 1 / count)
    if weighting not in WEIGHTINGS:
        raise ValueError(f"prompt weighting {weighting!r} is not one of {WEIGHTINGS}")
    if features is None or len(features) == 0:
        raise ValueError(f"{weighting} weighs prompts on the pool and needs its features")
    pieces = (features[begin : begin + _ROWS_A_PIECE] for begin in range(0, len(features), _ROWS_A_PIECE))
    reference = sum(rows.sum(axis=0, dtype=np.float64) for rows in pieces) / len(features)
    if weighting == "W3":
        if mean_feature is None:
            raise ValueError("W3 needs the teacher's broad mean feature; W3-pool does without")
        reference = (reference + mean_feature) / 2
    vectors = bank.scale * bank.vectors.astype(np.float64)
    flat = vectors.reshape(-1, vectors.shape[-1])
    average = vectors @ reference  # [C, P]
    classes_by_prompts = vectors.shape[0] * count
    step = max(1, len(features) * classes_by_prompts // _SCORED)
    score, scored = np.zeros(count), 0
    piece = min(_ROWS_A_PIECE, max(1, 4_000_000 // classes_by_prompts))
    for begin in range(0, len(features), piece * step):
        rows = np.asarray(features[begin : begin + piece * step : step], dtype=np.float64)
        logits = (rows @ flat.T).reshape(-1, *average.shape) - average  # [n, C, P]
        score += logits.max(axis=1).sum(axis=0)
        scored += len(rows)
    score /= scored
    weights = np.exp(score - score.max())
    return weights / weights.sum()


def class_vectors(bank: TextBank, weights: np.ndarray, *, weighting: str, normalise: bool = False) -> ClassVectors:
    """Σ_p w_p·T_cp, [C, D]; with `normalise` each brought to unit length, as CLIP's usual ensemble does.

    The mean logit over weighted prompts equals the logit of this vector only without `normalise`.
    """
    if weights.shape != (bank.vectors.shape[1],):
        raise ValueError(f"{bank.vectors.shape[1]} prompts, but weights of shape {weights.shape}")
    text = np.einsum("p,cpd->cd", np.asarray(weights, np.float64), bank.vectors.astype(np.float64))
    text = (unit(text) if normalise else text).astype(np.float32)
    return ClassVectors(
        text=text,
        baked=text,
        prompt_weights=np.asarray(weights, np.float64),
        weighting=weighting,
        normalised=normalise,
        scale=bank.scale,
        names=bank.names,
        templates=bank.templates,
    )


def close_pairs(vectors: ClassVectors, limit: float = 2.0) -> list[tuple[str, str, float]]:
    """Pairs of classes that the teacher hardly tells apart: scale · (1 − cosine) < limit, the closest first.

    The gap is in logits: an image that is exactly one class's vector has the other 2 logits behind, odds of 7 to 1.
    """
    directions = unit(vectors.text.astype(np.float64))
    gaps = vectors.scale * (1 - directions @ directions.T)
    one, other = np.triu_indices(len(directions), k=1)
    close = [(vectors.names[a], vectors.names[b], float(max(gaps[a, b], 0.0))) for a, b in zip(one, other)]
    return sorted((pair for pair in close if pair[2] < limit), key=lambda pair: pair[2])


def _prompts_of(label: Label, templates: Sequence[str]) -> tuple[str, ...]:
    """Every template with the name, then with each synonym; `hex_bolt` is read as two words."""
    words = [word.replace("_", " ") for word in label.words]
    return tuple(template.replace("{}", word) for template in templates for word in words)


def _templates_from_file(path: Path) -> Templates:
    if not path.is_file():
        near = difflib.get_close_matches(str(path), ("general", "imagenet", "cifar"), n=1)
        raise InputError(
            f"prompt templates {str(path)!r}: no set of that name, and no such file",
            f"did you mean {near[0]}?" if near else "choose general, imagenet, cifar, or a file with one {} a line",
        )
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"the prompt templates {path} are not UTF-8 ({error.reason})", "save them as UTF-8") from error
    found: dict[str, int] = {}
    for number, line in enumerate(text.split("\n"), start=1):
        template = line.strip()
        if not template or template.startswith("#"):
            continue
        if template.count("{}") != 1:
            raise InputError(
                f"{path}, line {number}: {template!r} has {template.count('{}')} places for the name",
                "write exactly one {} in each template, such as: a photo of a {}.",
            )
        if template in found:
            raise InputError(f"{path}, line {number}: the same as line {found[template]}", "delete one of them")
        found[template] = number
    if not found:
        raise InputError(f"the prompt templates {path} are empty", "write one template a line: a photo of a {}.")
    return Templates(path.name, tuple(found))


def unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


def write_tensors(path: Path, tensors: dict[str, np.ndarray], description: dict[str, Any] | None = None) -> None:
    from safetensors.numpy import save

    # One metadata entry: with several, safetensors writes them in another order every time.
    metadata = None if description is None else {"json": json.dumps(description, sort_keys=True, allow_nan=False)}
    data = save({name: np.ascontiguousarray(tensor) for name, tensor in tensors.items()}, metadata)
    atomic.write_bytes(path, data)


def read_tensors(path: Path, dimensions: dict[str, int]) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """(the named tensors, the description) of a file of ours; every number is finite."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as file:
            tensors = {name: file.get_tensor(name) for name in dimensions}
            description = json.loads((file.metadata() or {}).get("json", "{}"))
    except (SafetensorError, OSError, ValueError) as error:
        raise damaged(path, error) from error
    for name, tensor in tensors.items():
        if tensor.ndim != dimensions[name] or not np.isfinite(tensor).all():
            raise damaged(path, f"{name} has shape {tensor.shape} or values that are not finite")
    return tensors, description


def damaged(path: Path, reason: object) -> InputError:
    return InputError(f"{path} is damaged: {reason}", "delete the folder it lies in and run the same command again")
