"""Classifier: every kind of image gives the same answer, bad ones are named, damaged bundles are refused."""

from __future__ import annotations

import json
import multiprocessing
import os
import pickle
import shutil
import subprocess
import sys
import tracemalloc
import warnings
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bundles import (
    NAMES,
    SIZE,
    change_manifest,
    colour_model,
    colour_pixels,
    expected_probabilities,
    png,
    write_bundle,
    write_verdict,
)
from PIL import Image

from edgedistill import Classifier, Prediction
from edgedistill.errors import InputError
from edgedistill.runtime import BadImageError
from edgedistill.targets import cores, machine, ort


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


def threads_of(classifier: Classifier) -> int:
    return classifier._opened()._session.describe()["threads"]


def test_on_the_board_the_threads_are_those_that_were_measured_unless_given(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured = shutil.copytree(bundle, tmp_path / "measured")
    write_verdict(measured, "0" * 64, "fp16", "onnxruntime-cpu", threads=1)
    for module in (cores, ort):
        monkeypatch.setattr(module, "physical_cores", lambda: 2)
    assert threads_of(Classifier(bundle)) == 2
    assert threads_of(Classifier(measured)) == 1
    assert threads_of(pickle.loads(pickle.dumps(Classifier(measured)))) == 1  # noqa: S301
    assert threads_of(Classifier(measured, threads=0)) == 2
    assert threads_of(Classifier(measured, threads=3)) == 3
    assert threads_of(Classifier(measured, precision="fp32")) == 2
    monkeypatch.setattr(machine, "device_name", lambda *_, **__: "another processor")
    assert threads_of(Classifier(measured)) == 2


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


def noise(count: int) -> list[Image.Image]:
    rng = np.random.default_rng(5)
    return [Image.fromarray(rng.integers(0, 255, (30 + k, 40, 3), np.uint8)) for k in range(count)]


@pytest.mark.parametrize("session_threads", [1, 2])
def test_several_threads_get_the_answers_that_one_gets(bundle: Path, session_threads: int) -> None:
    classifier = Classifier(bundle, threads=session_threads)
    pictures = noise(20)
    alone = [classifier.predict(picture).probabilities for picture in pictures]
    with ThreadPoolExecutor(6) as threads:
        together = list(threads.map(lambda picture: classifier.predict(picture).probabilities, pictures * 10))
    assert all(np.array_equal(one, other) for one, other in zip(alone * 10, together))


FORKING = """
import multiprocessing, os, sys, threading
import numpy as np
from PIL import Image
from edgedistill import Classifier

classifier = Classifier(sys.argv[1], threads=4)
picture = Image.fromarray(np.random.default_rng(5).integers(0, 255, (30, 40, 3), np.uint8))
expected = classifier.predict(picture).probabilities
done = threading.Event()


def keep_on():
    while not done.is_set():
        classifier.predict(picture)


def answer(_):
    return classifier.predict(picture).probabilities


thread = threading.Thread(target=keep_on)
thread.start()  # the first fork finds the session at work
with multiprocessing.get_context("fork").Pool(2) as workers:
    print("pool", all(np.array_equal(found, expected) for found in workers.map(answer, range(8))))
done.set()
thread.join()  # its frames would keep the session alive in the children
child = os.fork()
if child == 0:
    same = np.array_equal(classifier.predict(picture).probabilities, expected)
    classifier = None  # freeing what the parent opened must not wait for the parent's threads
    os._exit(0 if same else 1)
print("fork", os.waitpid(child, 0)[1])
unused = os.fork()
if unused == 0:
    classifier = None
    os._exit(0)
print("unused", os.waitpid(unused, 0)[1])
print("parent", np.array_equal(classifier.predict(picture).probabilities, expected), flush=True)
os._exit(0)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_a_classifier_made_before_a_fork_works_in_the_children(bundle: Path) -> None:
    command = [sys.executable, "-W", "ignore", "-c", FORKING, str(bundle)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.stdout.splitlines() == ["pool True", "fork 0", "unused 0", "parent True"], done.stderr


def test_a_forked_child_says_so_when_the_bundle_is_gone(bundle: Path, tmp_path: Path) -> None:
    moved = shutil.copytree(bundle, tmp_path / "moved")
    program = (
        "import os, shutil, sys\nfrom edgedistill import Classifier, InputError\nimport numpy as np\n"
        f"classifier = Classifier({str(moved)!r})\nshutil.rmtree({str(moved)!r})\n"
        "classifier.predict(np.zeros((20, 20, 3), np.uint8))  # the parent has it in memory\n"
        "if os.fork() == 0:\n"
        "    try: classifier.predict(np.zeros((20, 20, 3), np.uint8))\n"
        "    except InputError as error: print(error.wrong, flush=True)\n"
        "    os._exit(0)\n"
        "os.wait()\n"
    )
    command = [sys.executable, "-W", "ignore", "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.stdout.startswith(f"{moved} is not a bundle"), done.stderr


def test_a_pickled_classifier_is_its_folder_and_options(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(bundle.parent)
    made = Classifier(bundle.name, threads=1, precision="fp16")
    kept = pickle.dumps(made)
    assert len(kept) < 1000
    monkeypatch.chdir("/")
    again = pickle.loads(kept)  # noqa: S301
    assert (again.precision, again.labels, again.size) == (made.precision, made.labels, made.size)
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as workers:
        found = workers.submit(made.predict, green()).result(timeout=120)
    assert found.label == "green"
    assert np.array_equal(found.probabilities, made.predict(green()).probabilities)


def test_predicting_changes_no_filter_and_no_limit(classifier: Classifier, tmp_path: Path) -> None:
    green().save(tmp_path / "x.png")
    (tmp_path / "bad.jpg").write_bytes(b"\xff\xd8\xff not much of a photo")
    before = list(warnings.filters), Image.MAX_IMAGE_PIXELS
    classifier.predict(tmp_path / "x.png")
    with pytest.raises(InputError):
        classifier.predict(tmp_path / "bad.jpg")
    assert (list(warnings.filters), Image.MAX_IMAGE_PIXELS) == before


def test_of_a_list_the_good_images_are_answered_and_the_bad_ones_named(classifier: Classifier, tmp_path: Path) -> None:
    absent = tmp_path / "absent.png"
    with pytest.raises(BadImageError, match=rf"{absent}: unreadable .* \(and 1 more of 4\)") as raised:
        classifier.predict([green(), absent, b"no image", green()])
    assert isinstance(raised.value, InputError)
    assert [found and found.label for found in raised.value.predictions] == ["green", None, None, "green"]
    again = pickle.loads(pickle.dumps(raised.value))  # noqa: S301
    assert [found and found.label for found in again.predictions] == ["green", None, None, "green"]


def test_the_home_folder_is_put_in_for_bundle_and_image(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(bundle.parent))
    green().save(bundle.parent / "home.png")
    assert Classifier(f"~/{bundle.name}", threads=1).predict("~/home.png").label == "green"


def test_a_bundle_in_a_folder_whose_name_is_not_utf_8_opens(bundle: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(bundle, os.fsdecode(os.fsencode(tmp_path) + b"/b\xfcndel"))
    green().save(f"{copy}/x.png")
    assert Classifier(copy, threads=1).predict(f"{copy}/x.png").label == "green"


def test_a_model_of_other_classes_or_pixels_than_the_bundle_names_is_refused(bundle: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(bundle, tmp_path / "bundle")
    for names in (["red", "green"], [*NAMES, "grey", "pink"]):
        change_manifest(copy, labels=[{"name": name} for name in names])
        with pytest.raises(InputError, match=rf"the fp32 model knows 3 classes, .* names {len(names)}"):
            Classifier(copy)
    pixels = json.loads((bundle / "manifest.json").read_text())["preprocessing"]
    change_manifest(copy, labels=[{"name": name} for name in NAMES], preprocessing=pixels | {"size": 32})
    with pytest.raises(InputError, match=r"the fp32 model takes 16 pixels, .* says 32"):
        Classifier(copy)


def test_a_model_that_answers_nan_is_named_and_not_the_image(tmp_path: Path) -> None:
    broken = write_bundle(tmp_path / "nan", models={"fp32": colour_model(extra=np.full((3, 3), np.nan))})
    classifier = Classifier(broken, threads=1)
    for image in (green(), [green()]):
        with pytest.raises(InputError, match="the model answers with NaN") as caught:
            classifier.predict(image)
        assert not isinstance(caught.value, BadImageError)
    with pytest.raises(InputError, match="the model answers with NaN"):
        classifier.predict_array(colour_pixels(2)[0])


@pytest.mark.parametrize("threads", [-1, 1025, 10**12, 1.5, "2", True])
def test_threads_that_are_no_number_of_threads_are_two_lines(bundle: Path, threads: Any) -> None:
    with pytest.raises(InputError, match=f"threads is {threads!r}, not a whole number from 0 to 1024"):
        Classifier(bundle, threads=threads)


def test_an_empty_path_is_two_lines(classifier: Classifier, bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(bundle)
    with pytest.raises(InputError, match="the bundle's path is empty"):
        Classifier("")
    with pytest.raises(BadImageError, match=r"^the image: unreadable"):
        classifier.predict("")
    with pytest.raises(BadImageError, match=r"^image 1: unreadable"):
        classifier.predict([green(), ""])


def test_what_is_no_image_in_a_list_is_named_by_its_place(classifier: Classifier) -> None:
    with pytest.raises(BadImageError, match=r"^image 1: cannot classify a NoneType") as caught:
        classifier.predict([green(), None])
    assert [one.label for one in caught.value.predictions if one] == ["green"]


def test_a_view_that_is_larger_than_its_memory_is_refused_before_it_is_copied(classifier: Classifier) -> None:
    for side in (12_000, 200_000):  # 0.4 GB, which would fit, and 120 GB
        huge = np.broadcast_to(np.zeros((1, 1, 3), np.uint8), (side, side, 3))
        tracemalloc.start()
        with pytest.raises(BadImageError, match="over 100 megapixels"):
            classifier.predict(huge)
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
        tracemalloc.stop()


def test_a_prediction_leaves_nothing_in_the_home_folder_and_reports_to_nobody(bundle: Path, tmp_path: Path) -> None:
    """onnxruntime 1.32 has telemetry, on by default: a device's number in ~/.cache, and files in TMPDIR."""
    green().save(tmp_path / "x.png")
    home, scratch = tmp_path / "home", tmp_path / "scratch"
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("ORT_", "XDG_"))}
    environment |= {"HOME": str(home), "TMPDIR": str(scratch)}
    photo = str(tmp_path / "x.png")
    in_a_program = f"from edgedistill import Classifier\nClassifier({str(bundle)!r}).predict({photo!r})"
    probed = "from edgedistill.targets import probe\nassert probe.import_problem('onnxruntime') is None"
    for words in (
        ["-c", in_a_program],
        ["-c", probed],
        ["-m", "edgedistill", "predict", str(bundle), photo],
        ["-m", "edgedistill.targets.run", "predict", "--bundle", str(bundle), photo],
    ):
        home.mkdir()
        scratch.mkdir()
        subprocess.run([sys.executable, *words], env=environment, capture_output=True, check=True, timeout=60)
        assert not [*home.rglob("*"), *scratch.rglob("*")], words
        home.rmdir()
        scratch.rmdir()
