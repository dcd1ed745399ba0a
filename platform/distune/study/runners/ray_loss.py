"""Reports a lost Ray as a study that has stopped and can be continued."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from distune.study.runners.ray_servers import RayLostError
from distune.study.storage.optuna_storage import StudyStoppedError, command_to_continue


@contextlib.contextmanager
def ray_loss_reported(study: str, *, command: str = "resume") -> Iterator[None]:
    """Raise ``StudyStoppedError`` when a server of Ray ends in the block.

    Args:
        study: its name.
        command: distune's command that continues.
    """
    try:
        yield
    except RayLostError as error:
        raise StudyStoppedError(
            f"study {study} stopped: {error}; no recorded epoch is lost: run: {command_to_continue(study, command)}"
        ) from error
