"""The names that versions of TensorRT have, from NVIDIA's own bindings: what the stand-ins of the tests are held to.

    pip download --no-deps --only-binary=:all: --platform manylinux_2_28_x86_64 tensorrt-cu12-bindings==10.13.3.9
    python tools/tensorrt_names.py *.whl > tests/tensorrt_names.json

Such a wheel holds the Python module alone and wants TensorRT's libraries, which need not be there for `dir()`: empty
ones of the same names take their place. Needs cc, nm, and the Python that the wheels are for.
"""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import Any

CLASSES = (
    *("Builder", "IBuilderConfig", "INetworkDefinition", "ILayer", "ITensor", "IOptimizationProfile", "ITimingCache"),
    *("OnnxParser", "ParserError", "ILogger", "IHostMemory", "Runtime", "ICudaEngine", "IExecutionContext"),
    *("BuilderFlag", "DataType", "DeviceType", "MemoryPoolType", "NetworkDefinitionCreationFlag", "TensorIOMode"),
)
PROBE = """
import tensorrt_bindings as trt
classes = {name: getattr(trt, name) for name in %r} | {"ILogger.Severity": trt.ILogger.Severity}
numbers = lambda one: {name: int(member) for name, member in one.__members__.items()}
names = lambda one: numbers(one) if hasattr(one, "__members__") else [name for name in dir(one) if name[0] != "_"]
print({"version": trt.__version__, "names": {name: names(one) for name, one in classes.items()}})
"""


def names_in(wheel: Path) -> tuple[str, dict[str, Any]]:
    """The version of the module in `wheel`, and of each of CLASSES the public names, of an enum with their numbers."""
    with tempfile.TemporaryDirectory() as folder, zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder)
        module = Path(folder) / "tensorrt_bindings" / "tensorrt.so"
        listed = subprocess.run(["nm", "-D", "--undefined-only", module], check=True, capture_output=True, text=True)
        functions = re.findall(r" U (\w*(?:Nv|Infer|Plugin)\w*)$", listed.stdout, re.MULTILINE)
        (Path(folder) / "empty.c").write_text("".join(f"void {name}(void) {{}}\n" for name in functions))
        for name in set(re.findall(rb"libnv\w+\.so\.\d+", module.read_bytes())):
            library = Path(folder) / name.decode()
            command = ["cc", "-shared", "-fPIC", f"-Wl,-soname,{library.name}", f"{folder}/empty.c", "-o", str(library)]
            subprocess.run(command, check=True)
        found = subprocess.run(
            [sys.executable, "-c", PROBE % (CLASSES,)],
            env=os.environ | {"LD_LIBRARY_PATH": folder, "PYTHONPATH": folder},
            check=True,
            capture_output=True,
            text=True,
        )
    said = ast.literal_eval(found.stdout)
    return said["version"], said["names"]


def _lines(names: dict[str, Any]) -> str:
    """A class a line, so that a difference between two versions can be read."""
    return "{\n" + ",\n".join(f" {json.dumps(kind)}: {json.dumps(every)}" for kind, every in names.items()) + "}"


def main(wheels: list[str]) -> None:
    found = dict(names_in(Path(wheel)) for wheel in wheels)
    print("{" + ",\n".join(f'"{version}": {_lines(names)}' for version, names in found.items()) + "}")


if __name__ == "__main__":
    main(sys.argv[1:])
