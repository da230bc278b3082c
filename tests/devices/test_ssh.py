"""A board by ssh, over a real sshd on the loopback interface: measured, and every way it can fail.

Each failure is two lines that name the board and what to do, leaves nothing half-written, and the same call goes on.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shlex
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from urllib.parse import quote

import loopback
import pytest
from bundles import change_manifest, write_bundle
from loopback import Board

from edgedistill.devices import connection
from edgedistill.devices.address import read_address
from edgedistill.devices.bring import bring
from edgedistill.devices.connection import Connection
from edgedistill.devices.measurement import Measurement
from edgedistill.devices.ssh import Ssh
from edgedistill.errors import InputError
from edgedistill.profiles import load_profile
from edgedistill.targets.manifest import Manifest, read_manifest
from edgedistill.work.console import Silent

pytestmark = pytest.mark.skipif(loopback.why_not() is not None, reason=str(loopback.why_not()))

NAME = "parts b'un\"dle $(touch pwned) `touch pwned`\n;touch pwned #"
LONGEST_WAIT_S = 60


@pytest.fixture(scope="module")
def sshd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Board]:
    with Board(tmp_path_factory.mktemp("board")) as board:
        yield board


@pytest.fixture
def board(sshd: Board, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Board]:
    """The board as it came, with a fresh home, and its ssh in this process's PATH."""
    sshd.home = tmp_path / "home"
    sshd.home.mkdir()
    sshd.log_in()
    for name, value in sshd.environment.items():
        monkeypatch.setenv(name, value)
    yield sshd
    sshd.know((sshd.folder / "host_key.pub").read_text())
    sshd.python(f'exec {shlex.quote(sys.executable)} "$@"')


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    """Do not change it."""
    profile = load_profile("cpu")
    measure = replace(profile.measure, warmup_s=0.0, min_s=0.1, min_queries=20, hot_c=200)
    folder = tmp_path_factory.mktemp("bundles") / NAME
    return read_manifest(write_bundle(folder, profile=replace(profile, measure=measure).to_json()))


Fails = Callable[..., InputError]


@pytest.fixture
def fails(board: Board, bundle: Manifest, record_property: Callable[[str, object], None]) -> Fails:
    """Measures there, or calls what is given: the error, two lines that name the board. Nothing is there under the
    bundle's name after it. benchmarks/ssh_faults.py makes a table of the lines."""

    def failure(call: Callable[[], object] | None = None, *, url: str = "", patience_s: float = 60) -> InputError:
        def measure() -> object:
            return measured(replace(Ssh.at(url or board.url), patience_s=patience_s), bundle)

        with pytest.raises(InputError) as raised:
            (call or measure)()
        error = raised.value
        assert len(str(error).splitlines()) == 2
        assert "127.0.0.1" in str(error)
        assert not any(path.name == NAME for path in board.home.rglob("*"))
        record_property("two lines", for_anyone(str(error), board))
        return error

    return failure


def for_anyone(words: str, board: Board) -> str:
    """With no path, user or name of this machine."""
    places = {str(board.home): "HOME", str(board.folder): "FOLDER", sys.executable: "/usr/bin/python3"}
    places |= {sys.exec_prefix: "/usr", board.login: "USER@BOARD", "127.0.0.1": "BOARD", str(board.port): "PORT"}
    for place, shown in places.items():
        words = words.replace(place, shown)
    words = words.replace(NAME.replace("\n", r"\x0a"), "BUNDLE")
    return re.sub(r"(port |-p |:)\d{4,5}\b", r"\1PORT", words)


def measured(device: Ssh, bundle: Manifest) -> list[Path]:
    with device.measure(bundle, Measurement(threads=1)) as files:
        return files


def carry(board: Board, bundle: Manifest, progress: Silent | None = None) -> None:
    """The bundle onto the board, and nothing else."""
    files = {**bundle.data["files"], "manifest.json": bundle.sha256}
    with Connection(read_address(board.url)) as there:
        there.ask("lock")
        places = {name: bundle.path / name for name in files}
        bring(there, NAME, places, files, "manifest.json", progress or Silent(), keep="engines")


def until(true: Callable[[], bool]) -> None:
    end = time.monotonic() + LONGEST_WAIT_S
    while not true():
        assert time.monotonic() < end
        time.sleep(0.02)


class Note(Silent):
    """Progress that does something once, when the work titled `title` has begun."""

    def __init__(self, title: str, act: Callable[[], object]) -> None:
        self.title, self.act, self.now = title, act, False

    def start(self, title: str, total: int) -> None:
        self.now = title == self.title

    def advance(self, n: int = 1, note: str = "") -> None:
        if self.now:
            self.now = False
            self.act()


