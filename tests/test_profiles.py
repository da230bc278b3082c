"""The boards, and a loader that lets no misspelt or misplaced value through."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgedistill.errors import InputError
from edgedistill.profiles import Profile, list_profiles, load_profile
from edgedistill.settings import BuildSettings
from edgedistill.targets import run

NAMES = list_profiles()  # a new board is one file: nothing here lists them again
FAMILIES = {"cpu", "cuda", "intel", "jetson", "raspberry", "rk3588"}


def write(folder: Path, text: str, name: str = "mine") -> Path:
    path = folder / f"{name}.toml"
    path.write_text(text, encoding="utf-8")
    return path


def cpu_toml() -> str:
    return (Path(__file__).parents[1] / "profiles" / "cpu.toml").read_text().replace('name = "cpu"', 'name = "mine"')


def test_every_family_of_boards_is_listed() -> None:
    assert sorted(NAMES) == NAMES
    assert {name.partition("-")[0] for name in NAMES} >= FAMILIES


@pytest.mark.parametrize("name", NAMES)
def test_a_profile_survives_json(name: str) -> None:
    profile = load_profile(name)
    assert profile.name == name
    assert Profile.from_json(json.loads(json.dumps(profile.to_json()))) == profile


def test_defaults_are_filled_in_for_the_bundle() -> None:
    table = load_profile("cpu").to_json()
    assert (table["budget"]["agreement_min"], table["budget"]["accuracy_drop_max"]) == (0.90, 0.03)
    assert table["stack"][0]["name"] == "PyPI"
    assert table["plausible"]["fp32"]["p50_ms"]["resnet18"] == [4, 25]
    assert (table["model"]["opset"], table["model"]["static_shape"]) == (18, True)
    assert table["engine"] == {"workspace_mb": None, "free_mb": None, "dla_core": None}


def test_gpu_profiles_never_name_a_cpu_runtime_to_run_on() -> None:
    for name in NAMES:
        profile = load_profile(name)
        assert profile.identify.gpu == ("tensorrt" in profile.runtime.prefer)
        assert not (profile.identify.gpu and "onnxruntime-cpu" in profile.runtime.prefer)


def test_a_power_mode_is_one_of_those_listed(tmp_path: Path) -> None:
    power = '[power]\nmodes = ["15W", "25W"]\ndefault = "{}"\nreference = "{}"\n\n[measure]'
    for default, reference, said in (("7W", "15W", "power.default is '7W'"), ("15W", "7W", "power.reference is '7W'")):
        text = cpu_toml().replace("[measure]", power.format(default, reference))
        with pytest.raises(InputError, match=said) as caught:
            load_profile(write(tmp_path, text))
        assert caught.value.todo == "Known modes: 15W, 25W."


def test_a_note_names_no_flag_that_does_not_exist() -> None:
    known = {f"--{field.name.replace('_', '-')}" for field in dataclasses.fields(BuildSettings)}
    known |= set(re.findall(r"--[a-z-]+", Path(run.__file__).read_text(encoding="utf-8")))
    for name in NAMES:
        assert set(re.findall(r"--[a-z-]+", " ".join(load_profile(name).notes))) <= known


def test_a_profile_is_read_from_a_path(tmp_path: Path) -> None:
    path = write(tmp_path, cpu_toml().replace("latency_p95_ms = 20.0", "latency_p95_ms = 7"))
    assert load_profile(path).budget.latency_p95_ms == 7
    assert load_profile(str(path)).name == "mine"


def test_a_near_miss_is_named() -> None:
    with pytest.raises(InputError) as caught:
        load_profile("jetson-orrin")
    assert caught.value.exit_code == 2
    assert "Did you mean jetson-orin?" in caught.value.todo


@pytest.mark.parametrize(
    ("asked", "todo"),
    [
        ("jetson", f"Which jetson? {', '.join(name for name in NAMES if name.startswith('jetson'))}."),
        ("Nano", "Which nano? jetson-orin-nano, jetson-orin-nano-super."),
        ("raspberry", "Which raspberry? raspberry-pi-4, raspberry-pi-5."),
        ("thor", f"Did you mean jetson-thor? Known: {', '.join(NAMES)}; or a path to a TOML file."),
        ("", f"Known: {', '.join(NAMES)}; or a path to a TOML file."),
    ],
)
def test_a_name_that_several_boards_share_is_asked_back(asked: str, todo: str) -> None:
    with pytest.raises(InputError) as caught:
        load_profile(asked)
    assert caught.value.todo == todo


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ("[budget]", "[budget]\nlatency_p95 = 3", "budget.latency_p95 is not a key"),
        ("[budget]", "[budgets]", "budgets is not a key"),
        ("schema = 1", "schema = 1\nstacks = []", "stacks is not a key"),
        ("[measure]", "[engine]\ndla_core = 2\n[measure]", "engine.dla_core is 2"),
        ("[measure]", "[dla]\ncores = 2\n[measure]", "dla is not a key"),
        ("[identify]\nmachine", "[identify]\nmachines", "identify.machines is not a key"),
        ("[identify]\nmachine = ", "[identify]\n# machine = ", "identify is {}"),
        ("memory_mb = 1000", 'memory_mb = "1000"', "budget.memory_mb is '1000'"),
        ("memory_mb = 1000", "memory_mb = -1", "budget.memory_mb is -1"),
        ("memory_mb = 1000", "memory_mb = nan", "budget.memory_mb is nan"),
        ("memory_mb = 1000", "", "budget.memory_mb is missing"),
        ("memory_mb = 1000", "memory_mb = inf", "budget.memory_mb is inf"),
        ("min_s = 10.0", "min_s = 1e12", "measure.min_s is 1000000000000.0"),
        ("hot_c = 95", "hot_c = 0", "measure.hot_c is 0"),
        ("input_size = 224", "input_size = true", "model.input_size is True"),
        ("input_size = 224", "input_size = 1.5", "model.input_size is 1.5"),
        ("input_size = 224", "input_size = 8", "model.input_size is 8"),
        ("input_size = 224", "input_size = 224\nopset = 21", "model.opset is 21"),
        ("threads = 0", "threads = -1", "runtime.threads is -1"),
        ('prefer = ["onnxruntime-cpu"]', 'prefer = ["onnxruntime"]', "runtime.prefer[0] is 'onnxruntime'"),
        ('prefer = ["onnxruntime-cpu"]', "prefer = []", "runtime.prefer is []"),
        ('prefer = ["onnxruntime-cpu"]', 'prefer = "onnxruntime-cpu"', "runtime.prefer is 'onnxruntime-cpu'"),
        ('precisions = ["fp32", "int8"]', 'precisions = ["fp8"]', "model.precisions[0] is 'fp8'"),
        ('precisions = ["fp32", "int8"]', "precisions = []", "model.precisions is []"),
        ("resnet18 = [4, 25]", "resnet18 = [25, 4]", "plausible.fp32.p50_ms.resnet18 is [25, 4]"),
        ("[plausible.fp32]", "[plausible.fp8]\nbasis = 'derived'\np50_ms = {}\n[plausible.fp32]", "plausible.fp8 is"),
        ('basis = "anchored"', 'basis = "guessed"', "plausible.fp32.basis is 'guessed'"),
        ("resnet18 = [4, 25]", "resnet18 = [4]", "plausible.fp32.p50_ms.resnet18 has 1 values"),
        ('basis = "anchored"', "", "plausible.fp32.basis is missing"),
        ('name = "PyPI"', 'name = "PyPI"\nrust = "1.0"', "stack[0].rust is not a key"),
        ("schema = 1", "schema = 2", "schema is 2"),
        ("[identify]", '[identify]\ngpu = true\nmin_compute_capability = "eight"', "is 'eight'"),
        ("[identify]", '[identify]\nmin_compute_capability = "8.7"', "min_compute_capability is '8.7'"),
    ],
)
def test_a_wrong_key_or_value_names_key_and_file(tmp_path: Path, before: str, after: str, said: str) -> None:
    text = cpu_toml()
    assert before in text
    path = write(tmp_path, text.replace(before, after, 1))
    with pytest.raises(InputError) as caught:
        load_profile(path)
    assert said in caught.value.wrong
    assert str(path) in caught.value.wrong


@pytest.mark.parametrize(
    ("content", "said"),
    [(b"name = ", "is not valid TOML"), (b'name = "\xff"', "not UTF-8"), (b"", "name is missing")],
)
def test_a_broken_file_is_named(tmp_path: Path, content: bytes, said: str) -> None:
    path = tmp_path / "mine.toml"
    path.write_bytes(content or b"schema = 1")
    with pytest.raises(InputError, match=said):
        load_profile(path)


def test_a_missing_file_and_another_name_are_errors(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot read the profile"):
        load_profile(tmp_path / "none.toml")
    with pytest.raises(InputError, match="the file is named 'other'"):
        load_profile(write(tmp_path, cpu_toml(), "other"))


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@given(
    st.sampled_from([one.name for one in dataclasses.fields(Profile) if one.name not in ("schema", "name", "title")]),
    json_values,
)
def test_any_json_in_a_section_is_read_or_refused_by_name(section: str, value: Any) -> None:
    table = {**load_profile("cpu").to_json(), section: value}
    try:
        profile = Profile.from_json(table, "here")
    except InputError as error:
        said = error.wrong
    else:
        assert Profile.from_json(profile.to_json()) == profile
        return
    assert said.startswith("here: ")
