"""The hub is asked only when the cache does not do, quickly, and aloud."""

from __future__ import annotations

import http.server
import logging
import os
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from edgedistill.teacher import hub

COMMIT = "b" * 40


class TinyHub(http.server.BaseHTTPRequestHandler):
    """Speaks as much of the hub's protocol as a download needs; has one file, open_clip_pytorch_model.bin."""

    def do_HEAD(self) -> None:
        self.answer(body=False)

    def do_GET(self) -> None:
        self.answer(body=True)

    def answer(self, body: bool) -> None:
        if not self.path.endswith("/resolve/main/open_clip_pytorch_model.bin"):
            self.send_response(404)
            if "/resolve/" in self.path:
                self.send_header("X-Error-Code", "EntryNotFound")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        self.send_response(200)
        self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("ETag", '"an-etag"')
        self.send_header("Content-Length", "7")
        self.end_headers()
        if body:
            self.wfile.write(b"weights")

    def log_message(self, *arguments) -> None:
        pass


@pytest.fixture
def tiny_hub():
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), TinyHub)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def silent_server():
    """Takes connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


def test_a_refusal_is_an_answer(tiny_hub: str):
    assert hub.answers(tiny_hub)


def test_silence_is_none(silent_server: str):
    assert not hub.answers(silent_server, seconds=0.2)


def test_neither_is_a_closed_port_or_an_unknown_host():
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    assert not hub.answers(f"http://127.0.0.1:{port}", seconds=2)
    assert not hub.answers("http://no-such-host.invalid", seconds=0.2)
    assert not hub.answers("no address", seconds=0.2)


def test_a_silent_hub_is_an_error_after_one_probe(silent_server: str, tmp_path: Path, monkeypatch):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "ENDPOINT", silent_server)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(hub, "PROBE_SECONDS", 0.2)
    with pytest.raises(hub.HubUnavailable, match=f"{silent_server} does not answer"):
        hub.fetch("someone/model", ["weights.bin"])


def test_offline_is_an_error_without_any_probe(tmp_path: Path, monkeypatch):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(hub, "answers", lambda *arguments: pytest.fail("asked the hub"))
    with pytest.raises(hub.HubUnavailable, match="HF_HUB_OFFLINE"):
        hub.fetch("someone/model", ["weights.bin"])


def test_a_download_takes_the_next_best_file_says_so_and_is_cached(tiny_hub: str, tmp_path: Path):
    code = (
        "import logging\n"
        "logging.basicConfig(level=logging.INFO, format='%(name)s %(message)s')\n"
        "from edgedistill.teacher import hub\n"
        "names = ['open_clip_model.safetensors', 'open_clip_pytorch_model.bin']\n"
        "first = hub.fetch('someone/model', names)\n"
        "hub.answers = None  # a second request would fail here\n"
        "assert hub.fetch('someone/model', names) == first\n"
        "assert list(hub.cached_repos()) == [('someone/model', frozenset([first.name]))]\n"
        "print(first.read_text())\n"
        "try:\n"
        "    hub.answers = lambda endpoint: True\n"
        "    hub.fetch('someone/model', ['no-such-file'])\n"
        "except hub.NotOnHub as error:\n"
        "    print(error)\n"
    )
    environment = {**os.environ, "HF_ENDPOINT": tiny_hub, "HF_HUB_OFFLINE": "0", "HF_HUB_CACHE": str(tmp_path)}
    environment |= {"NO_PROXY": "127.0.0.1", "HF_HUB_DISABLE_XET": "1"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "weights\nthe hub's someone/model has none of: no-such-file\n"
    assert f"edgedistill.teacher.hub fetching open_clip_pytorch_model.bin from {tiny_hub}/someone/model" in done.stderr


def test_a_name_the_hub_cannot_know_is_refused(tiny_hub: str, tmp_path: Path, monkeypatch):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "ENDPOINT", tiny_hub)
    with pytest.raises(hub.HubUnavailable, match="ORGANISATION/MODEL"):
        hub.fetch("no//such..name", ["weights.bin"])


def test_the_cache_may_not_exist(tmp_path: Path, monkeypatch, caplog):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "absent"))
    with caplog.at_level(logging.INFO):
        assert list(hub.cached_repos()) == []
        assert hub.cached_file("someone/model", ["weights.bin"]) is None
    assert not caplog.records
