"""Load exported graphs as an application does: a fresh process that has onnxruntime and nothing of what made them.

Run by models.py as `python -m edgedistill.export.reload FOLDER MODEL...`, once for all graphs of a build. FOLDER holds
`images.npy`; graph number i leaves its outputs in `i.npz`. One thread, so that the reference answers do not depend on
the machine's load.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import onnxruntime

from ..targets import lifeline
from ..targets.ort import model_source


def reload(model: Path, images: np.ndarray) -> dict[str, np.ndarray]:
    """Outputs by name for uint8 images [M, S, S, 3]."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(model_source(model), options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    one_by_one = [session.run(names, {"image": image[None]}) for image in images]
    return {name: np.concatenate(parts) for name, parts in zip(names, zip(*one_by_one))}


def main(folder: str, *models: str) -> None:
    lifeline.end_with_parent()
    scratch = Path(folder)
    images = np.load(scratch / "images.npy", allow_pickle=False)
    for index, model in enumerate(models):
        np.savez(scratch / f"{index}.npz", **reload(Path(model), images))  # type: ignore[arg-type]


if __name__ == "__main__":
    main(*sys.argv[1:])
