"""Weights of detectors and backbones: by torchvision's name, or from a state dict or distune checkpoint on disk."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from torch import nn

from distune.config.pretrained import is_torchvision_name
from distune.detectors.checkpoint_forms import StateDict, find_state, read_tensors, stop_if_not_finite
from distune.detectors.checkpoint_names import with_current_names
from distune.detectors.norm_epsilon import epsilon_of_file
from distune.detectors.weight_sources import find_source, torchvision_weights
from distune.errors import WeightsError

_SHOWN = 3


@dataclasses.dataclass(frozen=True)
class Weights:
    """The weights of a model.

    Attributes:
        state: parameter name to tensor.
        classes: that it was trained on; None where they are unknown.
        is_own: whether distune has trained it.
        place: of the state dict in the file; empty at its top.
        norm_eps: epsilon of the backbone's norms; None where the file does not tell it.
    """

    state: StateDict
    classes: tuple[str, ...] | None
    is_own: bool = False
    place: str = ""
    norm_eps: float | None = None


def fetch_weights(name: str, *, unused: Sequence[str] = ()) -> Weights:
    """Fetch weights by torchvision's name (downloaded once, hash checked) or from a file.

    Args:
        name: torchvision's name, or the path of a distune checkpoint, a state dict, or a checkpoint that holds one
            (``distune.detectors.checkpoint_forms``). Nothing in it can run code.
        unused: prefixes of parameters that are not loaded, so that any values are allowed: of the classifier in weights
            of a backbone.

    Returns:
        The state dict and, if known, its classes.

    Raises:
        WeightsError: unknown name, failed download, no such file, a file of another kind, or values that are not
            finite.
    """
    if is_torchvision_name(name):
        return _fetch_by_name(name)
    path = find_source(name).path
    content = read_tensors(path)
    found = find_state(content, source=name)
    used = {key: value for key, value in found.state.items() if not key.startswith(tuple(unused))}
    stop_if_not_finite(used, source=name)
    classes = _classes(content)
    epsilon = epsilon_of_file(content, path)
    return Weights(found.state, classes, is_own=classes is not None, place=found.place, norm_eps=epsilon)


def named_classes(names: Sequence[str]) -> tuple[str, ...]:
    """Expand the names of torchvision weights in a list of classes to the classes of these weights.

    Args:
        names: class names, or torchvision's names of detector weights.

    Returns:
        Class names only.

    Raises:
        WeightsError: torchvision has no weights of that name, or they are not of a detector.
    """
    classes: list[str] = []
    for name in names:
        if not is_torchvision_name(name):
            classes.append(name)
            continue
        known = _classes_of(torchvision_weights(name))
        if known is None:
            raise WeightsError(f"weights {name}: are not of a detector, so they have no classes to detect")
        classes += known
    return tuple(classes)


def load_state(
    model: nn.Module, state: StateDict, *, source: str, replaceable: Sequence[str] = (), remedy: str | None = None
) -> list[str]:
    """Load a state dict; if it does not fit, raise an error that lists the differences.

    Args:
        model: receives the weights.
        state: parameter name to tensor.
        source: named in the error.
        replaceable: prefixes of parameters that keep their initial values if they are missing or have another shape:
            the class heads of a detector that is trained on other classes.
        remedy: last line of the error.

    Returns:
        The parameters that kept their initial values.

    Raises:
        WeightsError: names or shapes differ.
    """
    expected = model.state_dict()
    state = with_current_names(state, expected)
    counters = {name for name in expected.keys() | state.keys() if name.endswith("num_batches_tracked")}
    missing = expected.keys() - state.keys() - counters
    surplus = state.keys() - expected.keys() - counters
    misshapen = {name for name in expected.keys() & state.keys() if expected[name].shape != state[name].shape}
    kept = (
        {name for name in missing | misshapen | surplus if name.startswith(tuple(replaceable))}
        if replaceable
        else set()
    )
    kinds = [
        [f"missing: {name} {tuple(expected[name].shape)}" for name in sorted(missing - kept)],
        [f"unknown: {name} {tuple(state[name].shape)}" for name in sorted(surplus - kept)],
        [
            f"shape: {name} is {tuple(state[name].shape)}, the detector needs {tuple(expected[name].shape)}"
            for name in sorted(misshapen - kept)
        ],
    ]
    if any(kinds):
        lines = [f"weights {source}: do not fit this detector, {_differences(kinds)}"]
        raise WeightsError("\n  ".join(lines if remedy is None else [*lines, remedy]))
    fitting = {name: tensor for name, tensor in state.items() if name in expected and name not in kept}
    model.load_state_dict(fitting, strict=False)
    return sorted(kept & expected.keys())


def check_classes(weights: Weights, classes: Sequence[str], *, source: str) -> None:
    """Raise ``WeightsError`` if the weights are known to have other classes, or the same in another order."""
    if weights.classes is None or weights.classes == tuple(classes):
        return
    lost = [name for name in weights.classes if name not in classes]
    new = [name for name in classes if name not in weights.classes]
    raise WeightsError(
        f"weights {source}: trained on other classes than the data has; only in the weights: "
        f"{', '.join(lost) or 'none'}; only in the data: {', '.join(new) or 'none'}; order in the weights: "
        f"{', '.join(weights.classes)}"
    )


def _differences(kinds: Sequence[Sequence[str]]) -> str:
    """Return the number of differences and examples: the first of each kind, then more of the same."""
    number = sum(map(len, kinds))
    examples = [*(kind[0] for kind in kinds if kind), *(line for kind in kinds for line in kind[1:])]
    more = [f"and {number - _SHOWN} more"] if number > _SHOWN else []
    return "\n  ".join([f"{number} differences", "; ".join([*examples[:_SHOWN], *more])])


def _fetch_by_name(name: str) -> Weights:
    weights, source = torchvision_weights(name), find_source(name)
    try:
        state = weights.get_state_dict(progress=False, check_hash=True, weights_only=True)
    except Exception as error:  # a damaged file can raise anything
        remedy = (
            f"{source.path} is damaged ({error}); delete it, and it is downloaded again"
            if source.is_here
            else f"could not be downloaded ({error}); download them elsewhere from {source.url} and name the file"
        )
        raise WeightsError(f"weights {name}: {remedy}") from None
    return Weights(dict(state), _classes_of(weights))


def _classes_of(weights: Any) -> tuple[str, ...] | None:
    categories = weights.meta.get("categories")
    is_detector = isinstance(categories, list) and categories[:1] == ["__background__"]
    return tuple(categories[1:]) if is_detector else None


def _classes(content: Mapping[str, Any]) -> tuple[str, ...] | None:
    classes = content.get("classes")
    return tuple(str(name) for name in classes) if isinstance(classes, list | tuple) else None
