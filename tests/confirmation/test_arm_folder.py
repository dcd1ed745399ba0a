"""The folder of one arm under one seed: its results count for one specification only."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from confirmation.confirming import arm_spec
from distune.confirmation.arm_folder import ArmFolder
from distune.records import Outcome, TrialSpec
from study.harness import MakeLoaded


def _with_soft_labels(spec: TrialSpec, soft_labels: dict[str, Any]) -> TrialSpec:
    distillation = {**spec.experiment["distillation"], "soft_labels": soft_labels}
    return dataclasses.replace(spec, experiment={**spec.experiment, "distillation": distillation})


class TestArmFolder:
    @pytest.mark.parametrize(
        ("before", "after", "words"),
        [
            ({}, {}, None),
            ({"data_fingerprint": "1"}, {"data_fingerprint": "1"}, None),
            ({"data_fingerprint": "1"}, {"data_fingerprint": "2"}, "on other data"),
            ({}, {"teacher_weights": "elsewhere/a/best.pt"}, None),
            ({}, {"teacher_weights": "teachers/b/best.pt"}, "with another teacher"),
            ({}, {"seed": 1006}, "under other settings"),
        ],
    )
    def test_results_of_another_specification_are_removed(
        self, make_loaded: MakeLoaded, tmp_path: Path, before: dict[str, Any], after: dict[str, Any], words: str | None
    ) -> None:
        spec = arm_spec(make_loaded, tmp_path, **before)
        folder = ArmFolder.of(spec)
        assert folder.prepare(spec) is None
        folder.trial.metrics_file.touch()
        other = dataclasses.replace(arm_spec(make_loaded, tmp_path, **after), folder=spec.folder)
        assert folder.mismatch(other) == folder.prepare(other) == words
        assert folder.trial.metrics_file.is_file() == (words is None)
        assert folder.prepare(other) is None

    def test_results_of_an_earlier_version_are_kept_and_get_the_fingerprint_of_their_data(
        self, make_loaded: MakeLoaded, tmp_path: Path
    ) -> None:
        spec = arm_spec(make_loaded, tmp_path, data_fingerprint="1")
        folder = ArmFolder.of(spec)
        folder.prepare(spec)
        file = folder.path / "trial.json"
        values = json.loads(file.read_text())
        del values["data_fingerprint"]
        file.write_text(json.dumps(values))
        assert folder.prepare(spec) is None
        assert folder.prepare(dataclasses.replace(spec, data_fingerprint="2")) == "on other data"

    def test_former_names_in_its_settings_are_the_same_settings(self, make_loaded: MakeLoaded, tmp_path: Path) -> None:
        spec = arm_spec(make_loaded, tmp_path)
        folder = ArmFolder(Path(spec.folder))
        folder.prepare(spec)
        file = folder.path / "trial.json"
        values = json.loads(file.read_text())
        distillation = values["experiment"]["distillation"]
        distillation["standardise"] = distillation.pop("standardize")
        assert distillation["prototypes"]["source"]["kind"] == "queue"
        distillation["prototypes"]["source"]["kind"] = "harvest"
        file.write_text(json.dumps(values))
        assert folder.mismatch(spec) is None

    def test_settings_that_did_not_exist_then_have_the_value_that_does_the_same(
        self, make_loaded: MakeLoaded, tmp_path: Path
    ) -> None:
        spec = arm_spec(make_loaded, tmp_path)
        folder = ArmFolder(Path(spec.folder))
        soft_labels = spec.experiment["distillation"]["soft_labels"]
        for given, expected in (
            (_with_soft_labels(spec, {**soft_labels, "sites": "positive"}), None),
            (spec, "under other settings"),
        ):
            folder.prepare(given)
            file = folder.path / "trial.json"
            values = json.loads(file.read_text())
            former = {name: value for name, value in soft_labels.items() if name not in ("sites", "focus")}
            values["experiment"]["distillation"]["soft_labels"] = former
            file.write_text(json.dumps(values))
            assert folder.mismatch(given) == expected
            shutil.rmtree(folder.path)

    @pytest.mark.parametrize("moment", ["while it is removed", "before it is"])
    def test_a_crash_while_old_results_are_removed_leaves_none(
        self, make_loaded: MakeLoaded, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: str
    ) -> None:
        spec = arm_spec(make_loaded, tmp_path)
        folder = ArmFolder.of(spec)
        folder.prepare(spec)
        folder.trial.metrics_file.write_text("old\n")

        def crash(path: Path, *, ignore_errors: bool = False) -> None:
            if not ignore_errors:
                (path / "trial.json").unlink()
                raise KeyboardInterrupt

        other = dataclasses.replace(spec, num_epochs=99)
        if moment == "before it is":  # as earlier versions left it
            (folder.path / "trial.json").unlink()
        else:
            with monkeypatch.context() as patch:
                patch.setattr(shutil, "rmtree", crash)
                with pytest.raises(KeyboardInterrupt):
                    folder.prepare(other)
        folder.prepare(other)
        assert [path.name for path in folder.path.parent.rglob("*")] == [folder.path.name, "trial.json"]

    @pytest.mark.parametrize("name", ["reported.json", "told.json"])
    @pytest.mark.parametrize("num_removed", [0, 1, 2])
    def test_a_crash_while_a_failure_is_forgotten_leaves_no_run_that_is_never_reported(
        self,
        make_loaded: MakeLoaded,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        name: str,
        num_removed: int,
    ) -> None:
        """The second name is that of earlier versions."""
        spec = arm_spec(make_loaded, tmp_path)
        folder = ArmFolder.of(spec)
        folder.prepare(spec)
        folder.end(Outcome.FAILED, "bug: one")
        (folder.path / name).touch()
        assert folder.is_reported
        unlink, removed = Path.unlink, list[str]()

        def unlink_some(path: Path, missing_ok: bool = False) -> None:
            if len(removed) == num_removed:
                raise KeyboardInterrupt
            removed.append(path.name)
            unlink(path, missing_ok=missing_ok)

        with monkeypatch.context() as patch:
            patch.setattr(Path, "unlink", unlink_some)
            with pytest.raises(KeyboardInterrupt):
                folder.prepare(spec)
        assert folder.outcome()[0] is Outcome.FAILED
        assert folder.is_reported == (num_removed < 2 if name == "told.json" else num_removed < 1)
        folder.prepare(spec)
        assert folder.outcome() == (None, None)
        assert not folder.is_reported

    def test_checkpoints_for_resuming_are_kept_after_failures_only(
        self, make_loaded: MakeLoaded, tmp_path: Path
    ) -> None:
        spec = arm_spec(make_loaded, tmp_path)
        folder = ArmFolder.of(spec)
        folder.prepare(spec)
        states = (folder.trial.last_checkpoint, folder.trial.previous_checkpoint)
        for state in states:
            state.touch()
        folder.end(Outcome.FAILED, "worker died")
        assert all(state.is_file() for state in states)
        folder.end(Outcome.FINISHED)
        assert not any(state.exists() for state in states)
