"""The light half: a bundle as a classifier in an application. numpy, Pillow and one runtime, nothing else.

    from edgedistill import Classifier
    Classifier("bundle").predict("x.jpg").label

Pixels and session are those of `targets/`, on the board under the runtime that was selected: what answers is what was
measured.
"""

from __future__ import annotations

import os
import threading
import weakref
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

import numpy as np

from .errors import InputError
from .targets import machine
from .targets.errors import TargetError
from .targets.limits import PROFILE
from .targets.manifest import Manifest, read_manifest, selected_precision, selected_runtime
from .targets.names import CPU, TENSORRT, TORCH_TENSORRT
from .targets.preprocess import BadImage, decode, from_array, from_pil, read_file, to_pixels
from .targets.printable import line
from .targets.runtimes import choose, measured_threads, open_session
from .targets.session import Outputs, check_finite

if TYPE_CHECKING:
    from PIL.Image import Image

    ImageLike = str | os.PathLike[str] | bytes | np.ndarray | Image


@dataclass(frozen=True)
class Prediction:
    """The answer for one image.

    label: the most probable class; probability: its share, 0..1; probabilities: float32 [C], in the order of
    `Classifier.labels`; known: today the same number as `probability`, kept for a score of its own. It is no test for
    foreign objects: of whatever an image shows, one class is the most probable.
    """

    label: str
    probability: float
    known: float
    probabilities: np.ndarray


class BadImageError(InputError):
    """What was given is not a usable image.

    predictions: of a list, the answers for all of it, None for what is no usable image; empty for a single one.
    """

    def __init__(self, wrong: str, todo: str, predictions: tuple[Prediction | None, ...] = ()) -> None:
        super().__init__(wrong, todo)
        self.predictions = predictions

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.wrong, self.todo, self.predictions)


class Classifier:
    """A bundle's model, loaded once.

    bundle: the folder that `edgedistill build` wrote. threads: of the CPU session; 0 is the physical cores, at most
    8. None is, on the board that the bundle was measured on, what the selected model was measured with, elsewhere and
    before a verdict the profile's choice. precision: "fp32", "fp16" ...; None is the one the verdict selected, fp32
    before any.
    runtime: a name of docs/runtimes.md, or "profile" for the profile's first that works here. None is, on the board
    that the bundle was built for, the runtime that the verdict selected; on any other machine, and before a verdict,
    onnxruntime on the processor. Whichever it is, it is asserted: one that does not work here is an error, and nothing
    else takes its place. TensorRT builds its engine where there is none that fits, which can take minutes.
    Loading checks the manifest and the one model file it opens; `edgedistill verify` checks every file.
    Raises InputError: no bundle, a damaged one, no such precision, a runtime that does not work here.

    labels: the classes, in the order of every array of probabilities. size: pixels a side of the model's input.
    precision, runtime: those in use.

    Threads: any number of them may call one Classifier at once, and get the answers that one thread gets; TensorRT
    answers one after the other.
    Processes: in a forked child the model is opened anew on the first call, since a session's threads stay behind in
    the parent. So the bundle must still be there, and each worker holds a model of its own. A child should end as those
    of multiprocessing do (os._exit): where onnxruntime was imported before a fork, the interpreter's ordinary end can
    hang in the child (seen with onnxruntime 1.32, without any session). A pickled Classifier is its folder and its
    options, and a spawned worker loads it from there. On a GPU only that works: CUDA cannot be used in a forked child.
    Nothing of the program that uses it is changed: no warning filter, no limit of Pillow's, no thread count.
    """

    def __init__(
        self,
        bundle: str | os.PathLike[str],
        *,
        threads: int | None = None,
        precision: str | None = None,
        runtime: str | None = None,
    ) -> None:
        bundle = os.path.expanduser(bundle)
        if not bundle:
            raise InputError("the bundle's path is empty", "Name the folder `build` wrote.")
        _check_threads(threads)
        try:
            manifest = read_manifest(Path(bundle), check_hashes=False)
            self.precision: str = manifest.model(precision or selected_precision(manifest))["precision"]
            self.runtime: str = _runtime_of(manifest, runtime)
            used = measured_threads(manifest, self.precision, self.runtime) if threads is None else threads
            self._session: _Session | None = _Session(manifest, self.precision, self.runtime, used)
        except TargetError as error:
            raise InputError(error.wrong, error.todo) from error
        self._bundle = os.path.abspath(bundle)
        self._threads = threads
        self.labels: list[str] = manifest.labels
        self.size: int = manifest.size
        _alive.add(self)

    def __reduce__(self) -> tuple[Any, ...]:
        return _load, (self._bundle, self._threads, self.precision, self.runtime)

    @overload
    def predict(self, image: list[Any]) -> list[Prediction]: ...
    @overload
    def predict(self, image: ImageLike) -> Prediction: ...

    def predict(self, image: ImageLike | list[Any]) -> Prediction | list[Prediction]:
        """Classify one image, or each of a list (then a list comes back).

        An image is a path, the bytes of a file, a PIL image, or an array: uint8 [H,W,3] RGB, [H,W] grey or [H,W,4]
        with alpha, of any size. Raises BadImageError, an InputError, for what is not a usable image, naming it and the
        reason; of a list all others are answered first, and stand in the error's `predictions`.
        """
        if not isinstance(image, list):
            return self._predict_one(image, "the image")
        found: list[Prediction | None] = []
        bad: list[BadImageError] = []
        for index, item in enumerate(image):
            try:
                found.append(self._predict_one(item, f"image {index}"))
            except BadImageError as error:
                found.append(None)
                bad.append(error)
        if bad:
            more = f" (and {len(bad) - 1} more of {len(image)})" if len(bad) > 1 else ""
            raise BadImageError(f"{bad[0].wrong}{more}", bad[0].todo, tuple(found))
        return [one for one in found if one is not None]

    def predict_array(self, images: np.ndarray) -> np.ndarray:
        """Pixels at the model's size, uint8 [N,S,S,3] RGB -> probabilities float32 [N,C]. Nothing but the run."""
        return self._answers(images).probabilities

    def _predict_one(self, image: ImageLike, what: str) -> Prediction:
        try:
            pixels = to_pixels(_image_of(image, what), self.size)
        except BadImage as error:
            name = (os.fspath(image) if isinstance(image, (str, os.PathLike)) else "") or what
            raise BadImageError(f"{name}: {error}", "Give a readable photo, such as a JPEG or PNG.") from error
        outputs = self._answers(pixels[None])
        probabilities = outputs.probabilities[0]
        best = int(probabilities.argmax())
        return Prediction(self.labels[best], float(probabilities[best]), float(outputs.known[0]), probabilities)

    def _answers(self, images: np.ndarray) -> Outputs:
        """InputError for other pixels than the model takes, and where it answers with NaN."""
        try:
            outputs = self._opened().run(images)
            check_finite(outputs)
        except TargetError as error:
            raise InputError(error.wrong, error.todo) from error
        return outputs

    def _opened(self) -> _Session:
        """The session of this process. Of two threads that open it at once in a new child, one is used after that."""
        session = self._session
        if session is None:
            session = self._session = _load(self._bundle, self._threads, self.precision, self.runtime)._session
            assert session is not None
        return session


