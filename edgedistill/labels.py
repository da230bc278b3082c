"""The class list: one class a line, `name | synonym | synonym`, `#` begins a comment.

Names are kept as written; they are compared casefolded, with `_`, `-` and runs of spaces as one space, so that
`Ball_Bearing/` is the folder of `ball bearing`, and two classes that could not be told apart are an error here.
"""

from __future__ import annotations

import re
import stat
import unicodedata
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from .errors import InputError

_MAX_BYTES = 4 << 20


@dataclass(frozen=True)
class Label:
    name: str
    synonyms: tuple[str, ...] = ()

    @property
    def words(self) -> tuple[str, ...]:
        """The name, then its synonyms."""
        return (self.name, *self.synonyms)


@dataclass(frozen=True)
class Labels:
    """At least two classes in the order of the file: the order of every vector, column and probability after it."""

    entries: tuple[Label, ...]

    @classmethod
    def read(cls, path: Path) -> Labels:
        """Reads a labels file: UTF-8, with or without a byte order mark.

        Blank lines and comments (`#` at the start of a line or after a space) are skipped. Raises InputError, with the
        line number, for text that is not UTF-8, an empty name, a duplicate, or a control character; and for fewer than
        two classes.
        """
        entries: list[Label] = []
        seen: dict[str, tuple[int, str]] = {}
        for number, line in enumerate(re.split(r"\r\n|\n|\r", _decode(path)), start=1):
            text = re.split(r"(?:^|\s)#", line, maxsplit=1)[0].strip()
            if not text:
                continue
            words = [word.strip() for word in text.split("|")]
            for word in words:
                _check_word(word, seen, number, path)
                seen[_key(word)] = (number, word)
            entries.append(Label(words[0], tuple(words[1:])))
        if len(entries) < 2:
            raise InputError(
                f"{path} names {len(entries)} class{'' if len(entries) == 1 else 'es'}: a classifier needs two or more",
                "Write one class a line; a class for everything else, such as 'background', counts.",
            )
        return cls(tuple(entries))

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(label.name for label in self.entries)

    def __len__(self) -> int:
        return len(self.entries)

    def match(self, folder_name: str) -> int | None:
        """The index of the class whose name or synonym `folder_name` is, or None."""
        return self._index.get(_key(folder_name))

    @cached_property
    def _index(self) -> dict[str, int]:
        return {_key(word): index for index, label in enumerate(self.entries) for word in label.words}

    def to_json(self) -> list[dict[str, Any]]:
        """[{"name": ..., "synonyms": [...]}, ...] as in a bundle's manifest."""
        return [{"name": label.name, "synonyms": list(label.synonyms)} for label in self.entries]


def _decode(path: Path) -> str:
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):  # opening a pipe would wait for ever
            raise InputError(f"the labels {path} are not a file", "Give a text file with one class a line.")
        if status.st_size > _MAX_BYTES:
            raise InputError(
                f"the labels {path} are {status.st_size / 2**20:.0f} MiB long",
                "Give a text file with one class a line.",
            )
        data = path.read_bytes()
    except OSError as error:
        raise InputError(
            f"the labels {path} cannot be read: {error.strerror}", "Give a text file with one class a line."
        ) from error
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise InputError(
            f"{path}, line {line}: not UTF-8 (byte 0x{data[error.start]:02x})",
            f"Save it as UTF-8; `iconv -f WINDOWS-1252 -t UTF-8 {path.name} > labels-utf8.txt` converts it.",
        ) from error


def _check_word(word: str, seen: dict[str, tuple[int, str]], number: int, path: Path) -> None:
    if not _key(word):
        raise InputError(
            f"{path}, line {number}: an empty name",
            "Write `name | synonym | synonym`, with a word on each side of a |.",
        )
    if any(unicodedata.category(character) in ("Cc", "Zl", "Zp") for character in word):
        raise InputError(f"{path}, line {number}: a control character in {word!r}", "Delete it.")
    if _key(word) in seen:
        first, other = seen[_key(word)]
        raise InputError(
            f"{path}, line {number}: {word!r} is the same as {other!r} in line {first}",
            "Every name and synonym must be another (case, _ and - make no difference): delete or reword one.",
        )


def _key(word: str) -> str:
    """What makes two names the same. NFKC: file systems hand back accents in pieces."""
    return " ".join(re.sub(r"[_-]", " ", unicodedata.normalize("NFKC", word).casefold()).split())
