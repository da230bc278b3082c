"""The class list: one class a line, `name | synonym | synonym`, `#` begins a comment.

Names are kept as written, but for characters that nobody can see; they are compared casefolded, with `_`, `-` and runs
of spaces as one space, so that `Ball_Bearing/` is the folder of `ball bearing`, and two classes that could not be told
apart are an error here.
"""

from __future__ import annotations

import logging
import re
import unicodedata
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from .errors import InputError
from .targets.outside import Unfit, read_bytes
from .targets.printable import line as shown
from .text_file import decoded

log = logging.getLogger(__name__)

_SHOWN = 3  # lines that a note names
_MAX_BYTES = 4 << 20
_MOST_NAMES = 100_000  # with their synonyms
_MOST_LINES = 200_000
_LONGEST_NAME = 300  # characters; the time that NFKC takes grows with their square


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
        """Reads a labels file: UTF-8, or UTF-16 with a byte order mark (text_file.py).

        Blank lines and comments are skipped: a `#` at the start of a line, or with spaces on both sides, so that
        `pencil #2` is a name. Characters without width or ink are left out of names, and other spaces than the plain
        one become it. What a person may not have meant is logged. Raises InputError, with the line number, for text in
        another encoding, an empty name, a duplicate, or a control character; and for fewer than two classes.
        """
        entries: list[Label] = []
        seen: dict[str, tuple[int, str]] = {}
        notes = _Notes()
        lines = re.split(r"\r\n|\n|\r", _decode(path))
        if len(lines) > _MOST_LINES:
            raise InputError(f"{path} has more than {_MOST_LINES:,} lines", "Write one class a line, and few others.")
        for number, line in enumerate(lines, start=1):
            text = _visible(notes.of(line, number)).strip()
            if not text:
                continue
            words = [word.strip() for word in text.split("|")]
            for word in words:
                _check_word(word, seen, number, path)
                seen[_key(word)] = (number, word)
            entries.append(Label(words[0], tuple(words[1:])))
            if len(seen) > _MOST_NAMES:
                raise InputError(f"{path} has more than {_MOST_NAMES:,} names", "Give fewer classes or synonyms.")
        if len(entries) < 2:
            raise InputError(
                f"{path} names {len(entries)} class{'' if len(entries) == 1 else 'es'}: a classifier needs two or more",
                "Write one class a line; a class for everything else, such as 'background', counts.",
            )
        notes.tell(path)
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
        data = read_bytes(path, _MAX_BYTES)
    except Unfit as error:
        raise InputError(f"the labels {path}: it {error}", "Give a text file with one class a line.") from error
    except OSError as error:
        raise InputError(
            f"the labels {path} cannot be read: {error.strerror}", "Give a text file with one class a line."
        ) from error
    return decoded(data, path)


def _check_word(word: str, seen: dict[str, tuple[int, str]], number: int, path: Path) -> None:
    if len(word) > _LONGEST_NAME:
        raise InputError(
            f"{path}, line {number}: a name of {len(word):,} characters, {shown(word, 40)}",
            f"Write {_LONGEST_NAME} at most.",
        )
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
    seen = re.sub(f"[{_NO_INK}{_JOINERS}]", "", word)
    return " ".join(re.sub(r"[_-]", " ", unicodedata.normalize("NFKC", seen).casefold()).split())


# Unicode's Default_Ignorable_Code_Point (DerivedCoreProperties.txt), the blank of Braille and the marks of interlinear
# notes. Those that shape a word of Persian or Hindi, a sign or an emoji are apart: they stay in a name.
_JOINERS = "\u180b-\u180d\u180f\u200c\u200d\ufe00-\ufe0f\U000e0100-\U000e01ef"
_NO_INK = (
    "\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180e\u200b\u200e\u200f\u202a-\u202e\u2060-\u206f\u2800\u3164\ufeff"
    "\uffa0\ufff0-\ufffb\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e00ff\U000e01f0-\U000e0fff"
)


def _visible(line: str) -> str:
    """`line` without what nobody can see, and with plain spaces."""
    spaced = "".join(" " if unicodedata.category(one) == "Zs" else one for one in re.sub(f"[{_NO_INK}]", "", line))
    return re.sub(r"(^|[ |])[\u200c\u200d]+|(?<![\u200c\u200d])[\u200c\u200d]+(?=$|[ |])", r"\1", spaced)


@dataclass
class _Notes:
    """What a reader of the log should know of the lines: (number, text) each."""

    comments: list[tuple[int, str]] = field(default_factory=list)
    kept: list[tuple[int, str]] = field(default_factory=list)
    unseen: list[tuple[int, str]] = field(default_factory=list)

    def of(self, line: str, number: int) -> str:
        """The line without its comment."""
        text = re.split(r"\s#(?=\s|$)", line, maxsplit=1)[0].strip()
        bare = _visible(text).strip()
        if bare.startswith("#"):
            if re.match(r"#[^\s#!]", bare):
                self.comments.append((number, bare))
            return ""
        if re.search(r"\s#", text):
            self.kept.append((number, bare))
        self.unseen += [(number, f"U+{ord(one):04X}") for one in re.findall(f"[{_NO_INK}]", text)]
        return text

    def tell(self, path: Path) -> None:
        for notes, level, words in (
            (self.comments, logging.INFO, "a # at the start of a line makes it a comment"),
            (self.kept, logging.INFO, "a # without a space behind it is part of the name"),
            (self.unseen, logging.WARNING, "characters that cannot be seen are left out"),
        ):
            if notes:
                shown = ", ".join(f"{text} (line {number})" for number, text in notes[:_SHOWN])
                more = f", and {len(notes) - _SHOWN} more" if len(notes) > _SHOWN else ""
                log.log(level, "%s: %s: %s%s", path, words, shown, more)
