"""The folder of a trial: partial and damaged lines, and full disks."""

from __future__ import annotations

from pathlib import Path

import pytest

from distune.records import EpochReport
from distune.training.trial_folder import TrialFolder


def report(epoch: int, score: float = 1.0) -> EpochReport:
    return EpochReport(epoch=epoch, metrics={"search/AP": score}, finished_at=float(epoch))


def epochs(folder: TrialFolder) -> list[int]:
    return [each.epoch for each in folder.reports()]


@pytest.mark.parametrize("tail", [b'{"epoch": 3, "met', b"\0\0\0\0", b"{"])
def test_a_partial_last_line_is_skipped_and_then_removed(tmp_path: Path, tail: bytes) -> None:
    folder = TrialFolder(tmp_path)
    folder.append(report(1))
    folder.append(report(2))
    with folder.metrics_file.open("ab") as file:
        file.write(tail)
    assert epochs(folder) == [1, 2]
    folder.append(report(3))
    assert epochs(folder) == [1, 2, 3]
    assert tail + b"\n" not in folder.metrics_file.read_bytes()


@pytest.mark.parametrize("line", [b"\0\0\0\n", b"{}\n", b"[1]\n", b'{"epoch": 2, "metrics": null}\n', b"\xff\n"])
def test_a_damaged_line_does_not_affect_others(tmp_path: Path, line: bytes) -> None:
    folder = TrialFolder(tmp_path)
    folder.append(report(1))
    with folder.metrics_file.open("ab") as file:
        file.write(line)
    folder.append(report(3))
    assert epochs(folder) == [1, 3]
    folder.append(report(2))
    assert epochs(folder) == [1, 2, 3], "sorted, in any order of the file"


def test_a_recorded_epoch_does_not_change(tmp_path: Path) -> None:
    folder = TrialFolder(tmp_path)
    folder.append(report(1, 5.0))
    folder.append(report(1, 6.0))
    assert [each.metrics["search/AP"] for each in folder.reports()] == [5.0]


def test_keep_removes_all_other_epochs(tmp_path: Path) -> None:
    folder = TrialFolder(tmp_path)
    folder.keep(lambda each: False)
    assert not folder.metrics_file.exists()
    for epoch in (1, 2, 3):
        folder.append(report(epoch))
    folder.keep(lambda each: each.epoch != 2)
    assert epochs(folder) == [1, 3]
