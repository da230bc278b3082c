from __future__ import annotations

import pytest

from edgedistill.teacher.fill import TeacherPass, build_store
from edgedistill.teacher.store import TeacherStore

from .colours import IMAGES, VIEWS, ColourTeacher, Photos


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> TeacherStore:
    folder = tmp_path_factory.mktemp("store")
    build_store(folder, TeacherPass(Photos(IMAGES), ColourTeacher(), seed=0, views=VIEWS, short_side=37))
    return TeacherStore.open(folder)
