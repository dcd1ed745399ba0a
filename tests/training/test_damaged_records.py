"""Damaged files of a trial give a message, and a gap in its epochs is reported."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest
import torch

from distune.confirmation.arm_folder import ArmFolder
from distune.errors import StudyError, WeightsError
from distune.records import EpochReport
from distune.training.prototype_file import load_prototypes
from distune.training.trial_folder import TrialFolder


def line(epoch: int) -> str:
    return json.dumps(EpochReport(epoch=epoch, metrics={"search/AP": 1.0}, finished_at=1.0).to_dict())


@pytest.mark.parametrize(
    "damaged",
    [
        "{}",
        "null",
        "[" * 50_000,
        '{"epoch": Infinity, "metrics": {}, "finished_at": 1}',
        '{"epoch": 1e999}',
        "\x00\x00",
    ],
)
def test_a_damaged_line_is_reported_once(damaged: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = TrialFolder(tmp_path)
    folder.metrics_file.write_text(f"{line(1)}\n{damaged}\n{line(3)}\n")
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            assert [report.epoch for report in folder.reports()] == [1, 3]
    assert [record.getMessage() for record in caplog.records] == [
        f"{folder.metrics_file}, line 2 is damaged, so this epoch is missing in all results of the trial"
    ]


def test_many_damaged_lines_are_one_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = TrialFolder(tmp_path)
    folder.metrics_file.write_text("{}\n" * 20 + f"{line(21)}\n")
    with caplog.at_level(logging.WARNING):
        assert [report.epoch for report in folder.reports()] == [21]
    assert [record.getMessage() for record in caplog.records] == [
        f"{folder.metrics_file}: 20 lines are damaged (1, 2, 3, 4, 5, 6, 7, 8, ...), "
        "so these epochs are missing in all results of the trial"
    ]


@pytest.mark.parametrize(
    "content",
    [
        {"format": 1},
        {"format": 1, "origin": {}, "prototypes": {}},
        {"format": 1, "origin": [1], "prototypes": None},
        {"format": 2},
        [1],
        torch.zeros(3),
    ],
)
def test_other_files_are_no_prototypes(content: Any, tmp_path: Path) -> None:
    path = tmp_path / "prototypes-a.pt"
    torch.save(content, path)
    with pytest.raises(WeightsError, match="prototypes"):
        load_prototypes(path)


@pytest.mark.parametrize(
    "content", ["{}", "[]", "3", '{"outcome": "x", "reason": null}', '{"outcome": []}', "[" * 50_000]
)
def test_a_damaged_outcome_is_named(content: str, tmp_path: Path) -> None:
    folder = ArmFolder(tmp_path)
    folder.outcome_file.write_text(content)
    with pytest.raises(StudyError, match=r"outcome\.json cannot be read.*remove its folder"):
        folder.outcome()
