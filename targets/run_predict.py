"""`run.py predict`: image files are classified."""

from __future__ import annotations

import argparse
import sys

from . import runtimes, streams
from .errors import TargetError
from .manifest import Manifest, read_manifest, selected_precision, selected_runtime
from .printable import say, say_json
from .run_options import bundle_of
from .session import check_finite


def predict(options: argparse.Namespace) -> int:
    """Classify image files: a line an image, or with --json an object a line.

    One that cannot be read is named on stderr, with --json on stdout as well ({"path", "error"}), the others are
    classified, and the exit code is 2.
    """
    from .preprocess import BadImage, decode, read_file, to_pixels

    manifest = read_manifest(bundle_of(options), check_hashes=False)
    precision = options.model or selected_precision(manifest)
    runtime = options.runtime or _measured_runtime(manifest)
    runtime = runtimes.choose(manifest, runtime)
    threads = options.threads
    if threads is None:
        threads = runtimes.measured_threads(manifest, precision, runtime)
    session = runtimes.open_session(manifest, precision, runtime, threads)
    exit_code = 0
    try:
        for path in options.images:
            if streams.unread(sys.stdout):
                break
            try:
                pixels = to_pixels(decode(read_file(path)), manifest.size)
            except BadImage as error:
                exit_code = TargetError.exit_code
                say(f"error: {path}: {error}", error=True)
                say("Name a readable photo, such as a JPEG or PNG.", error=True)
                if options.json:
                    say_json({"path": str(path), "error": f"{path}: {error}"})
                continue
            except ImportError as error:
                raise TargetError(f"Pillow cannot be imported: {error}", "pip install pillow") from error
            outputs = session.run(pixels[None])
            check_finite(outputs)
            probabilities = outputs.probabilities[0]
            best = int(probabilities.argmax())
            label, probability = manifest.labels[best], float(probabilities[best])
            if options.json:
                known = {"known": float(outputs.known[0])}
                every = {"probabilities": dict(zip(manifest.labels, map(float, probabilities)))}
                say_json({"path": str(path), "label": label, "probability": probability, **known, **every})
            else:
                say(f"{path}  {label}  {probability:.3f}")
    finally:
        session.close()
    if why := streams.lost(sys.stdout):
        raise TargetError(f"the answers cannot be printed: {why}", "Make room there, or send them elsewhere.")
    return exit_code


def _measured_runtime(manifest: Manifest) -> str | None:
    """The runtime that the verdict selected, where it works here."""
    name = selected_runtime(manifest)
    return name if name in runtimes.RUNTIMES and runtimes.problem(name) is None else None
