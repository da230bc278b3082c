"""One door in and one door out: no other file reads what a stranger wrote, unpickles anything, or prints."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FILES = sorted(path for folder in ("edgedistill", "targets", "profiles") for path in (ROOT / folder).rglob("*.py"))

# Calls that read, by what stands before the bracket; and who may make them, each with what it reads.
PARSERS = {
    "json.load",
    "json.loads",
    "tomllib.load",
    "tomllib.loads",
    "np.load",
    "numpy.load",
    "np.memmap",
    "np.fromfile",
}
WHOLE_FILES = {"read_text", "read_bytes"}
READS = {
    "targets/outside.py": "the door",
    "targets/arrays.py": "the door of arrays",
    "edgedistill/toml_file.py": "the door of TOML",
    # What this program itself just wrote, or a process that it started said:
    "targets/run_verify.py": "the process that measures memory",
    "targets/providers.py": "the profile that onnxruntime has just written into a fresh folder",
    "edgedistill/bench/case.py": "a command line of its own",
    "edgedistill/bench/fresh.py": "the process that measures one case",
    "edgedistill/teacher/decoder.py": "a command line of its own",
    "edgedistill/work/torch_probe.py": "the process that looks for a GPU",
    "edgedistill/export/models.py": "the process that checks graphs",
    "edgedistill/export/reload.py": "the process that started it",
    "edgedistill/devices/connection.py": "its own program; answers of a board, line by line with a limit",
    "edgedistill/devices/on_board.py": "what the workshop asks; on the board there is nothing but the standard library",
    # Journalled or mapped, byte by byte under sums:
    "edgedistill/teacher/journal.py": "the data files of a store, mapped",
    "edgedistill/teacher/store.py": "the records of a store, after its sums",
    # The kernel's small files:
    "targets/system.py": "/proc and /sys",
    "targets/memory.py": "/proc",
    "targets/libcudart.py": "/proc",
    "targets/result.py": "/etc",
}
PRINTS = {
    "targets/printable.py": "the door",
    "targets/streams.py": "what the door's prints go through",
    # Not for a person but for the process that started this one, as JSON:
    "edgedistill/devices/on_board.py": "the workshop",
    "edgedistill/bench/fresh.py": "bench",
    "edgedistill/work/torch_probe.py": "the build",
    "targets/run.py": "a Python that cannot import the door, and Ctrl-C before it is imported",
    "edgedistill/__main__.py": "Ctrl-C before the door is imported",
}
NEVER = {
    "eval", "exec", "pickle.load", "pickle.loads", "marshal.loads", "shelve.open", "joblib.load", "yaml.load",
    "os.system", "shutil.unpack_archive", "tarfile.open", "onnx.load_external_data_for_model",
}  # fmt: skip


def calls(path: Path) -> Iterator[tuple[str, ast.Call]]:
    """("np.load", the call) for every call in a file; of a method of something unnamed, "read_text" alone."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call):
            name = ast.unparse(node.func) if isinstance(node.func, (ast.Name, ast.Attribute)) else ""
            yield name, node


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def test_whatever_is_parsed_or_read_whole_comes_through_the_door() -> None:
    found = {
        name_of(path)
        for path in FILES
        for name, node in calls(path)
        if name in PARSERS or (isinstance(node.func, ast.Attribute) and node.func.attr in WHOLE_FILES)
        if not name.startswith("outside.")
    }
    assert found - READS.keys() == set()
    assert READS.keys() - found == set(), "these read nothing any more"


def test_safetensors_are_opened_after_their_header_was_read() -> None:
    for path in FILES:
        names = [name for name, _ in calls(path)]
        if {"load_file", "safe_open"} & set(names):
            assert "read_header" in names, name_of(path)


def test_nothing_is_unpickled_or_executed_and_no_operators_of_others_are_loaded() -> None:
    for path in FILES:
        for name, node in calls(path):
            last = name.rpartition(".")[2]
            given = {word.arg: ast.unparse(word.value) for word in node.keywords}
            assert name not in NEVER, (name_of(path), name)
            assert last != "register_custom_ops_library", (name_of(path), name)
            if name in ("torch.load", "timm.models.load_state_dict"):
                assert given.get("weights_only") == "True", (name_of(path), name)
            if name in ("np.load", "numpy.load"):
                assert given.get("allow_pickle") == "False", (name_of(path), name)


def test_nobody_prints_but_through_the_door() -> None:
    def prints(name: str) -> bool:
        streams = ("sys.stdout.write", "sys.stderr.write", "os.write")
        return name in ("print", *streams) or name.endswith((".echo", ".secho", "traceback.print_exc"))

    found = {name_of(path) for path in FILES for name, _ in calls(path) if prints(name)}
    assert found - PRINTS.keys() == set()


@pytest.mark.parametrize("maker", ["Console", "rich.print"])
def test_rich_prints_only_as_a_terminal_whose_texts_cannot_act(maker: str) -> None:
    assert [name_of(path) for path in FILES for name, _ in calls(path) if name == maker] == []
