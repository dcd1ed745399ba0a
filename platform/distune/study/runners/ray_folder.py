"""The folder of a session's files of Ray and Tune. The system limits the paths of Ray's sockets in it to 107 bytes."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path

from distune.errors import ResourceError

MAX_SOCKET_PATH_BYTES = 107
PREFIX, RAY_FOLDER = "distune-", "r"
_BELOW = f"/{PREFIX}12345678/{RAY_FOLDER}/session_2026-01-01_00-00-00_000000_4194304/sockets/plasma_store.1"
"""The longest path that Ray makes below the folder."""
MAX_FOLDER_BYTES = MAX_SOCKET_PATH_BYTES - len(_BELOW)
_SHORT_FOLDER = "/tmp"  # noqa: S108 - where Ray itself keeps its files without TMPDIR


def session_parent(variables: Mapping[str, str], *, can_write_short: bool, starts_ray: bool) -> Path:
    """Return the folder in which a session makes its own; the paths below a long ``TMPDIR`` are too long for sockets.

    Args:
        variables: of the environment.
        can_write_short: whether ``/tmp`` can be written.
        starts_ray: whether this session starts Ray; Tune's files alone may be anywhere.

    Returns:
        The folder.

    Raises:
        ResourceError: ``RAY_TMPDIR`` is too long, or ``TMPDIR`` is and ``/tmp`` cannot be written.
    """
    if not starts_ray:
        return Path(tempfile.gettempdir())
    name = "RAY_TMPDIR" if "RAY_TMPDIR" in variables else "TMPDIR"
    folder = variables.get(name) or _SHORT_FOLDER
    if len(os.fsencode(folder.rstrip("/"))) <= MAX_FOLDER_BYTES:
        return Path(folder)
    if name == "TMPDIR" and can_write_short:
        return Path(_SHORT_FOLDER)
    raise ResourceError(
        f"{name} = {folder}: too long for the sockets of Ray; set RAY_TMPDIR to a folder whose path has at most "
        f"{MAX_FOLDER_BYTES} bytes, or use --runner local, which needs no Ray"
    )
