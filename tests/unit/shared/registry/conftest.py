"""A candidate and places to promote it to."""

from pathlib import Path

import pytest
from obstore.store import MemoryStore

from components.shared.registry.object_storage import ObjectStorage
from components.shared.registry.storage import LocalStorage, Storage
from tests.unit.shared.registry.registries import make_saved_model


@pytest.fixture
def candidate(tmp_path: Path) -> Path:
    return make_saved_model(tmp_path / "candidate")


@pytest.fixture(params=["local", "bucket"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Storage:
    if request.param == "local":
        return LocalStorage(tmp_path / "serving")
    return ObjectStorage(MemoryStore(), "s3://models/serving")
