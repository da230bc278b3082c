"""What a board lacks is named by the package of its own system."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from edgedistill.devices.address import FOLDER, Address
from edgedistill.devices.packages import FROM_INDEX, advice
from edgedistill.devices.trouble import Greeting, no_python, not_reached, old_python, printable
from edgedistill.profiles import list_profiles, load_profile
from edgedistill.targets.names import ORT_TENSORRT_RTX, RUNTIMES

L4T = "# R{} (release), REVISION: 4.3, GCID: 38968081, BOARD: generic, EABI: aarch64"
PLACE = Address("board", "me")
INSTALL = "~/edgedistill/runtime/bin/pip install"


def told(profile: str, release: int | None = None, **found: object) -> str:
    greeting = Greeting("" if release is None else L4T.format(release), (3, 10, 12), "/usr/bin/python3")
    return advice(PLACE, greeting, load_profile(profile).runtime.prefer, found)


@pytest.mark.parametrize(("release", "name"), [(36, "JetPack 6"), (38, "JetPack 7"), (39, "JetPack 7"), (41, "L4T 41")])
def test_a_jetson_is_told_the_package_of_its_jetpack(release: int, name: str) -> None:
    found = told("jetson-orin-nano", release)
    assert f"{name}'s own" in found
    assert found.endswith("sudo apt install python3-libnvinfer python3-numpy")


def test_an_environment_that_hides_jetpacks_packages_is_named() -> None:
    found = told("jetson-orin", 36, virtual=True)
    assert "/usr/bin/python3" in found
    assert "--system-site-packages" in found


def test_a_pi_gets_an_environment_and_no_release_that_dies_there() -> None:
    four = told("raspberry-pi-4", model="Raspberry Pi 4 Model B Rev 1.4")
    five = told("raspberry-pi-5", model="Raspberry Pi 5 Model B Rev 1.0")
    assert five.endswith(
        "python3 -m venv ~/edgedistill/runtime && ~/edgedistill/runtime/bin/pip install numpy onnxruntime"
    )
    assert four.endswith("pip install numpy 'onnxruntime!=1.21.0'")


@pytest.mark.parametrize("profile", list_profiles())
def test_every_profile_has_something_to_install(profile: str) -> None:
    assert "install" in told(profile)


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_every_runtime_alone_has_something_to_install(runtime: str) -> None:
    found = advice(PLACE, Greeting(), (runtime,), {})
    assert f"{INSTALL} numpy" in found
    if runtime == ORT_TENSORRT_RTX:
        assert "an onnxruntime that was built with onnxruntime-tensorrt-rtx" in found
    else:
        assert found.endswith(f" numpy {' '.join(FROM_INDEX[runtime])}")
        assert FROM_INDEX[runtime]


def test_a_runtime_comes_with_the_packages_that_the_page_names() -> None:
    page = (Path(__file__).parents[2] / "docs/runtimes.md").read_text(encoding="utf-8")
    comes_with = dict(re.findall(r"^\| `([\w-]+)` \| ([^|]+) \|", page, re.MULTILINE))
    for runtime in RUNTIMES:
        assert all(package in comes_with[runtime].lower() for package in FROM_INDEX[runtime])


@pytest.mark.parametrize("page", ["devices", "jetson", "raspberry-pi"])
def test_a_page_makes_the_environment_where_ssh_looks_for_it(page: str) -> None:
    text = (Path(__file__).parents[2] / f"docs/{page}.md").read_text(encoding="utf-8")
    places = re.findall(r"-m venv (?:--\S+ )*(\S+)|(\S*runtime)/bin/(?:pip|python)", text)
    found = {(made or used).strip("`") for made, used in places} - {"FOLDER/runtime"}
    assert found == {f"~/{FOLDER[2:]}/runtime"}


def test_a_folder_with_a_space_is_quoted() -> None:
    place = Address("board", folder="/opt/my models")
    assert "'/opt/my models/runtime'" in advice(place, Greeting(), ("onnxruntime-cpu",), {})
    place = Address("board", folder="./my models")
    assert "~/'my models/runtime'/bin/pip" in advice(place, Greeting(), ("onnxruntime-cpu",), {})


def test_jetpack_5_is_told_that_it_ends_with_python_3_8() -> None:
    found = old_python(PLACE, Greeting(L4T.format(35), (3, 8, 10), "/usr/bin/python3"))
    assert "Python 3.8.10" in found.wrong
    assert "JetPack 6" in found.todo
    assert "python3.10" in old_python(PLACE, Greeting("", (3, 9, 2), "/usr/bin/python3")).todo
    assert "~/edgedistill/runtime" in no_python(PLACE, Greeting()).wrong


def test_words_of_a_board_fit_a_terminal() -> None:
    assert printable(" a\x1b[31m\nb\t") == r"a\x1b[31m\x0ab"
    assert len(printable("x" * 10_000)) == 300
    assert "without a word" in not_reached(PLACE, []).wrong
