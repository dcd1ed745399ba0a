"""The interface between the spool and the place where events are stored."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from distune.errors import DistuneError
from distune.tracking.events import Event


class SinkUnavailableError(DistuneError):
    """The sink cannot be reached or denies access now. The same events may be sent again later."""


class EventRefusedError(DistuneError):
    """The sink refuses this event, now and later."""


class Sink(Protocol):
    """Stores events in the order in which they happened. An event that is applied twice is stored once."""

    def apply(self, events: Sequence[Event]) -> None:
        """Store events that belong together: a single one, or several ``EpochLogged`` in a row.

        Args:
            events: at least one.

        Raises:
            SinkUnavailableError: try again later.
            EventRefusedError: do not try again; of several events, each may be tried alone.
            Exception: any other error is retried a few times.
        """
        ...
