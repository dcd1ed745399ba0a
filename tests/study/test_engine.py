"""The engine: order of trials, how they end, what is on record, and what sessions that are cut off leave behind."""

from __future__ import annotations

import json
import math
import time
from typing import TYPE_CHECKING, Any

import optuna
import pytest

from distune.records import EpochReport, Outcome, TrialSpec, TrialState
from distune.study.engine import StudyEngine
from distune.study.failures import MAX_SAME_FAILURES
from distune.study.listener import Decision
from distune.study.simulation import ENVIRONMENT_VARIABLE

if TYPE_CHECKING:
    from study.conftest import Bench, MakeBench

METRIC = "search/AP"


def mishaps(monkeypatch: pytest.MonkeyPatch, **kinds: tuple[int, str]) -> None:
    values = {key.lstrip("_").replace("every", "*"): {"epoch": at, "kind": kind} for key, (at, kind) in kinds.items()}
    monkeypatch.setenv(ENVIRONMENT_VARIABLE, json.dumps({"mishaps": values}))


def tell(bench: Bench, engine: StudyEngine, spec: TrialSpec, epoch: int, score: float, **more: float) -> Decision:
    """Report an epoch as a worker does: into the folder first."""
    report = EpochReport(epoch=epoch, metrics={METRIC: score, **more}, finished_at=time.time())
    bench.folder(spec.key).append(report)
    return engine.report(spec.key, report)


def take(engine: StudyEngine) -> TrialSpec:
    spec = engine.next_trial()
    assert spec is not None
    return spec


def test_a_whole_study(make_bench: MakeBench) -> None:
    bench = make_bench()
    engine = bench.run()
    assert engine.is_over
    assert engine.in_flight == ()
    states = bench.states()
    assert len(states) == 12
    assert set(states) == {TrialState.COMPLETE, TrialState.PRUNED}
    assert bench.known()[-1].state is TrialState.COMPLETE
    for number, trial in bench.known().items():
        key = "control-1" if number < 0 else str(number)
        reports = bench.folder(key).reports()
        assert [report.epoch for report in reports] == list(range(1, len(reports) + 1))
        assert trial.scores == {report.epoch: report.metrics[METRIC] for report in reports}
        assert len(reports) == 9 if trial.state is TrialState.COMPLETE else len(reports) in (1, 3)
        assert bench.witness.points.count((key, 1)) == 1
    assert len(bench.witness.points) == len(set(bench.witness.points))
    assert sorted(bench.witness.outcomes()) == sorted(["control-1", *map(str, range(12))])


def test_the_control_comes_first_then_the_own_values(make_bench: MakeBench) -> None:
    bench = make_bench(search={"controls": 2})
    engine = bench.engine()
    control, second, first = take(engine), take(engine), take(engine)
    assert (control.key, second.key, first.key) == ("control-1", "control-2", "0")
    assert control.control
    assert control.params == {}
    assert control.teacher_weights is None
    weights = [control.experiment["distillation"][term]["weight"] for term in ("global_knowledge", "soft_labels")]
    assert weights == [0.0, 0.0]
    assert (control.seed, second.seed, first.seed) == (5, 6, 5)
    assert first.params["distillation.prototypes.per_class"] == 10
    assert first.experiment["distillation"]["global_knowledge"]["weight"] == 5.0
    assert json.loads((bench.trials / "0" / "trial.json").read_text())["params"] == first.params


def test_the_sampler_begins_when_own_values_are_not_wanted(make_bench: MakeBench) -> None:
    bench = make_bench(search={"defaults_first": False})
    engine = bench.engine()
    take(engine)
    assert take(engine).params["distillation.global_knowledge.weight"] != 5.0


def test_fixed_parameters_do_not_vary(make_bench: MakeBench) -> None:
    bench = make_bench(search={"fixed": {"distillation.decay": "cosine"}, "num_trials": 3})
    bench.run()
    for spec in bench.witness.specs:
        assert "distillation.decay" not in spec.params
        assert spec.experiment["distillation"]["decay"] == "cosine"


