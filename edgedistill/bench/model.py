"""What is named on the command line, as models: an ONNX file, a bundle (each of its models), a TensorRT engine."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ..errors import InputError
from ..targets import runtimes
from ..targets.manifest import Manifest, read_manifest
from ..targets.names import TENSORRT
from ..targets.providers import Settings
from ..verdict.verdict import Verdict, read_verdict

ENGINES = (".engine", ".plan", ".trt")


@dataclass(frozen=True)
class Model:
    """One model. `path`: its file. Of a bundle's: its manifest and precision, the check images, which it is timed on,
    and the accuracy (0..1) that the bundle's verdict holds for it."""

    name: str
    path: Path
    bundle: Manifest | None = None
    precision: str | None = None
    images: Path | None = None
    accuracy: float | None = None

    @property
    def is_engine(self) -> bool:
        return self.path.suffix in ENGINES

    def file_for(self, runtime: str) -> Path:
        """What `runtime` opens: of a bundle's model under TensorRT its engine, which is built where none fits.

        Raises InputError for a file that this runtime does not read, TargetError where an engine cannot be built.
        """
        if runtime != TENSORRT and self.is_engine:
            raise InputError(f"{self.path} is an engine, {runtime} reads ONNX files", f"Use --runtime {TENSORRT}.")
        if runtime != TENSORRT or self.is_engine:
            return self.path
        if self.bundle is None or self.precision is None:
            todo = "Name an engine or a bundle, or use --runtime onnxruntime-cuda."
            raise InputError(f"{self.path} is no engine, and {TENSORRT} runs nothing else", todo)
        return runtimes.engine_of(self.bundle, self.precision)

    def settings_for(self, runtime: str) -> Settings:
        """How `runtime` runs it: a bundle's model as its profile says, so as `verify` does; else as fast as it can."""
        if self.bundle is None or self.precision is None:
            return Settings(cuda_graph=runtime == TENSORRT)
        return runtimes.settings_of(self.bundle, self.precision, runtime)

    @property
    def threads(self) -> int | None:
        """On the processor: what its profile fixes; None where a trial is to find out."""
        return self.bundle.profile["runtime"].get("threads") or None if self.bundle else None


def find_models(paths: Sequence[Path]) -> list[Model]:
    """The models that `paths` name, in their order; those of one name are told apart by their paths.

    Raises InputError for a path that is none of the three, TargetError for a bundle that is damaged.
    """
    found = [model for path in paths for model in _models_of(path)]
    named = Counter(model.name for model in found)
    return [replace(model, name=str(model.path)) if named[model.name] > 1 else model for model in found]


def _models_of(path: Path) -> list[Model]:
    if path.is_dir():
        return _models_of_bundle(path)
    if not path.is_file():
        raise InputError(f"there is no {path}", "Name an ONNX file, a bundle's folder, or a TensorRT engine.")
    if path.suffix not in (".onnx", *ENGINES):
        raise InputError(
            f"{path} is no model that can be told by its name",
            f"Name a folder, or a file that ends in .onnx, {', '.join(ENGINES)}.",
        )
    return [Model(path.stem, path)]


def _models_of_bundle(folder: Path) -> list[Model]:
    manifest = read_manifest(folder, check_hashes=False)
    verdict = _verdict_of(manifest)
    name = folder.resolve().name
    return [
        Model(
            name=f"{name} {precision}" if len(manifest.precisions) > 1 else name,
            path=manifest.file(manifest.model(precision)["file"]),
            bundle=manifest,
            precision=precision,
            images=manifest.file("check/images.npy"),
            accuracy=_accuracy(verdict, precision),
        )
        for precision in runtimes.precisions(manifest)
    ]


def _verdict_of(manifest: Manifest) -> Verdict | None:
    """The verdict of this very build; None before any."""
    if not (manifest.path / "verdict.json").is_file():
        return None
    verdict = read_verdict(manifest.path)
    return verdict if verdict.build_id == manifest.build_id else None


def _accuracy(verdict: Verdict | None, precision: str) -> float | None:
    """The accuracy of a precision: the runtimes it was measured under differ in speed, hardly in what they answer."""
    candidates = verdict.precision_candidates if verdict else ()
    return next((one.accuracy for one in candidates if one.precision == precision and one.accuracy is not None), None)
