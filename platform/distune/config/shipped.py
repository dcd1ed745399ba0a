"""Finds experiments and search spaces: by path, or by the name of one that comes with distune."""

from __future__ import annotations

from pathlib import Path

from distune.config.problems import suggest
from distune.errors import UsageError

_PACKAGE = Path(__file__).resolve().parents[1]


def shipped_folder(kind: str) -> Path:
    """The folder of shipped ``experiments`` or ``search_spaces``: in the checkout, else in the package."""
    checkout = _PACKAGE.parents[1] / kind
    return checkout if checkout.is_dir() else _PACKAGE / "shipped" / kind


def shipped_names(kind: str) -> list[str]:
    """The names of all shipped files of a kind, sorted."""
    return sorted(path.stem for path in shipped_folder(kind).glob("*.yaml"))


def find_file(name: str, kind: str, *, folder: Path | None = None) -> Path:
    """The file that a name or a path means.

    Args:
        name: a path (it ends in .yaml or .yml, or holds a slash), or the name of a shipped file.
        kind: ``experiments`` or ``search_spaces``.
        folder: where relative paths are looked for after the working directory.

    Raises:
        UsageError: there is no such file, or no shipped one of that name.
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
    raise UsageError(f"{singular} {name}: not one of the shipped ones, and not a path; {suggest(name, names)}")
