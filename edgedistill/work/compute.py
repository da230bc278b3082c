"""Where the numbers of a build are made, and the choices that were made there by timing."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from .stage import WorkFolder


@dataclass(frozen=True)
class Compute:
    """What a stage's bytes depend on beside its inputs: the kind of device ("cpu", "cuda") and its CPU threads."""

    device: str
    threads: int

    def choice(self, work: WorkFolder, name: str, inputs: dict[str, Any], decide: Callable[[], tuple[str, str]]) -> str:
        """What `decide` measured here when this work folder first met these inputs."""
        value, reason = work.decision(name, inputs | dataclasses.asdict(self), decide, kind=str)
        work.say(f"{name.replace('-', ' ')} {value}: {reason}")
        return str(value)


@contextlib.contextmanager
def torch_as_it_was() -> Iterator[None]:
    """Give the program that calls a build its torch back: the number of threads and the random state."""
    import torch

    threads = torch.get_num_threads()
    gpus = [torch.cuda.current_device()] if torch.cuda.is_initialized() else []
    try:
        with torch.random.fork_rng(devices=gpus):
            yield
    finally:
        torch.set_num_threads(threads)
