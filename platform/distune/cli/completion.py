"""Completes the names of studies and experiments in the shell. Loads no large library."""

from __future__ import annotations

import contextlib
from pathlib import Path


def complete_study(incomplete: str) -> list[str]:
    """Return the names of the studies that start like this."""
    from distune.config.home import Home
    from distune.study.status import study_names

    with contextlib.suppress(OSError):
        return [name for name in study_names(Home.from_environment()) if name.startswith(incomplete)]
    return []


def complete_experiment(incomplete: str) -> list[str]:
    """Return the names of shipped experiments, and the YAML files and folders, that start like this."""
    from distune.config.shipped import shipped_names

    found = [name for name in shipped_names("experiments") if name.startswith(incomplete)]
    folder, _, start = incomplete.rpartition("/")
    prefix = f"{folder}/" if "/" in incomplete else ""
    with contextlib.suppress(OSError):
        for path in sorted(Path(prefix or ".").iterdir()):
            is_shown = path.name.startswith(start) and (start or not path.name.startswith("."))
            if is_shown and (path.is_dir() or path.suffix in (".yaml", ".yml")):
                found.append(f"{prefix}{path.name}{'/' if path.is_dir() else ''}")
    return found
