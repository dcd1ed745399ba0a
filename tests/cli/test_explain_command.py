"""``distune explain`` on the command line, on simulated studies."""

from __future__ import annotations

import json
from pathlib import Path

import yaml

from support.command_line import Distune
from support.experiments import small_values


def launch(distune: Distune, folder: Path) -> None:
    path = folder / "mine.yaml"
    path.write_text(yaml.safe_dump(small_values({"tracking": {"enabled": False}})))
    assert distune("launch", str(path), "--simulate", "--runner", "local", "--name", "one").status == 0


def test_findings_are_lines_and_those_of_one_text_are_one(distune: Distune, tmp_path: Path) -> None:
    launch(distune, tmp_path)
    answer = distune("explain", "one")
    assert answer.status == 0, answer.err
    assert answer.out.startswith("study one: best trial ")
    assert answer.out.count("the study is simulated: nothing was trained") == 1
    assert "unknown   spread: the gain of " in answer.out
    assert "try: run distune confirm one" in answer.out
    assert "OK        trials: none of 3 trials failed or diverged" in answer.out
    assert "0 problems in 12 checks" in answer.out


def test_json_has_all_findings(distune: Distune, tmp_path: Path) -> None:
    launch(distune, tmp_path)
    found = json.loads(distune("explain", "one", "--json").out)
    assert (found["study"], found["simulated"], len(found["findings"]), found["tables"]) == ("one", True, 12, [])


def test_an_ablation_is_shown(distune: Distune, tmp_path: Path) -> None:
    launch(distune, tmp_path)
    answer = distune("explain", "one", "--ablate", "--seeds", "2")
    assert answer.status == 0, answer.err
    assert "and the trial without each of " in answer.err
    assert "Ablation of trial " in answer.out
    assert "2 seeds show large effects only" in " ".join(answer.out.split())
    assert json.loads(distune("explain", "one", "--json").out)["tables"][0]["title"].startswith("Ablation of trial ")
    refused = distune("explain", "one", "--ablate", "--seeds", "1")
    assert refused.status == 2
    assert "seeds = 1 is less than the 2 of the ablation on record" in refused.err


def test_mistakes_are_named(distune: Distune, tmp_path: Path) -> None:
    launch(distune, tmp_path)
    answer = distune("explain", "one", "--seeds", "4")
    assert (answer.status, answer.err) == (2, "error: --seeds 4 has no effect without --ablate\n")
    assert distune("explain", "two").status != 0
