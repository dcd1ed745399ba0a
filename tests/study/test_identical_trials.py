"""Identical trials: different parameters and equal losses and scores."""

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
from distune.study.failures.identical_trials import IdenticalTrialsIndex, fingerprint, index_trials
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


class TagWitness(Witness):
    """Keeps the tags of the study as well."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[dict[str, str]] = []

    def log_study(self, metrics: Any, tags: Any) -> None:
        super().log_study(metrics, tags)
        self.tags.append(dict(tags))


def curve(*losses: float) -> list[EpochReport]:
    return [report(epoch, loss) for epoch, loss in enumerate(losses, start=1)]


def test_a_warning_comes_when_the_second_trial_has_ended() -> None:
    index = IdenticalTrialsIndex()
    assert index.add(0, A, Outcome.FINISHED, curve(1.0, 0.5, 0.4)) is None
    assert index.add(1, B, Outcome.FAILED, curve(1.0, 0.5)) is None, "it did not reach the epoch of the first one"
    warning = index.add(2, B, Outcome.FINISHED, curve(1.0, 0.5, 0.4))
    (group,) = index.groups
    assert (group.trials, group.epochs, group.differing) == ((0, 2), 3, {"alpha": (1.0, 2.0)})
    assert warning == str(group)
    assert "trials 0, 2 report identical" in warning
    assert "up to epoch 3" in warning
    assert "alpha (1, 2)" in warning
    assert "decay" not in warning


def test_a_trial_that_was_stopped_is_compared_with_those_that_continued() -> None:
    for order in ((0, 1), (1, 0)):
        trials = [(A, Outcome.FINISHED, curve(1.0, 0.5, 0.4)), (B, Outcome.STOPPED, curve(1.0, 0.5))]
        index = IdenticalTrialsIndex()
        warnings = [index.add(number, *trials[number]) for number in order]
        (group,) = index.groups
        assert (group.trials, group.epochs) == ((0, 1), 2)
        assert warnings == [None, str(group)]


def test_a_trial_that_still_runs_is_compared_with_those_that_ended() -> None:
    index = index_trials([(0, A, Outcome.STOPPED, curve(1.0)), (1, B, Outcome.INTERRUPTED, curve(1.0, 0.5))])
    assert [group.trials for group in index.groups] == [(0, 1)]


@pytest.mark.parametrize("curves", [(curve(1.0, 0.5), curve(1.0, 0.4)), (curve(1.0, 0.5), curve(0.9, 0.5))])
def test_trials_that_differ_in_any_epoch_are_not_identical(curves: tuple[list[EpochReport], ...]) -> None:
    """As when they differ in something that has an effect from the second epoch on."""
    index = index_trials([(n, (A, B)[n], Outcome.FINISHED, reports) for n, reports in enumerate(curves)])
    assert index.groups == []


def test_equal_scores_alone_give_no_warning() -> None:
    index = IdenticalTrialsIndex()
    assert index.add(0, A, Outcome.FINISHED, [report(1, loss=1.0, score=0.0)]) is None
    assert index.add(1, B, Outcome.FINISHED, [report(1, loss=math.nextafter(1.0, 2.0), score=0.0)]) is None
    assert fingerprint(EpochReport(epoch=1, metrics={METRIC: 0.0}, finished_at=0.0)) is None


def test_times_and_learning_rates_do_not_tell_trials_apart() -> None:
    one = report(1, **{"time/epoch_s": 1.0, "optimizer/learning_rate": 1e-3, "filter/kept_global": 0.5})
    assert fingerprint(one) == fingerprint(report(1, **{"time/epoch_s": 2.0}))
    assert fingerprint(one) != fingerprint(report(1, **{"loss/soft_labels": 0.0}))
    assert fingerprint(one) != fingerprint(report(1, **{"search/AP50": 0.0}))
    undefined = {"search/AP_small": math.nan}
    assert fingerprint(report(1, **undefined)) == fingerprint(report(1, **undefined))


@pytest.mark.parametrize("outcome", [Outcome.DIVERGED, Outcome.FAILED, Outcome.INTERRUPTED])
def test_trials_that_ended_in_another_way_are_not_compared_with_each_other(outcome: Outcome) -> None:
    index = index_trials([(0, A, outcome, [report(1)]), (1, B, outcome, [report(1)])])
    assert index.groups == []


def test_diverged_trials_controls_and_equal_parameters_are_not_identical_trials() -> None:
    diverged = [report(1, loss=math.nan)]
    assert index_trials([(n, p, Outcome.STOPPED, diverged) for n, p in enumerate((A, B))]).groups == []
    equal = [report(1)]
    assert index_trials([(-1, {}, Outcome.FINISHED, equal), (0, A, Outcome.FINISHED, equal)]).groups == []
    assert index_trials([(n, A, Outcome.FINISHED, equal) for n in range(3)]).groups == []


def test_a_third_trial_joins_the_group() -> None:
    trials = [(number, params, Outcome.FINISHED, [report(1), report(2)]) for number, params in enumerate((A, B))]
    index = index_trials([*trials, (7, {**C, "extra": True}, Outcome.STOPPED, [report(1)])])
    (group,) = index.groups
    assert (group.trials, group.epochs) == ((0, 1, 7), 1)
    assert group.differing == {"alpha": (1.0, 2.0, 3.0), "extra": (None, None, True)}


def test_warnings_stay_short_and_cheap_when_no_parameter_has_an_effect() -> None:
    """Each trial is not compared with all others, and not listed in each warning, which would take minutes here."""
    index, warnings = IdenticalTrialsIndex(), []
    for number in range(20_000):
        warning = index.add(number, {"alpha": float(number)}, Outcome.FINISHED, [report(1)])
        warnings += [] if warning is None else [warning]
    assert len(warnings) == 19_999
    assert max(map(len, warnings)) < 400
    assert "trials 0, 1, 2, 3, 4, 5, 6, ..., 19999 (20000 trials) report identical" in warnings[-1]
    (group,) = index.groups
    assert group.trials == tuple(range(20_000))


def play_identical_trials(harness: EngineHarness, *, sessions: int) -> None:
    """Two trials with equal reports; with two sessions, the second one starts before the second trial ends."""
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


def many_pairs(count: int) -> IdenticalTrialsIndex:
    index = IdenticalTrialsIndex()
    for number in range(2 * count):
        params: Params = {"alpha": number // 2, "inert": number % 2}
        index.add(number, params, Outcome.STOPPED, [report(1, loss=float(number // 2))])
    return index


def test_the_summary_of_many_groups_is_short_and_counts_the_others() -> None:
    assert IdenticalTrialsIndex().summary(5000) == ""
    few = many_pairs(3)
    assert few.summary(5000) == "\n".join(map(str, few.groups))
    many = many_pairs(200)
    text = many.summary(5000)
    assert 4000 < len(text) <= 5000
    *lines, last = text.split("\n")
    assert lines == [str(group) for group in many.groups[: len(lines)]]
    assert last == f"and {200 - len(lines)} more such groups"
    cut, more = few.summary(100).split("\n")
    assert str(few.groups[0]).startswith(cut)
    assert more == "and 2 more such groups"
    assert len(f"{cut}\n{more}") == 100


def test_the_tag_of_many_groups_is_no_longer_than_mlflow_allows(make_harness: MakeHarness) -> None:
    """The tag is written for each new pair, with all of them."""
    harness = make_harness(search={"num_trials": 80, "controls": 0, "scheduler": {"kind": "none"}})
    harness.witness = witness = TagWitness()
    engine = harness.engine()
    for number in range(80):
        tell(harness, engine, take(engine), 9, 10.0, **{"loss/task": float(number // 2)})
    lengths = [len(tags["warning"]) for tags in witness.tags if "warning" in tags]
    assert len(lengths) == 40
    assert 4000 < lengths[-1] <= max(lengths) <= 5000


@pytest.mark.parametrize("sessions", [1, 2])
def test_the_engine_warns_once(make_harness: MakeHarness, sessions: int) -> None:
    witness = TagWitness()
    harness = make_harness(training={"epochs": 3}, search={"scheduler": {"kind": "none"}})
    harness.witness = witness
    play_identical_trials(harness, sessions=sessions)
    (warning,) = witness.messages
    assert warning.startswith("warning: trials 0, 1 report identical losses and scores up to epoch 3")
    assert "distillation.global_knowledge.weight" in warning
    (tags,) = witness.tags
    assert tags == {"warning": warning.removeprefix("warning: ")}
    harness.engine()
    assert len(witness.messages) == 1, "a later session does not repeat it"


def test_simulated_studies_have_no_identical_trials(make_harness: MakeHarness) -> None:
    harness = make_harness(search={"num_trials": 30})
    harness.run()
    assert not any("identical" in message for message in harness.witness.messages)


def test_the_status_lists_identical_trials(
    tmp_path: Path, make_loaded: MakeLoaded, monkeypatch: pytest.MonkeyPatch
) -> None:
    def insensitive(spec: TrialSpec, epoch: int) -> dict[str, float]:
        return {"search/AP": 10.0 + epoch, "search/AP50": 20.0, "loss/task": 1.0 / epoch}

    monkeypatch.setattr(simulation, "simulated_metrics", insensitive)
    home, witness = Home(tmp_path), TagWitness()
    loaded = make_loaded(search={"num_trials": 4}, training={"epochs": 3})
    folder = create_study(loaded, home, name="insensitive", simulate=True, runner="local", replace=False)
    run_session(folder, tracker=witness, callback=witness, teacher_weights=None)
    (group,) = read_study(home, "insensitive").identical_trials
    assert group.trials == (0, 1, 2, 3)
    values = json.loads(json.dumps(read_study(home, "insensitive").to_dict(), allow_nan=False))
    assert values["identical_trials"][0]["trials"] == [0, 1, 2, 3]
    warnings = [message for message in witness.messages if message.startswith("warning: ")]
    assert len(warnings) == 3
    assert [tags for tags in witness.tags if tags][-2]["warning"] == str(group)
    assert witness.decisions[0][2] is Decision.CONTINUE