class _Session:
    """A runtime's session that threads may share: those with one set of buffers answer one thread after the other."""

    def __init__(self, manifest: Manifest, precision: str, runtime: str, threads: int | None) -> None:
        self._session = open_session(manifest, precision, runtime, threads)
        self._turn = threading.Lock() if runtime in (TENSORRT, TORCH_TENSORRT) else None

    def run(self, images: np.ndarray) -> Outputs:
        if self._turn is None:
            return self._session.run(images)
        with self._turn:
            return self._session.run(images)


def _runtime_of(manifest: Manifest, asked: str | None) -> str:
    """The runtime to open; TargetError where it does not work here."""
    if asked is not None:
        return choose(manifest, None if asked == "profile" else asked)
    measured = selected_runtime(manifest)
    if measured is None or measured == CPU or machine.identify(manifest.profile).status != machine.MATCH:
        return CPU
    return choose(manifest, measured)


def _load(bundle: str, threads: int | None, precision: str, runtime: str) -> Classifier:
    return Classifier(bundle, threads=threads, precision=precision, runtime=runtime)


# In a forked child a session of the parent's is neither used nor freed: freeing it waits for threads that are not
# there, or crashes. Each Classifier opens one of its own instead.
_alive: weakref.WeakSet[Classifier] = weakref.WeakSet()
_of_the_parent: list[_Session] = []


def _leave_sessions_to_the_parent() -> None:
    for classifier in list(_alive):
        if classifier._session is not None:
            _of_the_parent.append(classifier._session)
            classifier._session = None


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_leave_sessions_to_the_parent)


def _check_threads(threads: object) -> None:
    """InputError for another number than a profile may have."""
    allowed = PROFILE["runtime.threads"]
    if threads is not None and (type(threads) is not int or not allowed.holds(threads)):
        raise InputError(
            f"threads is {line(repr(threads), 40)}, not a whole number {allowed.words}", "Leave it out, or give 1."
        )


def _image_of(image: ImageLike, what: str) -> Image:
    if isinstance(image, (str, os.PathLike)):
        return decode(read_file(os.path.expanduser(image)))
    if isinstance(image, (bytes, bytearray, memoryview)):
        return decode(bytes(image))
    if isinstance(image, np.ndarray):
        return from_array(image)
    if hasattr(image, "convert") and hasattr(image, "getexif"):  # a PIL image, without importing Pillow to ask
        return from_pil(image)
    raise BadImageError(
        f"{what}: cannot classify a {type(image).__name__}",
        "Give a path, the bytes of a file, a PIL image, an array, or a list.",
    )
