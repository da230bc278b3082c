"""The hub is asked only when the cache does not do, the way a download goes, and with a log line."""

from __future__ import annotations

import contextlib
import http.client
import http.server
import logging
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgedistill.teacher import hub

COMMIT = "b" * 40
PROXIES = ("ALL_PROXY", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "all_proxy", "http_proxy", "https_proxy", "no_proxy")


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


class SlowHub(TinyHub):
    """The same after a second's thought."""

    def answer(self, body: bool) -> None:
        time.sleep(1.0)
        super().answer(body)


class Proxy(http.server.BaseHTTPRequestHandler):
    """Forwards what is meant for hub.invalid, a name that nobody knows, to the hub at `target`; notes each request."""

    target: str
    seen: list[str]

    def do_HEAD(self) -> None:
        self.forward()

    def do_GET(self) -> None:
        self.forward()

    def forward(self) -> None:
        self.seen.append(f"{self.command} {self.path}")
        connection = http.client.HTTPConnection(self.target.removeprefix("http://"))
        connection.request(self.command, self.path.removeprefix("http://hub.invalid") or "/")
        answer = connection.getresponse()
        self.send_response(answer.status)
        for name, value in answer.getheaders():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(answer.read())
        connection.close()

    def log_message(self, *arguments) -> None:
        pass


@contextlib.contextmanager
def serving(handler: type[http.server.BaseHTTPRequestHandler]) -> Iterator[str]:
    """The address of a server that runs until the end of the block."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture
def tiny_hub() -> Iterator[str]:
    with serving(TinyHub) as address:
        yield address


@pytest.fixture
def silent_server() -> Iterator[str]:
    """Takes connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


@pytest.fixture
def closed_port() -> str:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return f"http://127.0.0.1:{server.getsockname()[1]}"


