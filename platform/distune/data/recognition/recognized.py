"""The result of recognizing a folder as data of one format."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping, Sequence
from typing import Any


@dataclasses.dataclass(frozen=True, kw_only=True)
class Recognized:
    """Data of one format in a folder.

    Attributes:
        kind: ``data.kind``.
        settings: of ``data``, without ``kind`` and ``root``.
        num_images: images that have annotations or stand in a list.
        findings: what was taken for what, a line each.
        doubts: what is unclear or not used, a line each.
        problem: why it cannot be used yet, with the remedy; empty where it can.
    """

    kind: str
    settings: Mapping[str, Any]
    num_images: int
    findings: Sequence[str] = ()
    doubts: Sequence[str] = ()
    problem: str = ""


HELD_OUT_SHARE = 0.2
"""Fraction of the images that are held out for each split that a folder does not have."""


def held_out(roles: Collection[str]) -> tuple[dict[str, float], list[str]]:
    """Return the shares that are held out of the training images for missing splits, and lines that say so."""
    shares: dict[str, float] = {}
    lines = []
    for role, purpose in (("search", "scoring trials"), ("test", "the final test")):
        if role not in roles:
            shares[f"{role}_share"] = HELD_OUT_SHARE
            lines.append(f"no {role} split: {HELD_OUT_SHARE:.0%} of the training images are held out for {purpose}")
    return shares, lines