def test_the_value_of_a_complete_trial_is_its_best_epoch(make_bench: MakeBench) -> None:
    bench = make_bench(training={"epochs": 3}, search={"scheduler": {"kind": "none"}, "num_trials": 1})
    engine = bench.engine()
    take(engine)
    spec = take(engine)
    assert tell(bench, engine, spec, 1, 10.0) is Decision.CONTINUE
    assert tell(bench, engine, spec, 2, 30.0) is Decision.CONTINUE
    assert tell(bench, engine, spec, 3, 20.0) is Decision.STOP
    assert bench.studies()[0].trials[0].value == 30.0
    assert bench.witness.records[-1].metrics[METRIC] == 30.0
    assert bench.witness.records[-1].epochs == 3
    assert engine.next_trial() is None


def test_a_stopped_trial_is_pruned_and_loses_its_weights(make_bench: MakeBench) -> None:
    bench = make_bench()
    engine = bench.engine()
    _, good, poor = take(engine), take(engine), take(engine)
    for spec in (good, poor):
        bench.folder(spec.key).last_checkpoint.write_bytes(b"weights")
        bench.folder(spec.key).best_checkpoint.write_bytes(b"weights")
    assert tell(bench, engine, good, 1, 20.0) is Decision.CONTINUE
    assert tell(bench, engine, poor, 1, 10.0) is Decision.STOP
    frozen = bench.studies()[0].trials[1]
    assert frozen.state is optuna.trial.TrialState.PRUNED
    assert frozen.intermediate_values == {1: 10.0}
    assert bench.witness.outcomes() == {"1": Outcome.STOPPED}
    assert not bench.folder(poor.key).last_checkpoint.exists()
    assert not bench.folder(poor.key).best_checkpoint.exists()
    assert bench.folder(good.key).best_checkpoint.exists()


def test_controls_are_neither_judged_nor_compared_with(make_bench: MakeBench) -> None:
    bench = make_bench()
    engine = bench.engine()
    control, first = take(engine), take(engine)
    assert tell(bench, engine, control, 1, 50.0) is Decision.CONTINUE
    assert tell(bench, engine, first, 1, 1.0) is Decision.CONTINUE
    assert tell(bench, engine, control, 2, 0.0) is Decision.CONTINUE
    assert tell(bench, engine, control, 3, 0.0) is Decision.CONTINUE


@pytest.mark.parametrize(
    "metrics", [{METRIC: math.nan}, {METRIC: math.inf}, {METRIC: 12.0, "loss/task": math.nan}, {"search/AP50": 1.0}]
)
def test_a_diverged_trial_is_pruned_with_a_nan(make_bench: MakeBench, metrics: dict[str, float]) -> None:
    bench = make_bench()
    engine = bench.engine()
    take(engine)
    spec = take(engine)
    tell(bench, engine, spec, 1, 10.0)
    report = EpochReport(epoch=2, metrics=metrics, finished_at=1.0)
    bench.folder(spec.key).append(report)
    assert engine.report(spec.key, report) is Decision.STOP
    known = bench.known()[0]
    assert known.state is TrialState.PRUNED
    assert known.outcome is Outcome.DIVERGED
    assert math.isnan(known.scores[2])
    record = bench.witness.records[-1]
    assert record.outcome is Outcome.DIVERGED
    assert "epoch 2" in (record.reason or "")
    assert record.metrics[METRIC] == (12.0 if metrics.get(METRIC) == 12.0 else 10.0)


