"""MLflow databases, copied from an empty one because creating one takes seconds."""

from __future__ import annotations

import shutil
import warnings
from pathlib import Path

import pytest

from distune.tracking.build import initialize_sqlite


@pytest.fixture(scope="session")
def template_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty MLflow store."""
    path = tmp_path_factory.mktemp("mlflow") / "template.db"
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The ``noload`` loader strategy", category=DeprecationWarning)
        initialize_sqlite(f"sqlite:///{path}")
    return path


@pytest.fixture
def mlflow_uri(template_database: Path, tmp_path: Path) -> str:
    """The URI of an empty store for one test."""
    path = tmp_path / "mlflow.db"
    shutil.copy(template_database, path)
    return f"sqlite:///{path}"
