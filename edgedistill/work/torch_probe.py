"""What torch can do with this machine's GPU, asked in a process of its own: the light half never loads torch.

python -m edgedistill.work.torch_probe      one line of JSON; takes the seconds that torch needs to load
"""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import asdict, dataclass

from ..targets.error_lines import last_line
from ..targets.lifeline import bound

TIMEOUT_S = 120  # a first load from a slow disk


@dataclass(frozen=True)
class TorchGpu:
    """cuda: the version that torch was built for, None for a build without. problem: why it cannot compute on the GPU,
    one line; "" where it can."""

    cuda: str | None
    problem: str


def ask() -> TorchGpu:
    """What `look` finds, in a fresh process. A torch that cannot be loaded is a problem as well."""
    try:
        ran = subprocess.run(
            bound([sys.executable, "-m", __name__]),
            capture_output=True,
            text=True,
            errors="replace",
            timeout=TIMEOUT_S,
            stdin=subprocess.DEVNULL,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return TorchGpu(None, f"it did not answer within {TIMEOUT_S} s")
    if ran.returncode != 0:
        return TorchGpu(None, last_line(ran.stderr, f"it ended with {ran.returncode}"))
    return TorchGpu(**json.loads(ran.stdout.splitlines()[-1]))


def look() -> TorchGpu:
    """Compute one sum on the GPU: whatever is in the way, a driver that is too old, a GPU that this build does not
    know or a full memory, torch says so. Loads torch."""
    import torch

    if torch.version.cuda is None:
        return TorchGpu(None, f"torch {torch.__version__} is built without CUDA")
    try:
        torch.ones(2, device="cuda").sum().item()
    except RuntimeError as error:
        return TorchGpu(torch.version.cuda, _one_line(str(error)))
    return TorchGpu(torch.version.cuda, "")


def _one_line(message: str) -> str:
    """The first sentence; advice comes from doctor."""
    return message.partition("\n")[0].partition(". ")[0].strip()


if __name__ == "__main__":
    print(json.dumps(asdict(look())))
