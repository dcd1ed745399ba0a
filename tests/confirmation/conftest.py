"""Experiments for tests of confirmations, and fewer resamples of their images."""

from __future__ import annotations

import functools

import pytest

from distune.confirmation import ablation_session, confirmation_session
from distune.evidence.resampling import resample_runs
from study.conftest import make_loaded

__all__ = ["make_loaded"]


@pytest.fixture
def all_resamples() -> None:
    """Request it to resample the images as often as in a study; see below."""


@pytest.fixture(autouse=True)
def _few_resamples(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Images are resampled 100 times, not 1,000: a third of a confirmation that says nothing of its runs."""
    if "all_resamples" not in request.fixturenames:
        for session in (ablation_session, confirmation_session):
            monkeypatch.setattr(session, "resample_runs", functools.partial(resample_runs, num_resamples=100))
