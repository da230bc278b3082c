"""Public data sets as they lie on disk, and each turned into what `edgedistill build` takes.

    CIFAR           the Python pickles (`cifar-100-python/`, `cifar-10-batches-py/`), or class folders
    class folders   train/CLASS/..., and test/ or val/; one folder of class folders is halved by content
    a split file    {"train": [[path, label, name], ...], "test": ...}, as CoOp (arXiv 2109.01134) shares them

Nothing of a pickle is built but lists, dicts, numbers, text and raw bytes: a pickle can name any function to be called
when it is read, and a data set from the net is not to be trusted with that.
"""

from __future__ import annotations

import hashlib
import io
import json
import math
import pickle
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from real_photos import _link, halve
from zero_shot import PICTURES

from edgedistill.errors import InputError
from edgedistill.labels import Labels
from edgedistill.work import atomic

Content = Path | bytes
"""An image: a file, or the bytes of one."""


@dataclass(frozen=True)
class PublicSet:
    """Class names in their own order, unlabelled training images, test images with the number of their class.

    `base`: how many of the classes, the first ones, are base classes; None where no split is known.
    `published_split`: whether training and test images are told apart as the set's authors did.
    """

    names: tuple[str, ...]
    pool: Sequence[Content]
    test: Sequence[tuple[int, Content]]
    base: int | None = None
    published_split: bool = True


# ---- CIFAR -----------------------------------------------------------------------------------------------------------


@dataclass
class _Array:
    """What stands for a numpy array while a pickle is read: numpy's state is (version, shape, dtype, order, raw)."""

    state: tuple[Any, ...] = ()

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self.state = state

    def pixels(self) -> np.ndarray:
        """uint8 [N, 3072]. Raises ValueError for anything else."""
        _, shape, dtype, fortran, raw = self.state
        if not isinstance(dtype, _Dtype) or dtype.name not in ("u1", "|u1", "uint8") or fortran:
            raise ValueError("its pixels are not uint8 in C order")
        data = raw.encode("latin1") if isinstance(raw, str) else raw
        return np.asarray(np.frombuffer(data, np.uint8).reshape(shape))


@dataclass
class _Dtype:
    name: str = ""

    def __setstate__(self, state: object) -> None:
        """Byte order and the like say nothing of single bytes."""


def _array(*_: object) -> _Array:
    return _Array()


def _dtype(name: object, *_: object) -> _Dtype:
    return _Dtype(str(name))


def _text_as_bytes(text: object, encoding: object = "latin1") -> bytes:
    """What Python 3 writes for bytes in an old pickle: text, to be encoded. No other codec is called."""
    if not isinstance(text, str) or encoding != "latin1":
        raise pickle.UnpicklingError(f"it asks for the codec {encoding!r}")
    return text.encode("latin1")


_STAND_INS = {
    ("numpy.core.multiarray", "_reconstruct"): _array,
    ("numpy._core.multiarray", "_reconstruct"): _array,
    ("numpy", "dtype"): _dtype,
    ("numpy", "ndarray"): None,  # the type that _reconstruct is told; never called
    ("_codecs", "encode"): _text_as_bytes,
}


