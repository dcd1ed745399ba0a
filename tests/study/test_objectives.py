"""Studies with several objectives: values in Optuna, the Pareto front and its figure."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest

from distune.config.home import Home
from distune.errors import ConfigError
from distune.records import EpochReport, Outcome, TrialRecord, TrialState
from distune.study.create import create_study
from distune.study.search.pareto import dominates, pareto_front
from distune.study.session import run_session
from distune.study.status import read_study
from distune.study.study_figures import draw_pareto_front
from study.harness import METRIC, MakeHarness, MakeLoaded, Witness, take

COSTS = ("student/latency_ms", "student/parameters")
SPACE: dict[str, Any] = {
    "name": "student",
    "parameters": {
        "student.fpn_channels": {"kind": "int", "low": 16, "high": 128, "step": 16},
        "distillation.global_knowledge.weight": {"kind": "float", "low": 0.5, "high": 50.0, "log": True},
    },
}
SEARCH = {"costs": ["latency_ms", "parameters"], "num_trials": 9}


def record(number: int, score: float, *costs: float, outcome: Outcome = Outcome.FINISHED) -> TrialRecord:
    return TrialRecord(
        number=number,
        state=TrialState.COMPLETE,
        outcome=outcome,
        control=number < 0,
        epochs=1,
        params={},
        metrics={METRIC: score, **dict(zip(COSTS, costs, strict=False))},
        seed=0,
    )


def test_the_pareto_front_equals_its_definition() -> None:
    random = np.random.default_rng(0)
    trials = [record(number, *random.integers(0, 6, size=3).tolist()) for number in range(40)]

    def beats(first: TrialRecord, second: TrialRecord) -> bool:
        mine, other = ([-each.metrics[METRIC], *(each.metrics[cost] for cost in COSTS)] for each in (first, second))
        return mine != other and all(a <= b for a, b in zip(mine, other, strict=True))

    non_dominated = pareto_front(trials, METRIC, COSTS)
    assert {trial.number for trial in non_dominated} == {
        trial.number for trial in trials if not any(beats(other, trial) for other in trials)
    }
    scores = [trial.metrics[METRIC] for trial in non_dominated]
    assert scores == sorted(scores, reverse=True)


def test_neither_controls_nor_trials_that_did_not_finish_are_on_the_pareto_front() -> None:
    trials = [record(-1, 99.0, 0.0, 0.0), record(0, 50.0, 1.0, 1.0, outcome=Outcome.STOPPED), record(1, 9.0, 9.0, 9.0)]
    assert [trial.number for trial in pareto_front(trials, METRIC, COSTS)] == [1]
    assert not dominates((1.0, 2.0), (1.0, 2.0))


@pytest.mark.parametrize(
    "sampler",
    [
        {"kind": "tpe", "startup_trials": 3},
        {"kind": "nsga2", "population_size": 2},
        {"kind": "random"},
        {"kind": "gp", "startup_trials": 3},
    ],
    ids=lambda sampler: str(sampler["kind"]),
)
def test_a_study_of_every_sampler_with_stopped_trials(make_harness: MakeHarness, sampler: dict[str, Any]) -> None:
    harness = make_harness(space=SPACE, search={**SEARCH, "sampler": sampler}, training={"epochs": 3})
    harness.run()
    search_study, control_study = harness.studies()
    assert [direction.name for direction in search_study.directions] == ["MAXIMIZE", "MINIMIZE", "MINIMIZE"]
    assert len(control_study.directions) == 1
    states = harness.states()
    assert len(states) == 9
    assert {TrialState.COMPLETE, TrialState.PRUNED} == set(states), "the scheduler stops by the score alone"
    records = {each.number: each for each in harness.witness.records}
    for trial in search_study.trials:
        if trial.state is optuna.trial.TrialState.COMPLETE:
            metrics = records[trial.number].metrics
            assert trial.values == [metrics[METRIC], *(metrics[cost] for cost in COSTS)]
    assert control_study.trials[0].values == [records[-1].metrics[METRIC]]


def test_a_trial_without_its_costs_has_failed(make_harness: MakeHarness) -> None:
    harness = make_harness(space=SPACE, search={**SEARCH, "scheduler": {"kind": "none"}}, training={"epochs": 1})
    engine = harness.engine()
    take(engine)
    spec = take(engine)
    report = EpochReport(epoch=1, metrics={METRIC: 5.0, "student/parameters": 3.0}, finished_at=1.0)
    engine.report(spec.key, report)
    assert harness.known()[0].state is TrialState.FAIL
    assert harness.known()[0].reason == "bug: the costs of the student were not measured"


@pytest.mark.parametrize(
    ("space", "search", "expected"),
    [
        (
            {"distillation.decay": {"kind": "choice", "values": ["linear", "cosine"]}},
            {},
            "no parameter of the space changes",
        ),
        (SPACE["parameters"], {"fixed": {"student.fpn_channels": 16}}, "no parameter of the space changes the student"),
        (SPACE["parameters"], {"sampler": {"kind": "cmaes"}}, "more than one objective, which cmaes cannot search"),
        (SPACE["parameters"], {"costs": ["flops", "flops"]}, "has a cost twice"),
    ],
)
def test_invalid_costs(make_loaded: MakeLoaded, space: dict[str, Any], search: dict[str, Any], expected: str) -> None:
    with pytest.raises(ConfigError, match=expected):
        make_loaded(space={"name": "given", "parameters": space}, search={**SEARCH, **search})


@pytest.mark.usefixtures("rendered_figures")
def test_the_pareto_front_of_a_study_on_disk(make_loaded: MakeLoaded, tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    loaded = make_loaded(space=SPACE, search={**SEARCH, "num_trials": 4}, training={"epochs": 1})
    folder = create_study(loaded, home, name="two", simulate=True, runner="local", replace=False)
    witness = Witness()
    run_session(folder, tracker=witness, callback=witness, teacher_weights=None)
    status = read_study(home, "two")
    assert status.costs == COSTS
    assert status.pareto_front
    values = json.loads(json.dumps(status.to_dict(), allow_nan=False))
    assert values["pareto_front"] == [trial.number for trial in status.pareto_front]
    picture = draw_pareto_front(folder, status)
    assert picture == folder.path / "report" / "pareto_front.png"
    assert picture.stat().st_size > 5000
    assert (picture.parent / "pareto_front.png").read_bytes()[:4] == b"\x89PNG"
