"""Finds the files of experiments and search spaces, by path or by the name of a shipped one."""

from __future__ import annotations

import difflib
from pathlib import Path

from distune.config.home import Home
from distune.config.problems import suggest
from distune.errors import UsageError

_PACKAGE = Path(__file__).resolve().parents[1]
_MAX_NAME_BYTES = 250
"""Less than the 255 of common file systems: an ending is added."""
_MAIN_FILES = {"experiments": "experiment.yaml", "search_spaces": "space.yaml"}
"""Kind to the name of such a file in the folder of a study."""


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
        UsageError: there is no such file; the message says what has that name instead.
    """
    singular = kind.removesuffix("s").replace("_", " ")
    if "\0" in name or any(len(part.encode(errors="replace")) > _MAX_NAME_BYTES for part in name.split("/")):
        raise UsageError(f"{singular} {name[:60]!r}...: no file can have this name")
    if _is_path(name):
        candidates = [Path(name).expanduser()] + ([folder / name] if folder is not None else [])
        found = next((path for path in candidates if path.is_file()), None)
    else:
        candidates, found = [Path(name)], shipped_folder(kind) / f"{name}.yaml"
        found = found if found.is_file() else None
    if found is None:
        raise UsageError(f"{singular} {name}: {_why_not(name, kind, singular, candidates)}")
    return found


def _is_path(name: str) -> bool:
    return "/" in name or name.endswith((".yaml", ".yml"))


def _why_not(name: str, kind: str, singular: str, candidates: list[Path]) -> str:
    """Return what has this name, and what was probably meant."""
    existing = next((path for path in candidates if path.exists()), None)
    if existing is not None and existing.is_dir():
        meant = _meant_in(existing, kind)
        return f"is a folder; {f'did you mean {meant}?' if meant else 'give a YAML file in it'}"
    with_suffix = next((file for path in candidates for file in _with_suffix(path) if file.is_file()), None)
    if with_suffix is not None:
        return f"there is no such file; did you mean {with_suffix}?"
    if existing is not None:
        return f"is a file without .yaml at its end; rename it to {name}.yaml, or write ./{name}"
    if _is_path(name):
        others = {path.stem: path for path in sorted(candidates[0].parent.glob("*.y*ml"))}
        close = difflib.get_close_matches(candidates[0].stem, others, n=1)
        return f"there is no such file{f'; did you mean {others[close[0]]}?' if close else ''}"
    other = "search_spaces" if kind == "experiments" else "experiments"
    if name in shipped_names(other):
        use = "name it in search.space" if kind == "experiments" else "give the name of a search space"
        return f"is the name of a shipped {other.removesuffix('s').replace('_', ' ')}; {use}"
    study = Home.from_environment().studies / name / _MAIN_FILES[kind]
    if study.is_file():
        return f"is a study, and no {singular}; to continue it: distune resume {name}; its own file: {study}"
    return f"is neither a shipped {singular} nor a path of a YAML file; {suggest(name, shipped_names(kind))}"


def _meant_in(folder: Path, kind: str) -> Path | None:
    """Return the file of a folder that was probably meant: that of a study, or the only YAML file."""
    files = sorted(folder.glob("*.y*ml"))
    own = folder / _MAIN_FILES[kind]
    if own in files:
        return own
    return files[0] if len(files) == 1 else None


def _with_suffix(path: Path) -> list[Path]:
    return [path.with_name(f"{path.name}{suffix}") for suffix in (".yaml", ".yml")] if path.name else []
