"""The engine: the order of trials, their endings and their records."""

from __future__ import annotations

import json
import math

import optuna
import pytest

from distune.records import EpochReport, Outcome, TrialState
from distune.study.callback import Decision
from distune.study.failures.reasons import MAX_SAME_FAILURES
from distune.study.runners.simulation import ENVIRONMENT_VARIABLE
from study.harness import METRIC, MakeHarness, take, tell


def faults(monkeypatch: pytest.MonkeyPatch, **kinds: tuple[int, str]) -> None:
    values = {key.lstrip("_").replace("every", "*"): {"epoch": at, "kind": kind} for key, (at, kind) in kinds.items()}
    monkeypatch.setenv(ENVIRONMENT_VARIABLE, json.dumps({"faults": values}))


def test_a_whole_study(make_harness: MakeHarness) -> None:
    harness = make_harness()
    engine = harness.run()
    assert engine.is_done
    assert engine.in_flight == ()
    states = harness.states()
    assert len(states) == 12
    assert set(states) == {TrialState.COMPLETE, TrialState.PRUNED}
    assert harness.known()[-1].state is TrialState.COMPLETE
    for number, trial in harness.known().items():
        key = "control-1" if number < 0 else str(number)
        reports = harness.folder(key).reports()
        assert [report.epoch for report in reports] == list(range(1, len(reports) + 1))
        assert trial.scores == {report.epoch: report.metrics[METRIC] for report in reports}
        assert len(reports) == 9 if trial.state is TrialState.COMPLETE else len(reports) in (1, 3)
        assert harness.witness.points.count((key, 1)) == 1
    assert len(harness.witness.points) == len(set(harness.witness.points))
    assert sorted(harness.witness.outcomes()) == sorted(["control-1", *map(str, range(12))])


def test_the_control_comes_first_then_the_experiments_values(make_harness: MakeHarness) -> None:
    harness = make_harness(search={"controls": 2})
    engine = harness.engine()
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
    assert json.loads((harness.trials / "0" / "trial.json").read_text())["params"] == first.params


def test_the_sampler_chooses_the_first_trial_without_defaults_first(make_harness: MakeHarness) -> None:
    harness = make_harness(search={"defaults_first": False})
    engine = harness.engine()
    take(engine)
    assert take(engine).params["distillation.global_knowledge.weight"] != 5.0


def test_fixed_parameters_do_not_vary(make_harness: MakeHarness) -> None:
    harness = make_harness(search={"fixed": {"distillation.decay": "cosine"}, "num_trials": 3})
    harness.run()
    for spec in harness.witness.specs:
        assert "distillation.decay" not in spec.params
        assert spec.experiment["distillation"]["decay"] == "cosine"


def test_the_value_of_a_complete_trial_is_its_best_epoch(make_harness: MakeHarness) -> None:
    harness = make_harness(training={"epochs": 3}, search={"scheduler": {"kind": "none"}, "num_trials": 1})
    engine = harness.engine()
    take(engine)
    spec = take(engine)
    assert tell(harness, engine, spec, 1, 10.0) is Decision.CONTINUE
    assert tell(harness, engine, spec, 2, 30.0) is Decision.CONTINUE
    assert tell(harness, engine, spec, 3, 20.0) is Decision.STOP
    assert harness.studies()[0].trials[0].value == 30.0
    assert harness.witness.records[-1].metrics[METRIC] == 30.0
    assert harness.witness.records[-1].epochs == 3
    assert engine.next_trial() is None


def test_a_stopped_trial_is_pruned_and_loses_its_weights(make_harness: MakeHarness) -> None:
    harness = make_harness()
    engine = harness.engine()
    _, good, poor = take(engine), take(engine), take(engine)
    for spec in (good, poor):
        harness.folder(spec.key).last_checkpoint.write_bytes(b"weights")
        harness.folder(spec.key).best_checkpoint.write_bytes(b"weights")
    assert tell(harness, engine, good, 1, 20.0) is Decision.CONTINUE
    assert tell(harness, engine, poor, 1, 10.0) is Decision.STOP
    frozen = harness.studies()[0].trials[1]
    assert frozen.state is optuna.trial.TrialState.PRUNED
    assert frozen.intermediate_values == {1: 10.0}
    assert harness.witness.outcomes() == {"1": Outcome.STOPPED}
    assert not harness.folder(poor.key).last_checkpoint.exists()
    assert not harness.folder(poor.key).best_checkpoint.exists()
    assert harness.folder(good.key).best_checkpoint.exists()


def test_controls_are_never_stopped_nor_compared_with(make_harness: MakeHarness) -> None:
    harness = make_harness()
    engine = harness.engine()
    control, first = take(engine), take(engine)
    assert tell(harness, engine, control, 1, 50.0) is Decision.CONTINUE
    assert tell(harness, engine, first, 1, 1.0) is Decision.CONTINUE
    assert tell(harness, engine, control, 2, 0.0) is Decision.CONTINUE
    assert tell(harness, engine, control, 3, 0.0) is Decision.CONTINUE


