"""The home folder, in which distune keeps its files."""

from __future__ import annotations

import dataclasses
import os
from os import PathLike
from pathlib import Path

from distune.config.experiment import NAME_PATTERN
from distune.errors import UsageError


@dataclasses.dataclass(frozen=True)
class Home:
    """The layout of distune's home folder. Creates no folder."""

    root: Path

    @classmethod
    def from_environment(cls) -> Home:
        """Return the home at ``$DISTUNE_HOME``, or at ``runs`` in the working directory."""
        return cls(Path(os.environ.get("DISTUNE_HOME") or "runs").absolute())

    @classmethod
    def at(cls, folder: str | PathLike[str] | None) -> Home:
        """Return the home in ``folder``; None is ``$DISTUNE_HOME``, or ``runs`` in the working directory."""
        return cls.from_environment() if folder is None else cls(Path(folder).absolute())

    @property
    def origin(self) -> str:
        """The reason for this folder, as a remark in messages; empty when the user has named it."""
        is_default = not os.environ.get("DISTUNE_HOME") and self == Home.from_environment()
        return " (DISTUNE_HOME is not set, so it is ./runs of the working folder)" if is_default else ""

    @property
    def tracking_uri(self) -> str:
        """The MLflow store of experiments without ``tracking.uri``."""
        return f"sqlite:///{self.root / 'mlflow.db'}"

    @property
    def artifacts(self) -> Path:
        """The folder of that store's artifacts."""
        return self.root / "artifacts"

    @property
    def teachers(self) -> Path:
        """The folder with a folder per trained teacher, named by its hash."""
        return self.root / "teachers"

    @property
    def studies(self) -> Path:
        """The folder with a folder per study."""
        return self.root / "studies"

    def study(self, name: str) -> Path:
        """Return the folder of a study. Raises ``UsageError`` for an invalid name."""
        if not NAME_PATTERN.fullmatch(name):
            raise UsageError(
                f"study {name}: a name must start with a letter or digit and contain only letters, digits, "
                "'_', '.' and '-'"
            )
        return self.studies / name
