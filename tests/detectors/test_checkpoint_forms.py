"""State dicts in the files of other tools: found below keys and prefixes, refused with what the file is."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from distune.config.detector import RetinaNetSettings
from distune.detectors.weights import fetch_weights
from distune.detectors.zoo import build_detector
from distune.errors import WeightsError

State = dict[str, Tensor]
STATE: State = {"backbone.weight": torch.arange(6.0).reshape(2, 3), "head.bias": torch.tensor([1.0, -2.0])}
ZEROS: State = {name: torch.zeros_like(value) for name, value in STATE.items()}


def prefixed(prefix: str, state: State = STATE) -> State:
    return {prefix + name: value for name, value in state.items()}


@pytest.mark.parametrize(
    ("content", "place"),
    [
        (STATE, ""),
        ({"model": STATE, "optimizer": {}, "args": argparse.Namespace(lr=0.1), "epoch": 3}, "key model"),
        ({"model": STATE, "best": np.float64(3.0), "history": np.arange(3)}, "key model"),
        (prefixed("module."), "prefix module."),
        (prefixed("_orig_mod.module."), "prefix _orig_mod.module."),
        ({"state_dict": prefixed("model."), "hyper_parameters": {}}, "key state_dict, prefix model."),
        ({"model_state_dict": STATE, "loss": 0.3}, "key model_state_dict"),
        ({"n_averaged": torch.tensor(4), **prefixed("module.")}, "prefix module."),
        (
            {"model": ZEROS, "model_ema": {"n_averaged": torch.tensor(4), **prefixed("module.")}},
            "key model_ema, prefix",
        ),
    ],
)
def test_a_state_dict_is_found(tmp_path: Path, content: dict[str, Any], place: str) -> None:
    torch.save(content, tmp_path / "weights.pt")
    found = fetch_weights(str(tmp_path / "weights.pt"))
    assert found.state.keys() == STATE.keys()
    assert all(torch.equal(found.state[name], value) for name, value in STATE.items())
    assert found.place.startswith(place)
    assert not found.is_own


def test_an_older_file_format_and_safetensors(tmp_path: Path) -> None:
    torch.save(STATE, tmp_path / "old.pt", _use_new_zipfile_serialization=False)
    assert torch.equal(fetch_weights(str(tmp_path / "old.pt")).state["head.bias"], STATE["head.bias"])
    safetensors = pytest.importorskip("safetensors.torch", reason="safetensors comes with the extra timm")
    safetensors.save_file(STATE, str(tmp_path / "new.safetensors"))
    assert torch.equal(fetch_weights(str(tmp_path / "new.safetensors")).state["head.bias"], STATE["head.bias"])
    (tmp_path / "new.safetensors").rename(tmp_path / "renamed.pth")
    assert torch.equal(fetch_weights(str(tmp_path / "renamed.pth")).state["head.bias"], STATE["head.bias"])


def script(path: Path) -> None:
    torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), str(path))


@pytest.mark.filterwarnings("ignore:.*torch.jit:FutureWarning", "ignore:.*torch.jit:DeprecationWarning")
@pytest.mark.parametrize(
    ("write", "words"),
    [
        (
            lambda path: torch.save(torch.nn.Linear(2, 2), path),
            "holds Python objects besides tensors, such as a whole model",
        ),
        (script, "holds a TorchScript program"),
        (lambda path: path.write_bytes(b"no weights"), "not a file of tensors"),
        (lambda path: path.write_bytes(b"\x80\x02cbuiltins\nprint\n."), "holds Python objects|not a file of tensors"),
        (lambda path: path.write_bytes(bytes(300)), "not a file of tensors"),
        (lambda path: torch.save([1, 2], path), "holds a list, not a state dict"),
        (lambda path: torch.save({"epoch": 3, "weights": STATE}, path), "not a state dict: epoch, weights"),
        (lambda path: torch.save({}, path), "it is empty"),
        (
            lambda path: torch.save({**STATE, "head.bias": torch.tensor([1.0, float("nan")])}, path),
            "not finite.*head.bias",
        ),
    ],
)
def test_other_files_are_refused_with_what_they_are(tmp_path: Path, write: Callable[[Path], Any], words: str) -> None:
    path = tmp_path / "weights.pt"
    write(path)
    with pytest.raises(WeightsError, match=words) as error:
        fetch_weights(str(path))
    assert str(path) in str(error.value)
    assert "weights_only" not in str(error.value)


def test_the_other_version_of_the_head_is_named(tmp_path: Path) -> None:
    small: dict[str, Any] = {"family": "retinanet", "backbone": "resnet10", "fpn_channels": 32}
    size: dict[str, Any] = {"classes": ("cat", "dog"), "min_size_px": 64, "max_size_px": 64, "seed": 0}
    model = build_detector(RetinaNetSettings(**small, head="v1"), **size).model
    torch.save({"state_dict": prefixed("model.", model.state_dict())}, tmp_path / "v1.pt")
    with pytest.raises(WeightsError, match="they are closer to head: v1 than to head: v2, which is set") as error:
        build_detector(RetinaNetSettings(**small, weights=str(tmp_path / "v1.pt")), **size, for_training=False)
    assert "(key state_dict, prefix model.)" in str(error.value)