@pytest.mark.parametrize(
    "metrics", [{METRIC: math.nan}, {METRIC: math.inf}, {METRIC: 12.0, "loss/task": math.nan}, {"search/AP50": 1.0}]
)
def test_a_diverged_trial_is_pruned_with_a_nan(make_harness: MakeHarness, metrics: dict[str, float]) -> None:
    harness = make_harness()
    engine = harness.engine()
    take(engine)
    spec = take(engine)
    tell(harness, engine, spec, 1, 10.0)
    report = EpochReport(epoch=2, metrics=metrics, finished_at=1.0)
    harness.folder(spec.key).append(report)
    assert engine.report(spec.key, report) is Decision.STOP
    known = harness.known()[0]
    assert known.state is TrialState.PRUNED
    assert known.outcome is Outcome.DIVERGED
    assert math.isnan(known.scores[2])
    record = harness.witness.records[-1]
    assert record.outcome is Outcome.DIVERGED
    assert "epoch 2" in (record.reason or "")
    assert record.metrics[METRIC] == (12.0 if metrics.get(METRIC) == 12.0 else 10.0)


def test_a_failed_trial_keeps_its_reason_and_the_study_continues(
    make_harness: MakeHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    faults(monkeypatch, _3=(1, "error"), _4=(1, "out_of_memory"))
    harness = make_harness()
    harness.run()
    known = harness.known()
    assert known[3].state is known[4].state is TrialState.FAIL
    assert known[3].reason == "bug: RuntimeError: simulated error in epoch 1"
    assert known[4].reason == "out of memory: simulated in epoch 1"
    assert "Traceback" in (harness.folder("3").path / "error.txt").read_text()
    assert ("3", "error.txt", "") in harness.witness.files
    assert len(harness.states()) == 12
    assert harness.states().count(TrialState.FAIL) == 2


def test_ten_failures_for_the_same_reason_abort_the_study(
    make_harness: MakeHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    faults(monkeypatch, every=(1, "error"))
    harness = make_harness(search={"num_trials": 30})
    engine = harness.run()
    assert engine.failure is not None
    assert "simulated error" in engine.failure
    assert engine.is_done
    assert harness.states() == [TrialState.FAIL] * MAX_SAME_FAILURES


def test_incompatible_parameters_fail_only_their_trial(make_harness: MakeHarness) -> None:
    space = {
        "name": "clash",
        "parameters": {
            "distillation.local_knowledge.adapter": {"kind": "choice", "values": ["identity", "conv1x1"]},
            "student.fpn_channels": {"kind": "choice", "values": [128, 256]},
            "distillation.global_knowledge.weight": {"kind": "float", "low": 0.5, "high": 50.0},
        },
    }
    harness = make_harness(space=space, search={"num_trials": 14})
    harness.run()
    clashes = [trial for trial in harness.known().values() if trial.state is TrialState.FAIL]
    assert 0 < len(clashes) < 10
    for trial in clashes:
        clash = {"distillation.local_knowledge.adapter": "identity", "student.fpn_channels": 128}
        assert clash.items() <= trial.params.items()
        assert "fpn_channels" in (trial.reason or "")
    assert len(harness.states()) == 14


def test_an_epoch_that_is_known_is_not_counted_again(make_harness: MakeHarness) -> None:
    harness = make_harness()
    engine = harness.engine()
    take(engine)
    spec = take(engine)
    assert tell(harness, engine, spec, 1, 20.0) is Decision.CONTINUE
    assert tell(harness, engine, spec, 1, 99.0) is Decision.CONTINUE
    assert harness.witness.points == [("0", 1)]
    assert harness.known()[0].scores == {1: 20.0}
    engine.fail(spec.key, "over")
    engine.fail(spec.key, "over again")
    assert tell(harness, engine, spec, 2, 20.0) is Decision.STOP
    assert len(harness.witness.records) == 1


def test_the_total_counts_over_all_sessions(make_harness: MakeHarness) -> None:
    harness = make_harness(search={"num_trials": 3})
    harness.run()
    assert harness.engine().is_done
    engine = harness.engine(num_trials=5)
    assert not engine.is_done
    harness.run(engine)
    assert len(harness.states()) == 5
    assert harness.engine(num_trials=2).is_done


def test_controls_leave_the_search_space_of_the_study_alone(make_harness: MakeHarness) -> None:
    """The reason why controls have an Optuna study of their own."""
    harness = make_harness(search={"controls": 2, "num_trials": 3})
    harness.run()
    search_study, control_study = harness.studies()
    assert set(optuna.search_space.intersection_search_space(search_study.trials)) == set(harness.loaded.searched)
    assert len(control_study.trials) == 2
    search_study.add_trial(optuna.trial.create_trial(value=1.0))
    assert optuna.search_space.intersection_search_space(search_study.trials) == {}
