"""Limits of YAML files: size, depth, and what aliases (``*name``) expand to. Checked before anything is built."""

from __future__ import annotations

import dataclasses

import yaml

MAX_CHARACTERS = 1_000_000
"""Length of a file."""
MAX_VALUES = 20_000
"""Keys and values of a file, with those that aliases repeat."""
MAX_DEPTH = 40
"""Lists and mappings inside of each other, with those that aliases repeat."""
_START = (yaml.MappingStartEvent, yaml.SequenceStartEvent)
_END = (yaml.MappingEndEvent, yaml.SequenceEndEvent)


class LimitError(yaml.MarkedYAMLError):
    """The file is beyond a limit."""


@dataclasses.dataclass
class _Extent:
    """A value of the file: its anchor, the number of values in it, and how deep they go."""

    anchor: str | None = None
    size: int = 1
    depth: int = 0

    def add(self, other: _Extent) -> None:
        """Add a value inside of this one."""
        self.size += other.size
        self.depth = max(self.depth, other.depth + 1)


class _Extents:
    """Measures the values of a file from its events, in their order."""

    def __init__(self) -> None:
        self._open = [_Extent()]
        self._anchors: dict[str, _Extent] = {}

    def add(self, event: yaml.Event) -> str | None:
        """Take the next event. Returns a problem, None when there is none."""
        if isinstance(event, yaml.AliasEvent):
            if any(each.anchor == event.anchor for each in self._open):
                return f"*{event.anchor} stands inside of &{event.anchor} itself"
            self._open[-1].add(self._anchors.get(str(event.anchor), _Extent()))
        elif isinstance(event, yaml.ScalarEvent):
            self._close(_Extent(event.anchor))
        elif isinstance(event, _START):
            self._open.append(_Extent(event.anchor))
        elif isinstance(event, _END):
            self._close(self._open.pop())
        if max(len(self._open) - 1, self._open[-1].depth) > MAX_DEPTH:
            return f"has more than {MAX_DEPTH} lists and mappings inside of each other"
        if sum(each.size for each in self._open) > MAX_VALUES:
            return f"has more than {MAX_VALUES} values, counting those that aliases (*name) repeat"
        return None

    def _close(self, extent: _Extent) -> None:
        if extent.anchor is not None:
            self._anchors[extent.anchor] = extent
        self._open[-1].add(extent)


def check_limits(text: str, loader: type[yaml.SafeLoader]) -> None:
    """Check a YAML text without building its values.

    Args:
        text: of the file.
        loader: parses it.

    Raises:
        LimitError: it is beyond a limit.
        yaml.YAMLError: it is not YAML.
    """
    if len(text) > MAX_CHARACTERS:
        raise LimitError(problem=f"has more than {MAX_CHARACTERS} characters")
    extents = _Extents()
    for event in yaml.parse(text, Loader=loader):
        problem = extents.add(event)
        if problem is not None:
            raise LimitError(problem=problem, problem_mark=event.start_mark)  # type: ignore[arg-type]
