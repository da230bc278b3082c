"""The teacher itself: an open_clip network with the weights that were found, giving text and image features.

It is built with its weights or not at all: open_clip would go on with random ones and a log line. Nothing here trains.
"""

from __future__ import annotations

import logging
import os
import pickle
import struct
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..choices import TEACHER_DTYPES
from ..errors import EdgeDistillError, InputError
from ..targets.error_lines import first_line
from ..work.plain_path import plain_path
from . import trials
from .architecture import fewest_parameters
from .centre_view import CentreView
from .files import CONFIG_FILE, TeacherFiles
from .remote_code import no_remote_code
from .tokenizer import LOCAL, load_tokenizer

if TYPE_CHECKING:
    import torch

log = logging.getLogger(__name__)

# What open_clip, timm and torch raise for a configuration or a state dict that is not what they expect.
_UNFIT = (
    RuntimeError, ValueError, LookupError, TypeError, AttributeError, AssertionError, ArithmeticError, StopIteration,
    OSError, EOFError, MemoryError, struct.error, pickle.UnpicklingError,
)  # fmt: skip
# What running a network raises whose parts do not fit; not RuntimeError, which is also a GPU without memory.
_MISMATCH = (ValueError, LookupError, TypeError, AttributeError, AssertionError, ArithmeticError)
_SMALL = 100_000_000  # parameters of a network that may be built in vain


