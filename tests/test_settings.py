"""Flags over build.toml over environment over defaults; wrong words are named with their place."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args, get_type_hints

import pytest

from edgedistill import choices
from edgedistill.distil.methods import METHODS
from edgedistill.errors import InputError
from edgedistill.settings import MAY_BE_PATHS, ONE_OF, BuildSettings, resolve, resolve_synthesis

NEEDED = {"profile": "cpu", "classes": Path("labels.txt"), "images": Path("photos")}


def config(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "build.toml"
    path.write_text(text)
    return path


def test_flags_win_over_the_file_and_the_file_over_the_environment(tmp_path: Path) -> None:
    path = config(tmp_path, 'teacher = "ViT-B-32/openai"\nepochs = 7\nseed = 3\n')
    found = resolve(NEEDED | {"seed": 5}, path, {"EDGEDISTILL_TEACHER": "ViT-L-14/openai"})
    assert (found.teacher, found.epochs, found.seed) == ("ViT-B-32/openai", 7, 5)
    assert resolve(NEEDED, None, {"EDGEDISTILL_TEACHER": "ViT-L-14/openai"}).teacher == "ViT-L-14/openai"
    assert resolve(NEEDED, None, {}).teacher == "ViT-B-16/datacomp_xl_s13b_b90k"


def test_paths_in_the_file_are_relative_to_the_file(tmp_path: Path) -> None:
    path = config(tmp_path, 'profile = "cpu"\nclasses = "labels.txt"\nimages = "photos"\n')
    found = resolve({}, path, {})
    assert found.classes == tmp_path / "labels.txt"
    assert found.images == tmp_path / "photos"


@pytest.mark.parametrize(
    ("key", "written", "read"),
    [
        ("profile", "cpu", "cpu"),
        ("profile", "mine.toml", "HERE/mine.toml"),
        ("templates", "imagenet", "imagenet"),
        ("templates", "prompts.txt", "HERE/prompts.txt"),
        ("student-weights", "none", "none"),
        ("student-weights", "start", "HERE/start"),
        ("student-weights", "local-dir:clip", "local-dir:HERE/clip"),
        ("student-weights", "ViT-B-16/openai", "ViT-B-16/openai"),
        ("teacher", "ViT-B-32/openai", "ViT-B-32/openai"),
        ("teacher", "hf-hub:laion/clip", "hf-hub:laion/clip"),
        ("teacher", "local-dir:clip", "local-dir:HERE/clip"),
        ("teacher", "clip.safetensors", "HERE/clip.safetensors"),
        ("device", "folder:stick", "folder:HERE/stick"),
        ("device", "folder", "folder"),
        ("device", "ssh://board/folder:x", "ssh://board/folder:x"),
    ],
)
def test_what_is_a_name_or_a_path_is_relative_where_it_is_a_path(
    tmp_path: Path, key: str, written: str, read: str
) -> None:
    (tmp_path / "clip.safetensors").write_bytes(b"")
    found = resolve({k: v for k, v in NEEDED.items() if k != key}, config(tmp_path, f"{key} = '{written}'\n"), {})
    assert getattr(found, key.replace("-", "_")) == read.replace("HERE", str(tmp_path))


def test_the_home_folder_is_put_in_wherever_a_path_is_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No shell replaces the ~ of --work=~/w, of a file's line, of local-dir:~/clip and of a program's text."""
    monkeypatch.setenv("HOME", "/home/me")
    paths = {name for name, hint in get_type_hints(BuildSettings).items() if Path in (hint, *get_args(hint))}
    given = dict.fromkeys({*paths, *MAY_BE_PATHS} - {"generated", "images"}, "~/x") | {"profile": "~/x.toml"}
    expected = dict.fromkeys(given, "/home/me/x") | {"profile": "/home/me/x.toml"}
    lines = "".join(f"{name.replace('_', '-')} = '{value}'\n" for name, value in given.items())
    for found in (resolve(given, None, {}), resolve({}, config(tmp_path, lines), {})):
        assert {name: str(getattr(found, name)) for name in given} == expected
    named = {"teacher": "local-dir:~/clip", "device": "folder:~/stick"}
    for found in (
        resolve(NEEDED | named, None, {}),
        resolve(NEEDED, config(tmp_path, f"device = '{named['device']}'"), {"EDGEDISTILL_TEACHER": named["teacher"]}),
    ):
        assert (found.teacher, found.device) == ("local-dir:/home/me/clip", "folder:/home/me/stick")


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_the_file_may_be_written_by_notepad(tmp_path: Path, encoding: str) -> None:
    (tmp_path / "build.toml").write_bytes('images = "Fotos größer"'.encode(encoding))
    assert resolve({"profile": "cpu", "classes": "l"}, tmp_path / "build.toml", {}).images == tmp_path / "Fotos größer"