def test_a_board_is_measured_with_the_workshops_program_and_its_results_come_back(
    board: Board, bundle: Manifest, tmp_path: Path
) -> None:
    """And what was decided of them goes there. Also: a name that a shell would run, a login that talks, a second time
    without a copy."""
    board.log_in(before="echo 'Welcome to the board'; echo edgedistill")
    copy = Path(subprocess.check_output(["mktemp", "-d", "-p", tmp_path], text=True).strip()) / NAME
    subprocess.run(["cp", "-r", bundle.path, copy], check=True)
    for name in ("run.py", "targets/run.py"):
        (copy / name).write_text("raise SystemExit('a stranger was here')")
    hashes = {**bundle.data["files"], **{name: sha(copy / name) for name in ("run.py", "targets/run.py")}}
    change_manifest(copy, files=hashes)
    (copy / "results").mkdir()
    (copy / "results/fp16-tensorrt.json").write_text("of an earlier measurement")
    manifest = read_manifest(copy)
    with Ssh.at(board.url).measure(manifest, Measurement(threads=1)) as (found,):
        (copy / "verdict.json").write_text("décidé")
    assert found == copy / "results/fp32-onnxruntime-cpu.json"
    result = json.loads(found.read_text())
    assert result["manifest_sha256"] == manifest.sha256
    assert result["runtime"]["threads"] == 1
    assert sorted(path.name for path in (copy / "results").iterdir()) == [found.name]
    there = board.home / "edgedistill" / NAME
    assert read_manifest(there).sha256 == manifest.sha256
    assert (there / "results" / found.name).read_bytes() == found.read_bytes()
    assert (there / "verdict.json").read_text("utf-8") == "décidé"
    assert list(board.home.rglob("pwned")) == []
    sent = Sent()
    carry(board, manifest, sent)
    assert sent.started == []


class Sent(Silent):
    def __init__(self) -> None:
        self.started: list[tuple[str, int]] = []

    def start(self, title: str, total: int) -> None:
        self.started.append((title, total))


def sha(path: Path) -> str:
    from edgedistill.work.atomic import sha256_file

    return sha256_file(path)


def test_a_folder_that_a_shell_would_run_is_only_a_folder(board: Board) -> None:
    name = "models 'of \"me $(touch pwned)\n`touch pwned`;touch pwned"
    for path in (f"/{quote(str(board.home)[1:])}/{quote(name)}", f"/~/{quote(name)}"):
        with Connection(read_address(board.url + path)) as there:
            assert there.ask("lock")["folder"] == str(board.home / name)
    assert [path.name for path in board.home.iterdir()] == [name]


def test_a_board_behind_a_jump_host_is_reached_by_its_name_in_the_ssh_config(board: Board) -> None:
    """The jump host is the same sshd: two logins, one through the other."""
    place = f"HostName 127.0.0.1\nPort {board.port}\nUser {board.user}\n"
    config = board.folder / "client/config"
    kept = config.read_text()
    config.write_text(f"Host gate\n{place}Host far-board\n{place}ProxyJump gate\n{kept}")
    try:
        for name, logins in (("gate", 1), ("far-board", 2)):
            with Connection(read_address(f"ssh://{name}")) as there:
                assert there.ask("lock")["folder"] == str(board.home / "edgedistill")
                assert board.logins() == logins
            until(lambda: board.logins() == 0)
    finally:
        config.write_text(kept)


def test_a_copy_that_was_cut_is_gone_on_with(board: Board, bundle: Manifest, fails: Fails) -> None:
    """The power goes after the first block; the board reboots; the same copy sends what is left."""
    cut = fails(lambda: carry(board, bundle, Note("copy to the board", board.stop)))
    assert "was cut while copying" in cut.wrong
    assert "run the same command again" in cut.todo
    assert "does not reach" in fails().wrong
    board.start()
    left = Sent()
    carry(board, bundle, left)
    assert 0 < left.started[0][1] <= len(bundle.data["files"]) + 1
    assert read_manifest(board.home / "edgedistill" / NAME).sha256 == bundle.sha256


