"""Values are written for users as in YAML."""

from __future__ import annotations

from distune.config.format_value import format_value


def test_values_are_written_as_in_yaml() -> None:
    values = (True, False, None, 1, 0, 0.123456, "linear")
    assert [format_value(value) for value in values] == ["true", "false", "null", "1", "0", "0.123456", "linear"]
    assert [format_value(value, digits=3) for value in (True, None, 3, 0.123456, "linear")] == [
        "true",
        "null",
        "3",
        "0.123",
        "linear",
    ]
