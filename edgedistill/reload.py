"""Load exported graphs as an application does: a fresh process that has onnxruntime and nothing of what made them.

Run by export.py as `python -m edgedistill.reload FOLDER MODEL...`, once for all graphs of a build. FOLDER holds
`images.npy`; graph number i leaves its outputs in `i.npz` and its inputs and outputs, as onnxruntime declares them, in
`i.json`. One thread, so that the reference answers do not depend on the machine's load.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime


def reload(model: Path, images: np.ndarray) -> tuple[dict[str, Any], dict[str, list]]:
    """Outputs by name for uint8 images [M, S, S, 3], and {input or output name: [type, shape]}."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    one_by_one = [session.run(names, {"image": image[None]}) for image in images]
    outputs = {name: np.concatenate(parts) for name, parts in zip(names, zip(*one_by_one))}
    declared = {io.name: [io.type, io.shape] for io in [*session.get_inputs(), *session.get_outputs()]}
    return outputs, declared


def main(folder: str, *models: str) -> None:
    scratch = Path(folder)
    images = np.load(scratch / "images.npy", allow_pickle=False)
    for index, model in enumerate(models):
        outputs, declared = reload(Path(model), images)
        np.savez(scratch / f"{index}.npz", **outputs)
        (scratch / f"{index}.json").write_text(json.dumps(declared))


if __name__ == "__main__":
    main(*sys.argv[1:])
