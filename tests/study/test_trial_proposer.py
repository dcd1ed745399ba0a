"""No configuration is trained twice, and a study ends when all configurations of its space were tried."""

from __future__ import annotations

import dataclasses
import itertools
from pathlib import Path
from typing import Any

import pytest

from distune.config.home import Home
from distune.records import TrialState
from distune.study.create import create_study
from distune.study.search.tried_configurations import signature
from distune.study.session import run_session
from distune.study.status import read_study
from study.harness import SPACE, EngineHarness, MakeHarness, MakeLoaded, Witness, take, tell

GRID: dict[str, Any] = {
    "name": "grid",
    "parameters": {
        "distillation.prototypes.selector": {"kind": "choice", "values": ["pursuit", "kmeans", "random"]},
        "distillation.prototypes.unique": {
            "kind": "choice",
            "values": [True, False],
            "when": {"distillation.prototypes.selector": "pursuit"},
        },
        "distillation.decay": {"kind": "choice", "values": ["linear", "cosine", "constant"]},
    },
}
SHORT = {"epochs": 2}
SAMPLERS: list[dict[str, Any]] = [{"kind": "tpe", "startup_trials": 3}, {"kind": "random"}]


@pytest.mark.parametrize("sampler", SAMPLERS, ids=lambda sampler: str(sampler["kind"]))
def test_each_configuration_of_a_grid_is_tried_once_and_the_study_ends(
    make_harness: MakeHarness, sampler: dict[str, Any]
) -> None:
    harness = make_harness(
        space=GRID, training=SHORT, search={"num_trials": 30, "sampler": sampler, "scheduler": {"kind": "none"}}
    )
    engine = harness.run()
    assert engine.is_done
    trials = [trial for number, trial in harness.known().items() if number >= 0]
    assert len(trials) == 4 * 3
    assert len({signature(trial.params) for trial in trials}) == 12
    assert harness.states() == [TrialState.COMPLETE] * 12
    assert engine.exhausted == "all configurations of the search space have been tried: 12 trials instead of 30"
    assert harness.witness.messages[-1] == engine.exhausted
    assert len(harness.studies()[0].trials) == 12, "Optuna holds no trial that was not run"


def test_as_many_trials_as_there_are_configurations_is_no_early_end(make_harness: MakeHarness) -> None:
    engine = make_harness(space=GRID, training=SHORT, search={"num_trials": 12}).run()
    assert engine.is_done
    assert engine.exhausted is None


def test_trials_in_flight_count_as_tried(make_harness: MakeHarness) -> None:
    harness = make_harness(space=GRID, training=SHORT, search={"num_trials": 30, "controls": 1})
    engine = harness.engine()
    specs = [take(engine) for _ in range(13)]
    assert len({signature(spec.params) for spec in specs[1:]}) == 12
    assert engine.next_trial() is None
    assert engine.exhausted is not None
    assert not engine.is_done, "trials in flight continue"


def test_a_grid_in_many_sessions_is_the_same_as_in_one(make_harness: MakeHarness) -> None:
    search = {"num_trials": 30, "scheduler": {"kind": "none"}}
    whole, parts = (
        make_harness(space=GRID, training=SHORT, search=search),
        make_harness(space=GRID, training=SHORT, search=search),
    )
    parts.trials = parts.trials.with_name("parts")
    whole.run()
    for _ in range(99):
        engine = parts.engine()
        parts.run(engine, stop_after_epochs=5)
        if engine.is_done:
            break
        engine.interrupt()
    assert {number: trial.params for number, trial in parts.known().items()} == {
        number: trial.params for number, trial in whole.known().items()
    }


class Crash(BaseException):
    """A driver that is killed."""


KILLED: list[tuple[dict[str, Any], dict[str, Any], int]] = [
    (GRID, SAMPLERS[0], 12),
    (GRID, SAMPLERS[1], 12),
    (SPACE, {"kind": "gp", "startup_trials": 2}, 3),
    (SPACE, {"kind": "nsga2", "population_size": 3}, 6),
]


