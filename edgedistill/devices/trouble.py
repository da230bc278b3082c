"""What can go wrong on the way to a board, and there, in two lines: what is wrong, what to do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ..errors import InputError
from ..targets.printable import line
from .address import Address

AGAIN = "run the same command again: it goes on where it was"
LONGEST = 300


@dataclass
class Greeting:
    """What a board said first. l4t: the first line of /etc/nv_tegra_release, "" where it is no Jetson."""

    l4t: str = ""
    python: tuple[int, ...] = ()
    executable: str = ""

    @property
    def release(self) -> int | None:
        """The major release of Jetson Linux ("# R36 (release), REVISION: 4.3, ...": 36)."""
        number = self.l4t.removeprefix("# R").partition(" ")[0]
        return int(number) if self.l4t.startswith("# R") and number.isdigit() else None


def printable(text: str) -> str:
    """A board's words, fit for a terminal: one line, no control characters, not endless."""
    return line(text.strip(), LONGEST)


def not_reached(address: Address, said: Sequence[str]) -> InputError:
    """ssh ended before the board answered; `said`: its stderr."""
    login, all_words = address.login, "\n".join(said)
    last = said[-1] if said else "ssh ended without a word"
    if "HOST IDENTIFICATION HAS CHANGED" in all_words:
        return InputError(
            f"the machine that answers as {login} has another host key than before",
            f"If the board was set up anew: ssh-keygen -R {address.known_hosts_name!r}, then {address.command} once.",
        )
    if "Host key verification failed" in all_words:
        return InputError(
            f"ssh does not know the host key of {login}", f"Run {address.command} once, and compare the key it shows."
        )
    if refused := [line for line in said if "Permission denied" in line]:
        return InputError(
            f"{login} refused your ssh key and password: {refused[-1]}",
            f"Make {address.command} work first; ssh-copy-id brings your key there.",
        )
    return InputError(
        f"ssh does not reach {login}: {last}", f"Check that the board is on, and its name; then try {address.command}."
    )


def cut(address: Address, doing: str, said: Sequence[str], code: int | None) -> InputError:
    """The connection ended while `doing` something. code: ssh's own exit code, 255 for an error of its own."""
    last = said[-1] if said else f"ssh ended with {code}"
    return InputError(
        f"the connection to {address.login} was cut while {doing}: {last}",
        f"When the board is back, {AGAIN}.",
    )


def no_python(address: Address, greeting: Greeting) -> InputError:
    return InputError(
        f"{address.login} has no python3, and none in {address.shown_folder}/runtime",
        "On the board: sudo apt install python3 python3-venv",
    )


def old_python(address: Address, greeting: Greeting) -> InputError:
    version = ".".join(map(str, greeting.python))
    jetpack_5 = greeting.release == 35
    return InputError(
        f"{address.login} has Python {version} ({greeting.executable}), and run.py needs 3.10 or later",
        "JetPack 5 ends with it: flash the board with JetPack 6 or later."
        if jetpack_5
        else f"Make an environment with a later one on the board: python3.10 -m venv {address.shown_folder}/runtime",
    )


def refused(address: Address, doing: str, answer: dict[str, Any]) -> InputError:
    """The board says no: the code and figures of on_board.Refused."""
    login, code = address.login, answer["error"]
    place = printable(str(answer.get("path") or address.shown_folder))
    text = printable(str(answer.get("text", "")))
    if code == "busy":
        by = printable(str(answer.get("by", "")))
        return InputError(
            f"another one is measuring on {login} in {address.shown_folder}{f', from {by}' if by else ''}",
            "Wait until it is done, then run the same command again: two at once would slow each other down.",
        )
    if code == "full":
        needed, free = answer.get("needed"), answer.get("free")
        figures = [f"{needed / 2**20:.1f} MiB needed"] if isinstance(needed, int) else []
        figures += [f"{free / 2**20:.1f} MiB free"] if isinstance(free, int) else []
        return InputError(
            f"no room on {login} for {place}" + (f": {', '.join(figures)}" if figures else ""),
            f"Free some space there, or name another folder with --device; then {AGAIN}.",
        )
    if code == "denied":
        return InputError(
            f"{login} may not write {place}: {text}",
            "Make it writable there, or name another folder; ssh://HOST/~/FOLDER lies in the user's home.",
        )
    if code == "taken":
        return InputError(
            f"{place} on {login} is not a folder, and one is needed there",
            "Move it away there, or name another folder with --device.",
        )
    if code == "strange":
        return InputError(
            f"{place} on {login} holds something that is not a bundle",
            "Move it away there, or name another folder with --device.",
        )
    if code == "changed":
        return InputError(
            f"{place} changed while it was copied to {login}", "Wait for the build to end, and try again."
        )
    if code == "large":
        return InputError(f"{place} on {login} is too large for a result", "Look at it there, and measure again.")
    return InputError(f"{doing} on {login} failed: {place}: {text}", f"Look at it there; then {AGAIN}.")
