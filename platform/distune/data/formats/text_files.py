"""Reads text files of any system."""

from __future__ import annotations

import codecs
from pathlib import Path

from distune.data.regular_file import read_regular

_BYTE_ORDER_MARKS = {codecs.BOM_UTF8: "utf-8-sig", codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}


def read_text(path: Path) -> str:
    """Return the text of a file in UTF-8, or in UTF-16 with a byte order mark, as Windows writes it."""
    content = read_regular(path)
    marked = (encoding for mark, encoding in _BYTE_ORDER_MARKS.items() if content.startswith(mark))
    return content.decode(next(marked, "utf-8"), errors="replace")
