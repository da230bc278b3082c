from __future__ import annotations

import pytest

from edgedistill.teacher.fill import TeacherPass, build_store
from edgedistill.teacher.store import TeacherStore

from .colours import IMAGES, MIX, VIEWS, ColourTeacher, Photos


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> TeacherStore:
    folder = tmp_path_factory.mktemp("store")
    build_store(folder, TeacherPass(Photos(IMAGES), ColourTeacher(), seed=0, views=VIEWS, short_side=37))
    return TeacherStore.open(folder)


@pytest.fixture(scope="session")
def mixed_store(tmp_path_factory: pytest.TempPathFactory) -> TeacherStore:
    """The same photos with mixed views behind the others."""
    folder = tmp_path_factory.mktemp("mixed")
    build_store(folder, TeacherPass(Photos(IMAGES), ColourTeacher(), seed=0, views=VIEWS, short_side=37, mix=MIX))
    return TeacherStore.open(folder)
