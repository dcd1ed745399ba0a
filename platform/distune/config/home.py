"""The home folder, in which distune keeps its files."""

from __future__ import annotations

import dataclasses
import os
from os import PathLike
from pathlib import Path

from distune.config.experiment import NAME_PATTERN
from distune.config.sqlite_url import sqlite_url
from distune.errors import UsageError

_STUDIES = "studies"


@dataclasses.dataclass(frozen=True)
class Home:
    """The layout of distune's home folder. Creates no folder."""

    root: Path

    def __post_init__(self) -> None:
        """Refuse a folder that databases and MLflow cannot name. Raises ``UsageError``."""
        try:
            str(self.root).encode()
        except UnicodeEncodeError:
            shown = os.fsencode(self.root).decode(errors="replace")
            raise UsageError(
                f"home {shown}: the name of the folder is not UTF-8, which MLflow and databases need; rename the "
                "folder, or set DISTUNE_HOME to another one"
            ) from None

    @classmethod
    def from_environment(cls) -> Home:
        """Return the home at ``$DISTUNE_HOME``, or at ``runs`` in the working directory."""
        return cls(Path(os.environ.get("DISTUNE_HOME") or "runs").absolute())

    @classmethod
    def at(cls, folder: str | PathLike[str] | None) -> Home:
        """Return the home in ``folder``; None is ``$DISTUNE_HOME``, or ``runs`` in the working directory."""
        return cls.from_environment() if folder is None else cls(Path(folder).absolute())

    @classmethod
    def around(cls, folder: Path) -> Home | None:
        """Return the home that a folder of a study is in, None when it is in no home."""
        return next((cls(parent.parent) for parent in folder.parents if parent.name == _STUDIES), None)

    def relative(self, path: str) -> str:
        """Return a path as it is recorded: relative to the home, or as it is when it leads elsewhere."""
        return str(Path(path).relative_to(self.root)) if Path(path).is_relative_to(self.root) else path

    @property
    def origin(self) -> str:
        """The reason for this folder, as a remark in messages; empty when the user has named it."""
        is_default = not os.environ.get("DISTUNE_HOME") and self == Home.from_environment()
        return " (DISTUNE_HOME is not set, so it is ./runs of the working folder)" if is_default else ""

    @property
    def tracking_uri(self) -> str:
        """The MLflow store of experiments without ``tracking.uri``."""
        return sqlite_url(self.database)

    @property
    def database(self) -> Path:
        """The file of that store."""
        return self.root / "mlflow.db"

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
        return self.root / _STUDIES

    def study(self, name: str) -> Path:
        """Return the folder of a study. Raises ``UsageError`` for an invalid name."""
        if not NAME_PATTERN.fullmatch(name):
            raise UsageError(
                f"study {name}: a name must start with a letter or digit and contain only letters, digits, "
                "'_', '.' and '-'"
            )
        return self.studies / name
