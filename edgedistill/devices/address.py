"""`ssh://[USER@]HOST[:PORT][/FOLDER]`: where a board is, in one word, and the words that OpenSSH is called with.

HOST may be a name of the user's ssh config; what is left out (user, port, key, jump host) is the client's to decide.
The path is read as git reads it: `/opt/models` is absolute, `/~/models` lies in the user's home, `%20` is a space.
"""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from urllib.parse import unquote

from ..errors import InputError

SCHEME = "ssh://"
FOLDER = "./edgedistill"  # in the user's home on the board
WRITE = "Write ssh://USER@BOARD, with :PORT and /FOLDER where they are needed."

# As OpenSSH 9.6 refuses them (readconf.c, ssh.c: valid_hostname, valid_ruser): an older client hands them to the shell
# of a ProxyCommand.
_NOT_IN_A_HOST = re.compile(r"""^-|[\s'"`$\\;&<>|(){}\x00-\x1f\x7f/?#@[\]]""")
_NOT_IN_A_USER = re.compile(r"""^-|[\s'"`$\\;&<>|(){}\x00-\x1f\x7f]""")


@dataclass(frozen=True)
class Address:
    """A board and the folder on it. user, port None: as the ssh config says. folder: absolute, or from the home on."""

    host: str
    user: str | None = None
    port: int | None = None
    folder: str = FOLDER

    @property
    def login(self) -> str:
        """The board as ssh calls it: "pi@board"."""
        return self.host if self.user is None else f"{self.user}@{self.host}"

    @property
    def words(self) -> list[str]:
        """What follows `ssh` and its options on a command line."""
        port = [] if self.port is None else ["-p", str(self.port)]
        return [*port, "--", self.login]

    @property
    def command(self) -> str:
        """How a person logs in there, as a shell line."""
        port = "" if self.port is None else f"-p {self.port} "
        return f"ssh {port}{shlex.quote(self.login)}"

    @property
    def known_hosts_name(self) -> str:
        """The board as the file of known host keys calls it."""
        return self.host if self.port in (None, 22) else f"[{self.host}]:{self.port}"

    @property
    def shown_folder(self) -> str:
        """The folder for a person: "~/edgedistill"."""
        return f"~/{self.folder[2:]}" if self.folder.startswith("./") else self.folder


def read_address(text: str) -> Address:
    """The address in `text`. Raises InputError for one that is incomplete, or that a shell would misread."""
    place, slash, path = text.removeprefix(SCHEME).partition("/")
    login, _, end = place.rpartition("@")
    user = unquote(login) if "@" in place else None
    found = re.fullmatch(r"\[([0-9A-Fa-f:.]+(?:%\w+)?)\](?::(.*))?|([^:]*)(?::(.*))?", end, re.S)
    if found is None:
        raise InputError(f"{text!r} names no host", f"{WRITE} An IPv6 address stands in brackets.")
    host, port = found[1] or found[3] or "", found[2] if found[1] else found[4]
    if not host or _NOT_IN_A_HOST.search(host):
        raise InputError(f"{text!r} names no host", WRITE)
    if user is not None and (not user or _NOT_IN_A_USER.search(user)):
        raise InputError(f"{text!r} names no user that ssh can log in as", WRITE)
    if port is not None and not (re.fullmatch(r"[0-9]{1,5}", port) and 0 < int(port) < 65536):
        raise InputError(f"{text!r} has the port {port!r}", "A port is a number from 1 to 65535.")
    return Address(host, user, None if port is None else int(port), _folder(text, unquote(slash + path)))


def _folder(text: str, path: str) -> str:
    if "\0" in path:
        raise InputError(f"{text!r} has a NUL in its path", WRITE)
    if path in ("", "/"):
        return FOLDER
    if path == "/~" or path.startswith("/~/"):
        rest = path[3:].strip("/")
        return f"./{rest}" if rest else "./."
    return path
