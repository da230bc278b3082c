"""ssh://…: what is an address, and what never reaches a command line."""

from __future__ import annotations

import shlex
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgedistill.devices.address import Address, read_address
from edgedistill.errors import InputError


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("ssh://board", Address("board")),
        ("ssh://pi@board", Address("board", "pi")),
        ("ssh://pi@board:2222", Address("board", "pi", 2222)),
        ("ssh://board/", Address("board")),
        ("ssh://board/opt/my%20models", Address("board", folder="/opt/my models")),
        ("ssh://pi@10.0.0.7:22/~/models", Address("10.0.0.7", "pi", 22, "./models")),
        ("ssh://board/~", Address("board", folder="./.")),
        ("ssh://[fe80::1%eth0]:22/x", Address("fe80::1%eth0", None, 22, "/x")),
        ("ssh://[::1]", Address("::1")),
        ("ssh://DOMAIN%5Cme@board", None),
        ("ssh://me@there@board", Address("board", "me@there")),
    ],
)
def test_an_address_is_read_into_its_parts(text: str, found: Address | None) -> None:
    if found is None:
        with pytest.raises(InputError):
            read_address(text)
    else:
        assert read_address(text) == found


@pytest.mark.parametrize(
    "text",
    [
        "ssh://",
        "ssh:///folder",
        "ssh://@board",
        "ssh://pi@",
        "ssh://-oProxyCommand=touch%20x",
        "ssh://-oProxyCommand=x/",
        "ssh://-l@board",
        "ssh://pi$(touch x)@board",
        "ssh://a`b`",
        "ssh://board;ls",
        "ssh://board:0",
        "ssh://board:65536",
        "ssh://board:22x",
        "ssh://board:",
        "ssh://::1",
        "ssh://[board",
        "ssh://board\n-oX",
        "ssh://board/a%00b",
    ],
)
def test_what_names_no_board_is_refused_in_two_lines(text: str) -> None:
    with pytest.raises(InputError) as raised:
        read_address(text)
    assert raised.value.exit_code == 2
    assert raised.value.todo.endswith(".")


@given(st.text(string.printable, max_size=30))
def test_any_text_is_an_address_or_an_error_and_never_an_option(text: str) -> None:
    try:
        found = read_address(f"ssh://{text}")
    except InputError:
        return
    assert not found.host.startswith("-")
    assert not (found.user or "").startswith("-")
    assert found.folder.startswith(("/", "./"))
    assert shlex.split(found.command)[-1] == found.login
    assert found.words[-2:] == ["--", found.login]


def test_what_a_person_is_shown() -> None:
    found = read_address("ssh://pi@board:2222/~/models")
    assert found.command == "ssh -p 2222 pi@board"
    assert found.known_hosts_name == "[board]:2222"
    assert found.shown_folder == "~/models"