class Teacher:
    """A frozen open_clip model: unit text and image features in one space of `dim` coordinates.

    The text tower stays in float32 (it runs once and shapes every class vector); the image tower runs in `dtype`
    (`torch_dtype` is the same as torch names it). `model` is open_clip's own, for whoever times the bare forward pass;
    `centre` makes uint8 [S, S, 3] of an upright RGB image: the geometric half of the teacher's own preprocessing.
    Same input, same batch, same threads: same bytes. Raises InputError if the weights do not fit, are damaged, or hold
    a value that is not finite.
    """

    def __init__(self, files: TeacherFiles, device: str = "cpu", dtype: str = "auto") -> None:
        import torch

        self.files = files
        self.id, self.dim, self.image_size = files.id, files.dim, files.image_size
        self.device = torch.device(device)
        self.model, self._tokenizer = _build(files)
        self.model.eval().requires_grad_(False).to(self.device)
        self.scale = float(self.model.logit_scale.exp())
        self.image_prompts: torch.Tensor | None = None
        """Tuned prompts that the image tower sees with (prompt_src.py), on its device, in its dtype; None: without."""
        self.centre = CentreView.of(files.preprocess)
        self._mean = torch.tensor(files.preprocess["mean"], device=self.device).view(3, 1, 1)
        self._std = torch.tensor(files.preprocess["std"], device=self.device).view(3, 1, 1)
        # A vision transformer has one convolution and gains nothing; a convolutional tower likes its channels last.
        convolutions = sum(isinstance(module, torch.nn.Conv2d) for module in self.model.visual.modules())
        self._layout = torch.channels_last if convolutions > 1 else torch.contiguous_format
        self.model.visual.to(memory_format=self._layout)
        if dtype not in TEACHER_DTYPES:
            raise ValueError(f"dtype {dtype!r} is not one of {', '.join(TEACHER_DTYPES)}")
        self.dtype: str
        if dtype == "auto":
            images = self.example_batch(trials.DTYPE_IMAGES[self.device.type])
            self.dtype, self.dtype_reason = trials.choose_dtype(self.model.visual, images, self.device)
        else:
            self.dtype, self.dtype_reason = dtype, "asked for"
        self.torch_dtype: torch.dtype = getattr(torch, self.dtype)
        self.model.visual.to(self.torch_dtype)
        log.debug("teacher %s on %s in %s: %s", self.id, self.device, self.dtype, self.dtype_reason)

    def encode_text(self, texts: Sequence[str]) -> np.ndarray:
        """float32 [n, D], unit rows. Prompts longer than the tower's context are cut by its tokeniser."""
        import torch
        from torch.nn import functional

        with torch.inference_mode():
            tokens = self.tokens(texts)
            try:
                features = functional.normalize(self._rows(self.model.encode_text(tokens)).float(), dim=-1)
            except _MISMATCH as error:
                raise self._does_not_run("text", error) from error
        return self.finite(features.cpu().numpy(), "text")

    def tokens(self, texts: Sequence[str]) -> torch.Tensor:
        """int64 [n, L] on its device, as the text tower takes them. Raises EdgeDistillError once that is gone."""
        if self._tokenizer is None:
            raise EdgeDistillError(
                f"the text tower of teacher {self.id} is gone: free_text() was called", "Load the teacher again."
            )
        ids: torch.Tensor = self._tokenizer(list(texts)).to(self.device)
        return ids

    def encode_images(self, images: np.ndarray | torch.Tensor) -> np.ndarray:
        """float32 [N, D], unit rows, from uint8 [N, S, S, 3] RGB at the teacher's size; one forward pass.

        `centre` and this together are the teacher's own preprocessing exactly, division and normalisation included.
        """
        return self.finite(self.image_features(images).cpu().numpy(), "image")

    def image_features(self, images: np.ndarray | torch.Tensor) -> torch.Tensor:
        """The same as a tensor on its device: not waited for where that is a GPU, and not looked at by `finite`."""
        import torch
        from torch.nn import functional

        with torch.inference_mode():
            pixels = self.normalised(images).to(self.torch_dtype)
            try:
                if self.image_prompts is None:
                    features = self._rows(self.model.encode_image(pixels))
                else:
                    from .deep_prompts import image_features  # imports open_clip

                    features = image_features(self.model.visual, pixels, self.image_prompts)
            except _MISMATCH as error:
                raise self._does_not_run("image", error) from error
            return functional.normalize(features.float(), dim=-1)

    def _rows(self, features: Any) -> Any:
        """`features` as a tower gave them. Raises ValueError where they are not a row of `dim` numbers an item."""
        if features.ndim != 2 or features.shape[1] != self.dim:
            raise ValueError(f"features of shape {list(features.shape)}, and embed_dim is {self.dim}")
        return features

    def _does_not_run(self, kind: str, error: Exception) -> InputError:
        """A network that was built and takes its weights may still not fit what it is given."""
        return InputError(
            f"the {kind} tower of teacher {self.id} does not run: {first_line(error)}",
            "Its configuration, its tokeniser and its weights do not belong together: fetch them again, or use others.",
        )

    def free_text(self) -> None:
        """Drops the text tower; encode_text fails from here on."""
        self._tokenizer = None
        for name in ("text", "transformer", "token_embedding", "text_decoder"):
            if hasattr(self.model, name):
                delattr(self.model, name)

    def normalised(self, images: np.ndarray | torch.Tensor) -> torch.Tensor:
        """float32 [N, 3, S, S] on the teacher's device, as `model` takes it: uint8 [N, S, S, 3], scaled and normalised.

        Raises ValueError for another shape or type.
        """
        import torch

        size = self.image_size
        if images.ndim != 4 or tuple(images.shape[1:]) != (size, size, 3):
            raise ValueError(f"images must be uint8 [N, {size}, {size}, 3], got shape {tuple(images.shape)}")
        pixels = torch.as_tensor(np.array(images) if isinstance(images, np.ndarray) else images)
        if pixels.dtype != torch.uint8:
            raise ValueError(f"images must be uint8, got {pixels.dtype}")
        pixels = pixels.to(self.device).permute(0, 3, 1, 2).to(torch.float32, memory_format=self._layout)
        return pixels.div_(255).sub_(self._mean).div_(self._std)

    def example_batch(self, images: int) -> torch.Tensor:
        """Normalised float32 [images, 3, S, S] on its device, for timing: blocks of random colour, fixed seed."""
        pixels = np.random.default_rng(0).integers(0, 256, (images, 8, 8, 3), dtype=np.uint8)
        cell = -(-self.image_size // 8)
        pixels = pixels.repeat(cell, axis=1).repeat(cell, axis=2)[:, : self.image_size, : self.image_size]
        return self.normalised(pixels)

    def finite(self, features: np.ndarray, kind: str) -> np.ndarray:
        """`features` [N, D] as they are. Raises InputError naming the first that holds a value that is not finite."""
        bad = np.flatnonzero(~np.isfinite(features).all(axis=1))
        if len(bad):
            raise InputError(
                f"teacher {self.id} gave a non-finite {kind} feature (item {bad[0]} of {len(features)}, {self.dtype})",
                "Try --teacher-dtype float32; if that does not help, the weights are damaged: use others.",
            )
        return features


def _build(files: TeacherFiles) -> tuple[Any, Any]:
    """(open_clip model with the found weights in float32, its tokeniser); never a random model."""
    import open_clip
    import torch
    from safetensors import SafetensorError

    tokenizer = load_tokenizer(files)  # first: it is small, and may have to be fetched
    # A folder brings its own weights; a name is given the file, so that no request is made for it.
    a_folder = files.source.startswith(LOCAL)
    if a_folder:
        _check_size(files)
    try:
        with plain_path(files.weights.parent if a_folder else files.weights) as place, no_remote_code():
            model = open_clip.create_model(
                f"{LOCAL}{place}" if a_folder else files.source,
                pretrained=None if a_folder else str(place),
                force_quick_gelu=bool(files.architecture.get("quick_gelu", False)),
                force_preprocess_cfg=files.preprocess,
                require_pretrained=True,
            )
    except (*_UNFIT, SafetensorError) as error:
        if isinstance(error, pickle.UnpicklingError) or "weights_only" in str(error):
            raise more_than_weights(files) from error  # torch's own message advises to read it without the guard
        raise InputError(
            f"the weights of teacher {files.id} do not load: {files.weights}"
            + (f" into the network of the {CONFIG_FILE} beside it" if a_folder else "")
            + f": {type(error).__name__}: {first_line(error, 'no more is said')}",
            "The file is damaged or belongs to another architecture: "
            + ("fetch both again." if a_folder else "fetch it again, or correct --teacher-arch."),
        ) from error
    except ImportError as error:
        raise InputError(
            f"teacher {files.id} needs a package that is not installed: {error}", "Run pip install transformers."
        ) from error
    for name, tensor in model.state_dict().items():
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            raise InputError(
                f"the weights of teacher {files.id} hold values that are not finite: {name} in {files.weights}",
                "Fetch the file again or use other weights.",
            )
    return model, tokenizer


def _check_size(files: TeacherFiles) -> None:
    """Raises InputError for a network that its weights cannot fill, before it fills the memory."""
    numbers, held = fewest_parameters(files.architecture), os.path.getsize(files.weights)
    if numbers > held + _SMALL:  # no format has less than a byte for each
        raise InputError(
            f"the weights of teacher {files.id} do not load: {files.weights} holds {held:,} bytes, and the network of "
            f"the {CONFIG_FILE} beside it has {numbers:,} parameters or more",
            "The file is damaged or belongs to another architecture: fetch both again.",
        )


def more_than_weights(files: TeacherFiles) -> InputError:
    """The error for a checkpoint that torch's weights-only reader refuses: it is damaged, or reading it runs code."""
    return InputError(
        f"the weights of teacher {files.id} are not read: {files.weights} is damaged, or holds more than weights and "
        "could run code when read",
        "Only weights are loaded. Where running its code can do no harm, such as a container without network, convert "
        "it: safetensors.torch.save_file(model.state_dict(), 'weights.safetensors'); give that file as --teacher.",
    )
