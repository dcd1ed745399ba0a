"""Commands whose flags are shown without a type: ``--json``, and not ``--json <bool>``."""

from __future__ import annotations

from typing import Any

from typer.core import TyperCommand, TyperGroup


class Command(TyperCommand):
    """A command."""

    def get_params(self, ctx: Any) -> list[Any]:
        """Return the parameters, with the help option."""
        return _without_types(super().get_params(ctx))


class Group(TyperGroup):
    """The program with all commands."""

    def get_params(self, ctx: Any) -> list[Any]:
        """Return the parameters, with the help option."""
        return _without_types(super().get_params(ctx))


def _without_types(params: list[Any]) -> list[Any]:
    for param in params:
        if getattr(param, "is_flag", False):
            param.metavar = ""
    return params
