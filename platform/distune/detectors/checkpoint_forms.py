"""Finds the state dict in a file of weights, whatever tool has written it. Nothing in a file can run code.

Read are plain state dicts, and those below a usual key (``model``, ``state_dict``, ...) or a prefix of all names
(``module.`` of DataParallel, ``_orig_mod.`` of ``torch.compile``, ``model.`` of Lightning). An exponential moving
average comes before the weights it is made from: it is what its training evaluates.
"""

from __future__ import annotations

import argparse
import collections
import dataclasses
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from distune.errors import WeightsError

StateDict = dict[str, Tensor]

KEYS = ("model_ema", "ema_state_dict", "state_dict_ema", "ema", "model", "state_dict", "model_state_dict")
"""Names of a state dict in a checkpoint, the first that exists counts."""
PREFIXES = ("module.", "_orig_mod.", "model.", "detector.", "net.")
"""Prefixes of all parameter names that wrappers of models add."""
COUNTER = "n_averaged"
"""The tensor that ``torch.optim.swa_utils.AveragedModel`` adds."""

_SHOWN = 8
_HEADER_LENGTH_BYTES = 8
_HARMLESS: list[Any] = [argparse.Namespace, collections.defaultdict, np.dtype, np.ndarray]
_HARMLESS += [np._core.multiarray.scalar, np._core.multiarray._reconstruct]  # type: ignore[attr-defined]
_HARMLESS += [type(np.dtype(kind)) for kind in (np.float64, np.float32, np.int64, np.int32, np.bool_)]


@dataclasses.dataclass(frozen=True)
class FoundState:
    """A state dict, and where it was found.

    Attributes:
        state: parameter name, without the prefix, to tensor.
        place: such as ``key model_ema, prefix module.``; empty for a plain state dict.
    """

    state: StateDict
    place: str


def read_tensors(path: Path) -> Any:
    """Read a file of tensors, onto the CPU, and plain values. Nothing in it can run code.

    Args:
        path: of the file, in the format of safetensors or of ``torch.save``.

    Returns:
        The content.

    Raises:
        WeightsError: the file is missing, truncated, or of another kind; says of which where it can be recognized.
    """
    try:
        if path.suffix == ".safetensors" or _begins_as_safetensors(path):
            return _read_safetensors(path)
        with torch.serialization.safe_globals(_HARMLESS):
            return torch.load(path, map_location="cpu", weights_only=True)
    except WeightsError:
        raise
    except Exception as error:  # a damaged file can raise anything
        raise WeightsError(f"weights {path}: {_describe(path, error)}") from None


def find_state(content: Any, *, source: str) -> FoundState:
    """Find the state dict in the content of a file.

    Args:
        content: of the file.
        source: named in the error.

    Returns:
        The state dict.

    Raises:
        WeightsError: there is none.
    """
    if not isinstance(content, Mapping):
        raise WeightsError(f"weights {source}: holds a {type(content).__name__}, not a state dict")
    places = []
    key = next((key for key in KEYS if isinstance(content.get(key), Mapping)), None)
    if key is not None:
        content = content[key]
        places.append(f"key {key}")
    content = {name: value for name, value in content.items() if name != COUNTER}
    others = [str(name) for name, value in content.items() if not isinstance(value, Tensor)]
    if others or not content:
        shown = ", ".join(others[:_SHOWN]) or "it is empty"
        raise WeightsError(
            f"weights {source}: not a state dict: {shown}; a state dict may be at the top or below one of the keys "
            f"{', '.join(KEYS)}"
        )
    state = {str(name): value for name, value in content.items()}
    removed = ""
    while (
        prefix := next((each for each in PREFIXES if all(name.startswith(each) for name in state)), None)
    ) is not None:
        state = {name.removeprefix(prefix): value for name, value in state.items()}
        removed += prefix
    places += [f"prefix {removed}"] if removed else []
    return FoundState(state, ", ".join(places))


def stop_if_not_finite(state: StateDict, *, source: str) -> None:
    """Raise ``WeightsError`` when a tensor holds NaN or infinity, as after a training that diverged."""
    bad = [name for name, value in state.items() if value.is_floating_point() and not bool(value.isfinite().all())]
    if bad:
        more = f" and {len(bad) - _SHOWN} more" if len(bad) > _SHOWN else ""
        raise WeightsError(
            f"weights {source}: {len(bad)} of {len(state)} tensors hold values that are not finite, as after a "
            f"training that diverged: {', '.join(bad[:_SHOWN])}{more}"
        )


def _begins_as_safetensors(path: Path) -> bool:
    """Return whether a file begins with the length of a JSON header, and the header."""
    with path.open("rb") as file:
        start = file.read(_HEADER_LENGTH_BYTES + 2)
    length = int.from_bytes(start[:_HEADER_LENGTH_BYTES], "little")
    return start[_HEADER_LENGTH_BYTES:] == b'{"' and length < path.stat().st_size


def _read_safetensors(path: Path) -> StateDict:
    try:
        from safetensors.torch import load_file
    except ImportError:
        raise WeightsError(f"weights {path}: needs the package safetensors: pip install safetensors") from None
    state: StateDict = load_file(path)
    return state


def _describe(path: Path, error: Exception) -> str:
    if not path.is_file():
        return "there is no such file"
    try:
        with zipfile.ZipFile(path) as archive:
            if any(name.endswith("/constants.pkl") for name in archive.namelist()):
                return (
                    "holds a TorchScript program, whose weights are not read; save the state dict of the model it "
                    "was made from: torch.save(model.state_dict(), FILE)"
                )
    except (OSError, zipfile.BadZipFile):
        pass
    text = str(error)
    if "Unsupported global" in text or "Unsupported class" in text:
        return (
            "holds Python objects besides tensors, such as a whole model, which are not loaded because they can run "
            "code; where you trust the file, save its state dict there: torch.save(model.state_dict(), FILE)"
        )
    if "weights_only" in text:  # torch's own advice is to let the file run code
        return "not a file of tensors that torch.save or safetensors has written, or damaged"
    return f"not a file of tensors: {next(iter(text.splitlines()), type(error).__name__)}"
