"""Python source in pieces: the imports that it needs, classes and functions, and the lines of one function."""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from typing import Any

_WIDTH = 100


@dataclasses.dataclass
class SourceCode:
    """Source that builds a detector.

    Attributes:
        modules: modules that are imported as a whole.
        names: module to the names that are imported from it.
        definitions: classes and functions, each once.
        lines: of the function that builds the detector, not indented.
    """

    modules: set[str] = dataclasses.field(default_factory=set)
    names: dict[str, set[str]] = dataclasses.field(default_factory=lambda: defaultdict(set))
    definitions: list[str] = dataclasses.field(default_factory=list)
    lines: list[str] = dataclasses.field(default_factory=list)

    def use(self, module: str, *names: str) -> None:
        """Import names from a module, or the module itself without names."""
        if names:
            self.names[module].update(names)
        else:
            self.modules.add(module)

    def define(self, text: str) -> None:
        """Add a class or function."""
        if text not in self.definitions:
            self.definitions.append(text)

    def add(self, text: str) -> None:
        """Add a line, or several, to the function that builds the detector."""
        self.lines += text.splitlines()

    def imports(self, top_level: tuple[str, ...]) -> str:
        """Return the import statements of modules below some top-level packages, sorted; empty if there is none."""
        plain = [f"import {name}" for name in sorted(self.modules) if _top(name) in top_level]
        named = [
            _fit(f"from {name} import ", sorted(self.names[name], key=_as_isort))
            for name in sorted(self.names)
            if _top(name) in top_level
        ]
        return "\n".join([*plain, *named])


def call(function: str, *arguments: Any, **named: Any) -> str:
    """Return the text of a call, over several lines where it is long.

    Args:
        function: the text before the brackets.
        *arguments: text of each.
        **named: name to text; those that are None are left out.

    Returns:
        Source.
    """
    parts = [str(each) for each in arguments]
    parts += [f"{name}={value}" for name, value in named.items() if value is not None]
    line = f"{function}({', '.join(parts)})"
    if len(line) <= _WIDTH and "\n" not in line:
        return line
    indented = "".join("    " + part.replace("\n", "\n    ") + ",\n" for part in parts)
    return f"{function}(\n{indented})"


def _fit(start: str, names: list[str]) -> str:
    line = start + ", ".join(names)
    if len(line) <= _WIDTH:
        return line
    return start + "(\n" + "".join(f"    {name},\n" for name in names) + ")"


def _top(module: str) -> str:
    return module.partition(".")[0]


def _as_isort(name: str) -> tuple[bool, str]:
    """Classes come before functions."""
    return name[0].islower(), name
