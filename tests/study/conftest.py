"""Fixtures that make experiments and harnesses."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import optuna
import pytest

from distune.config.load import LoadedExperiment, experiment_from_dict
from study.harness import EXPERIMENT, SPACE, EngineHarness, MakeHarness, MakeLoaded
from support import postgres


@pytest.fixture(scope="session")
def make_loaded() -> MakeLoaded:
    """Makes the small experiment, with sections replaced or extended: ``make_loaded(search={"num_trials": 3})``."""

    def make(space: dict[str, Any] = SPACE, **sections: dict[str, Any]) -> LoadedExperiment:
        values = {**EXPERIMENT}
        for name, section in sections.items():
            values[name] = {**values.get(name, {}), **section}
        return experiment_from_dict(values, source="test", space=space)

    return make


@pytest.fixture
def make_harness(make_loaded: MakeLoaded, tmp_path: Path) -> MakeHarness:
    """Makes a harness; takes what ``make_loaded`` takes."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)

    def make(**arguments: Any) -> EngineHarness:
        return EngineHarness(make_loaded(**arguments), tmp_path / "trials")

    return make


@pytest.fixture(scope="module")
def database() -> Iterator[str]:
    """A PostgreSQL for the module."""
    reason = postgres.why_not()
    if reason is not None:
        pytest.skip(reason)
    with postgres.running() as url:
        yield url
