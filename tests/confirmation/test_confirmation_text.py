"""The lines below the headline of a confirmation."""

from __future__ import annotations

from pathlib import Path

import pytest

from distune.confirmation.confirmation_text import explain
from explanation.making import confirmation


@pytest.mark.parametrize(("low", "high", "is_referred"), [(-1.0, 1.6, True), (-4.0, -2.0, True), (2.0, 4.0, False)])
def test_a_confirmation_without_a_gain_refers_to_the_explanation(low: float, high: float, is_referred: bool) -> None:
    lines = explain(confirmation((low + high) / 2, low, high), Path("studies/mine"))
    assert ("for likely reasons: distune explain mine" in lines) is is_referred
