"""The text of a file that a person wrote: UTF-8 with or without a byte order mark, UTF-16 and UTF-32 with one.

Windows' Notepad and PowerShell write all of these. Python's json reads them by itself, from bytes.
"""

from __future__ import annotations

import codecs
import shlex
from pathlib import Path

from .errors import InputError

_MARKS = (  # UTF-32's first: it begins as that of UTF-16 does
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


def decoded(data: bytes, path: Path) -> str:
    """`data`, the bytes of `path`, as text without its byte order mark. Raises InputError naming the line that is
    neither, and how to convert the file."""
    encoding = next((name for mark, name in _MARKS if data.startswith(mark)), "utf-8-sig")
    converted = shlex.quote(f"{path.stem}-utf8{path.suffix}")
    try:
        text = data.decode(encoding)
        if "\0" not in text:
            return text
        line = text[: text.index("\0")].count("\n") + 1
        if data.count(0) < len(data) / 4 or encoding != "utf-8-sig":  # Latin text in UTF-16 has one in every other byte
            raise InputError(f"{path}, line {line}: a NUL", "Delete that character.")
        likely, what = ("UTF-16LE" if data[1::2].count(0) >= data[::2].count(0) else "UTF-16BE"), "a NUL"
    except UnicodeDecodeError as error:
        likely = "WINDOWS-1252" if encoding == "utf-8-sig" else encoding.upper()
        what = f"not {encoding.removesuffix('-sig').upper()} (byte 0x{data[error.start]:02x})"
        line = data[: error.start].count(b"\n") + 1
    raise InputError(
        f"{path}, line {line}: {what}",
        f"Save it as UTF-8; `iconv -f {likely} -t UTF-8 {shlex.quote(path.name)} > {converted}` converts it.",
    )
