"""Classifier: every kind of image gives the same answer, bad ones are named, damaged bundles are refused."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from bundles import NAMES, SIZE, colour_model, colour_pixels, expected_probabilities, png, write_bundle
from PIL import Image

from edgedistill import Classifier, Prediction
from edgedistill.errors import InputError


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runtime") / "bundle"
    return write_bundle(folder, models={"fp32": colour_model(), "fp16": colour_model()})


@pytest.fixture(scope="module")
def classifier(bundle: Path) -> Classifier:
    return Classifier(bundle, threads=1)


def green(width: int = 40, height: int = 30) -> Image.Image:
    return Image.new("RGB", (width, height), (10, 200, 10))


def test_a_path_is_classified(classifier: Classifier, tmp_path: Path) -> None:
    green().save(tmp_path / "x.png")
    found = classifier.predict(tmp_path / "x.png")
    assert isinstance(found, Prediction)
    assert found.label == "green"
    assert found.probability == found.known == pytest.approx(float(found.probabilities.max()))
    assert found.probabilities.dtype == np.float32
    assert found.probabilities.shape == (3,)
    assert classifier.labels == list(NAMES)


def test_every_way_to_give_an_image_gives_the_same_answer(classifier: Classifier, tmp_path: Path) -> None:
    picture = Image.fromarray(np.random.default_rng(3).integers(0, 255, (50, 70, 3), np.uint8))
    picture.save(tmp_path / "x.png")
    data = (tmp_path / "x.png").read_bytes()
    ways = [tmp_path / "x.png", str(tmp_path / "x.png"), data, bytearray(data), picture, np.asarray(picture)]
    answers = [classifier.predict(way).probabilities for way in ways]
    assert all(np.array_equal(answer, answers[0]) for answer in answers)
    assert [found.label for found in classifier.predict(ways)] == [classifier.predict(picture).label] * len(ways)


def test_a_list_gives_a_list_even_of_one_or_none(classifier: Classifier) -> None:
    assert [found.label for found in classifier.predict([green()])] == ["green"]
    assert classifier.predict([]) == []


def test_an_unloaded_pil_image_and_a_grey_array_work(classifier: Classifier, tmp_path: Path) -> None:
    green().save(tmp_path / "x.png")
    with Image.open(tmp_path / "x.png") as lazy:
        assert classifier.predict(lazy).label == "green"
    assert np.allclose(classifier.predict(np.full((20, 20), 90, np.uint8)).probabilities, 1 / 3, atol=1e-5)


def test_arrays_at_the_models_size_go_straight_in(classifier: Classifier) -> None:
    pixels, classes = colour_pixels(10)
    probabilities = classifier.predict_array(pixels)
    assert probabilities.dtype == np.float32
    assert np.allclose(probabilities, expected_probabilities(pixels), atol=1e-5)
    assert (probabilities.argmax(axis=1) == classes).all()


@pytest.mark.parametrize("array", [np.zeros((2, 8, 8, 3), np.uint8), np.zeros((1, SIZE, SIZE, 3))])
def test_predict_array_refuses_other_shapes_and_types(classifier: Classifier, array: np.ndarray) -> None:
    with pytest.raises(InputError, match=r"takes uint8 \[N, 16, 16, 3\]"):
        classifier.predict_array(array)


def test_a_bad_image_is_named_with_its_reason(classifier: Classifier, tmp_path: Path) -> None:
    path = tmp_path / "cut.png"
    whole = png(np.random.default_rng(0).integers(0, 255, (40, 40, 3), np.uint8))
    path.write_bytes(whole[: len(whole) // 2])
    os.mkfifo(tmp_path / "pipe.jpg")
    expected = {path: "truncated", tmp_path / "pipe.jpg": "not a regular file", tmp_path / "none.jpg": "unreadable"}
    for bad, reason in expected.items():
        with pytest.raises(InputError) as caught:
            classifier.predict(bad)
        assert caught.value.wrong.startswith(f"{bad}: {reason}")
        assert caught.value.exit_code == 2
    with pytest.raises(InputError, match="image 1: not an image"):
        classifier.predict([green(), b"text"])
    with pytest.raises(InputError, match="side under 16 px"):
        classifier.predict(green(15, 90))
    with pytest.raises(InputError, match="unsupported pixel format"):
        classifier.predict(np.zeros((20, 20, 3), np.float32))
    with pytest.raises(InputError, match="cannot classify a int"):
        classifier.predict(7)  # type: ignore[call-overload]


def test_the_precision_in_use_is_the_verdicts_choice(bundle: Path, tmp_path: Path) -> None:
    assert Classifier(bundle).precision == "fp32"
    assert Classifier(bundle, precision="fp16").precision == "fp16"
    measured = shutil.copytree(bundle, tmp_path / "measured")
    (measured / "verdict.json").write_text(json.dumps({"build_id": "0" * 64, "selected": "fp16"}))
    assert Classifier(measured).precision == "fp16"
    with pytest.raises(InputError, match="holds no int8 model"):
        Classifier(bundle, precision="int8")


def test_a_damaged_model_is_refused_before_it_is_loaded(bundle: Path, tmp_path: Path) -> None:
    damaged = shutil.copytree(bundle, tmp_path / "damaged")
    (damaged / "models" / "fp32.onnx").write_bytes(b"other")
    with pytest.raises(InputError, match="is not the file that was built"):
        Classifier(damaged)
    with pytest.raises(InputError, match="is not a bundle"):
        Classifier(tmp_path)


def test_only_the_light_half_is_imported(bundle: Path, tmp_path: Path) -> None:
    green().save(tmp_path / "x.png")
    program = (
        "import sys\nfrom edgedistill import Classifier\n"
        f"print(Classifier({str(bundle)!r}).predict({str(tmp_path / 'x.png')!r}).label)\n"
        "print(sorted({'torch', 'timm', 'open_clip', 'onnx', 'typer', 'rich', 'safetensors'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.split("\n")[:2] == ["green", "[]"]
