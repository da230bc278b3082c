"""The step recorded once as a CUDA graph and replayed: what a GPU does with it when Python is out of the way.

A small network's step is hundreds of kernels of a few microseconds each; started one by one, a GPU waits for Python
most of the time. A recording is started as one. It reads its batch and rates from the same memory every time and leaves
its results in the same memory. What is recorded is `Learner.step`, with rates in tensors.

As torch's notes on CUDA graphs ask: warmed up on a side stream, no gradient left from before, one shape, no value read
back, an optimiser made for it. The random numbers of dropout follow the generator as it is seeded at the replay.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from ..targets.error_lines import first_line
from .batches import Batch
from .schedule import Rates
from .step import Learner

log = logging.getLogger(__name__)

WARM_UP_STEPS = 3


class CapturedStep:
    """`learner.step` for batches of the shape of `batch`; `rates` has tensors, which this takes over. On one device.

    The learner is as it was when this returns, but a checkpoint is loaded before: the recording holds on to the
    optimiser's state. Where the step cannot be recorded (said, with the reason), and on a CPU, it runs as it is, on the
    same memory and the same rates. Raises torch.OutOfMemoryError.
    """

    def __init__(self, learner: Learner, batch: Batch, rates: Rates) -> None:
        self._learner, self._batch, self._rates = learner, batch.map(torch.clone), rates
        self._warm_up()
        self._run = self._recorded() if learner.device.type == "cuda" else self._as_it_is

    def __call__(self, batch: Batch, rates: Rates) -> dict[str, Tensor]:
        """Learn from this batch at these rates (numbers): what `Learner.step` returns, valid until the next call."""
        for mine, given in zip(self._batch.tensors(), batch.tensors(), strict=True):
            mine.copy_(given, non_blocking=True)
        self._rates.fill(rates)
        return self._run()

    def _warm_up(self) -> None:
        """Some steps for nothing make what is made at first use: handles, workspaces, the optimiser's state."""
        kept = {name: value.detach().clone() for name, value in self._learner.tensors().items()}
        with _aside(self._learner.device), warnings.catch_warnings():
            warnings.filterwarnings("ignore", "This instance was constructed with capturable=True")  # and is not yet
            for _ in range(WARM_UP_STEPS):
                self._as_it_is()
        self._learner.restore(kept)

    def _as_it_is(self) -> dict[str, Tensor]:
        return self._learner.step(self._batch, self._rates)

    def _recorded(self) -> Callable[[], dict[str, Tensor]]:
        graph = torch.cuda.CUDAGraph()
        try:
            # A capture that breaks off leaves its stream in place: the outer context puts ours back. thread_local:
            # what other threads do with the GPU meanwhile is their own affair.
            with (
                torch.cuda.stream(torch.cuda.current_stream()),
                torch.cuda.graph(graph, capture_error_mode="thread_local"),
            ):
                found = self._as_it_is()
        except RuntimeError as error:
            self._learner.forget_gradients()  # they lie in the memory of a recording that is no more
            for cause in (error, error.__context__):  # to end a capture that broke off may be an error of its own
                if isinstance(cause, torch.OutOfMemoryError):
                    raise cause from None
            log.info("training goes on without a recorded step, which is slower: %s", first_line(error))
            return self._as_it_is

        def replay() -> dict[str, Tensor]:
            graph.replay()
            return found

        return replay


@contextmanager
def _aside(device: torch.device) -> Iterator[None]:
    """On a GPU, in a stream beside the usual one; random numbers drawn within count for nothing."""
    if device.type != "cuda":
        with torch.random.fork_rng(devices=[]):
            yield
        return
    usual, side = torch.cuda.current_stream(), torch.cuda.Stream()
    side.wait_stream(usual)
    with torch.random.fork_rng(devices=[torch.cuda.current_device()]), torch.cuda.stream(side):
        yield
    usual.wait_stream(side)