def test_the_choices_are_those_that_there_are() -> None:
    methods, templates, train = (
        pytest.importorskip(f"edgedistill.{name}") for name in ("distil.methods", "classes.templates", "distil.config")
    )
    assert tuple(ONE_OF["method"]) == tuple(methods.METHODS)
    assert ONE_OF["view_targets"] == choices.VIEW_TARGETS
    assert ONE_OF["student_dtype"] == choices.DTYPES
    assert ONE_OF["teacher_dtype"] == choices.TEACHER_DTYPES
    assert ONE_OF["select_by"] == choices.SELECT_BY
    assert "device" not in ONE_OF
    prompts = pytest.importorskip("edgedistill.synthesis.prompts")
    assert ONE_OF["diversify"] == choices.DIVERSIFY == tuple(prompts.WAYS)
    assert tuple(way for way, source in prompts.WAYS.items() if source.has_words) == choices.WITH_WORDS
    for policy in ONE_OF["view_targets"]:
        assert train.TrainConfig(size=32, views=policy).views == policy
    for name in choices.TEMPLATE_SETS:
        assert templates.template_set(name).name == name


def test_paths_and_numbers_may_come_in_the_types_of_python() -> None:
    found = resolve(
        {
            "profile": Path("boards/mine.toml"),
            "classes": "labels.txt",
            "images": Path("photos"),
            "check": None,
            "student_weights": Path("start"),
            "option": ["tau=2"],
            "latency_budget": 12,
            "out": "there",
        },
        None,
        {},
    )
    assert (found.profile, found.student_weights) == ("boards/mine.toml", "start")
    assert (found.classes, found.images, found.out) == (Path("labels.txt"), Path("photos"), Path("there"))
    assert (found.check, found.option, found.strict) == (None, ("tau=2",), False)
    assert type(found.latency_budget) is float


def test_the_file_may_be_named_by_text(tmp_path: Path) -> None:
    path = config(tmp_path, 'out = "there"\nepochs = 7\n')
    found = resolve(NEEDED | {"epochs": None}, str(path), {})  # type: ignore[arg-type]
    assert (found.out, found.epochs) == (tmp_path / "there", 7)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"epochs": "ten"}, "build: epochs is 'ten'"),
        ({"epochs": 2.0}, "build: epochs is 2.0"),
        ({"epochs": True}, "build: epochs is True"),
        ({"strict": 1}, "build: strict is 1"),
        ({"classes": 3}, "--classes is 3\nIt has to be a path."),
        ({"work": b"here"}, "--work is b'here'"),
        ({"option": "tau=2"}, "build: option is 'tau=2'"),
        ({"method": ["prg"]}, f"--method is ['prg']\nUse one of: {', '.join(METHODS)}."),
        ({"train_on": "tpu"}, "--train-on is 'tpu'\nUse one of: auto, cpu, cuda."),
        ({"agreement_min": float("nan")}, "build: agreement_min is nan"),
        ({"input_size": 2000}, "--input-size is 2000\nIt must be at least 32 and at most 1024."),
        ({"epoch": 3}, "build: unknown key 'epoch'\nDid you mean 'epochs'?"),
    ],
)
def test_a_wrong_type_or_word_from_python_is_named(given: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError) as caught:
        resolve(NEEDED | given, None, {})
    assert said in str(caught.value)


