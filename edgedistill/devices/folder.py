"""A folder that is carried to its board by hand: nothing is measured here, and the way there is told.

`folder` is the bundle's own; `folder:PLACE` is a place such as a USB stick that the bundle is copied to, and whose
results are read when it comes back.
"""

from __future__ import annotations

import logging
import os
import shlex
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import InputError
from ..targets.manifest import Manifest
from ..targets.printable import line
from ..work import atomic
from ..work.console import SILENT, Progress
from .measured import VERDICT, brought, kept, results_of, verdict_of
from .measurement import FULL, Measurement
from .on_board import Refused, Tree, blocks

log = logging.getLogger(__name__)

NAME = "folder"


@dataclass(frozen=True)
class Folder:
    """The bundle's own folder, or a copy of it in `place`."""

    name: str = NAME
    place: Path | None = None

    @classmethod
    def at(cls, text: str) -> Folder:
        """The device of `--device folder:PLACE`. Raises InputError without a place."""
        place = text.partition(":")[2]
        if not place:
            raise InputError(f"--device {text} names no folder", "Write folder:PLACE, such as folder:/media/stick.")
        return cls(text, Path(os.path.expanduser(place)))

    @property
    def named(self) -> bool:
        """Whoever brings a stick back says where it has been."""
        return self.place is not None

    def check(self, profile: dict[str, Any], bundle: Path) -> None:
        """The place is there and takes files, and what lies there under the bundle's name may be replaced."""
        if self.place is None:
            return
        tree = _tree(self.place, bundle)
        with _told(tree.path, bundle), tempfile.TemporaryFile(dir=self.place):
            tree.look()

    @contextmanager
    def measure(
        self, manifest: Manifest, asked: Measurement = FULL, progress: Progress = SILENT
    ) -> Iterator[list[Path]]:
        """The results that came back in `place`; [] where the board measures later. Once they are judged, which an
        error of the caller's ends, they are put into the bundle's results/.

        The copy in `place` is renewed, and what was measured with another one is gone then. Raises InputError for a
        place that is not there or cannot be written, and for links among the results.
        """
        if self.place is None:
            yield []
            return
        copy = self._copy(self.place, manifest, progress)
        found = brought(copy)
        yield found
        if found:
            kept(results_of(manifest), found)
        if (manifest.path / VERDICT).is_file():
            try:
                atomic.write_bytes(copy / VERDICT, verdict_of(manifest.path / VERDICT).encode())
            except (OSError, InputError) as error:  # what was found is still said
                why = error.wrong if isinstance(error, InputError) else error.strerror
                log.warning("the verdict cannot be put into %s: %s", copy, why)

    def next_steps(self, manifest: Manifest, *, unstable: bool) -> tuple[str, ...]:
        """The lines that have the bundle measured on its board: a shell script, USER@BOARD to be filled in."""
        bundle = shlex.quote(str(manifest.path))
        name = shlex.quote(manifest.path.resolve().name)
        title = line(manifest.profile["title"])
        measure = (["python3 run.py compile"] if "tensorrt" in manifest.profile["runtime"]["prefer"] else []) + [
            "python3 run.py verify"
        ]
        if self.place is not None:
            return (
                f"# there: carry {line(self.place)} to the {title}, and in the folder {line(name)} on it:",
                *measure,
                "# here, when it is back: decide",
                f"edgedistill verify {bundle} --device {shlex.quote(self.name)}",
            )
        return (
            f"# here: copy the bundle to the {title}",
            f"scp -r {bundle} USER@BOARD:",
            "# there: measure it",
            f"cd {name}",
            *measure,
            "# here: fetch the results, and decide",
            f"scp -r USER@BOARD:{name}/results {bundle}",
            f"edgedistill verify {bundle} --result {bundle}/results",
            f"# or all of it from here, where ssh reaches it: edgedistill verify {bundle} --device ssh://USER@BOARD",
        )

    def anonymous(self) -> Folder:
        """With no path of this machine in it."""
        return Folder()

    def _copy(self, place: Path, manifest: Manifest, progress: Progress) -> Path:
        """The bundle in `place`, of which only what is missing or differs is copied."""
        tree = _tree(place, manifest.path)
        files = {**manifest.data["files"], "manifest.json": manifest.sha256}
        try:
            with _told(tree.path, manifest.path):
                missing = tree.missing(files)
                progress.start("copy to the folder", len(missing))
                for one in missing:
                    tree.receive(one, files[one], blocks(manifest.path / one))
                    progress.advance()
                tree.publish(files, keep="engines")
        finally:
            progress.done()
        return tree.path


def _tree(place: Path, bundle: Path) -> Tree:
    """The bundle's copy in `place`. Raises InputError for a place that is not there, or holds the bundle itself."""
    if not place.is_dir():
        raise InputError(f"there is no folder {place}", "Plug it in, or name one that is there.")
    name = bundle.resolve().name
    if (place / name).resolve() == bundle.resolve():
        raise InputError(f"{place / name} is the bundle itself", "Name another place, or use --device folder.")
    return Tree(place, name, "manifest.json")


@contextmanager
def _told(copy: Path, bundle: Path) -> Iterator[None]:
    """What goes wrong with the bundle's copy, in two lines."""
    try:
        yield
    except Refused as error:
        if error.code == "changed":
            raise InputError(
                f"{bundle} changed while it was copied", "Wait for the build to end, and try again."
            ) from error
        raise InputError(
            f"{copy} holds something that is not a bundle", "Move it away, or name another place."
        ) from error
    except OSError as error:
        raise InputError(
            f"cannot copy the bundle to {copy}: {error.strerror}",
            "Make room there and let this user write; then run the same command again: it goes on where it was.",
        ) from error