def test_a_run_that_was_cut_is_ended_there_and_the_board_is_free_again(board: Board, fails: Fails) -> None:
    marker = board.home / "begun"
    program = f"import os, time; open({str(marker)!r}, 'w').write(str(os.getpid())); time.sleep(1000)"
    with Connection(read_address(board.url)) as there:
        there.ask("lock")
        there.doing("measuring")
        threading.Thread(target=lambda: (until(lambda: bool(read(marker))), board.stop())).start()
        error = fails(lambda: there.ask("run", arguments=["-c", program], clear=[]))
        assert "was cut while measuring" in error.wrong
    until(lambda: not os.path.exists(f"/proc/{read(marker)}"))
    board.start()
    with Connection(read_address(board.url), 30) as there:
        there.ask("lock")


def read(path: Path) -> str:
    with contextlib.suppress(OSError):
        return path.read_text()
    return ""


def test_two_at_once_measure_one_after_the_other(board: Board, fails: Fails) -> None:
    with Connection(read_address(board.url)) as first:
        first.ask("lock")
        error = fails(patience_s=0.3)
        assert "another one is measuring on" in error.wrong
        assert "from 127.0.0.1" in error.wrong
        told: list[str] = []
        with Connection(read_address(board.url), LONGEST_WAIT_S) as second:
            waiting = threading.Thread(target=lambda: second.ask("lock", told.append))
            waiting.start()
            until(lambda: bool(told))
            first.__exit__(None, None, None)
            waiting.join(LONGEST_WAIT_S)
            assert not waiting.is_alive()
    assert told == ["another one is measuring there; waiting for it to end"]


def test_another_host_key_than_before(board: Board, fails: Fails) -> None:
    board.know((board.folder / "user_key.pub").read_text())
    error = fails()
    assert "another host key than before" in error.wrong
    assert f"ssh-keygen -R '[127.0.0.1]:{board.port}'" in error.todo


def test_a_host_key_that_nobody_has_seen(board: Board, fails: Fails) -> None:
    (board.folder / "known_hosts").write_text("")
    error = fails()
    assert "does not know the host key" in error.wrong
    assert f"ssh -p {board.port} " in error.todo


def test_a_key_that_the_board_does_not_know(board: Board, fails: Fails) -> None:
    allowed = board.folder / "authorized_keys"
    allowed.rename(board.folder / "aside")
    try:
        error = fails()
    finally:
        (board.folder / "aside").rename(allowed)
    assert "refused your ssh key and password" in error.wrong
    assert "Permission denied" in error.wrong


def test_a_wrong_password(board: Board, fails: Fails, monkeypatch: pytest.MonkeyPatch) -> None:
    loopback.script(board.folder / "askpass", f"echo asked >>{board.folder}/asked; echo wrong")
    monkeypatch.setenv("SSH_ASKPASS", str(board.folder / "askpass"))
    monkeypatch.setenv("SSH_ASKPASS_REQUIRE", "force")
    config = board.folder / "client/config"
    kept = config.read_text()
    config.write_text(kept + "PreferredAuthentications password\nNumberOfPasswordPrompts 1\n")
    try:
        error = fails()
    finally:
        config.write_text(kept)
    assert (board.folder / "asked").read_text() == "asked\n"
    assert "refused your ssh key and password" in error.wrong


def test_a_port_where_nobody_answers(board: Board, fails: Fails) -> None:
    error = fails(url=f"ssh://{board.login}:{loopback.free_port()}")
    assert "does not reach" in error.wrong
    assert "Connection refused" in error.wrong


def test_a_board_without_python(board: Board, fails: Fails) -> None:
    only_a_shell = board.home / "bin"
    only_a_shell.mkdir()
    (only_a_shell / "sh").symlink_to("/bin/sh")
    board.log_in(path=str(only_a_shell))
    error = fails()
    assert "has no python3" in error.wrong
    assert "apt install python3" in error.todo


def test_a_python_that_is_too_old(board: Board, fails: Fails) -> None:
    older = "import sys; sys.version_info = (3, 8, 10); exec(sys.argv.pop(1))"
    board.python(f'shift; exec {shlex.quote(sys.executable)} -c {shlex.quote(older)} "$@"')
    error = fails()
    assert "Python 3.8.10" in error.wrong
    assert "~/edgedistill/runtime" in error.todo


def test_an_environment_beside_the_bundles_comes_before_the_systems_python(board: Board) -> None:
    place = board.home / "edgedistill/runtime/bin"
    place.mkdir(parents=True)
    (place / "python").symlink_to(sys.executable)
    board.python("echo the wrong one; exit 1")
    with Connection(read_address(board.url)) as there:
        assert there.greeting.executable == str(place / "python")


