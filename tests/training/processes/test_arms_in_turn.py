"""Arms on several GPUs are trained one after the other, and an error of one does not affect the others."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from distune.records import EpochReport, TrialSpec
from distune.training.processes import arms_in_turn
from distune.training.processes.arms_in_turn import ArmsInTurn
from support.experiments import small_values


class _Run:
    def __init__(self, spec: TrialSpec, log: list[str]) -> None:
        self.notes = ("last.pt is damaged",) if spec.number == 2 else ()
        self.epochs_done, self._spec, self._log = 0, spec, log
        log.append(f"open {spec.key}")

    def run_epoch(self) -> EpochReport:
        if self._spec.number == 1:
            raise RuntimeError("broken")
        self.epochs_done += 1
        return EpochReport(epoch=self.epochs_done, metrics={}, finished_at=0.0)

    def close(self) -> None:
        self._log.append(f"close {self._spec.key}")


def test_one_is_open_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log: list[str] = []
    monkeypatch.setattr(arms_in_turn, "open_run", lambda spec, num_processes: _Run(spec, log))
    spec = TrialSpec(
        study="one",
        number=0,
        control=False,
        seed=0,
        num_epochs=2,
        params={},
        experiment=small_values(),
        folder=str(tmp_path),
        teacher_weights=None,
    )
    arms = ArmsInTurn(
        [dataclasses.replace(spec, number=number, folder=str(tmp_path / str(number))) for number in range(3)]
    )
    answers = []
    while arms.behind:
        answers += [(key, type(answer).__name__) for key, answer in arms.run_epoch().items()]
    assert answers == [
        ("0", "EpochReport"),
        ("0", "EpochReport"),
        ("1", "RuntimeError"),
        ("2", "EpochReport"),
        ("2", "EpochReport"),
    ]
    assert arms.notes == {"2": ("last.pt is damaged",)}
    assert log == ["open 0", "close 0", "open 1", "close 1", "open 2", "close 2"]
