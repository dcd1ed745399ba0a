"""The alarm: trials that differ in parameters and not in a single number."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from distune.config.home import Home
from distune.records import EpochReport, Outcome, ParameterValue, TrialSpec
from distune.study.callback import Decision
from distune.study.create import create_study
from distune.study.failures.identical_trials import TwinWatch, fingerprint, watch_again
from distune.study.runners import simulation
from distune.study.session import run_session
from distune.study.status import read_study
from study.harness import METRIC, EngineHarness, MakeHarness, MakeLoaded, Witness, take, tell

Params = dict[str, ParameterValue]
A: Params = {"alpha": 1.0, "decay": "linear"}
B: Params = {"alpha": 2.0, "decay": "linear"}
C: Params = {"alpha": 3.0, "decay": "linear"}


def report(epoch: int, loss: float = 1.0, score: float = 10.0, **more: float) -> EpochReport:
    metrics = {METRIC: score, "loss/task": loss, **more}
    return EpochReport(epoch=epoch, metrics=metrics, finished_at=float(epoch))


class Alarms(Witness):
    """Keeps the tags of the study as well."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[dict[str, str]] = []

    def log_study(self, metrics: Any, tags: Any) -> None:
        super().log_study(metrics, tags)
        self.tags.append(dict(tags))


def test_twins_are_told_of_when_one_of_them_has_ended() -> None:
    watch = TwinWatch()
    for epoch in (1, 2, 3):
        assert watch.take(0, A, report(epoch)) is None
    assert watch.take(1, B, report(1)) is None
    assert watch.end(0, Outcome.FINISHED) is None, "the other is behind"
    assert watch.take(1, B, report(2)) is None, "they may still part"
    twins = watch.take(1, B, report(3))
    assert twins is not None
    assert (twins.trials, twins.epochs, twins.differing) == ((0, 1), 3, {"alpha": (1.0, 2.0)})
    assert watch.end(1, Outcome.FINISHED) is None, "once per pair"
    assert watch.groups == [twins]
    assert "trials 0, 1 report identical" in str(twins)
    assert "up to epoch 3" in str(twins)
    assert "alpha (1, 2)" in str(twins)
    assert "decay" not in str(twins)


def test_a_trial_that_was_stopped_is_compared_with_those_that_went_on() -> None:
    watch = TwinWatch()
    for number, params in enumerate((A, B)):
        for epoch in (1, 2):
            watch.take(number, params, report(epoch))
    watch.take(0, A, report(3))
    twins = watch.end(1, Outcome.STOPPED)
    assert twins is not None
    assert (twins.trials, twins.epochs) == ((0, 1), 2)


def test_trials_that_part_in_time_are_no_twins() -> None:
    """As when they differ in what acts from the second epoch on."""
    watch = TwinWatch()
    for number, (params, loss) in enumerate(((A, 0.5), (B, 0.4))):
        watch.take(number, params, report(1))
        watch.take(number, params, report(2, loss))
        assert watch.end(number, Outcome.FINISHED) is None
    assert watch.groups == []


def test_equal_scores_alone_are_no_alarm() -> None:
    watch = TwinWatch()
    watch.take(0, A, report(1, loss=1.0, score=0.0))
    watch.take(1, B, report(1, loss=math.nextafter(1.0, 2.0), score=0.0))
    assert watch.end(0, Outcome.FINISHED) is None
    assert watch.end(1, Outcome.FINISHED) is None
    assert fingerprint(EpochReport(epoch=1, metrics={METRIC: 0.0}, finished_at=0.0)) is None


def test_times_and_learning_rates_do_not_tell_trials_apart() -> None:
    one = report(1, **{"time/epoch_s": 1.0, "optimizer/learning_rate": 1e-3, "filter/kept_global": 0.5})
    assert fingerprint(one) == fingerprint(report(1, **{"time/epoch_s": 2.0}))
    assert fingerprint(one) != fingerprint(report(1, **{"loss/soft_labels": 0.0}))
    assert fingerprint(one) != fingerprint(report(1, **{"search/AP50": 0.0}))
    undefined = {"search/AP_small": math.nan}
    assert fingerprint(report(1, **undefined)) == fingerprint(report(1, **undefined))


@pytest.mark.parametrize("outcome", [Outcome.DIVERGED, Outcome.FAILED, Outcome.INTERRUPTED])
def test_trials_that_ended_in_another_way_are_not_compared(outcome: Outcome) -> None:
    watch = watch_again([(0, A, outcome, [report(1)]), (1, B, outcome, [report(1)])])
    assert watch.groups == []


def test_diverged_trials_controls_and_equal_parameters_are_no_twins() -> None:
    diverged = [report(1, loss=math.nan)]
    assert watch_again([(n, p, Outcome.STOPPED, diverged) for n, p in enumerate((A, B))]).groups == []
    equal = [report(1)]
    assert watch_again([(-1, {}, Outcome.FINISHED, equal), (0, A, Outcome.FINISHED, equal)]).groups == []
    assert watch_again([(n, A, Outcome.FINISHED, equal) for n in range(3)]).groups == []


def test_a_third_twin_joins_the_group() -> None:
    trials = [(number, params, Outcome.FINISHED, [report(1), report(2)]) for number, params in enumerate((A, B))]
    watch = watch_again([*trials, (7, {**C, "extra": True}, Outcome.STOPPED, [report(1)])])
    (twins,) = watch.groups
    assert (twins.trials, twins.epochs) == ((0, 1, 7), 1)
    assert twins.differing == {"alpha": (1.0, 2.0, 3.0), "extra": (None, None, True)}


