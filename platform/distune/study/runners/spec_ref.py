"""A specification on its way through Ray Tune, which keeps each configuration, several times, to the end of a study."""

from __future__ import annotations

from typing import Any

from distune.records import TrialSpec


class SpecRef:
    """Holds the specification of a trial until a worker has it for good.

    Tune copies a trial's configuration deeply five times, writes it out into the trial's tag, and keeps all that of
    every trial to the end of the study. So a copy is the same object, its text is short, and ``release`` lets go of the
    specification in all places at once: the driver of a long study would hold tens of KiB per trial otherwise.

    Args:
        spec: of the trial.
        error_bytes: see the attribute.

    Attributes:
        key: names the trial within its study.
        error_bytes: how long the file of its errors was; what earlier attempts have left there is not about this one.
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
        """The trial is over, and nobody is going to ask for its specification again."""
        self._spec = None

    def __deepcopy__(self, memo: dict[int, Any]) -> SpecRef:
        return self

    def __repr__(self) -> str:
        return f"trial {self.key}"