@pytest.mark.parametrize("module", ["onnxruntime", "numpy"])
def test_a_runtime_that_is_missing_is_named_with_the_command_that_installs_it(
    board: Board, fails: Fails, module: str
) -> None:
    hidden = board.home / "hidden"
    hidden.mkdir()
    (hidden / f"{module}.py").write_text(f"raise ImportError('no {module} here', name={module!r})")
    board.python(f'PYTHONPATH={shlex.quote(str(hidden))} exec {shlex.quote(sys.executable)} "$@"')
    error = fails()
    assert "no runtime of the profile cpu works on" in error.wrong
    assert f"{module} cannot be imported" in error.wrong
    assert "edgedistill/runtime/bin/pip install numpy onnxruntime" in error.todo


def test_a_runtime_that_kills_the_process_that_imports_it(board: Board, fails: Fails) -> None:
    hidden = board.home / "hidden"
    hidden.mkdir()
    (hidden / "onnxruntime.py").write_text("import os, signal; os.kill(os.getpid(), signal.SIGILL)")
    board.python(f'PYTHONPATH={shlex.quote(str(hidden))} exec {shlex.quote(sys.executable)} "$@"')
    assert "SIGILL" in fails().wrong


@pytest.fixture
def jetson(board: Board) -> Callable[[int], None]:
    """Makes the board say that it runs this release of Jetson Linux: a login sees another /etc."""

    def install(release: int) -> None:
        etc = board.home / "etc"
        etc.mkdir()
        (etc / "nv_tegra_release").write_text(f"# R{release} (release), REVISION: 4.3, GCID: 1, BOARD: generic\n")
        other = f"mount -t overlay overlay -o lowerdir={etc}:/etc /etc"
        if subprocess.run(["unshare", "-m", "sh", "-c", other], capture_output=True).returncode:
            pytest.skip("a process cannot be given another /etc here")
        board.log_in(before=f"exec unshare -m sh -c '{other} && exec sh -c \"$SSH_ORIGINAL_COMMAND\"'")

    return install


def test_a_jetson_without_tensorrt_is_told_the_package_of_its_jetpack(
    board: Board, fails: Fails, jetson: Callable[[int], None], tmp_path: Path
) -> None:
    jetson(36)
    bundle = read_manifest(write_bundle(tmp_path / NAME, profile="jetson-orin-nano"))
    error = fails(lambda: measured(Ssh.at(board.url), bundle))
    assert "tensorrt cannot be imported" in error.wrong
    assert "JetPack 6" in error.todo
    assert "sudo apt install python3-libnvinfer" in error.todo


def test_jetpack_5_is_told_that_it_ends_with_its_python(
    board: Board, fails: Fails, jetson: Callable[[int], None]
) -> None:
    jetson(35)
    older = "import sys; sys.version_info = (3, 8, 10); exec(sys.argv.pop(1))"
    board.python(f'shift; exec {shlex.quote(sys.executable)} -c {shlex.quote(older)} "$@"')
    assert "flash the board with JetPack 6" in fails().todo


def test_a_folder_that_may_not_be_written(board: Board, fails: Fails) -> None:
    error = fails(url=f"{board.url}/sys/edgedistill")
    assert "may not write /sys/edgedistill" in error.wrong
    assert "name another folder" in error.todo


def test_a_file_where_the_folder_goes(board: Board, fails: Fails) -> None:
    (board.home / "edgedistill").write_text("a letter")
    for url in (board.url, f"{board.url}/~/edgedistill/models"):
        error = fails(url=url)
        assert f"{board.home}/edgedistill on {board.login} is not a folder" in error.wrong
        assert "Move it away there" in error.todo


def test_a_place_that_something_else_has_taken(board: Board, bundle: Manifest) -> None:
    place = board.home / "edgedistill" / NAME
    place.mkdir(parents=True)
    (place / "letter").write_text("to a friend")
    with pytest.raises(InputError, match="holds something that is not a bundle"):
        carry(board, bundle)
    assert (place / "letter").read_text() == "to a friend"


@pytest.fixture
def small_disk(board: Board) -> Iterator[Path]:
    place = board.home / "edgedistill"
    place.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "none", place], capture_output=True)
    if mounted.returncode:
        pytest.skip("a tmpfs cannot be mounted here")
    yield place
    subprocess.run(["umount", "-l", place], check=True)