class _Unpickler(pickle.Unpickler):
    """Knows no class and no function but the stand-ins above."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _STAND_INS:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}")
        return _STAND_INS[module, name]


def read_pickle(path: Path) -> dict[str, Any]:
    """The dict of a CIFAR file. Raises InputError where the file asks for any foreign object, or is no such dict."""
    try:
        with open(path, "rb") as file:
            found = _Unpickler(file, encoding="latin1").load()
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}", "Unpack the archive again.") from error
    except Exception as error:  # a damaged pickle raises whatever its bytes happen to ask for
        raise InputError(
            f"{path} is damaged, or holds more than images: {error}",
            "Nothing of it was run. Fetch the set from its own page, or give class folders of PNG files.",
        ) from error
    if not isinstance(found, dict):
        raise InputError(f"{path} holds no dict, but {type(found).__name__}", "Give the set's own Python version.")
    return found


@dataclass(frozen=True)
class _Cifar:
    folder: str
    meta: str
    names: str
    labels: str
    train: tuple[str, ...]
    test: str


_CIFAR = {
    "cifar10": _Cifar(
        "cifar-10-batches-py",
        "batches.meta",
        "label_names",
        "labels",
        tuple(f"data_batch_{k}" for k in range(1, 6)),
        "test_batch",
    ),
    "cifar100": _Cifar("cifar-100-python", "meta", "fine_label_names", "fine_labels", ("train",), "test"),
}


def cifar(which: str, data: Path) -> PublicSet:
    """CIFAR-10 or CIFAR-100: the pickles in `data` or in its sub-folder of the usual name, else class folders."""
    kind = _CIFAR[which]
    for folder in (data, data / kind.folder):
        if (folder / kind.meta).is_file():
            break
    else:
        return class_folders(data)
    names = tuple(str(name).replace("_", " ") for name in _entry(folder / kind.meta, kind.names))
    pool = [png for batch in kind.train for _, png in _batch(folder / batch, kind.labels)]
    return PublicSet(names, pool, _batch(folder / kind.test, kind.labels))


def _entry(path: Path, key: str) -> list[Any]:
    found = read_pickle(path).get(key)
    if not isinstance(found, list):
        raise InputError(f"{path} has no list {key!r}", "Give the set's own Python version.")
    return found


def _batch(path: Path, labels: str) -> list[tuple[int, bytes]]:
    """(class, PNG file) of every image: 32 x 32, stored as 1024 red, 1024 green and 1024 blue values."""
    found = read_pickle(path)
    try:
        images = found["data"].pixels().reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
        classes = [int(label) for label in found[labels]]
    except (KeyError, ValueError, TypeError, AttributeError) as error:
        raise InputError(f"{path} is no batch of CIFAR: {error}", "Give the set's own Python version.") from error
    if len(classes) != len(images):
        raise InputError(f"{path}: {len(images)} images, {len(classes)} labels", "Unpack the archive again.")
    return [(label, _png(image)) for label, image in zip(classes, images)]


def _png(image: np.ndarray) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(image).save(stream, "PNG")
    return stream.getvalue()


# ---- folders ---------------------------------------------------------------------------------------------------------


def class_folders(data: Path, names: dict[str, str] | None = None) -> PublicSet:
    """train/CLASS/... beside test/ or val/; or class folders alone, of which the lower half by content is the test.

    Classes are in the order of their folders' names; `names` tells what a folder's class is called, else it is the
    folder's name with `_` as space.
    """
    test = next((data / name for name in ("test", "val") if (data / name).is_dir()), None)
    train = data / "train"
    if test is not None and train.is_dir():
        folders = sorted({child.name for part in (train, test) for child in part.iterdir() if child.is_dir()})
        pool = [path for folder in folders for path in _pictures(train / folder)]
        checked = [(k, path) for k, folder in enumerate(folders) for path in _pictures(test / folder)]
        return PublicSet(_called(folders, names, data), pool, checked)
    folders = sorted(child.name for child in data.iterdir() if child.is_dir() and any(_pictures(child)))
    if len(folders) < 2:
        raise InputError(
            f"--data {data} holds neither train/ and test/ (or val/) nor class folders",
            "Give the folder that the public archive unpacks to; --list says which data a protocol takes.",
        )
    print(f"{data} has no train/ and test/: each class is halved by the SHA-256 of its photos, the lower half tests")
    upper, lower = halve(path for folder in folders for path in _pictures(data / folder))
    place = {data / folder: k for k, folder in enumerate(folders)}
    checked = [(place[path.parent], path) for path in lower.values()]
    return PublicSet(_called(folders, names, data), list(upper.values()), checked, published_split=False)


def imagenet(data: Path, names: dict[str, str] | None = None) -> PublicSet:
    """train/n01440764/... and val/n01440764/...; the names of the 1,000 are open_clip's where none are given.

    The first 500, by WordNet id, are the base classes (CoCoOp).
    """
    found = class_folders(data, names or _wordnet_names(data))
    return replace(found, base=math.ceil(len(found.names) / 2))


def _wordnet_names(data: Path) -> dict[str, str]:
    from edgedistill.teacher.torchvision_ops import ensure_torchvision

    ensure_torchvision()
    import open_clip

    train = data / "train"
    folders = sorted(child.name for child in train.iterdir() if child.is_dir()) if train.is_dir() else []
    if len(folders) != len(open_clip.IMAGENET_CLASSNAMES):
        raise InputError(
            f"{train} holds {len(folders)} class folders, and ImageNet-1K has {len(open_clip.IMAGENET_CLASSNAMES)}",
            "Give the whole set, or --names FILE with a line `folder name` for each class.",
        )
    # Two names stand there twice. WordNet has another word for one of each pair; a class list needs it.
    return dict(zip(folders, open_clip.IMAGENET_CLASSNAMES)) | {"n04008634": "projectile", "n04355933": "sunglass"}


def read_names(path: Path) -> dict[str, str]:
    """Lines `folder name`, such as `n01440764 tench`. Raises InputError."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            f"--names {path} cannot be read: {error}", "Give a UTF-8 file, `folder name` a line."
        ) from error
    split = (line.strip().partition(" ") for line in lines if line.strip())
    return {folder: name.strip() for folder, _, name in split}


