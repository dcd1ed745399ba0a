"""Experiments for tests of confirmations."""

from __future__ import annotations

from study.conftest import make_loaded

__all__ = ["make_loaded"]
