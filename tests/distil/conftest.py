from __future__ import annotations

import pytest

from edgedistill.teacher.store import TeacherStore, build_store

from .colours import IMAGES, VIEWS, ColourTeacher, Photos


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> TeacherStore:
    folder = tmp_path_factory.mktemp("store")
    build_store(folder, Photos(IMAGES), ColourTeacher(), seed=0, views=VIEWS, short_side=37)
    return TeacherStore.open(folder)
