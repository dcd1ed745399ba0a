"""Options that would have no effect are refused, with the reason."""

from __future__ import annotations

import pytest

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
