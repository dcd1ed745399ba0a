"""Milestones in epochs or steps, as other libraries have them, are refused."""

from __future__ import annotations

from typing import Any

import pytest

from distune.config.load import load_experiment, parse_experiment
from distune.errors import ConfigError
from support.experiments import small_values


def with_milestones(section: str, milestones: list[Any]) -> dict[str, Any]:
    return small_values({section: {"schedule": {"kind": "multi_step", "milestones": milestones}}})


@pytest.mark.parametrize("section", ["training", "teacher_training"])
@pytest.mark.parametrize("milestones", [[16, 22], [0.5, 1.0], [0, 0.5]])
def test_milestones_that_are_no_fractions_are_refused(section: str, milestones: list[float]) -> None:
    with pytest.raises(ConfigError, match=rf"{section}\.schedule\.milestones = .*epoch 8 of 12 is 0\.6667"):
        load_experiment(with_milestones(section, milestones))


def test_fractions_are_accepted_and_an_earlier_study_resumes() -> None:
    load_experiment(with_milestones("training", [0.6667, 0.9167]))
    parse_experiment(with_milestones("training", [8, 11]), source="x", saved=True)


def test_what_is_no_number_has_the_message_of_the_schema() -> None:
    with pytest.raises(ConfigError, match="must be a number"):
        load_experiment(with_milestones("training", ["a"]))
