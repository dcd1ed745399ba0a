"""Decides which files of a study may be sent: a folder from somebody else must not send files from elsewhere."""

from __future__ import annotations

import os
import stat
from pathlib import Path


def check_sendable(path: Path, folder: Path) -> None:
    """Check that a file or a folder lies in the folder of the study, and holds nothing that leads out of it.

    A missing file is accepted.

    Args:
        path: of the file or the folder, absolute.
        folder: of the study.

    Raises:
        ValueError: it lies elsewhere, also by ``..`` or by a link, or it is neither a file nor a folder.
    """
    root = Path(os.path.realpath(folder))
    if not Path(os.path.realpath(path)).is_relative_to(root):
        raise ValueError(f"{path} is outside of the study's folder {folder}, so it is not sent")
    inner = [Path(place, name) for place, folders, files in os.walk(path) for name in (*folders, *files)]
    for each in inner:
        if each.is_symlink():
            raise ValueError(f"{each} is a link, so {path} is not sent")
    for each in (path, *inner):
        if not _is_plain(each):
            raise ValueError(f"{each} is neither a file nor a folder, so {path} is not sent")


def _is_plain(path: Path) -> bool:
    """Return whether this is a file, a folder, or nothing at all: opening a named pipe would wait for ever."""
    try:
        mode = path.stat().st_mode
    except OSError:
        return True
    return stat.S_ISREG(mode) or stat.S_ISDIR(mode)