@pytest.mark.parametrize("which", range(len(KILLED)), ids=lambda which: str(KILLED[which][1]["kind"]))
def test_a_driver_killed_while_it_records_a_proposal_makes_the_same_one_again(
    make_harness: MakeHarness, monkeypatch: pytest.MonkeyPatch, which: int
) -> None:
    space, sampler, num_trials = KILLED[which]
    search = {"num_trials": num_trials, "sampler": sampler, "scheduler": {"kind": "none"}}
    whole = make_harness(space=space, training=SHORT, search=search)
    whole.run()
    repeated = [trial.number for trial in whole.studies()[0].trials if "repeats_avoided" in trial.user_attrs]
    assert bool(repeated) == (space is GRID), "a proposal was dropped before the one that is put on record"
    number = repeated[-1] if repeated else num_trials - 1

    for after in range(4):
        harness = make_harness(space=space, training=SHORT, search=search)
        harness.trials = harness.trials.with_name(f"killed after {after}")
        harness.run(stop_after_epochs=SHORT["epochs"] * (1 + number))
        engine = harness.engine()
        kill_writing(harness, monkeypatch, after)
        with pytest.raises(Crash):
            harness.run(engine)
        monkeypatch.undo()
        assert len(harness.known()[number].params) == max(0, after - 1 - bool(repeated)), "cut off where it should be"
        harness.run()
        assert {number: trial.params for number, trial in harness.known().items()} == {
            number: trial.params for number, trial in whole.known().items()
        }


def kill_writing(harness: EngineHarness, monkeypatch: pytest.MonkeyPatch, after: int) -> None:
    """Kill the driver after some writes of attributes and values of trials."""
    calls = itertools.count()
    for name in ("set_trial_param", "set_trial_user_attr"):
        real = getattr(harness.storage, name)

        def killed(*arguments: Any, real: Any = real) -> None:
            if next(calls) >= after:
                raise Crash
            real(*arguments)

        monkeypatch.setattr(harness.storage, name, killed)


def test_a_configuration_that_failed_is_not_tried_again(make_harness: MakeHarness) -> None:
    harness = make_harness(space=GRID, training=SHORT, search={"num_trials": 12})
    engine = harness.engine()
    take(engine)
    first = take(engine)
    engine.fail(first.key, "over")
    later = [take(engine) for _ in range(11)]
    assert signature(first.params) not in {signature(spec.params) for spec in later}


def test_initial_configurations_are_tried_in_order_and_once(make_harness: MakeHarness) -> None:
    given = [
        {"distillation.prototypes.selector": "random", "distillation.decay": "cosine"},
        {"distillation.decay": "constant"},
        {"distillation.prototypes.selector": "random", "distillation.decay": "cosine"},
    ]
    harness = make_harness(space=GRID, training=SHORT, search={"num_trials": 6, "initial_configurations": given})
    engine = harness.engine()
    take(engine)
    own, first, second = take(engine), take(engine), take(engine)
    assert own.params["distillation.prototypes.selector"] == "pursuit"
    assert first.params == given[0]
    assert second.params["distillation.decay"] == "constant"
    take(engine)
    assert harness.witness.messages == ["search.initial_configurations[2]: these values have been tried already"]
    origins = {number: trial.origin for number, trial in harness.known().items() if number >= 0}
    assert origins == {
        0: "the experiment's own values",
        1: "search.initial_configurations[0]",
        2: "search.initial_configurations[1]",
        3: None,
    }
    tell(harness, engine, own, 1, 1.0)
    assert harness.engine() is not None
    assert len(harness.known()) == 5, "a later session enqueues nothing again"


def test_an_initial_configuration_is_recognized_by_its_values(
    make_harness: MakeHarness, make_loaded: MakeLoaded
) -> None:
    linear, cosine, constant = ({"distillation.decay": decay} for decay in ("linear", "cosine", "constant"))
    search = {"num_trials": 2, "defaults_first": False}
    harness = make_harness(space=GRID, training=SHORT, search={**search, "initial_configurations": [linear, cosine]})
    harness.run()
    changed = {**search, "num_trials": 4, "initial_configurations": [cosine, constant]}
    harness.loaded = make_loaded(space=GRID, training=SHORT, search=changed)
    harness.run()
    assert [trial.origin for number, trial in harness.known().items() if number >= 0][2:] == [
        "search.initial_configurations[1]",
        None,
    ]
    assert harness.known()[2].params["distillation.decay"] == "constant"
    assert harness.witness.messages == []