def test_a_failed_trial_keeps_its_reason_and_the_study_goes_on(
    make_bench: MakeBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    mishaps(monkeypatch, _3=(1, "error"), _4=(1, "out_of_memory"))
    bench = make_bench()
    bench.run()
    known = bench.known()
    assert known[3].state is known[4].state is TrialState.FAIL
    assert known[3].reason == "bug: RuntimeError: simulated error in epoch 1"
    assert known[4].reason == "out of memory: simulated in epoch 1"
    assert "Traceback" in (bench.folder("3").path / "error.txt").read_text()
    assert ("3", "error.txt", "") in bench.witness.files
    assert len(bench.states()) == 12
    assert bench.states().count(TrialState.FAIL) == 2


def test_ten_failures_for_the_same_reason_end_the_study(make_bench: MakeBench, monkeypatch: pytest.MonkeyPatch) -> None:
    mishaps(monkeypatch, every=(1, "error"))
    bench = make_bench(search={"num_trials": 30})
    engine = bench.run()
    assert engine.failure is not None
    assert "simulated error" in engine.failure
    assert engine.is_over
    assert bench.states() == [TrialState.FAIL] * MAX_SAME_FAILURES


def test_values_that_do_not_go_together_fail_the_trial_alone(make_bench: MakeBench) -> None:
    space = {
        "name": "clash",
        "parameters": {
            "distillation.local_knowledge.adapter": {"kind": "choice", "values": ["identity", "conv1x1"]},
            "student.fpn_channels": {"kind": "choice", "values": [128, 256]},
        },
    }
    bench = make_bench(space=space, search={"num_trials": 14})
    bench.run()
    clashes = [trial for trial in bench.known().values() if trial.state is TrialState.FAIL]
    assert 0 < len(clashes) < 10
    for trial in clashes:
        assert trial.params == {"distillation.local_knowledge.adapter": "identity", "student.fpn_channels": 128}
        assert "fpn_channels" in (trial.reason or "")
    assert len(bench.states()) == 14


def test_an_epoch_that_is_known_is_not_counted_again(make_bench: MakeBench) -> None:
    bench = make_bench()
    engine = bench.engine()
    take(engine)
    spec = take(engine)
    assert tell(bench, engine, spec, 1, 20.0) is Decision.CONTINUE
    assert tell(bench, engine, spec, 1, 99.0) is Decision.CONTINUE
    assert bench.witness.points == [("0", 1)]
    assert bench.known()[0].scores == {1: 20.0}
    engine.fail(spec.key, "over")
    engine.fail(spec.key, "over again")
    assert tell(bench, engine, spec, 2, 20.0) is Decision.STOP
    assert len(bench.witness.records) == 1


class Crash(BaseException):
    """Stands for a driver that is killed."""


@pytest.mark.parametrize("where", ["log_epoch", "end_trial", "report", "announce_ending", "end"])
@pytest.mark.parametrize("after", [0, 1, 2])
def test_a_driver_killed_between_any_two_records_loses_and_repeats_nothing(
    make_bench: MakeBench, monkeypatch: pytest.MonkeyPatch, where: str, after: int
) -> None:
    """Kill the driver just before the n-th write of a kind, go on, and compare with a study that was left alone."""
    undisturbed = make_bench(search={"num_trials": 7})
    undisturbed.run()
    expected = {number: (trial.state, trial.params, trial.scores) for number, trial in undisturbed.known().items()}

    bench = make_bench(search={"num_trials": 7})
    bench.trials = bench.trials.with_name("disturbed")
    engine = bench.engine()
    target = bench.witness if where in ("log_epoch", "end_trial") else engine._ledger
    real = getattr(target, where)
    calls = 0

    def killed(*arguments: Any) -> None:
        nonlocal calls
        calls += 1
        if calls > after:
            raise Crash
        real(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(target, where, killed)
        with pytest.raises(Crash):
            bench.run(engine)
    bench.run()
    got = {number: (trial.state, trial.params, trial.scores) for number, trial in bench.known().items()}
    assert got == expected
    assert set(bench.witness.points) == set(undisturbed.witness.points)
    assert bench.witness.outcomes() == undisturbed.witness.outcomes()


@pytest.mark.parametrize("epochs", [1, 4, 10, 17])
def test_many_short_sessions_equal_one_long_one(make_bench: MakeBench, epochs: int) -> None:
    undisturbed = make_bench(search={"num_trials": 7})
    undisturbed.run()
    bench = make_bench(search={"num_trials": 7})
    bench.trials = bench.trials.with_name("in-parts")
    engine = bench.engine()
    for _ in range(200):
        bench.run(engine, stop_after_epochs=epochs)
        engine.interrupt()
        engine = bench.engine()
        if engine.is_over:
            break
    assert engine.is_over
    assert {n: (t.state, t.params, t.scores) for n, t in bench.known().items()} == {
        n: (t.state, t.params, t.scores) for n, t in undisturbed.known().items()
    }
    assert sorted(bench.witness.decisions) == sorted(undisturbed.witness.decisions)


def test_an_interrupted_trial_stays_running_in_optuna_and_goes_on_first(make_bench: MakeBench) -> None:
    bench = make_bench()
    engine = bench.engine()
    control, first = take(engine), take(engine)
    tell(bench, engine, first, 1, 20.0)
    engine.interrupt()
    assert bench.witness.outcomes() == {"control-1": Outcome.INTERRUPTED, "0": Outcome.INTERRUPTED}
    assert bench.known()[0].state is bench.known()[-1].state is TrialState.RUNNING
    again = bench.engine()
    assert [take(again).key, take(again).key] == ["control-1", "0"]
    assert take(again).number == 1
    assert tell(bench, again, control, 1, 5.0) is Decision.CONTINUE


def test_left_over_trials_that_were_never_taken_up_are_told_as_interrupted(make_bench: MakeBench) -> None:
    bench = make_bench()
    engine = bench.engine()
    take(engine)
    first = take(engine)
    again = bench.engine()
    again.interrupt()
    assert bench.witness.outcomes() == {"control-1": Outcome.INTERRUPTED, "0": Outcome.INTERRUPTED}
    assert take(bench.engine()).key == "control-1"
    assert first.params == bench.known()[0].params


def test_epochs_that_only_the_folder_knows_are_put_on_record(make_bench: MakeBench) -> None:
    bench = make_bench(training={"epochs": 3}, search={"scheduler": {"kind": "none"}, "num_trials": 1})
    engine = bench.engine()
    take(engine)
    spec = take(engine)
    tell(bench, engine, spec, 1, 20.0)
    for epoch in (2, 3):
        bench.folder(spec.key).append(EpochReport(epoch=epoch, metrics={METRIC: 20.0 + epoch}, finished_at=1.0))
    again = bench.engine()
    assert take(again).key == "control-1"
    assert again.next_trial() is None, "the trial has done its budget and needs no worker"
    assert bench.known()[0].state is TrialState.COMPLETE
    assert bench.known()[0].scores == {1: 20.0, 2: 22.0, 3: 23.0}
    assert bench.studies()[0].trials[0].value == 23.0


def test_a_trial_cut_off_before_it_had_all_its_values_goes_on_with_them(make_bench: MakeBench) -> None:
    bench = make_bench(search={"defaults_first": False})
    trial = bench.studies()[0].ask()
    value = trial.suggest_float("distillation.global_knowledge.weight", 0.5, 50.0, log=True)
    engine = bench.engine()
    spec = take(engine)
    assert spec.number == 0
    assert spec.params["distillation.global_knowledge.weight"] == value
    assert set(spec.params) == set(bench.loaded.varied)


def test_what_lies_in_the_folder_of_a_new_trial_is_removed(make_bench: MakeBench) -> None:
    bench = make_bench()
    bench.folder("0").append(EpochReport(epoch=1, metrics={METRIC: 90.0}, finished_at=1.0))
    engine = bench.engine()
    take(engine)
    take(engine)
    assert bench.folder("0").reports() == []


def test_the_total_counts_over_all_sessions(make_bench: MakeBench) -> None:
    bench = make_bench(search={"num_trials": 3})
    bench.run()
    assert bench.engine().is_over
    engine = bench.engine(num_trials=5)
    assert not engine.is_over
    bench.run(engine)
    assert len(bench.states()) == 5
    assert bench.engine(num_trials=2).is_over


def test_controls_leave_the_search_space_of_the_study_alone(make_bench: MakeBench) -> None:
    """Why controls have a study of their own."""
    bench = make_bench(search={"controls": 2, "num_trials": 3})
    bench.run()
    searched, controls = bench.studies()
    assert set(optuna.search_space.intersection_search_space(searched.trials)) == set(bench.loaded.varied)
    assert len(controls.trials) == 2
    searched.add_trial(optuna.trial.create_trial(value=1.0))
    assert optuna.search_space.intersection_search_space(searched.trials) == {}
