"""Finds the files of experiments and search spaces, by path or by the name of a shipped one."""

from __future__ import annotations

from pathlib import Path

from distune.config.problems import suggest
from distune.errors import UsageError

_PACKAGE = Path(__file__).resolve().parents[1]


def shipped_folder(kind: str) -> Path:
    """Return the folder of shipped ``experiments`` or ``search_spaces``: in the checkout, else in the package."""
    checkout = _PACKAGE.parents[1] / kind
    return checkout if checkout.is_dir() else _PACKAGE / "shipped" / kind


def shipped_names(kind: str) -> list[str]:
    """Return the names of all shipped files of a kind, sorted."""
    return sorted(path.stem for path in shipped_folder(kind).glob("*.yaml"))


def find_file(name: str, kind: str, *, folder: Path | None = None) -> Path:
    """Find a file by its path or name.

    Args:
        name: a path (it ends in .yaml or .yml, or contains a slash), or the name of a shipped file.
        kind: ``experiments`` or ``search_spaces``.
        folder: relative paths start here when there is no such file in the working directory.

    Returns:
        Path of the file.

    Raises:
        UsageError: there is no such file.
    """
    singular = kind.removesuffix("s").replace("_", " ")
    if "/" in name or name.endswith((".yaml", ".yml")):
        candidates = [Path(name)] + ([folder / name] if folder is not None else [])
        for path in candidates:
            if path.is_file():
                return path
        raise UsageError(f"{singular} {name}: there is no such file")
    path = shipped_folder(kind) / f"{name}.yaml"
    if path.is_file():
        return path
    names = shipped_names(kind)
    raise UsageError(
        f"{singular} {name}: neither a shipped {singular} nor a path of a YAML file; {suggest(name, names)}"
    )
