"""The public surface: what `edgedistill` hands out, and build() and verify() called from Python."""

from __future__ import annotations

import dataclasses
import inspect
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import get_args

import pytest
from bundles import write_bundle

import edgedistill
from edgedistill import InputError, choices
from edgedistill.settings import BuildSettings, resolve

NAMES = ["BadImageError", "Classifier", "EdgeDistillError", "InputError", "Prediction", "Verdict", "__version__"]
NAMES += ["build", "synthesize", "verify"]


def python(program: str, cwd: Path | None = None, **environment: str) -> str:
    """What a fresh interpreter prints."""
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, cwd=cwd, env=os.environ | environment)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_public_names_are_listed_once_and_sorted() -> None:
    assert edgedistill.__all__ == sorted(NAMES)
    assert {name for name in dir(edgedistill) if not name.startswith("__")} == {*NAMES} - {"__version__"}
    assert all(hasattr(edgedistill, name) for name in edgedistill.__all__)
    with pytest.raises(AttributeError, match="no attribute 'distill'"):
        _ = edgedistill.distill


def test_a_star_import_gives_these_names_and_no_other() -> None:
    program = "from edgedistill import *\nprint(*sorted(n for n in dir() if n[:2] != '__' or n == '__version__'))"
    assert python(program).split() == sorted(NAMES)


@pytest.mark.workshop
def test_build_is_a_function_whatever_was_imported_before() -> None:
    loaded = ("line", "api", "verdict.verdict", "verdict.verify", "bundle.write", "cli", "runtime")
    program = "\n".join(f"import edgedistill.{name}" for name in loaded)
    program += "\nprint(callable(edgedistill.build), callable(edgedistill.verify), edgedistill.Verdict.__name__)"
    assert python(program) == "True True Verdict\n"


def test_every_public_name_says_what_it_does() -> None:
    for name in edgedistill.__all__:
        assert name == "__version__" or len(inspect.getdoc(getattr(edgedistill, name)) or "") > 80, name
    for name in inspect.signature(edgedistill.build).parameters:
        assert name in (edgedistill.build.__doc__ or "")


def test_builds_keywords_are_the_fields_of_the_settings_and_none_means_not_given() -> None:
    parameters = dict(inspect.signature(edgedistill.build).parameters)
    assert set(parameters) == {"config", *(field.name for field in dataclasses.fields(BuildSettings))}
    for parameter in parameters.values():
        assert (parameter.kind, parameter.default) == (inspect.Parameter.KEYWORD_ONLY, None)


def test_the_flags_of_the_command_are_the_keywords() -> None:
    from edgedistill.cli import build

    own = {"context", "as_json", "debug"}
    assert set(inspect.signature(build).parameters) - own == set(inspect.signature(edgedistill.build).parameters)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"views": "8"}, "views is '8'"),
        ({"views": 99}, "views is 99"),
        ({"option": "edges=class"}, "option is 'edges=class'"),
        ({"classes": 3}, "classes is 3"),
        ({"strict": 1}, "strict is 1"),
        ({"train_on": "tpu"}, "'tpu'"),
        ({"seed": True}, "seed is True"),
    ],
)
def test_a_value_of_the_wrong_kind_is_named(given: dict[str, object], said: str) -> None:
    with pytest.raises(InputError, match=said):
        edgedistill.build(**({"profile": "cpu", "classes": "l", "images": "i"} | given))  # type: ignore[arg-type]


def test_a_keyword_that_does_not_exist_is_a_type_error() -> None:
    with pytest.raises(TypeError, match="clases"):
        edgedistill.build(clases="labels.txt")  # type: ignore[call-arg]
    with pytest.raises(TypeError):
        edgedistill.build("cpu")  # type: ignore[misc]
    with pytest.raises(InputError, match="profile is missing"):
        edgedistill.build()


def test_what_is_given_wins_over_the_config_which_wins_over_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDGEDISTILL_TEACHER", "ViT-B-32/openai")
    toml = tmp_path / "build.toml"
    toml.write_text('profile = "cpu"\nclasses = "labels.txt"\nimages = "photos"\nviews = 4\nseed = 3\n')
    asked = resolve({"views": 8}, toml, os.environ)
    assert (asked.views, asked.seed, asked.teacher) == (8, 3, "ViT-B-32/openai")
    assert asked.classes == tmp_path / "labels.txt"
    toml.write_text(toml.read_text() + 'teacher = "ViT-L-14/openai"\n')
    assert resolve({}, toml, os.environ).teacher == "ViT-L-14/openai"
    assert resolve({"teacher": choices.DEFAULT_TEACHER}, toml, os.environ).teacher == choices.DEFAULT_TEACHER
    toml.write_text(toml.read_text().replace("views = 4", "views = 99\nseeds = 0"))
    with pytest.raises(InputError, match="views is 99"):
        edgedistill.build(config=toml)
    with pytest.raises(InputError, match="seeds is 0"):
        edgedistill.build(config=toml, views=8)  # the default, but given: it counts


BUILD = """
import logging, sys
import edgedistill
before = list(logging.getLogger().handlers), list(logging.getLogger("edgedistill").handlers)
verdict = edgedistill.build(config="build.toml", views=3, student_weights="none", out="bundle", device="folder")
after = list(logging.getLogger().handlers), list(logging.getLogger("edgedistill").handlers)
assert before == after and logging.getLogger("edgedistill").propagate
assert isinstance(verdict, edgedistill.Verdict) and verdict.verdict == "unmeasured", verdict
measured = edgedistill.verify("bundle", threads=1)
sys.stderr.write(f"{measured.verdict} {measured.agreement.images}")
"""


def test_build_and_verify_from_python(built_folder: Path, tiny_teacher_folder: Path, tmp_path: Path) -> None:
    for name in ("labels.txt", "quick.toml"):
        shutil.copy(built_folder / name, tmp_path / name)
    (tmp_path / "build.toml").write_text(
        'profile = "quick.toml"\nclasses = "labels.txt"\nviews = 5\nepochs = 1\nthreads = 1\n'
        f'images = "{built_folder / "photos"}"\ncheck = "{built_folder / "check"}"\n'
        'teacher-dtype = "float32"\nstudent-dtype = "float32"\nstudent = "test_resnet"\n'
    )
    assert python(BUILD, tmp_path, EDGEDISTILL_TEACHER=f"local-dir:{tiny_teacher_folder}") == ""
    manifest = json.loads((tmp_path / "bundle" / "manifest.json").read_text())
    assert manifest["teacher"]["id"] == f"local-dir:{tiny_teacher_folder.name}"
    verdict = json.loads((tmp_path / "bundle" / "verdict.json").read_text())
    assert verdict["agreement"]["images"] == 96


def test_verify_takes_paths_and_names_what_it_cannot_do(tmp_path: Path) -> None:
    bundle = write_bundle(tmp_path / "bundle")
    with pytest.raises(InputError, match="nowhere"):
        edgedistill.verify(tmp_path / "nowhere")
    with pytest.raises(InputError, match="'moon'"):
        edgedistill.verify(str(bundle), device="moon")


def test_the_types_of_closed_lists_are_those_of_the_settings() -> None:
    hints = {name: parameter.annotation for name, parameter in inspect.signature(edgedistill.build).parameters.items()}
    assert (hints["teacher_dtype"], hints["student_dtype"]) == ("TeacherDtype | None", "Dtype | None")
    assert (hints["train_on"], hints["view_targets"]) == ("TrainOn | None", "ViewTargets | None")
    assert hints["select_by"] == "SelectBy | None"
    assert get_args(choices.PromptWeights) == choices.PROMPT_WEIGHTS
