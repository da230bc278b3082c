"""Labels are read as written, compared generously, and every mistake is named by its line."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgedistill.errors import InputError
from edgedistill.labels import Label, Labels


@pytest.fixture
def read(tmp_path: Path):
    def read(text: str | bytes) -> Labels:
        path = tmp_path / "labels.txt"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return Labels.read(path)

    return read


def test_names_synonyms_comments_and_blank_lines(read):
    labels = read("# parts\n\nhex bolt | screw|bolt  # the long one\n  C# keyboard\n\tcafé \n")
    assert labels.entries == (Label("hex bolt", ("screw", "bolt")), Label("C# keyboard"), Label("café"))
    assert labels.names == ("hex bolt", "C# keyboard", "café")
    assert len(labels) == 3


def test_a_byte_order_mark_and_windows_line_ends_do_no_harm(read):
    assert read(b"\xef\xbb\xbfnut\r\nbolt\r\n").names == ("nut", "bolt")


@pytest.mark.parametrize(
    ("text", "line", "what"),
    [
        ("nut\nbolt\n\nNUT\n", 4, "'NUT' is the same as 'nut' in line 1"),
        ("ball bearing\nBall_Bearing\n", 2, "same as 'ball bearing' in line 1"),
        ("nut | hex-nut\nhex nut\n", 2, "same as 'hex-nut' in line 1"),
        ("nut | nut\nbolt\n", 1, "same as 'nut' in line 1"),
        ("nut\nbolt | | screw\n", 2, "an empty name"),
        ("| nut\nbolt\n", 1, "an empty name"),
        ("nut\n_\n", 2, "an empty name"),
        ("nut\nbo\x07lt\n", 2, "a control character"),
        ("nut\r\n\r\nbo\x0clt\r\n", 3, "a control character"),
        (b"nut\nb\xf6lt\n", 2, "not UTF-8 (byte 0xf6)"),
        ("nut\nbolt\n".encode("utf-16-le"), 1, "a NUL"),
        ("nut\nbo\0lt\nscrew\n", 2, "a NUL"),
        ("nut\nbolt\n".encode("utf-16")[:-1], 2, "not UTF-16"),
    ],
)
def test_a_mistake_is_named_by_its_line(read, text, line: int, what: str):
    with pytest.raises(InputError) as raised:
        read(text)
    assert f"labels.txt, line {line}: " in raised.value.wrong
    assert what in raised.value.wrong


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32"])
def test_what_windows_calls_unicode_is_read(read, encoding: str):
    assert read("naïve nut\r\n螺栓\r\n".encode(encoding)).names == ("naïve nut", "螺栓")


def test_the_advice_for_another_encoding_names_it(read):
    with pytest.raises(InputError, match="iconv -f UTF-16LE"):
        read("nut\nbolt\n".encode("utf-16-le"))
    with pytest.raises(InputError, match="iconv -f WINDOWS-1252"):
        read("nüt\nbolt\n".encode("cp1252"))


def test_a_number_sign_begins_a_comment_only_with_spaces_around_it(read, caplog):
    caplog.set_level("INFO")
    assert read("pencil #2 # soft\npencil #3|#4 lead\n# hidden\n#eraser\n").entries == (
        Label("pencil #2"),
        Label("pencil #3", ("#4 lead",)),
    )
    assert "part of the name: pencil #2 (line 1), pencil #3|#4 lead (line 2)" in caplog.text
    assert "makes it a comment: #eraser (line 4)" in caplog.text
    assert "hidden" not in caplog.text


def test_what_cannot_be_seen_is_left_out_and_said(read, caplog):
    labels = read("wa\u200bsher\u00ad\n\u202ehex\u00a0bolt\ufeff\n\u3164\n")
    assert labels.names == ("washer", "hex bolt")
    assert "U+200B (line 1), U+00AD (line 1), U+202E (line 2), and 2 more" in caplog.text
    assert (labels.match("washer"), labels.match("hex\u2060_bolt")) == (0, 1)


def test_joiners_shape_a_word_and_make_no_other_name_of_it(read, caplog):
    assert read("می\u200cخواهم\nnut\n").match("میخواهم") == 0
    assert read("❤\ufe0f\nnut\n").names == ("❤\ufe0f", "nut")
    assert caplog.text == ""
    with pytest.raises(InputError, match="is the same as"):
        read("nu\u200dt\nnut\n")


@pytest.mark.parametrize(("text", "count"), [("", "0 classes"), ("# nothing\n", "0 classes"), ("nut\n", "1 class:")])
def test_fewer_than_two_classes_are_no_classifier(read, text: str, count: str):
    with pytest.raises(InputError, match=count):
        read(text)


def test_what_is_no_file_is_refused_without_waiting(tmp_path: Path):
    os.mkfifo(tmp_path / "pipe")
    for name in ("pipe", "absent", "."):
        with pytest.raises(InputError, match="labels"):
            Labels.read(tmp_path / name)


def test_folders_match_by_name_or_synonym(read):
    labels = read("hex bolt | machine screw\ncafé\n")
    assert labels.match("Hex_Bolt") == 0
    assert labels.match("MACHINE-SCREW") == 0
    assert labels.match("hex  bolt") == 0
    assert labels.match("cafe\N{COMBINING ACUTE ACCENT}") == 1
    assert labels.match("hexbolt") is None


def test_json_holds_all_of_it(read):
    labels = read("hex bolt | screw\nnut\n")
    assert labels.to_json() == [{"name": "hex bolt", "synonyms": ["screw"]}, {"name": "nut", "synonyms": []}]


@given(st.binary(max_size=200))
def test_any_bytes_give_labels_or_an_input_error(tmp_path_factory: pytest.TempPathFactory, data: bytes):
    path = tmp_path_factory.getbasetemp() / "any-labels.txt"
    path.write_bytes(data)
    try:
        labels = Labels.read(path)
    except InputError:
        return
    assert len(labels) >= 2
    for index, label in enumerate(labels.entries):
        assert all(labels.match(word) == index for word in label.words)


@pytest.mark.parametrize(
    ("text", "todo"), [("nut\nbo\0lt\n", "Delete"), ("nut\nbolt\n".encode("utf-16-le"), "UTF-16LE")]
)
def test_only_text_with_a_nul_in_every_other_byte_is_taken_for_utf_16(read, text, todo: str):
    with pytest.raises(InputError) as raised:
        read(text)
    assert todo in raised.value.todo


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a" + "\u0301\u0316" * 400_000 + "\nb", "line 1: a name of 800,001 characters"),
        ("nut\nbolt | " + "x" * 301, "line 2: a name of 301 characters"),
        ("\n" * 4_000_000 + "nut\nbolt", "has more than 200,000 lines"),
        ("a" + "\u200d" * 500_000 + "b\nc", "line 1: a name of 500,002 characters"),
    ],
    ids=["marks", "long", "lines", "joiners"],
)
def test_what_would_take_minutes_to_read_is_refused_at_once(read, text: str, said: str):
    began = time.monotonic()
    with pytest.raises(InputError) as raised:
        read(text)
    assert said in raised.value.wrong
    assert len(raised.value.wrong) < 300
    assert time.monotonic() - began < 10
