"""Images are decoded when data is opened for training, and not where few of them are read afterwards."""

from __future__ import annotations

from pathlib import Path

import pytest

from distune.api.preparation import open_data
from distune.config.experiment import Experiment
from distune.data import check
from distune.data.splits import Splits
from support.datasets import make_voc
from support.experiments import small_experiment


def test_images_are_only_decoded_where_that_is_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = tmp_path / "voc"
    make_voc(root, {"train": 6, "val": 3})
    data = {"kind": "voc", "root": str(root), "search_set": "val", "min_size_px": 48, "max_size_px": 64}
    experiment = Experiment.model_validate({**small_experiment().to_dict(), "data": data})
    decoded: list[str] = []

    def count(splits: Splits) -> list[str]:
        decoded.append(splits.fingerprint)
        return []

    monkeypatch.setattr(check, "check_splits", count)
    open_data(experiment, on_message=print, decode=False)
    assert decoded == []
    open_data(experiment, on_message=print)
    assert len(decoded) == 1
