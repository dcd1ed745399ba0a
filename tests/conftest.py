"""Settings of all tests: one thread each, and no telemetry."""

from __future__ import annotations

import os

import pytest

os.environ.update(
    {
        "DO_NOT_TRACK": "true",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "OMP_NUM_THREADS": "1",
        "RAY_AUTH_MODE": "disabled",
        "RAY_USAGE_STATS_ENABLED": "0",
    }
)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--update-golden",
        metavar="REASON",
        default=None,
        help="write the golden values of the tests that run, with this reason (tests/support/golden.py)",
    )
