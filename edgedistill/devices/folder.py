"""A folder that is carried to its board by hand: nothing is measured here, and the way there is told."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path

from ..targets.manifest import Manifest


@dataclass(frozen=True)
class Folder:
    """The bundle's own folder; its results come back as files (`edgedistill verify BUNDLE --result FOLDER`)."""

    name: str = "folder"

    def measure(self, manifest: Manifest, threads: int | None = None) -> list[Path]:
        """[]: the board measures later."""
        return []

    def next_steps(self, manifest: Manifest, *, unstable: bool) -> tuple[str, ...]:
        """The lines that have the bundle measured on its board: a shell script, USER@BOARD to be filled in."""
        bundle = shlex.quote(str(manifest.path))
        name = shlex.quote(manifest.path.resolve().name)
        compiled = "tensorrt" in manifest.profile["runtime"]["prefer"]
        return (
            f"# here: copy the bundle to the {manifest.profile['title']}",
            f"scp -r {bundle} USER@BOARD:",
            "# there: measure it",
            f"cd {name}",
            *(["python3 run.py compile"] if compiled else []),
            "python3 run.py verify",
            "# here: fetch the results, and decide",
            f"scp -r USER@BOARD:{name}/results {bundle}",
            f"edgedistill verify {bundle} --result {bundle}/results",
        )
