"""Trials that earlier versions recorded, with the attribute names of that time."""

from __future__ import annotations

from typing import Any

import optuna

from distune.study.search.trial_attributes import PROPOSED, REQUESTED, RETRIES, read_attribute
from study.harness import MakeHarness, take

DECAY = "distillation.decay"
GRID: dict[str, Any] = {
    "name": "grid",
    "parameters": {DECAY: {"kind": "choice", "values": ["linear", "cosine", "constant"]}},
}


def test_an_attribute_is_read_under_its_former_name() -> None:
    study = optuna.create_study()
    study.enqueue_trial({}, user_attrs={"given": {"a": 1}, "proposal": {"a": 2}, "setbacks": [1]})
    (trial,) = study.trials
    assert [read_attribute(trial.user_attrs, name) for name in (REQUESTED, PROPOSED, RETRIES)] == [
        {"a": 1},
        {"a": 2},
        [1],
    ]
    assert read_attribute(trial.user_attrs, "reason") is None
    trial.set_user_attr(RETRIES, [1, 2])
    assert read_attribute(trial.user_attrs, RETRIES) == [1, 2]


def test_a_study_of_an_earlier_version_is_resumed(make_harness: MakeHarness) -> None:
    """One trial failed and was tried again, another was cut off before its proposal became its values."""
    first = [{DECAY: "cosine"}, {DECAY: "constant"}]
    harness = make_harness(
        space=GRID, search={"num_trials": 3, "controls": 0, "defaults_first": False, "initial_configurations": first}
    )
    study, _ = harness.studies()
    lost = {"reason": "worker died: gone", "epochs": 0}
    earlier: list[dict[str, Any]] = [
        {"origin": "search.first[0]", "given": first[0], "proposal": first[0], "setbacks": [lost]},
        {"proposal": {DECAY: "linear"}},
    ]
    for number, attributes in enumerate(earlier):
        study.enqueue_trial({}, user_attrs=attributes)
        assert study.ask().number == number
    engine = harness.engine()
    assert [take(engine).params for _ in range(3)] == [first[0], {DECAY: "linear"}, first[1]]
    trials = harness.known()
    assert [(each.reason, each.epochs) for each in trials[0].retries] == [("worker died: gone", 0)]
    assert [trials[number].origin for number in range(3)] == [
        "search.first[0]",
        None,
        "search.initial_configurations[1]",
    ]
