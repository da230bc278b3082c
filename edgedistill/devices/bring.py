"""A folder of files onto a board, of which only those are sent that it lacks."""

from __future__ import annotations

from pathlib import Path

from .. import targets
from ..work import atomic
from ..work.console import Progress
from .connection import Connection


def program_files() -> tuple[dict[str, Path], dict[str, str]]:
    """The workshop's own run.py and targets/, as `bring` takes them: a bundle's may be a stranger's, and is not run."""
    here = Path(targets.__file__).parent
    places = {"run.py": here / "run.py", **{f"targets/{path.name}": path for path in sorted(here.glob("*.py"))}}
    return places, {name: atomic.sha256_file(path) for name, path in places.items()}


def bring(
    board: Connection,
    name: str,
    places: dict[str, Path],
    files: dict[str, str],
    sign: str,
    progress: Progress,
    keep: str = "",
) -> None:
    """Make the folder `name` on the board hold `files` (name -> SHA-256), which lie here at `places`. sign, keep: as of
    on_board.Tree."""
    sizes = {one: path.stat().st_size for one, path in places.items()}
    board.doing("comparing files")
    missing = board.ask("tree", name=name, files=files, sizes=sizes, sign=sign, keep=keep)["missing"]
    whole, sent = sum(sizes[one] for one in missing if one in sizes), 0

    def moved(count: int) -> None:
        nonlocal sent
        sent += count
        progress.advance(0, f"{sent / 1e6:.1f} of {whole / 1e6:.1f} MB")

    if missing:
        progress.start("copy to the board", len(missing))
        try:
            for one in missing:
                board.send_file(name, one, places[one], moved)
                progress.advance()
        finally:
            progress.done()
    board.doing("putting files in their place")
    board.ask("publish", tree=name)
