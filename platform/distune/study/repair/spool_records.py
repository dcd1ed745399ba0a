"""Reads from the spool the parameters of the trials of a study, and how they ended."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from distune.bounded_read import read_bounded
from distune.records import Outcome
from distune.study.files.trial_outcome import TrialOutcome
from distune.study.repair.folder_record import SpoolRecord
from distune.tracking.events import TrialEnded, TrialStarted, decode


def read_spool_records(spool: Path) -> dict[str, SpoolRecord]:
    """Read the trials of the search in a spool, by key. Lines that cannot be read are skipped.

    Args:
        spool: the file; it may be missing.

    Returns:
        Key to record. An interrupted trial has no end.
    """
    found: dict[str, SpoolRecord] = {}
    try:
        lines = read_bounded(spool).split(b"\n")
    except OSError:
        return found
    for line in lines:
        if b'"trial_started"' not in line[:40] and b'"trial_ended"' not in line[:40]:
            continue
        try:
            event = decode(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(event, TrialStarted):
            known = found.get(event.key, SpoolRecord())
            found[event.key] = dataclasses.replace(known, params=dict(event.params), ended=None)
        elif isinstance(event, TrialEnded) and event.record.outcome is not Outcome.INTERRUPTED:
            record = event.record
            known = found.get(record.key, SpoolRecord(params=dict(record.params)))
            ended = TrialOutcome(record.outcome, record.reason, event.at_ms / 1000)
            found[record.key] = dataclasses.replace(known, ended=ended)
    return found
