"""Every command the README and docs/ show is one that exists: parsed by the parser that would run it."""

from __future__ import annotations

import ast
import inspect
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import typer

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

from board_commands import PROGRAMS
from bundles import NAMES, colour_pixels, png, write_bundle

import edgedistill
from edgedistill.cli import app
from edgedistill.profiles import list_profiles
from edgedistill.targets import run

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
EXTRAS = set(tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"])


def commands() -> list[tuple[str, str]]:
    """(page, command) of every line of every ```sh block, continuations joined, comments and prompts dropped."""
    found = []
    for page in PAGES:
        for block in re.findall(r"^```sh\n(.*?)^```", page.read_text(), re.M | re.S):
            for line in block.replace("\\\n", " ").splitlines():
                line = line.partition(" #")[0].strip()
                if line and not line.startswith("#"):
                    found.append((page.name, line))
    return found


def test_the_readme_shows_the_two_commands() -> None:
    shown = [command for page, command in commands() if page == "README.md"]
    assert "make demo" in shown
    assert "make test" in shown


def python_blocks() -> list[str]:
    return re.findall(r"^```python\n(.*?)^```", (ROOT / "README.md").read_text(), re.M | re.S)


def test_the_python_of_the_readme_predicts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_bundle(tmp_path / "labels-cpu")
    (tmp_path / "part.jpg").write_bytes(png(colour_pixels(1)[0][0]))
    monkeypatch.chdir(tmp_path)
    predicting = [block for block in python_blocks() if "predict" in block]
    assert predicting
    for block in predicting:
        ran = subprocess.run([sys.executable, "-c", block], capture_output=True, text=True)
        assert ran.returncode == 0, ran.stderr
        assert ran.stdout.split()[0] in NAMES


def test_the_python_of_the_readme_that_builds_calls_what_exists() -> None:
    called = set()
    for block in python_blocks():
        for node in ast.walk(ast.parse(block)):
            if isinstance(node, ast.Call) and (match := re.fullmatch(r"edgedistill\.(\w+)", ast.unparse(node.func))):
                function = getattr(edgedistill, match[1])
                keywords = {str(keyword.arg): keyword.value for keyword in node.keywords}
                inspect.signature(function).bind(*node.args, **keywords)
                called.add(match[1])
            elif isinstance(node, ast.Attribute) and ast.unparse(node.value) == "verdict":
                assert node.attr in edgedistill.Verdict.__dataclass_fields__
    assert {"build", "verify"} <= called


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_link_into_this_repository_leads_somewhere(page: Path) -> None:
    links = re.findall(r"\]\(([^)#\s]+)", page.read_text())
    assert [link for link in links if "://" not in link and not (page.parent / link).exists()] == []


@pytest.mark.parametrize(("page", "command"), commands(), ids=lambda value: re.sub(r"\W+", "-", value)[:60])
def test_a_shown_command_can_be_run(page: str, command: str) -> None:
    words = shlex.split(command)
    while words and re.fullmatch(r"[A-Z_]+=.*|sudo", words[0]):
        words.pop(0)
    program = Path(words[0]).name
    if program == "edgedistill":
        parse_edgedistill(words[1:])
    elif program == "make":
        subprocess.run(["make", "-n", *words[1:]], cwd=ROOT, check=True, capture_output=True)
    elif program in ("pip", "pip3"):
        for package in words[2:]:
            extras = re.search(r"\[(.*)\]", package)
            assert not extras or set(extras[1].split(",")) <= EXTRAS, f"{package}: no such extra"
    elif program in ("python", "python3"):
        parse_python(words[1:])
    elif program == "sh":
        (script,) = words[1:]
        subprocess.run(["sh", "-n", script], cwd=ROOT, check=True, capture_output=True)
    elif program == "hf":
        parse_download(words[1:], page)
    elif program == "cd":
        assert words[1:] == [bundle_of(words[1])]
    elif program == "scp":
        parse_copy(words[1:])
    elif program in PROGRAMS:
        PROGRAMS[program](words[1:])
    else:
        assert words == ["source", ".venv/bin/activate"], f"{page} shows {program}"


def bundle_of(place: str) -> str:
    """The bundle that a shown path lies in: one that `build` writes for labels.txt and a profile that exists."""
    folder = place.partition(":")[2] or place.rstrip(":")
    bundle = folder.partition("/")[0]
    assert bundle in {f"labels-{name}" for name in list_profiles()}, f"no shown build writes {place}"
    return bundle


def parse_copy(words: list[str]) -> None:
    """`scp -r BUNDLE USER@BOARD:`, and `scp -r USER@BOARD:BUNDLE/results BUNDLE` for the way back."""
    recursive, source, target = words
    assert recursive == "-r"
    if target.endswith(":"):
        assert source == bundle_of(source)
    else:
        assert source.partition(":")[2] == f"{bundle_of(source)}/results"
        assert target == bundle_of(source)


def parse_edgedistill(words: list[str]) -> None:
    """Parse without running: an unknown command or option, or a missing argument, raises."""
    command, name = typer.main.get_command(app), "edgedistill"
    while hasattr(command, "commands"):
        assert words, f"{name} alone does nothing"
        name = words.pop(0)
        assert name in command.commands, f"no command {name}"
        command = command.commands[name]
    if "--help" not in words:
        command.make_context(name, words, resilient_parsing=False).close()


def parse_download(words: list[str], page: str) -> None:
    """`hf download REPOSITORY --local-dir FOLDER`: of a teacher the page names, to a folder that it builds from."""
    command, repository, option, folder = words
    assert (command, option) == ("download", "--local-dir")
    teachers = [shown.partition(" --teacher ")[2].split()[:1] for where, shown in commands() if where == page]
    assert [f"hf-hub:{repository}"] in teachers
    assert [f"local-dir:{folder}"] in teachers


def parse_python(words: list[str]) -> None:
    """`python run.py …` against the device's own parser; a script of this repository must exist and name its flags."""
    if words[0] == "run.py":
        run.parser().parse_args(words[1:])
    elif words[0] == "-m":
        assert words[1] in ("venv", "pip", "pytest"), words
    else:
        script = ROOT / words[0]
        assert script.is_file(), f"{words[0]} is not there"
        told = script.read_text()  # not run: a tool may need an extra that is not installed
        for flag in (word.partition("=")[0] for word in words[1:] if word.startswith("--")):
            assert f'"{flag}"' in told, f"{words[0]} has no {flag}"


PAGES_OF_BOARDS = ("jetson.md", "raspberry-pi.md")


def test_what_the_pages_of_boards_show_of_run_py_runs(tmp_path: Path) -> None:
    """Every command of it that needs no TensorRT, on a bundle for this machine, in an environment made as shown."""
    bundle = write_bundle(tmp_path / "bundle")
    shown = [words for page, command in commands() if page in PAGES_OF_BOARDS and (words := shlex.split(command))]
    environments = [words for words in shown if words[1:3] == ["-m", "venv"]]
    assert any("--system-site-packages" in words for words in environments)
    made = [sys.executable, "-m", "venv", "--without-pip", "--system-site-packages", str(tmp_path / "runtime")]
    subprocess.run(made, check=True)
    (site,) = (tmp_path / "runtime").glob("lib/python*/site-packages")
    ours = [path for path in sys.path if path.endswith("site-packages")]  # where this is itself an environment
    (site / "ours.pth").write_text("\n".join(ours))
    asked = {words[2]: words[2:] for words in shown if words[1:2] == ["run.py"] and words[2] != "compile"}
    assert set(asked) == {"doctor", "verify", "bench"}
    for arguments in asked.values():
        quick = [] if arguments[0] == "doctor" else ["--warmup-s", "0", "--min-s", "0", "--min-queries", "1"]
        command = [str(tmp_path / "runtime/bin/python"), "run.py", *arguments, *quick]
        ran = subprocess.run(command, cwd=bundle, capture_output=True, text=True)
        assert (ran.returncode, ran.stderr) == (0, "")
