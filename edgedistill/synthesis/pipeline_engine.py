"""Any text-to-image pipeline of diffusers, by hub id or folder: the extra `[synthesize]`.

Guidance is 2 where the pipeline has any: a low one gives more varied images than the 7.5 that pretty pictures are made
with, and variety is what a student learns from. Pipelines that were distilled to a few steps take 4 and no guidance,
as they were trained; they are told by their names.
"""

from __future__ import annotations

import importlib.util
import inspect
import logging
import re
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ..choices import WITH_WORDS
from ..errors import InputError, install_extra
from ..targets.error_lines import first_line
from ..targets.outside import Unfit, read_object
from ..teacher import hub
from ..teacher.licences import UNKNOWN_LICENCE, licence_in_card
from ..teacher.torchvision_ops import ensure_torchvision
from ..work import atomic, gpu, shortage
from .engine import Source, seed_of
from .pace import Stepped, untold, wait_for
from .prompts import Prompts

log = logging.getLogger(__name__)

GUIDANCE, STEPS = 2.0, 25
FEW_STEPS = 4
DISTILLED = ("turbo", "lightning", "schnell", "lcm", "hyper-sd", "flash")
BATCH = {"cpu": 2, "cuda": 16}
INDEX = "model_index.json"
PACKAGES = ("diffusers", "transformers", "requests")  # the last one diffusers imports and does not always ask for
INSTALL = install_extra("build,synthesize")
INSTEAD = "Or --engine teacher, which needs the teacher alone; or --generated FOLDER, for images from elsewhere."


class PipelineEngine:
    """A loaded pipeline; every image has a seed of its own, so that batches do not matter.

    The pipeline's own safety checker stays as it came: what it withholds is black.
    Raises InputError where diffusers cannot be imported or the pipeline cannot be loaded.
    """

    name = "diffusers"

    def __init__(self, model: str, device: str, size: int | None) -> None:
        self.batch = BATCH[device]
        self._pipeline = _load(model, device)
        self._size = size
        self.settings = settings_of(model)

    def images(self, prompts: Prompts, rows: np.ndarray, seed: int, stepped: Stepped = untold) -> np.ndarray:
        """uint8 [len(rows), S, S, 3] for the words of these rows.

        Raises InputError for prompts without words, and where the pipeline refuses what it is asked for.
        """
        import torch

        if not prompts.has_words:
            raise InputError(
                "these prompts are directions in the teacher's space, and a text-to-image pipeline reads words",
                f"Use one with words ({', '.join(WITH_WORDS)}), or --engine teacher.",
            )
        # Generators of the CPU: the same noise whatever the pipeline runs on.
        generators = [torch.Generator().manual_seed(seed_of(seed, int(row))) for row in rows]

        def step_end(pipeline: Any, step: int, time: Any, tensors: dict[str, Any]) -> dict[str, Any]:
            wait_for(pipeline.device, step + 1)
            stepped(step + 1, max(step + 1, len(pipeline.scheduler.timesteps)))
            return tensors

        asked: dict[str, Any] = {"generator": generators, "output_type": "np", "callback_on_step_end": step_end}
        asked |= self.settings
        if self._size is not None:
            asked |= {"height": self._size, "width": self._size}
        known = inspect.signature(self._pipeline.__call__).parameters
        asked = {name: value for name, value in asked.items() if name in known}
        try:
            made = self._pipeline(prompt=[prompts.texts[row] for row in rows], **asked)
        except (ValueError, RuntimeError) as error:
            if gpu.explained(str(error)) or shortage.explained(error):
                raise  # of the GPU or the memory, which is explained where all work is
            size = "" if self._size is None else f" of {self._size} px"
            raise InputError(
                f"the pipeline makes no images{size}: {first_line(error)}",
                f"Try another --image-size, or none: then it is the pipeline's own. {INSTEAD}",
            ) from error
        return np.stack([_square(image) for image in np.asarray(made.images)])


def from_pipeline(model: str, device: str, size: int | None) -> Source:
    """The pipeline of that hub id or folder. Raises InputError for one that is not here and cannot be fetched."""
    index = find_pipeline(model)
    asked = settings_of(model)
    facts = {
        "engine": "diffusers",
        "model": model,
        "licence": licence_in_card(index.parent / "README.md"),
        "safety_checker": has_safety_checker(index),
        **asked,
    }
    if facts["licence"] == UNKNOWN_LICENCE:
        log.warning("the licence of %s is not stated in its folder: see its page before you ship", model)
    identity = {"engine": "diffusers", "model": _fingerprint(model, index), "size": size, "device": device, **asked}
    return Source(identity, facts, lambda: PipelineEngine(model, device, size))


