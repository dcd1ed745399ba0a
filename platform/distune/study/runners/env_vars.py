"""Temporary environment variables, the only way to set some options of Ray and Tune."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping

RAY_IMPORT_ENVIRONMENT = {
    # Ray would print a paragraph for every worker that dies; the end of the trial gives the reason.
    "RAY_DEDUP_LOGS_SKIP_REGEX": "worker died or was killed",
    # Under `uv run` Ray would upload the working directory, of at most 512 MiB, and install the packages again.
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": os.environ.get("RAY_ENABLE_UV_RUN_RUNTIME_ENV", "0"),
}
"""Variables that Ray reads when it is imported."""


@contextlib.contextmanager
def environment(values: Mapping[str, str]) -> Iterator[None]:
    """Set environment variables in the block and restore their values after it."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
