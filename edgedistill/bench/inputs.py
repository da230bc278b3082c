"""What a model is fed with: made at random as its inputs ask for, or given in a file.

An input's first axis is the batch where the file leaves it free. Random numbers: bytes of all values, floats from 0 to
1, and whole numbers and booleans 0 or 1, which fit whatever they index or mask (ours: speed hardly depends on values,
but an index out of range ends the run).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ..errors import InputError
from ..targets import arrays
from ..targets.preprocess import BadImage, decode, read_file, to_pixels

QUERIES = 16  # different ones, so that no cache holds the only one
MOST_GIVEN = 8 << 30  # bytes of an input that is given
MOST_BYTES = 64 << 20  # of random input: fewer queries where one is large

Feed = dict[str, np.ndarray]


@dataclass(frozen=True)
class Input:
    """An input of a model: its name, numpy's name of its dtype, and its shape, in which a free axis is None."""

    name: str
    dtype: str
    shape: tuple[int | None, ...]

    @property
    def free_batch(self) -> bool:
        return bool(self.shape) and self.shape[0] is None


@dataclass(frozen=True)
class Given:
    """What the user gave: a file with the input (npy, npz or an image), and shapes by the input's name."""

    file: Path | None = None
    shapes: Mapping[str, tuple[int, ...]] = field(default_factory=dict)


def batch_of(inputs: Sequence[Input], asked: int | None) -> int:
    """How many items a query has: as asked where the batch is free (by default 1), else what the graph has.

    InputError where the graph has another batch than what is asked for.
    """
    if any(one.free_batch for one in inputs):
        return asked or 1
    fixed = inputs[0].shape[0] if inputs and inputs[0].shape else 1
    if asked not in (None, fixed):
        raise InputError(f"its batch is {fixed} and cannot be {asked}", "Export it with a free batch axis.")
    return fixed or 1


def feeds(inputs: Sequence[Input], batch: int, given: Given) -> list[Feed]:
    """One or more queries of `batch` items each. Raises InputError where the inputs cannot be made or do not fit."""
    wanted = {one.name: _shape(one, batch, given.shapes.get(one.name)) for one in inputs}
    if given.file is not None:
        windows = {one.name: _windows(one, wanted[one.name], array) for one, array in _read(inputs, wanted, given.file)}
    else:
        windows = _random(inputs, {name: _whole(name, shape) for name, shape in wanted.items()})
    count = max((len(own) for own in windows.values()), default=1)
    return [{name: own[index % len(own)] for name, own in windows.items()} for index in range(count)]


def _shape(one: Input, batch: int, asked: tuple[int, ...] | None) -> tuple[int | None, ...]:
    """The input's shape with the batch put in, and with the shape that was asked for."""
    shape = (batch, *one.shape[1:]) if one.free_batch else one.shape
    if asked is None:
        return shape
    start = 1 if one.free_batch else 0  # the batch is --batch's
    if len(asked) != len(shape) or not all(axis in (None, n) for axis, n in zip(shape[start:], asked[start:])):
        raise InputError(f"{one.name} has the shape {_words(one.shape)}, not {_words(asked)}", "Correct --shape.")
    if one.free_batch and asked[0] not in (1, batch):
        raise InputError(
            f"{one.name} has {asked[0]} items in --shape, and a query has {batch}", f"Add --batch {asked[0]}."
        )
    return (*shape[:1], *asked[1:])


def _whole(name: str, shape: tuple[int | None, ...]) -> tuple[int, ...]:
    if None in shape:
        example = ",".join(str(axis or 224) for axis in shape)
        raise InputError(
            f"the input {name} has free axes: {_words(shape)}",
            f"Give its shape, such as --shape {name}={example}, or --input FILE.npz.",
        )
    return tuple(axis for axis in shape if axis is not None)