def has_safety_checker(index: Path) -> bool:
    """Whether model_index.json names a class for it; pipelines without one say [null, null], or nothing.

    Raises InputError where the file cannot be read.
    """
    try:
        named = read_object(index).get("safety_checker")
    except (OSError, Unfit) as error:
        raise InputError(f"{index} cannot be read: {error}", "Fetch the pipeline again, or name another.") from error
    return isinstance(named, list) and any(named)


def settings_of(model: str) -> dict[str, Any]:
    """Steps and guidance, by the pipeline's name."""
    if any(word in Path(model).name.lower() for word in DISTILLED):
        return {"num_inference_steps": FEW_STEPS, "guidance_scale": 0.0}
    return {"num_inference_steps": STEPS, "guidance_scale": GUIDANCE}


def find_pipeline(model: str) -> Path:
    """The pipeline's model_index.json, fetched if need be. Raises InputError with what to use in its place."""
    missing = [package for package in PACKAGES if importlib.util.find_spec(package) is None]
    if missing:
        raise InputError(
            f"--engine diffusers needs the package {missing[0]}, which is not installed", f"{INSTALL} {INSTEAD}"
        )
    folder = Path(model)
    if folder.is_dir():
        if (folder / INDEX).is_file():
            return folder / INDEX
        raise InputError(f"{model} is no pipeline of diffusers: it holds no {INDEX}", f"Name another. {INSTEAD}")
    try:
        return hub.fetch(model, (INDEX,))
    except hub.HubUnavailable as reason:
        here = [repo for repo, files in hub.cached_repos() if INDEX in files]
        use = f"Use what is here: {', '.join(f'--engine-model {repo}' for repo in here[:6])}. " if here else ""
        raise InputError(
            f"no pipeline {model}: there is no such folder, and of the hub: {reason}", f"{use}{INSTEAD}"
        ) from reason


def _load(model: str, device: str) -> Any:
    ensure_torchvision()
    import torch

    try:
        from diffusers import AutoPipelineForText2Image
    except (ImportError, RuntimeError) as error:  # diffusers imports its parts late, and then wraps what is missing
        raise InputError(f"diffusers cannot be imported: {first_line(error)}", f"{INSTALL} {INSTEAD}") from error

    log.info("loading the pipeline %s; what its folder lacks is fetched from the hub", model)
    dtype = {_dtype_keyword(AutoPipelineForText2Image): torch.float16 if device == "cuda" else torch.float32}
    try:
        pipeline = AutoPipelineForText2Image.from_pretrained(model, **dtype)
    except (OSError, ValueError, KeyError, ImportError, AttributeError) as error:
        raise InputError(
            f"the pipeline {model} does not load: {first_line(error)}", f"Bring its files, or name another. {INSTEAD}"
        ) from error
    pipeline.set_progress_bar_config(disable=True)
    return pipeline.to(device)


def _dtype_keyword(pipeline: Any) -> str:
    """`dtype`, which was called `torch_dtype` in older diffusers; both take any keyword, and only their words tell."""
    told = pipeline.from_pretrained.__doc__ or ""
    return "dtype" if re.search(r"^\s*dtype \(", told, re.MULTILINE) else "torch_dtype"


def _fingerprint(model: str, index: Path) -> str:
    """What changes with the pipeline's files: of a folder their names and sizes, of the hub its id."""
    if not Path(model).is_dir():
        return model
    files = sorted(path for path in index.parent.rglob("*") if path.is_file())
    return atomic.digest([[path.relative_to(index.parent).as_posix(), path.stat().st_size] for path in files])


def _square(image: np.ndarray) -> np.ndarray:
    """uint8 [S,S,3]: the centre square of float [h,w,3] in 0..1."""
    side = min(image.shape[:2])
    top, left = (image.shape[0] - side) // 2, (image.shape[1] - side) // 2
    pixels = image[top : top + side, left : left + side]
    return np.asarray(Image.fromarray((pixels * 255).round().clip(0, 255).astype(np.uint8)).convert("RGB"))