@pytest.fixture
def online(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Requests may leave, with no proxy of this machine's and an empty cache."""
    from huggingface_hub import constants
    from huggingface_hub.utils import close_session

    for name in PROXIES:
        monkeypatch.delenv(name, raising=False)
    close_session()
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    return monkeypatch


def test_a_refusal_is_an_answer(tiny_hub: str, online):
    assert hub.why_unreachable(tiny_hub) is None


def test_silence_is_none(silent_server: str, online):
    assert hub.why_unreachable(silent_server, 0.2) == "silent for 0.2 s"


def test_a_closed_port_and_an_unknown_host_are_known_at_once(closed_port: str, online):
    began = time.monotonic()
    assert "refused" in (hub.why_unreachable(closed_port) or "")
    assert time.monotonic() - began < 2
    assert hub.why_unreachable("http://no-such-host.invalid", 0.2)
    assert hub.why_unreachable("no address", 0.2)


def test_a_slow_hub_is_waited_for_and_the_log_says_so(online, caplog: pytest.LogCaptureFixture):
    online.setattr(hub, "PROBE_SECONDS", 0.2)
    with serving(SlowHub) as address, caplog.at_level(logging.INFO, logger="edgedistill"):
        assert hub.why_unreachable(address) is None
    assert f"{address} has not answered for 0.2 s: waiting up to 30 s for it" in caplog.text


def test_a_silent_hub_is_an_error_in_the_end(silent_server: str, online):
    from huggingface_hub import constants

    online.setattr(constants, "ENDPOINT", silent_server)
    online.setattr(hub, "PATIENCE_SECONDS", 0.3)
    with pytest.raises(hub.HubUnavailable, match=f"{silent_server} does not answer") as raised:
        hub.fetch("someone/model", ["weights.bin"])
    assert not isinstance(raised.value, hub.NotOnHub)


def test_offline_is_an_error_without_any_probe(tmp_path: Path, monkeypatch):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(hub, "why_unreachable", lambda *arguments: pytest.fail("asked the hub"))
    with pytest.raises(hub.HubUnavailable, match="HF_HUB_OFFLINE"):
        hub.fetch("someone/model", ["weights.bin"])


def test_a_download_takes_the_next_best_file_says_so_and_is_cached(tiny_hub: str, tmp_path: Path):
    code = (
        "import logging\n"
        "logging.basicConfig(level=logging.INFO, format='%(name)s %(message)s')\n"
        "from edgedistill.teacher import hub\n"
        "names = ['open_clip_model.safetensors', 'open_clip_pytorch_model.bin']\n"
        "first = hub.fetch('someone/model', names)\n"
        "hub.why_unreachable = None  # a second request would fail here\n"
        "assert hub.fetch('someone/model', names) == first\n"
        "assert list(hub.cached_repos()) == [('someone/model', frozenset([first.name]))]\n"
        "print(first.read_text())\n"
        "try:\n"
        "    hub.why_unreachable = lambda endpoint: None\n"
        "    hub.fetch('someone/model', ['no-such-file'])\n"
        "except hub.NotOnHub as error:\n"
        "    print(error)\n"
    )
    done = run(code, HF_ENDPOINT=tiny_hub, HF_HUB_CACHE=str(tmp_path))
    assert done.returncode == 0, done.stderr
    assert done.stdout == "weights\nthe hub's someone/model has none of: no-such-file\n"
    assert f"edgedistill.teacher.hub fetching open_clip_pytorch_model.bin from {tiny_hub}/someone/model" in done.stderr


FETCH = (
    "import logging, time\n"
    "logging.basicConfig(level=logging.INFO, format='%(message)s')\n"
    "from edgedistill.teacher import hub\n"
    "import huggingface_hub.utils\n"
    "began = time.monotonic()\n"
    "try:\n"
    "    print(hub.fetch('someone/model', ['open_clip_pytorch_model.bin']).read_text())\n"
    "except hub.HubUnavailable as error:\n"
    "    print(error, '|', time.monotonic() - began)\n"
)


def run(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """A fresh process that may ask the hub, without any proxy but those given."""
    inherited = {name: value for name, value in os.environ.items() if name not in PROXIES}
    inherited |= {"HF_HUB_OFFLINE": "0", "HF_HUB_DISABLE_XET": "1", **environment}
    return subprocess.run([sys.executable, "-c", code], env=inherited, capture_output=True, text=True, timeout=60)


def test_a_hub_behind_a_proxy_is_asked_and_read_through_it(tiny_hub: str, tmp_path: Path):
    """ALL_PROXY alone: the question goes the way of the download."""
    requests: list[str] = []
    proxy = type("ThisProxy", (Proxy,), {"target": tiny_hub, "seen": requests})
    with serving(proxy) as address:
        done = run(FETCH, HF_ENDPOINT="http://hub.invalid", HF_HUB_CACHE=str(tmp_path), ALL_PROXY=address)
    assert done.stdout == "weights\n", done.stderr
    assert requests[0] == "HEAD http://hub.invalid/"
    assert requests[-1].startswith("GET http://hub.invalid/someone/model/")


@pytest.mark.parametrize("environment", [{"ALL_PROXY": "closed"}, {"HF_ENDPOINT": "closed"}, {"HF_HUB_OFFLINE": "1"}])
def test_what_cannot_be_reached_is_said_at_once(closed_port: str, tmp_path: Path, environment: dict[str, str]):
    given = {name: value.replace("closed", closed_port) for name, value in environment.items()}
    done = run(FETCH, HF_HUB_CACHE=str(tmp_path), **{"HF_ENDPOINT": "http://hub.invalid", **given})
    reason, _, seconds = done.stdout.partition(" | ")
    assert reason.startswith("not in the local cache, and "), done.stderr
    assert float(seconds) < 3


class Breaking(TinyHub):
    """Promises seven bytes, sends three and closes the connection."""

    def answer(self, body: bool) -> None:
        if not body:
            return super().answer(body)
        self.send_response(200)
        self.send_header("Content-Length", "7")
        self.end_headers()
        self.wfile.write(b"wei")


def test_a_download_that_breaks_off_is_said_in_our_words(tmp_path: Path):
    with serving(Breaking) as address:
        done = run(FETCH, HF_ENDPOINT=address, HF_HUB_CACHE=str(tmp_path))
    assert done.stdout.startswith("not in the local cache, and the download failed: "), done.stderr


def test_a_name_the_hub_cannot_know_is_refused(tiny_hub: str, online):
    from huggingface_hub import constants

    online.setattr(constants, "ENDPOINT", tiny_hub)
    with pytest.raises(hub.HubUnavailable, match="ORGANISATION/MODEL"):
        hub.fetch("no//such..name", ["weights.bin"])


def test_the_cache_may_not_exist(tmp_path: Path, monkeypatch, caplog):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "absent"))
    with caplog.at_level(logging.INFO):
        assert list(hub.cached_repos()) == []
        assert hub.cached_file("someone/model", ["weights.bin"]) is None
    assert not caplog.records
