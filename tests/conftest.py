"""For all tests: one thread each, so that two cores are not fought over, and nothing that calls home."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from typing import Any

import pytest

os.environ.update(
    {
        "DO_NOT_TRACK": "true",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "OMP_NUM_THREADS": "1",
        "RAY_AUTH_MODE": "disabled",
        "RAY_USAGE_STATS_ENABLED": "0",
    }
)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--update-golden",
        metavar="REASON",
        default=None,
        help="write the golden values of the tests that run, with this reason (tests/support/golden.py)",
    )


@pytest.fixture(scope="session", autouse=True)
def _optuna_migrations_are_read_once() -> Iterator[None]:
    """Optuna compiles its migration scripts anew for each database that it opens: most of the time that opening takes."""
    if "optuna" not in sys.modules:
        yield
        return
    from optuna.storages._rdb.storage import _VersionManager

    create, known = _VersionManager._create_alembic_script, dict[None, Any]()

    def create_once(manager: _VersionManager) -> Any:
        if None not in known:
            known[None] = create(manager)
        return known[None]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_VersionManager, "_create_alembic_script", create_once)
        yield
