"""Ablations of simulated studies."""

from __future__ import annotations

import errno
import json
from pathlib import Path
from typing import Any

import pytest

from confirmation.confirming import EPOCHS, confirm, record, searched_study
from distune.config.home import Home
from distune.confirmation.ablation_plan import AblationPlan, plan_ablation
from distune.confirmation.ablation_session import run_ablation
from distune.confirmation.simulated_arms import SimulatedRun
from distune.errors import StudyError, TrialError
from distune.evidence.ablation_result import AblationResult, TermVerdict
from distune.study.files.study_folder import StudyFolder
from distune.study.runners.simulation import ENVIRONMENT_VARIABLE
from distune.study.status import confirmed_trial, read_study
from distune.study.storage.optuna_storage import StudyStoppedError
from study.harness import MakeLoaded, Witness

TERMS: dict[str, Any] = {"distillation": {"soft_labels": {"weight": 1.0, "unit": "raw"}}}


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "home")


def plan(home: Home, folder: StudyFolder, *, seeds: int = 3) -> AblationPlan:
    trial = confirmed_trial(read_study(home, folder.name))
    return plan_ablation(folder, trial, folder.load().experiment, num_seeds=seeds, teacher_weights=None)


def ablate(home: Home, folder: StudyFolder, witness: Witness | None = None, *, seeds: int = 3) -> AblationResult | None:
    witness = witness or Witness()
    planned = plan(home, folder, seeds=seeds)
    return run_ablation(folder, planned, metric="AP", state="finished", tracker=witness, callback=witness)


def test_each_term_is_left_out_by_a_weight_of_0(home: Home, make_loaded: MakeLoaded) -> None:
    folder = searched_study(home, make_loaded, **TERMS)
    planned = plan(home, folder)
    assert set(planned.without) == {"global_knowledge", "local_knowledge", "soft_labels"}
    for term, specs in planned.without.items():
        for spec, full in zip(specs, planned.full, strict=True):
            weights = {name: spec.experiment["distillation"][name]["weight"] for name in planned.without}
            assert [name for name, weight in weights.items() if weight == 0] == [term]
            assert spec.seed == full.seed
            assert spec.tags == {"kind": "ablation", "ablates": str(planned.trial), "without": term}
            assert Path(spec.folder).is_relative_to(folder.ablation.path)
            changed = {**full.experiment["distillation"], term: spec.experiment["distillation"][term]}
            assert spec.experiment == {**full.experiment, "distillation": changed}, "nothing else differs"
    assert len(planned.specs) == 5 * 3
    assert len({spec.key for spec in planned.specs}) == 15


