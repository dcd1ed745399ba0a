"""``distune predict`` as a command."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from support.command_line import run
from support.trained_study import NAME


@pytest.mark.slow
def test_files_are_named_and_unreadable_images_give_exit_status_1(
    trained_home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    Image.fromarray(np.zeros((64, 64, 3), np.uint8)).save("one.png")
    answer = run(capsys, monkeypatch, "predict", f"{NAME}/control", "one.png", "--teacher", "--output", "found")
    assert answer.status == 0
    assert "on 1 image: found/predictions.json" in answer.out
    assert "pictures: found/pictures" in answer.out

    Path("two.png").write_text("no image")
    answer = run(capsys, monkeypatch, "predict", NAME, "one.png", "two.png", "--json", "--no-pictures")
    assert answer.status == 1
    values = json.loads(answer.out)
    assert values["pictures"] is None
    assert values["num_images"] == 1
    assert list(values["unreadable"]) == ["two.png"]
    assert run(capsys, monkeypatch, "predict", f"{NAME}/99", "one.png").status == 2
