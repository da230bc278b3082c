"""Good files, damaged: bytes flipped, cut, inserted and repeated; values of JSON and TOML replaced by awkward ones.

Same random state, same damage. Nothing here knows a reader.
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable
from typing import Any

# What readers stumble over: numbers at the edges of their types, texts that act, deep nesting.
NUMBERS = ("0", "-1", "1e999", "-0.0", "NaN", "1e-320", "9" * 30, "1" + "0" * 5000, str(2**31), str(2**63), str(2**64))
TEXTS = (
    "",
    " ",
    "\x00",
    "\x1b[2J",
    "\u202egnp",
    "\ud800",
    "../../etc/passwd",
    "/etc/passwd",
    "a" * 10_000,
    "\ufeff",
    "[b]",
)
TOKENS = (b"\x00", b"\xff" * 8, b"\xed\xa0\x80", b"\r", b"\n\n", b"\xef\xbb\xbf", b'"', b"\\", b"|", b"#", b"=", b"'''")

LONGEST = 1 << 20

Mutation = Callable[[bytes, random.Random], bytes]


def damaged(data: bytes, kind: str, random: random.Random) -> bytes:
    """`data` after one to four mutations, of its kind ("json", "jsonl", "toml", "text", "binary") or of any bytes."""
    for _ in range(random.choice((1, 1, 1, 2, 3, 4))):
        own = STRUCTURED.get(kind)
        change = own if own and random.random() < 0.7 else random.choice(OF_BYTES)
        data = change(data, random)[:LONGEST]  # repetitions of repetitions would only measure themselves
    return data


def _flip(data: bytes, random: random.Random) -> bytes:
    changed = bytearray(data or b"\0")
    for _ in range(random.choice((1, 1, 2, 8))):
        # Headers stand at the beginning: half of the flips go there.
        at = random.randrange(min(len(changed), 64) if random.random() < 0.5 else len(changed))
        changed[at] = random.choice((changed[at] ^ 1 << random.randrange(8), 0, 0xFF, random.randrange(256)))
    return bytes(changed)


def _cut(data: bytes, random: random.Random) -> bytes:
    begin, end = sorted(random.choices(range(len(data) + 1), k=2))
    return data[:begin] if random.random() < 0.5 else data[:begin] + data[end:]


def _insert(data: bytes, random: random.Random) -> bytes:
    at = random.randrange(len(data) + 1)
    return data[:at] + random.choice((random.choice(TOKENS), random.randbytes(random.randrange(1, 9)))) + data[at:]


def _repeat(data: bytes, random: random.Random) -> bytes:
    begin, end = sorted(random.choices(range(len(data) + 1), k=2))
    piece = data[begin : min(end, begin + 1000)]
    return data[:begin] + piece * min(random.choice((2, 2, 3, 300)), _room(data)) + data[end:]


def _integer(data: bytes, random: random.Random) -> bytes:
    """A little-endian number of 1 to 8 bytes replaced by one at the edge of its type."""
    width = random.choice((1, 2, 4, 8))
    if len(data) < width:
        return data
    at = random.randrange(min(len(data) - width + 1, 256) if random.random() < 0.5 else len(data) - width + 1)
    value = random.choice((0, 1, 2 ** (8 * width) - 1, 2 ** (8 * width - 1), len(data), 2**20)) % 2 ** (8 * width)
    return data[:at] + value.to_bytes(width, "little") + data[at + width :]


def _awkward(random: random.Random) -> str:
    """A JSON value as text."""
    depth = random.choice((3, 40, 2000, 100_000))
    return random.choice(
        (
            random.choice(NUMBERS),
            random.choice(NUMBERS),
            json.dumps(random.choice(TEXTS)),
            json.dumps(random.choice(TEXTS)),
            random.choice(("null", "true", "false", "[]", "{}", '{"": 0}', "[[]]", "[null, 1]")),
            "[" * depth + "]" * depth,
            '{"a":' * depth + "1" + "}" * depth,
            "[" + "0," * random.choice((1, 1000)) + "0]",
        )
    )


def _places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path] + [place for key, item in items for place in _places(item, (*path, key))]


def _json(data: bytes, random: random.Random) -> bytes:
    """A value of a JSON file replaced, taken away, moved or given twice."""
    try:
        value = json.loads(data)
        place = random.choice(_places(value))
    except (ValueError, RecursionError):
        return _flip(data, random)
    if not place:
        return _awkward(random).encode("utf-8", "surrogatepass")
    table = value
    for key in place[:-1]:
        table = table[key]
    how, key = random.random(), place[-1]
    mark = "\x01here\x01"
    if how < 0.15:
        del table[key]
        return json.dumps(value).encode()
    if how < 0.25 and isinstance(table, dict):
        other = random.choice(list(table))
        table[other], table[key] = table[key], table[other]
        return json.dumps(value).encode()
    was = json.dumps(table[key])
    table[key] = mark
    text = json.dumps(value)
    if how < 0.35 and isinstance(table, dict):  # the key twice
        name = json.dumps(key)
        return text.replace(json.dumps(mark), f"{was}, {name}: {_awkward(random)}", 1).encode()
    return text.replace(json.dumps(mark), _awkward(random), 1).encode()


def _json_line(data: bytes, random: random.Random) -> bytes:
    lines = data.split(b"\n")
    at = random.randrange(len(lines))
    lines[at] = _json(lines[at], random)
    if random.random() < 0.1:
        random.shuffle(lines)
    return b"\n".join(lines)


def _toml(data: bytes, random: random.Random) -> bytes:
    """A value of a TOML file replaced, or a line given twice, taken away or put elsewhere."""
    lines = data.split(b"\n")
    at = random.randrange(len(lines))
    how = random.random()
    if how < 0.6 and (found := re.match(rb"\s*([^=#]+=)", lines[at])):
        depth = random.choice((3, 40, 2000, 20_000))
        value = random.choice(
            (_awkward(random).replace("null", "nan"), "[" * depth + "]" * depth, "{a=" * depth + "1" + "}" * depth,
             "1979-05-27", "inf", "0x" + "f" * 40, "'''", '"' + "\\u0000" + '"', "a." * 400 + "b", "{}", "[[]]")
        )  # fmt: skip
        lines[at] = found[1] + value.encode("utf-8", "replace")
    elif how < 0.7:
        lines.insert(at, lines[at])
    elif how < 0.8:
        del lines[at]
    elif how < 0.9:
        lines.insert(
            at, random.choice((b"[a" + b".a" * 500 + b"]", b"[[x]]", b"[model]", b"x" * 5000 + b" = 1", b"a.b.c = 1"))
        )
    else:
        lines.insert(random.randrange(len(lines) + 1), lines.pop(at))
    return b"\n".join(lines)


def _text(data: bytes, random: random.Random) -> bytes:
    """A line of a text replaced, repeated or joined with awkward characters."""
    lines = data.split(b"\n")
    at = random.randrange(len(lines))
    word = random.choice(TEXTS).encode("utf-8", "surrogatepass")
    lines[at] = random.choice((word, lines[at] + word, b"|".join([lines[at]] * 3), lines[at] + b" | " + word))
    return b"\n".join(lines * min(random.choice((1, 1, 1, 1, 200)), _room(data)))


def _room(data: bytes) -> int:
    """How many times `data` fits into the longest input."""
    return max(1, LONGEST // (len(data) + 1))


OF_BYTES: tuple[Mutation, ...] = (_flip, _cut, _insert, _repeat, _integer)
STRUCTURED: dict[str, Mutation] = {"json": _json, "jsonl": _json_line, "toml": _toml, "text": _text}
