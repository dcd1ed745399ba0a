"""A reference to a trial specification in Ray Tune, which keeps several copies of each configuration until the end."""

from __future__ import annotations

from typing import Any

from distune.records import TrialSpec


class SpecRef:
    """Holds the specification of a trial until the trial has ended.

    Tune makes five deep copies of a trial's configuration, writes it into the trial's tag, and keeps all of that until
    the end of the study: tens of KiB per trial. Therefore a copy of this reference is the same object, its text is
    short, and ``release`` frees the specification in all places at once.

    Args:
        spec: of the trial.
        error_bytes: size of the trial's error file.

    Attributes:
        key: name of the trial within its study.
        error_bytes: size of the trial's error file before this attempt; earlier attempts wrote that part.
    """

    def __init__(self, spec: TrialSpec, *, error_bytes: int) -> None:
        self.key = spec.key
        self.error_bytes = error_bytes
        self._spec: TrialSpec | None = spec

    @property
    def spec(self) -> TrialSpec:
        """The specification. It must not have been released."""
        assert self._spec is not None, f"the specification of trial {self.key} has been released"
        return self._spec

    def release(self) -> None:
        """Free the specification, because the trial has ended."""
        self._spec = None

    def __deepcopy__(self, memo: dict[int, Any]) -> SpecRef:
        return self

    def __repr__(self) -> str:
        return f"trial {self.key}"
