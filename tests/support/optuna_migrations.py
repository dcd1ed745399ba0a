"""Opens Optuna's databases in a third of the time."""

from __future__ import annotations

from typing import Any

import pytest


def read_once(patch: pytest.MonkeyPatch) -> None:
    """Let Optuna compile its migration scripts once per process, and not for each database that it opens."""
    from optuna.storages._rdb.storage import _VersionManager

    create = _VersionManager._create_alembic_script
    made: list[Any] = []

    def create_once(manager: _VersionManager) -> Any:
        if not made:
            made.append(create(manager))
        return made[0]

    patch.setattr(_VersionManager, "_create_alembic_script", create_once)