def test_a_space_in_which_nothing_acts_does_not_tell_of_every_trial() -> None:
    """Nor does it compare each trial with all others, which would take minutes here."""
    watch, told = TwinWatch(), []
    for number in range(20_000):
        found = watch.take(number, {"alpha": float(number)}, report(1)) or watch.end(number, Outcome.FINISHED)
        if found is not None:
            told.append(len(found.trials))
    assert told == [2, 3, 4, 5, 6, 7, 8, *(8 * 2**power for power in range(1, 12))]
    (twins,) = watch.groups
    assert twins.trials == tuple(range(20_000))


def play_twins(harness: EngineHarness, *, sessions: int) -> None:
    """Two trials of equal numbers; a new session before the second one ends when there are two."""
    engine = harness.engine()
    _, first, second = take(engine), take(engine), take(engine)
    for epoch in (1, 2, 3):
        tell(harness, engine, first, epoch, 10.0, **{"loss/task": 1.0 / epoch})
    for epoch in (1, 2):
        tell(harness, engine, second, epoch, 10.0, **{"loss/task": 1.0 / epoch})
    if sessions == 2:
        engine.interrupt()
        assert harness.witness.messages == []
        engine = harness.engine()
        specs = [take(engine) for _ in range(2)]
        second = next(spec for spec in specs if spec.key == second.key)
    tell(harness, engine, second, 3, 10.0, **{"loss/task": 1.0 / 3})


def many_pairs(count: int) -> TwinWatch:
    watch = TwinWatch()
    for number in range(2 * count):
        watch.take(number, {"alpha": number // 2, "inert": number % 2}, report(1, loss=float(number // 2)))
        watch.end(number, Outcome.STOPPED)
    return watch


def test_the_summary_of_many_twins_is_short_and_counts_the_others() -> None:
    assert TwinWatch().summary(5000) == ""
    few = many_pairs(3)
    assert few.summary(5000) == "\n".join(map(str, few.groups))
    many = many_pairs(200)
    text = many.summary(5000)
    assert 4000 < len(text) <= 5000
    *lines, last = text.split("\n")
    assert lines == [str(twins) for twins in many.groups[: len(lines)]]
    assert last == f"and {200 - len(lines)} more such groups"
    cut, more = few.summary(100).split("\n")
    assert str(few.groups[0]).startswith(cut)
    assert more == "and 2 more such groups"
    assert len(f"{cut}\n{more}") == 100


def test_the_alarm_of_many_twins_costs_no_more_than_that_of_few(make_harness: MakeHarness) -> None:
    """Each new pair tells of all of them, in a tag that MLflow cuts."""
    harness = make_harness(search={"num_trials": 80, "controls": 0, "scheduler": {"kind": "none"}})
    harness.witness = witness = Alarms()
    engine = harness.engine()
    for number in range(80):
        tell(harness, engine, take(engine), 9, 10.0, **{"loss/task": float(number // 2)})
    lengths = [len(tags["alarm"]) for tags in witness.tags if "alarm" in tags]
    assert len(lengths) == 40
    assert 4000 < lengths[-1] <= max(lengths) <= 5000


@pytest.mark.parametrize("sessions", [1, 2])
def test_the_engine_raises_the_alarm_once(make_harness: MakeHarness, sessions: int) -> None:
    witness = Alarms()
    harness = make_harness(training={"epochs": 3}, search={"scheduler": {"kind": "none"}})
    harness.witness = witness
    play_twins(harness, sessions=sessions)
    (alarm,) = witness.messages
    assert alarm.startswith("alarm: trials 0, 1 report identical losses and scores up to epoch 3")
    assert "distillation.global_knowledge.weight" in alarm
    (tags,) = witness.tags
    assert tags == {"alarm": alarm.removeprefix("alarm: ")}
    harness.engine()
    assert len(witness.messages) == 1, "a later session does not repeat it"


def test_simulated_studies_raise_no_alarm(make_harness: MakeHarness) -> None:
    harness = make_harness(search={"num_trials": 30})
    harness.run()
    assert not any("alarm" in message for message in harness.witness.messages)


def test_the_status_names_twins(tmp_path: Path, make_loaded: MakeLoaded, monkeypatch: pytest.MonkeyPatch) -> None:
    def deaf(spec: TrialSpec, epoch: int) -> dict[str, float]:
        return {"search/AP": 10.0 + epoch, "search/AP50": 20.0, "loss/task": 1.0 / epoch}

    monkeypatch.setattr(simulation, "simulated_metrics", deaf)
    home, witness = Home(tmp_path), Alarms()
    loaded = make_loaded(search={"num_trials": 4}, training={"epochs": 3})
    folder = create_study(loaded, home, name="deaf", simulate=True, runner="local", replace=False)
    run_session(folder, tracker=witness, callback=witness, teacher_weights=None)
    (twins,) = read_study(home, "deaf").twins
    assert twins.trials == (0, 1, 2, 3)
    values = json.loads(json.dumps(read_study(home, "deaf").to_dict(), allow_nan=False))
    assert values["identical_trials"][0]["trials"] == [0, 1, 2, 3]
    alarms = [message for message in witness.messages if message.startswith("alarm: ")]
    assert len(alarms) == 3
    assert [tags for tags in witness.tags if tags][-2]["alarm"] == str(twins)
    assert witness.decisions[0][2] is Decision.CONTINUE
