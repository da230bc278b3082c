"""What to install on a board that has none of the profile's runtimes: the package by name, for its system.

Which JetPack brings what: NVIDIA's TensorRT install guide (python3-libnvinfer is the Python module) and its JetPack
release notes (L4T 36 is JetPack 6, 38 and 39 are JetPack 7). A runtime from the package index goes into an environment
beside the bundles, since Debian's and Raspberry Pi OS's own Python takes no packages from pip.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from ..targets.names import (
    CPU,
    CUDA,
    OPENVINO,
    ORT_TENSORRT,
    ORT_TENSORRT_RTX,
    TENSORRT,
    TORCH_TENSORRT,
)
from .address import Address
from .trouble import Greeting

JETPACK = {36: "JetPack 6", 38: "JetPack 7", 39: "JetPack 7"}
FROM_INDEX: dict[str, tuple[str, ...]] = {  # of every runtime the packages, beside numpy (docs/runtimes.md)
    CPU: ("onnxruntime",),
    OPENVINO: ("onnxruntime-openvino",),
    CUDA: ("onnxruntime-gpu",),
    ORT_TENSORRT: ("onnxruntime-gpu", "tensorrt"),
    ORT_TENSORRT_RTX: (),  # no wheel on the index has it
    TENSORRT: ("tensorrt",),
    TORCH_TENSORRT: ("torch-tensorrt",),
}


def advice(address: Address, greeting: Greeting, prefer: Sequence[str], found: dict[str, object]) -> str:
    """One sentence with the command to type. prefer: the profile's runtimes; found: what the board told of itself
    (on_board.Conversation.do_look)."""
    if greeting.release is not None and TENSORRT in prefer:
        return _on_a_jetson(address, greeting, bool(found.get("virtual")))
    wanted = CPU if CPU in prefer else prefer[0]
    packages = FROM_INDEX[wanted]
    if wanted == CPU and "Raspberry Pi 4" in str(found.get("model", "")):
        packages = ("onnxruntime!=1.21.0",)  # that one ends by SIGILL on its processor
    home, folder = ("~/", address.folder[2:]) if address.folder.startswith("./") else ("", address.folder)
    environment = home + shlex.quote(f"{folder}/runtime")  # a quoted ~ would be no home
    make = f"python3 -m venv {environment} && {environment}/bin/pip install numpy"
    if not packages:
        return f"On the board: {make}, and into it an onnxruntime that was built with {wanted}."
    return f"On the board: {make} {shlex.join(packages)}"


def _on_a_jetson(address: Address, greeting: Greeting, virtual: bool) -> str:
    name = JETPACK.get(greeting.release or 0, f"L4T {greeting.release}")
    if virtual:
        return (
            f"TensorRT is {name}'s own: make {greeting.executable}'s environment again with --system-site-packages, "
            "after sudo apt install python3-libnvinfer python3-numpy."
        )
    return f"TensorRT is {name}'s own. On the board: sudo apt install python3-libnvinfer python3-numpy"
