"""Warm start: configurations from another study, and messages about the overlap of the two spaces."""

from __future__ import annotations

from typing import Any

import pytest

from distune.records import Outcome, ParameterValue, TrialRecord, TrialState
from distune.study.search.warm_start import warm_start, with_initial_configurations
from distune.study.status import StudyStatus
from study.harness import METRIC, SPACE, MakeHarness, MakeLoaded, take

WEIGHT, TEMPERATURE = "distillation.global_knowledge.weight", "distillation.soft_labels.temperature"
PER_CLASS, DECAY = "distillation.prototypes.per_class", "distillation.decay"


def trial(number: int, score: float, outcome: Outcome = Outcome.FINISHED, **params: ParameterValue) -> TrialRecord:
    names = {"weight": WEIGHT, "temperature": TEMPERATURE, "per_class": PER_CLASS, "decay": DECAY}
    return TrialRecord(
        number=number,
        state=TrialState.COMPLETE,
        outcome=outcome,
        control=number < 0,
        epochs=9,
        params={names[name]: value for name, value in params.items()},
        metrics={METRIC: score},
        seed=0,
    )


SOURCE = StudyStatus(
    study="first",
    state="finished",
    metric=METRIC,
    trials=[
        trial(-1, 99.0),
        trial(0, 10.0, weight=1.0, temperature=2.0, per_class=3, decay="linear"),
        trial(1, 30.0, weight=30.0, temperature=2.0, per_class=4, decay="cosine"),
        trial(2, 20.0, weight=2.0, temperature=3.0, per_class=5, decay="constant"),
        trial(3, 90.0, Outcome.STOPPED, weight=9.0, temperature=4.0, per_class=6, decay="linear"),
    ],
)


def narrower() -> dict[str, Any]:
    parameters = {
        WEIGHT: {"kind": "float", "low": 0.5, "high": 5.0, "log": True},
        PER_CLASS: SPACE["parameters"][PER_CLASS],
        DECAY: {"kind": "choice", "values": ["linear", "constant"]},
        "distillation.soft_labels.weight": {"kind": "float", "low": 1.0, "high": 2.0, "when": {DECAY: "constant"}},
    }
    return {"name": "narrower", "parameters": parameters}


def test_the_best_finished_trials_are_taken_as_far_as_they_are_in_the_space(make_loaded: MakeLoaded) -> None:
    found = warm_start(SOURCE, make_loaded(), make_loaded(space=narrower()), top=2)
    assert found.configurations == [{PER_CLASS: 4}, {WEIGHT: 2.0, PER_CLASS: 5, DECAY: "constant"}]
    assert found.messages == [
        "warm start: 3 of 4 parameters are searched in study first too",
        f"warm start: {WEIGHT} was 0.5 to 50, log, is 0.5 to 5, log",
        f"warm start: {DECAY} was one of linear, cosine, constant, is one of linear, constant",
        "warm start: distillation.soft_labels.weight is new; the sampler chooses it",
        f"warm start: {TEMPERATURE} is not searched here",
        "warm start: 2 configurations of first are tried first, without their scores (0 of its 2 best "
        "finished trials are in the space)",
    ]


def test_equal_spaces_give_whole_configurations(make_loaded: MakeLoaded) -> None:
    found = warm_start(SOURCE, make_loaded(), make_loaded(), top=5)
    assert [values[PER_CLASS] for values in found.configurations] == [4, 5, 3]
    assert found.messages[0] == "warm start: 4 of 4 parameters are searched in study first too"
    assert "3 of its 3 best finished trials are in" in found.messages[-1]


def test_fixed_values_of_the_source_are_taken(make_loaded: MakeLoaded) -> None:
    source = StudyStatus(
        study="first",
        state="finished",
        metric=METRIC,
        trials=[trial(0, 10.0, weight=1.0, temperature=2.0)],
    )
    fixed = make_loaded(search={"fixed": {DECAY: "cosine", PER_CLASS: 4}})
    found = warm_start(source, fixed, make_loaded(), top=1)
    assert found.configurations == [{WEIGHT: 1.0, TEMPERATURE: 2.0, PER_CLASS: 4, DECAY: "cosine"}]
    assert f"warm start: {DECAY} was fixed; cosine is used" in found.messages
    assert "(1 of its 1 best finished trials are in the space)" in found.messages[-1]
    outside = warm_start(source, fixed, make_loaded(space=narrower()), top=1)
    assert outside.configurations == [{WEIGHT: 1.0, PER_CLASS: 4}]
    assert f"warm start: {DECAY} is new; the sampler chooses it" in outside.messages


def test_another_metric_gives_a_message(make_loaded: MakeLoaded) -> None:
    found = warm_start(SOURCE, make_loaded(), make_loaded(search={"metric": "AP50"}), top=5)
    assert "are the best by search/AP; this study maximizes search/AP50" in found.messages[1]


def test_taken_configurations_are_trials_of_the_new_study(make_loaded: MakeLoaded, make_harness: MakeHarness) -> None:
    harness = make_harness(space=narrower(), search={"num_trials": 4})
    found = warm_start(SOURCE, make_loaded(), harness.loaded, top=3)
    harness.loaded = with_initial_configurations(harness.loaded, found.configurations)
    engine = harness.engine()
    take(engine)
    specs = [take(engine) for _ in range(4)]
    assert engine.next_trial() is None, "they are four of four trials"
    assert specs[1].params[PER_CLASS] == 4
    assert specs[2].params.items() >= {WEIGHT: 2.0, PER_CLASS: 5, DECAY: "constant"}.items()
    assert "distillation.soft_labels.weight" in specs[2].params
    assert specs[3].params.items() >= {WEIGHT: 1.0, PER_CLASS: 3, DECAY: "linear"}.items()


@pytest.mark.parametrize("outcome", [Outcome.STOPPED, Outcome.FAILED, Outcome.DIVERGED])
def test_nothing_is_taken_from_trials_that_did_not_finish(make_loaded: MakeLoaded, outcome: Outcome) -> None:
    source = StudyStatus(study="first", state="failed", metric=METRIC, trials=[trial(0, 1.0, outcome, weight=1.0)])
    assert warm_start(source, make_loaded(), make_loaded(), top=5).configurations == []
