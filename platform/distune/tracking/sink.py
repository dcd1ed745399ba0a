"""The seam between the spool and the place where events end up."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from distune.errors import DistuneError
from distune.tracking.events import Event


class SinkUnavailableError(DistuneError):
    """The sink cannot be reached or does not let us in now. The same events may be sent again later."""


class EventRefusedError(DistuneError):
    """The sink will never take this event."""


class Sink(Protocol):
    """Takes events in the order in which they happened. Applying an event twice stores it once."""

    def apply(self, events: Sequence[Event]) -> None:
        """Store events that belong together: a single one, or several ``EpochLogged`` in a row.

        Raises:
            SinkUnavailableError: try again later.
            EventRefusedError: never try again; of several events, each may be tried alone.
            Exception: anything else is tried again a few times.
        """
        ...
