"""``distune validate --dry-run`` on the command line."""

from __future__ import annotations

import json
from pathlib import Path

from support.command_line import Distune
from support.experiments import small_values

DATA = {
    "kind": "coco",
    "train": {"images": "train", "annotations": "train.json"},
    "search_share": 0.25,
    "min_size_px": 64,
    "max_size_px": 96,
}
EXPECTS = {"train_images": 1000, "control_s_per_image": 0.1, "control_s_measured_on": "one V100"}


def test_the_command_prints_it(distune: Distune, tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(json.dumps({**small_values(), "data": DATA, "expects": EXPECTS}))
    answer = distune("validate", str(path), "--dry-run")
    assert answer.status == 0, answer.err
    assert "dry run: seconds per image on this CPU: control " in answer.out
    assert "dry run: estimate on one V100: a control " in answer.out
    found = json.loads(distune("validate", str(path), "--dry-run", "--json").out)["dry_run"]
    assert found["is_synthetic"]
    assert len(found["plans"]) == 2
