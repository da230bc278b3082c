"""Inputs and outputs that onnxruntime keeps bound, on the device: nothing is allocated or looked up in a call."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np

from .session import INPUT, OUTPUTS, Outputs


class Bound:
    """Buffers of one session for calls of exactly `batch` images.

    images [batch,S,S,3] and the outputs lie on `device` ("cpu", "cuda"); a call copies in, runs and copies out. Calls
    of several threads wait for each other: there is one set of buffers.
    """

    def __init__(self, ort: Any, session: Any, shapes: dict[str, tuple[int, ...]], device: str) -> None:
        self._session, self._lock = session, threading.Lock()
        self._binding = session.io_binding()
        self._values = {
            name: ort.OrtValue.ortvalue_from_shape_and_type(
                list(shape), np.uint8 if name == INPUT else np.float32, device, 0
            )
            for name, shape in shapes.items()
        }
        self._binding.bind_ortvalue_input(INPUT, self._values[INPUT])
        for name in OUTPUTS:
            self._binding.bind_ortvalue_output(name, self._values[name])

    def run(self, images: np.ndarray) -> Outputs:
        """uint8 [batch,S,S,3] -> Outputs, arrays of the caller's own. onnxruntime's errors pass."""
        with self._lock:
            self._values[INPUT].update_inplace(np.ascontiguousarray(images))
            self._session.run_with_iobinding(self._binding)
            return Outputs(*(np.array(self._values[name].numpy()) for name in OUTPUTS))