def test_a_full_disk_names_the_command_that_continues(
    home: Home, make_loaded: MakeLoaded, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = searched_study(home, make_loaded, **TERMS)

    def run_epoch(run: SimulatedRun) -> dict[str, Exception]:
        error = TrialError("last.pt: the checkpoint could not be written")
        error.__cause__ = OSError(errno.ENOSPC, "No space left on device")
        return dict.fromkeys(run.behind, error)

    monkeypatch.setattr(SimulatedRun, "run_epoch", run_epoch)
    with pytest.raises(StudyStoppedError, match=r"then run: distune explain --ablate one, with the same options"):
        ablate(home, folder, seeds=2)


def test_without_its_only_term_a_trial_is_its_control(home: Home, make_loaded: MakeLoaded) -> None:
    off = {name: {"weight": 0.0, "unit": "raw"} for name in ("local_knowledge", "soft_labels")}
    folder = searched_study(home, make_loaded, distillation=off)
    planned = plan(home, folder)
    assert planned.without == {"global_knowledge": planned.controls}
    assert len(planned.specs) == 2 * 3


def test_a_trial_without_a_term_cannot_be_ablated(home: Home, make_loaded: MakeLoaded) -> None:
    off = {name: {"weight": 0.0, "unit": "raw"} for name in ("local_knowledge", "soft_labels")}
    folder = searched_study(home, make_loaded, distillation=off)
    trial = record(4, 1.0, {"distillation.global_knowledge.weight": 0.0})
    with pytest.raises(StudyError, match="trial 4 has no term with a weight"):
        plan_ablation(folder, trial, folder.load().experiment, num_seeds=3, teacher_weights=None)


def test_an_ablation_shares_its_runs_with_a_confirmation_and_computes_nothing_twice(
    home: Home, make_loaded: MakeLoaded, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = searched_study(home, make_loaded, **TERMS)
    log = tmp_path / "epoch_log"
    monkeypatch.setenv(ENVIRONMENT_VARIABLE, json.dumps({"epoch_log": str(log)}))
    confirmed = confirm(home, folder, top=1, seeds=2)
    assert confirmed is not None
    assert len(log.read_text().splitlines()) == 2 * 2 * EPOCHS
    witness = Witness()
    result = ablate(home, folder, witness)
    assert result is not None
    assert (result.trial, result.seeds) == (confirmed.winner, (1005, 1006, 1007))
    lines = log.read_text().splitlines()
    assert len(lines) == len({" ".join(line.split()[:2]) for line in lines}) == 5 * 3 * EPOCHS
    assert {spec.key.split("-seed-")[0] for spec in witness.specs} == {
        f"confirm-{result.trial}",
        "confirm-control",
        *(f"ablate-{result.trial}-without-{each.term}" for each in result.terms),
    }
    for each in result.terms:
        assert each.effect is not None
        assert list(each.effect.by_seed) == [1005, 1006, 1007]
        assert each.verdict in (TermVerdict.HELPS, TermVerdict.HARMS, TermVerdict.NOT_SHOWN)
    assert result.gain is not None
    assert result.gain.by_seed[1005] == confirmed.search.by_seed[1005]
    assert folder.ablation.read() == result
    assert set(witness.figures) == {f"ablation/{each.term}" for each in result.terms}
    assert (None, "ablation.json", "report") in witness.files
    again = Witness()
    assert ablate(home, folder, again) == result
    assert log.read_text().splitlines() == lines
    assert not again.specs
    assert not again.figures

    more = ablate(home, folder, seeds=4)
    assert more is not None
    assert len(log.read_text().splitlines()) == 5 * 4 * EPOCHS
    assert confirm(home, folder, top=1, seeds=4) is not None
    assert len(log.read_text().splitlines()) == 5 * 4 * EPOCHS, "the confirmation finds all its runs"


def test_runs_that_did_not_finish_are_named(
    home: Home, make_loaded: MakeLoaded, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = searched_study(home, make_loaded, **TERMS)
    trial = plan(home, folder).trial
    lost = f"ablate-{trial}-without-soft_labels-seed-1005"
    monkeypatch.setenv(ENVIRONMENT_VARIABLE, json.dumps({"faults": {lost: {"epoch": 2, "kind": "nan"}}}))
    result = ablate(home, folder)
    assert result is not None
    soft = next(each for each in result.terms if each.term == "soft_labels")
    assert soft.effect is not None
    assert list(soft.effect.by_seed) == [1006, 1007]
    assert soft.failures == (f"{lost}: diverged (loss/task was nan in epoch 2)",)


def test_nothing_is_compared_if_no_run_of_the_trial_has_finished(
    home: Home, make_loaded: MakeLoaded, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = searched_study(home, make_loaded, **TERMS)
    monkeypatch.setenv(ENVIRONMENT_VARIABLE, '{"faults": {"*": {"epoch": 1, "kind": "nan"}}}')
    with pytest.raises(StudyError, match="no run has finished"):
        ablate(home, folder)
    assert folder.ablation.read() is None


def test_a_damaged_result_is_named(home: Home, make_loaded: MakeLoaded) -> None:
    folder = searched_study(home, make_loaded)
    folder.ablation.path.mkdir()
    folder.ablation.record_file.write_text("{}")
    with pytest.raises(StudyError, match=r"ablation\.json cannot be read"):
        folder.ablation.read()
