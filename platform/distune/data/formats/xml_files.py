"""Reads XML files of others without entities, which can make a small file take all memory."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

from distune.data.regular_file import read_regular

_HEAD_BYTES = 4096


class _NoDoctype(ElementTree.TreeBuilder):
    def doctype(self, name: str, pubid: str | None, system: str | None) -> None:
        raise ValueError(f"has a DOCTYPE ({name}), which is refused because it can define entities")


def parse_xml(path: Path) -> ElementTree.Element:
    """Return the root element of a file.

    Args:
        path: the file.

    Returns:
        The root.

    Raises:
        ElementTree.ParseError: the file is not XML.
        ValueError: it has a document type.
        LookupError: its encoding is unknown.
        OSError: it cannot be read.
    """
    parser = ElementTree.XMLParser(target=_NoDoctype())  # noqa: S314 - no document types, so no entities
    parser.feed(read_regular(path))
    root: ElementTree.Element = parser.close()
    return root


def root_tag(path: Path) -> str:
    """Return the name of the root element, of which only the start is read; empty where the file is not XML."""
    parser: ElementTree.XMLPullParser[ElementTree.Element] = ElementTree.XMLPullParser(events=("start",))
    try:
        parser.feed(read_regular(path)[:_HEAD_BYTES])
        elements = (event[-1] for event in parser.read_events())
        return next((element.tag for element in elements if isinstance(element, ElementTree.Element)), "")
    except (ElementTree.ParseError, ValueError, OSError, LookupError):
        return ""
