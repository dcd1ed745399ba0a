"""Options that would have no effect are refused, with the reason."""

from __future__ import annotations

import inspect
from collections.abc import Callable

import pytest

from distune import launch, validate
from support.command_line import Distune


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("status", "--params"), "--params and --trial show one study; name it"),
        (("status", "--trial", "3"), "--params and --trial show one study; name it"),
        (("validate", "quickstart", "--probe-images", "3"), "--probe-images has no effect without --probe"),
        (
            ("launch", "quickstart", "--warm-start-top", "3"),
            "--warm-start-top has no effect without --warm-start STUDY",
        ),
        (
            ("launch", "quickstart", "--runner", "local", "--address", "auto"),
            "--address has no effect with --runner local",
        ),
    ],
)
def test_it_is_refused(distune: Distune, arguments: tuple[str, ...], text: str) -> None:
    answer = distune(*arguments)
    assert answer.status == 2
    assert text in answer.err
    assert answer.err.count("error: ") == 1


@pytest.mark.parametrize(
    ("command", "function", "parameter"),
    [("validate", validate, "num_probe_images"), ("launch", launch, "warm_start_top")],
)
def test_help_states_the_default_of_the_python_interface(
    distune: Distune, command: str, function: Callable[..., object], parameter: str
) -> None:
    default = inspect.signature(function).parameters[parameter].default
    words = " ".join(distune(command, "--help").out.replace("│", " ").split())
    assert f"Default: {default}." in words
