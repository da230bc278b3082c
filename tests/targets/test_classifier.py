"""`Classifier` under the runtime that was measured: TensorRT's stand-ins take the place of a board's GPU."""

from __future__ import annotations

import ctypes
import json
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import fake_tensorrt
import numpy as np
import pytest
from bundles import colour_model, colour_pixels, write_bundle

from edgedistill import Classifier
from edgedistill.errors import InputError
from edgedistill.profiles import load_profile
from edgedistill.targets import runtimes
from edgedistill.targets.cudart import Cudart


def bundle(folder: Path, selected: str | None = None, *, board: str = "cpu", **runtime: Any) -> Path:
    """One that this machine is the board of, as `board` "cpu" means; `selected`: by its verdict."""
    profile = load_profile(board).to_json()
    profile["runtime"] |= runtime
    made = write_bundle(folder / "bundle", profile=profile, models={"fp32": colour_model(), "fp16": colour_model()})
    if selected is not None:
        verdict = {"build_id": "0" * 64, "verdict": "pass", "selected": "fp16", "runtime": {"name": selected}}
        (made / "verdict.json").write_text(json.dumps(verdict))
    return made


@pytest.fixture
def tensorrt(cudart_library: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    """TensorRT 10.3 as a board has it, on a CUDA runtime that is host memory."""
    kernel = ctypes.CDLL(cudart_library).fake_kernel
    module = fake_tensorrt.module("10.3.0", kernel, fake_tensorrt.Board())
    monkeypatch.setattr(runtimes.trt, "load_tensorrt", lambda: module)
    monkeypatch.setattr(runtimes.trt, "Cudart", partial(Cudart, cudart_library))
    monkeypatch.setattr(runtimes, "lack_of_gpu", lambda runtime: None)
    return module


def test_the_runtime_that_the_verdict_selected_answers_on_its_board(tmp_path: Path, tensorrt: Any) -> None:
    classifier = Classifier(bundle(tmp_path, "tensorrt"))
    assert (classifier.runtime, classifier.precision) == ("tensorrt", "fp16")
    pixels, classes = colour_pixels(6)
    assert (classifier.predict_array(pixels).argmax(axis=1) == classes).all()


def test_by_name_and_by_profile(tmp_path: Path, tensorrt: Any) -> None:
    made = bundle(tmp_path, prefer=["tensorrt", "onnxruntime-cpu"])
    assert Classifier(made).runtime == "onnxruntime-cpu"  # nothing was measured yet
    assert Classifier(made, runtime="profile").runtime == "tensorrt"
    assert Classifier(made, runtime="tensorrt").runtime == "tensorrt"
    assert Classifier(made, runtime="onnxruntime-cpu").runtime == "onnxruntime-cpu"


def test_threads_that_share_one_set_of_buffers_get_their_own_answers(tmp_path: Path, tensorrt: Any) -> None:
    classifier = Classifier(bundle(tmp_path), runtime="tensorrt")
    pixels, _ = colour_pixels(12)
    alone = [classifier.predict_array(image[None]) for image in pixels]
    with ThreadPoolExecutor(6) as threads:
        together = list(threads.map(lambda image: classifier.predict_array(image[None]), [*pixels] * 20))
    assert all(np.array_equal(one, other) for one, other in zip(alone * 20, together))


def test_on_its_board_nothing_takes_the_place_of_a_runtime_that_does_not_work(tmp_path: Path) -> None:
    made = bundle(tmp_path, "onnxruntime-tensorrt-rtx")
    for asked in (None, "onnxruntime-tensorrt-rtx"):
        with pytest.raises(InputError, match="NvTensorRTRTXExecutionProvider"):
            Classifier(made, runtime=asked)
    assert Classifier(made, runtime="onnxruntime-cpu").runtime == "onnxruntime-cpu"
    with pytest.raises(InputError, match="unknown runtime 'cuda'"):
        Classifier(made, runtime="cuda")


def test_a_laptop_runs_the_bundle_of_another_board_on_its_processor(tmp_path: Path) -> None:
    classifier = Classifier(bundle(tmp_path, "tensorrt", board="jetson-orin"))
    assert (classifier.runtime, classifier.precision) == ("onnxruntime-cpu", "fp16")


def test_a_pickled_one_keeps_its_runtime(tmp_path: Path, tensorrt: Any) -> None:
    load, options = Classifier(bundle(tmp_path), runtime="tensorrt").__reduce__()
    assert load(*options).runtime == "tensorrt"