def test_a_partial_configuration_is_kept_while_untried_completions_exist(make_harness: MakeHarness) -> None:
    given = {"distillation.prototypes.selector": "kmeans"}
    whole = [{**given, "distillation.decay": decay} for decay in ("linear", "cosine")]
    harness = make_harness(
        space=GRID,
        training=SHORT,
        search={"num_trials": 9, "defaults_first": False, "initial_configurations": [*whole, given]},
    )
    harness.run()
    assert harness.known()[2].origin == "search.initial_configurations[2]"
    assert harness.known()[2].params == {**given, "distillation.decay": "constant"}, "the third of three"

    whole.append({**given, "distillation.decay": "constant"})
    harness = make_harness(
        space=GRID,
        training=SHORT,
        search={"num_trials": 9, "defaults_first": False, "initial_configurations": [*whole, given]},
    )
    harness.trials = harness.trials.with_name("none")
    harness.run()
    assert harness.witness.messages == ["search.initial_configurations[3]: these values have been tried already"]
    assert len(harness.known()) == 10


def test_a_partial_configuration_in_an_infinite_space(make_harness: MakeHarness) -> None:
    weight, decay = "distillation.global_knowledge.weight", "distillation.decay"
    space = {
        "name": "endless",
        "parameters": {
            weight: {"kind": "float", "low": 0.5, "high": 50.0},
            decay: {"kind": "choice", "values": ["linear", "cosine"]},
        },
    }
    first = [{weight: 2.0, decay: "linear"}, {weight: 2.0}, {weight: 2.0, decay: "cosine"}]
    harness = make_harness(
        space=space, training=SHORT, search={"num_trials": 4, "defaults_first": False, "initial_configurations": first}
    )
    harness.run()
    trials = harness.known()
    assert [trials[number].params == first[place] for number, place in ((0, 0), (1, 2))] == [True, True]
    assert harness.witness.messages == ["search.initial_configurations[2]: these values have been tried already"]
    assert [trials[number].origin for number in (1, 2, 3)] == ["search.initial_configurations[1]", None, None]


def test_no_configuration_is_enqueued_in_optuna_without_a_trial_for_it(make_harness: MakeHarness) -> None:
    first = [{"distillation.decay": decay} for decay in ("linear", "cosine", "constant")]
    harness = make_harness(
        space=GRID, training=SHORT, search={"num_trials": 2, "defaults_first": False, "initial_configurations": first}
    )
    harness.run()
    assert harness.states() == [TrialState.COMPLETE] * 2
    harness.run(harness.engine(num_trials=4))
    assert [trial.origin for number, trial in harness.known().items() if number >= 0] == [
        "search.initial_configurations[0]",
        "search.initial_configurations[1]",
        "search.initial_configurations[2]",
        None,
    ], "those that were left over come first when there are more trials"


def test_a_study_that_ends_early_is_finished_and_has_a_reason(make_loaded: MakeLoaded, tmp_path: Path) -> None:
    fixed = {"distillation.decay": "linear"}
    loaded = make_loaded(space=GRID, training=SHORT, search={"num_trials": 20, "fixed": fixed})
    home = Home(tmp_path / "home")
    folder = create_study(loaded, home, name="grid", simulate=True, runner="local", replace=False)
    result = run_session(folder, tracker=Witness(), callback=Witness(), teacher_weights=None)
    assert result.state == "finished"
    assert result.reason is not None
    status = read_study(home, "grid")
    assert (status.state, status.reason) == ("finished", result.reason)
    assert len(status.trials) == 5
    again = run_session(folder, tracker=Witness(), callback=Witness(), teacher_weights=None)
    assert dataclasses.asdict(again) == dataclasses.asdict(result)
    assert len(read_study(home, "grid").trials) == 5