def _called(folders: Sequence[str], names: dict[str, str] | None, data: Path) -> tuple[str, ...]:
    if names is None:
        return tuple(folder.replace("_", " ") for folder in folders)
    unnamed = [folder for folder in folders if not names.get(folder)]
    if unnamed:
        raise InputError(
            f"no name for {len(unnamed)} class folders of {data}: {', '.join(unnamed[:3])}",
            "Give --names FILE with a line `folder name` for each class.",
        )
    return tuple(names[folder] for folder in folders)


def _pictures(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    return sorted(path for path in folder.iterdir() if path.suffix.lower() in PICTURES)


def any_photos(folder: Path) -> list[Path]:
    """Every picture below `folder`, at any depth. Raises InputError where there is none."""
    found = sorted(path for path in folder.rglob("*") if path.suffix.lower() in PICTURES and path.is_file())
    if not found:
        raise InputError(f"--pool {folder} holds no photo", "Give a folder of unlabelled photos, at any depth.")
    return found


def from_split(data: Path, split: Path) -> PublicSet:
    """The images below `data` that a split file names. The first half of its classes, rounded up, are base classes.

    Raises InputError for a file of another shape, and for the first image that is not there.
    """
    try:
        read = json.loads(split.read_text(encoding="utf-8"))
        listed = {
            part: [(str(p), int(label), str(name)) for p, label, name in read[part]] for part in ("train", "test")
        }
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"--split {split} is no split file: {error!r}",
            'It is JSON: {"train": [[path, label, name], ...], "test": [...]}, as CoOp shares them.',
        ) from error
    called = {label: name.replace("_", " ") for part in listed.values() for _, label, name in part}
    order = {label: k for k, label in enumerate(sorted(called))}
    for path, _, _ in (*listed["train"], *listed["test"]):
        if not (data / path).is_file():
            raise InputError(f"{data / path} is not there, and {split} lists it", "Point --data at the split's images.")
    pool = [data / path for path, _, _ in listed["train"]]
    test = [(order[label], data / path) for path, label, _ in listed["test"]]
    return PublicSet(tuple(called[label] for label in sorted(called)), pool, test, math.ceil(len(called) / 2))


# ---- the input of a build --------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Photos:
    """A folder with labels.txt, pool/HASH and check/CLASS/HASH; test files and the class number of each."""

    folder: Path
    labels: Labels
    files: tuple[Path, ...]
    truth: np.ndarray
    pool: int


def lay_out(found: PublicSet, name: str, work: Path) -> Photos:
    """`found` as a build takes it, in a folder below `work` that is whole or not there; made once.

    File names are content hashes and the pool is flat, so that no path tells a class. Equal files count once; a test
    file under two classes has no true class and is left out; no file of the pool is in the test.
    """
    test: dict[str, tuple[int, Content]] = {}
    ambiguous = set()
    for label, content in found.test:
        content_hash = _sha256(content)
        if test.setdefault(content_hash, (label, content))[0] != label:
            ambiguous.add(content_hash)
    pool = {_sha256(content): content for content in found.pool}
    inside = {f"pool/{content_hash}": content for content_hash, content in pool.items() if content_hash not in test}
    count = len(inside)
    labelled = {key: pair for key, pair in sorted(test.items()) if key not in ambiguous}
    place = [_folder_name(word) for word in found.names]
    checked = {f"check/{place[label]}/{key}": (label, content) for key, (label, content) in labelled.items()}
    inside |= {path: content for path, (_, content) in checked.items()}
    key = atomic.digest({"names": found.names, "photos": sorted(inside)})[:16]
    photos, partial = work / f"{name}-{key}", work / f".{name}-{key}.partial"
    if not photos.is_dir():
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        (partial / "labels.txt").write_text("".join(f"{word}\n" for word in found.names), encoding="utf-8")
        Labels.read(partial / "labels.txt")  # before a million links are made: two names may be the same
        for path, content in inside.items():
            (partial / path).parent.mkdir(parents=True, exist_ok=True)
            if isinstance(content, bytes):
                (partial / path).write_bytes(content)
            else:
                _link(content.resolve(), partial / path)
        atomic.publish(partial, photos)
    labels = Labels.read(photos / "labels.txt")
    truth = np.array([label for label, _ in checked.values()], np.int64)
    return Photos(photos, labels, tuple(photos / path for path in checked), truth, count)


def _sha256(content: Content) -> str:
    return hashlib.sha256(content).hexdigest() if isinstance(content, bytes) else atomic.sha256_file(content)


def _folder_name(word: str) -> str:
    """The class `F/A-18` cannot be a folder. With the wide slash it can, and class names take that for a plain one."""
    return word.replace("/", "\N{FULLWIDTH SOLIDUS}")