def test_dashes_and_lists_read_as_on_the_command_line(tmp_path: Path) -> None:
    path = config(tmp_path, 'student-weights = "none"\noption = ["edge_loss=col"]\nlatency-budget = 12\n')
    found = resolve(NEEDED, path, {})
    assert (found.student_weights, found.option, found.latency_budget) == ("none", ("edge_loss=col",), 12.0)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("epoch = 3", "Did you mean 'epochs'"),
        ("epochs = 'ten'", "epochs is 'ten'"),
        ("epochs = true", "epochs is True"),
        ("option = 'a=b'", "build.toml: option is 'a=b'"),
        ("epochs = ", "not valid TOML"),
        ("epochs = 0", "--epochs is 0"),
        ("method = 'magic'", "--method is 'magic'"),
        ("view-targets = 'all'", "build.toml: view-targets is 'all'"),
        ("classes = 3", "build.toml: classes is 3"),
        ("agreement-min = 1.5", "--agreement-min is 1.5"),
    ],
)
def test_a_wrong_line_is_named(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        resolve(NEEDED, config(tmp_path, text + "\n"), {})


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no config file at"):
        resolve(NEEDED, tmp_path / "none.toml", {})


@pytest.mark.parametrize("amount", [0.5, 1, 1.0, 200])
def test_a_selection_is_a_share_or_a_number_of_photos(tmp_path: Path, amount: float) -> None:
    assert resolve(NEEDED | {"select": amount, "select_by": "known"}, None, {}).select == amount
    assert resolve(NEEDED, config(tmp_path, f"select = {amount}\n"), {}).select == amount


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"select": 0}, "--select is 0\nIt must be a share above 0 and at most 1, or a whole number of photos."),
        ({"select": -3}, "--select is -3"),
        ({"select": 1.5}, "--select is 1.5"),
        ({"select": "half"}, "build: select is 'half'"),
        ({"select": 9, "select_by": "magic"}, f"--select-by is 'magic'\nUse one of: {', '.join(choices.SELECT_BY)}."),
        ({"select_by": "known"}, "--select-by is known, but --select is missing\nGive --select"),
    ],
)
def test_a_selection_that_says_nothing_is_named(given: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError) as caught:
        resolve(NEEDED | given, None, {})
    assert said in str(caught.value)


def test_without_photos_images_are_made_and_beside_photos_only_if_asked_for() -> None:
    names = {"profile": "cpu", "classes": Path("labels.txt")}
    assert resolve(names, None, {}).synthesizes
    assert resolve(names | {"engine": "teacher", "diversify": "plain", "per_class": 9}, None, {}).per_class == 9
    assert not resolve(NEEDED, None, {}).synthesizes
    assert resolve(NEEDED | {"synthesize": True, "per_class": 9}, None, {}).synthesizes


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (
            {"images": "photos", "per_class": 9},
            "--per-class says how images are made, and there are photos in --images",
        ),
        ({"engine": "diffusers"}, "--engine diffusers needs a pipeline\nGive --engine-model"),
        (
            {"generated": "there", "diversify": "mix"},
            "--generated brings images, and --diversify says how to make some",
        ),
        (
            {"engine": "diffusers", "engine_model": "there", "diversify": "mix"},
            "a pipeline reads words\nUse one with words (plain, styles, random-words), or --engine teacher.",
        ),
        ({"engine": "gan"}, "--engine is 'gan'\nUse one of: teacher, diffusers."),
        ({"per_class": 0}, "--per-class is 0\nIt must be at least 1"),
    ],
)
def test_what_says_nothing_of_images_that_are_made_is_named(given: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError) as caught:
        resolve({"profile": "cpu", "classes": "labels.txt"} | given, None, {})
    assert said in str(caught.value)
    if "images" not in given:
        with pytest.raises(InputError) as caught:
            resolve_synthesis({"classes": "labels.txt", "out": "made"} | given, {})
        assert said in str(caught.value)