def test_a_full_disk_is_known_before_anything_is_sent(
    board: Board, bundle: Manifest, small_disk: Path, fails: Fails
) -> None:
    (small_disk / "holiday.mp4").write_bytes(bytes(200 << 10))
    sent = Sent()
    error = fails(lambda: carry(board, bundle, sent))
    assert "no room on" in error.wrong
    assert "MiB needed" in error.wrong
    assert "MiB free" in error.wrong
    assert sent.started == []
    (small_disk / "holiday.mp4").unlink()
    subprocess.run(["mount", "-o", "remount,size=8m", small_disk], check=True)
    carry(board, bundle)
    assert read_manifest(small_disk / NAME).sha256 == bundle.sha256


def test_a_disk_that_fills_up_while_it_is_written_keeps_only_whole_files(
    board: Board, bundle: Manifest, small_disk: Path, fails: Fails
) -> None:
    subprocess.run(["mount", "-o", "remount,size=2m", small_disk], check=True)

    def fill() -> None:
        with contextlib.suppress(OSError), open(small_disk / "holiday.mp4", "wb", buffering=0) as file:
            while file.write(bytes(4096)):
                pass

    assert "no room on" in fails(lambda: carry(board, bundle, Note("copy to the board", fill))).wrong
    partial = small_disk / f".{NAME}.partial"
    assert all(sha(path) in bundle.data["files"].values() for path in partial.rglob("*") if path.is_file())
    (small_disk / "holiday.mp4").unlink()
    carry(board, bundle)
    assert read_manifest(small_disk / NAME).sha256 == bundle.sha256


def test_what_run_py_says_there_reaches_the_user(board: Board) -> None:
    with Connection(read_address(board.url)) as there:
        there.ask("lock")
        lines: list[str] = []
        program = (
            "import sys; print('a \\x1b[31mword'); print('error: it broke\\nMend it.', file=sys.stderr); sys.exit(2)"
        )
        ended = there.ask("run", lines.append, arguments=["-c", program], clear=[])
        assert ended == {"code": 2, "said": ["error: it broke", "Mend it."]}
        assert sorted(lines) == ["Mend it.", r"a \x1b[31mword", "error: it broke"]


def test_without_an_ssh_client(board: Board, bundle: Manifest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(board.home))
    with pytest.raises(InputError, match="there is no ssh on this machine"):
        measured(Ssh.at(board.url), bundle)


def test_a_silent_workshop_loses_the_board(board: Board, monkeypatch: pytest.MonkeyPatch) -> None:
    """As where a network cable is pulled: no end of stdin arrives."""
    monkeypatch.setattr(connection, "SILENCE_S", 0.5)
    monkeypatch.setattr(connection, "BEAT_S", 1000.0)
    with Connection(read_address(board.url), LONGEST_WAIT_S) as silent:
        silent.ask("lock")
        monkeypatch.setattr(connection, "SILENCE_S", 30.0)
        with Connection(read_address(board.url), LONGEST_WAIT_S) as other:
            other.ask("lock")


def looked_at(board: Board, bundle: Manifest, url: str = "") -> None:
    Ssh.at(url or board.url).check(bundle.profile, bundle.path)


def test_before_a_build_a_board_that_will_do_is_only_looked_at(board: Board, bundle: Manifest) -> None:
    looked_at(board, bundle)
    looked_at(board, bundle)
    left = sorted(path.name for path in (board.home / "edgedistill").iterdir())
    assert left == [".edgedistill.lock", f".{NAME}.program"]


def test_before_a_build_a_board_is_refused_for_what_would_keep_it_from_being_measured(
    board: Board, bundle: Manifest
) -> None:
    place = board.home / "edgedistill" / NAME
    place.mkdir(parents=True)
    (place / "letter").write_text("to a friend")
    with pytest.raises(InputError, match="holds something that is not a bundle"):
        looked_at(board, bundle)
    (place / "letter").unlink()
    with pytest.raises(InputError, match="may not write /sys/edgedistill"):
        looked_at(board, bundle, f"{board.url}/sys/edgedistill")
    board.python(f'PYTHONPATH={shlex.quote(str(board.home))} exec {shlex.quote(sys.executable)} "$@"')
    (board.home / "onnxruntime.py").write_text("raise ImportError('none here', name='onnxruntime')")
    with pytest.raises(InputError, match="no runtime of the profile cpu works on"):
        looked_at(board, bundle)
    (board.folder / "known_hosts").write_text("")
    with pytest.raises(InputError, match="does not know the host key"):
        looked_at(board, bundle)


def test_a_board_that_measures_for_another_one_now_may_be_free_when_a_build_ends(
    board: Board, bundle: Manifest
) -> None:
    with Connection(read_address(board.url)) as first:
        first.ask("lock")
        began = time.monotonic()
        looked_at(board, bundle)
        assert time.monotonic() - began < connection.PATIENCE_S