def _random(inputs: Sequence[Input], shapes: Mapping[str, tuple[int, ...]]) -> dict[str, list[np.ndarray]]:
    size = sum(int(np.prod(shapes[one.name])) * np.dtype(one.dtype).itemsize for one in inputs)
    count, draw = max(1, min(QUERIES, MOST_BYTES // max(size, 1))), np.random.default_rng(0)
    return {one.name: [_drawn(draw, one.dtype, shapes[one.name]) for _ in range(count)] for one in inputs}


def _drawn(draw: np.random.Generator, dtype: str, shape: tuple[int, ...]) -> np.ndarray:
    kind = np.dtype(dtype)
    if kind.kind == "f":
        return np.asarray(draw.random(shape, np.float32)).astype(kind)
    if kind == np.uint8:
        return np.asarray(draw.integers(0, 256, shape, np.uint8))
    return np.asarray(draw.integers(0, 2, shape)).astype(kind)


def _read(
    inputs: Sequence[Input], wanted: Mapping[str, tuple[int | None, ...]], path: Path
) -> list[tuple[Input, np.ndarray]]:
    """The array that the file holds for each input."""
    if path.suffix == ".npz":
        held = _load(path)
        if missing := [one.name for one in inputs if one.name not in held]:
            raise InputError(
                f"{path} lacks {', '.join(missing)}", f"It has {', '.join(held)}: name them as inputs are."
            )
        return [(one, held[one.name]) for one in inputs]
    if len(inputs) != 1:
        names = ", ".join(one.name for one in inputs)
        raise InputError(f"{path} is one array, the model takes {names}", "Give an .npz that holds each by its name.")
    if path.suffix == ".npy":
        return [(inputs[0], _load(path)[""])]
    return [(inputs[0], _image(path, inputs[0], wanted[inputs[0].name]))]


def _load(path: Path) -> dict[str, np.ndarray]:
    """The arrays of an .npz by their names, of an .npy under ""."""
    try:
        if path.suffix == ".npy":
            return {"": arrays.read_npy(path, MOST_GIVEN)}
        return arrays.read_npz(path, MOST_GIVEN)
    except (OSError, arrays.Unfit) as error:
        raise InputError(f"cannot read {path}: {error}", "Give a file that numpy.save or numpy.savez wrote.") from error


def _image(path: Path, one: Input, shape: tuple[int | None, ...]) -> np.ndarray:
    """The image as `one` takes it, a batch of 1: bytes as they are, floats from 0 to 1; channels last or second."""
    last = len(shape) == 4 and shape[3] == 3
    second = len(shape) == 4 and shape[1] == 3 and not last
    side = shape[1] if last else shape[2] if second else None
    kind = np.dtype(one.dtype)
    if side is None or side != shape[2 if last else 3] or not (kind == np.uint8 or kind.kind == "f"):
        raise InputError(
            f"{one.name} takes {one.dtype} {_words(shape)}, which is no square image of three channels",
            "Give the input as .npy instead.",
        )
    try:
        pixels = to_pixels(decode(read_file(path)), side)[None]
    except BadImage as error:
        raise InputError(f"{path}: {error}", "Give an .npy, an .npz, or a readable photo.") from error
    pixels = pixels if last else pixels.transpose(0, 3, 1, 2)
    return np.ascontiguousarray(pixels if kind == np.uint8 else (pixels / 255).astype(kind))


def _windows(one: Input, shape: tuple[int | None, ...], array: np.ndarray) -> list[np.ndarray]:
    """The array cut into queries, as views: as many items each as `shape` has; repeated where there are fewer."""
    fits = array.ndim == len(shape) and all(axis in (None, n) for axis, n in zip(shape[1:], array.shape[1:]))
    if not fits or array.size == 0 or not np.can_cast(array.dtype, one.dtype, "same_kind"):
        raise InputError(
            f"{one.name} takes {one.dtype} {_words(shape)}, not {array.dtype} {_words(array.shape)}",
            "Give the input in that shape; the first axis may be longer.",
        )
    array = np.ascontiguousarray(array, one.dtype)
    if not shape:
        return [array]
    count = shape[0] or 1
    if len(array) < count:
        array = np.resize(array, (count, *array.shape[1:]))  # repeats it
    return [array[start : start + count] for start in range(0, len(array) - count + 1, count)]


def _words(shape: Sequence[int | None]) -> str:
    return f"[{','.join('?' if axis is None else str(axis) for axis in shape)}]"
