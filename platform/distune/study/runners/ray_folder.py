"""The folder of Ray's sockets, whose paths the system limits to 107 bytes."""

from __future__ import annotations

import os
from collections.abc import Mapping

from distune.errors import ResourceError

MAX_SOCKET_PATH_BYTES = 107
_BELOW = "/ray/session_2026-01-01_00-00-00_000000_4194304/sockets/plasma_store.1"
"""The longest path that Ray makes below the folder."""
MAX_FOLDER_BYTES = MAX_SOCKET_PATH_BYTES - len(_BELOW)
_SHORT_FOLDER = "/tmp"  # noqa: S108 - where Ray itself keeps its files without TMPDIR


def ray_temp_folder(variables: Mapping[str, str], *, can_write_short: bool) -> str | None:
    """Return the folder for Ray's files, because the paths below a long ``TMPDIR`` are too long for sockets.

    Args:
        variables: of the environment.
        can_write_short: whether ``/tmp`` can be written.

    Returns:
        The folder; None where Ray's own choice is short enough.

    Raises:
        ResourceError: ``RAY_TMPDIR`` is too long, or ``TMPDIR`` is and ``/tmp`` cannot be written.
    """
    name = "RAY_TMPDIR" if "RAY_TMPDIR" in variables else "TMPDIR"
    folder = variables.get(name, "")
    if len(os.fsencode(folder.rstrip("/"))) <= MAX_FOLDER_BYTES:
        return None
    if name == "TMPDIR" and can_write_short:
        return f"{_SHORT_FOLDER}/ray"
    raise ResourceError(
        f"{name} = {folder}: too long for the sockets of Ray; set RAY_TMPDIR to a folder whose path has at most "
        f"{MAX_FOLDER_BYTES} bytes, or use --runner local, which needs no Ray"
    )