def test_synthesize_needs_names_and_a_place() -> None:
    with pytest.raises(InputError, match="--out is missing"):
        resolve_synthesis({"classes": "labels.txt"}, {})
    found = resolve_synthesis({"classes": "labels.txt", "out": "made"}, {"EDGEDISTILL_TEACHER": "ViT-B-32/openai"})
    assert (found.classes, found.out, found.teacher) == (Path("labels.txt"), Path("made"), "ViT-B-32/openai")
    with pytest.raises(InputError, match="Did you mean 'per_class'"):
        resolve_synthesis({"per_clas": 3}, {})


def test_the_bundle_is_named_after_labels_and_profile() -> None:
    assert BuildSettings(**NEEDED).bundle == Path("labels-cpu")
    assert BuildSettings(**NEEDED | {"profile": "boards/mine.toml"}).bundle == Path("labels-mine")
    assert BuildSettings(**NEEDED, out=Path("there")).bundle == Path("there")


@pytest.mark.parametrize(("time", "seconds"), [("90s", 90), ("10m", 600), ("1h", 3600), ("1.5h", 5400), (None, None)])
def test_a_time_is_a_number_and_its_unit(time: str | None, seconds: float | None) -> None:
    assert BuildSettings(**NEEDED, time=time).seconds == seconds


@pytest.mark.parametrize("time", ["", "90", "m", "10 m", "0s", "-1h", "1e3s", "infs", "10d", "١s", "9" * 400 + "h"])
def test_what_is_no_time_is_refused(time: str) -> None:
    with pytest.raises(InputError, match="--time is"):
        BuildSettings(**NEEDED, time=time)


@pytest.mark.parametrize(
    ("flags", "file", "said"),
    [
        ({"time": "10m"}, "epochs = 3", "both --time and --epochs"),
        ({"time": "10m"}, "patience = 3", "both --time and --patience"),
        ({"patience": 3}, "epochs = 3", "both --patience and --epochs"),
        ({"patience": 1.0, "epochs": 20}, "", "both --patience and --epochs"),
    ],
)
def test_two_ways_to_say_how_long_to_train_exclude_each_other(
    tmp_path: Path, flags: dict[str, Any], file: str, said: str
) -> None:
    with pytest.raises(InputError, match=said) as error:
        resolve(NEEDED | flags, config(tmp_path, file), {})
    assert len(str(error.value).splitlines()) == 2


@pytest.mark.parametrize("patience", [0.9, 0, -3, float("nan"), float("inf")])
def test_patience_is_one_or_more(patience: float) -> None:
    with pytest.raises(InputError, match="patience is"):
        BuildSettings(**NEEDED, patience=patience)


PATHS = ("profile", "classes", "images", "out", "work", "teacher", "student-weights", "templates", "device", "check")


@pytest.mark.parametrize("key", PATHS)
def test_a_path_with_a_nul_is_refused_in_a_file_and_from_python(tmp_path: Path, key: str) -> None:
    flags = {"profile": "cpu", "classes": "labels.txt", "images": "photos"}
    (tmp_path / "build.toml").write_text(f'{key} = "a\\u0000b/"\n')
    with pytest.raises(InputError, match=f"build.toml: {key} is .*with a NUL"):
        resolve({name: value for name, value in flags.items() if name != key}, tmp_path / "build.toml", {})
    for value in ("a\0b", Path("a\0b")):
        with pytest.raises(InputError, match=f"--{key} is .*with a NUL"):
            resolve({**flags, key.replace("-", "_"): value}, None, {})


def test_a_configuration_whose_name_has_a_nul_is_refused() -> None:
    with pytest.raises(InputError, match=r"--config is .*with a NUL"):
        resolve({}, Path("a\0.toml"), {})
