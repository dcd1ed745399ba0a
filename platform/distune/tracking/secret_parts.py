"""Finds users and secrets in text with URIs, in time that grows linearly with the text."""

from __future__ import annotations

import re
from collections.abc import Iterator

Span = tuple[int, int]
"""Start and end of a part of a text."""

_USER = re.compile(r"[^/\s'\"@:]*:")
_PORT = re.compile(r"\d+(?:[/?#\s]|$)")
_PORT_IN_PROSE = re.compile(r"\d+(?:[/?#\s,;:)]|$)")
_UP_TO_SLASH = re.compile(r"[^/\s]*@")
_SERVERS = ("http://", "https://")

_NAME = re.compile(r"([\w.-]++)(=|%3D)?", re.IGNORECASE)
_VALUE = re.compile(r"(?:(?!%3B|%26)[^&;\s'\"])+", re.IGNORECASE)
_BRACE = re.compile(r"\{|%7B", re.IGNORECASE)
_SECRET_WORDS = (
    *("password", "passwd", "passphrase", "pwd", "token", "secret", "credential", "signature"),
    *(f"{owner}{joint}key" for owner in ("api", "access", "account") for joint in ("", "_", "-")),
)
_SECRET_FIELDS = ("sig", "sas", "key", "pass", "auth", "code")
"""Ordinary words, which are secrets only as the name of a field."""


def user_spans(text: str) -> Iterator[Span]:
    """Yield the part of each URI from its ``://`` up to the ``@`` behind user and password."""
    next_space, next_at = _Next(text, r"\s"), _Next(text, "@")
    next_line = _Next(text, r"\n")
    word_end = last_at = -1
    start = text.find("://")
    while start >= 0:
        start += len("://")
        if start >= word_end:  # once for each word: a search for each URI of a word would take quadratic time
            word_end = next_space(start)
            last_at = text.rfind("@", start, word_end)
        user = _USER.match(text, start)
        end = -1
        if user is not None:
            password = user.end()
            is_server = text.endswith(_SERVERS, 0, start)
            has_digit = text[password : password + 1].isdecimal()
            # Also with slashes and quotes. A port is none, but paths of databases have no @, so digits and an @ are.
            if last_at >= password and (
                _PORT.match(text, password) is None or (has_digit and not is_server and last_at > password)
            ):
                end = last_at + 1
            elif not is_server and _begins_password(text, password):  # with spaces
                at = next_at(password)
                end = at + 1 if at < next_line(password) else -1
        if end < 0:
            other = _UP_TO_SLASH.match(text, start)
            end = -1 if other is None else other.end()
        if end >= 0:
            yield start, end
        start = text.find("://", max(start, end))


def secret_spans(text: str) -> Iterator[Span]:
    """Yield the values of all fields whose names say that they are secret, such as ``token=...``."""
    closings = {"{": _Next(text, r"\}"), "%7B": _Next(text, "%7D")}
    next_line = _Next(text, r"\n")
    position = 0
    while (found := _NAME.search(text, position)) is not None:
        position = found.end()
        if found[2] is None or not _is_secret(found[1], text[max(0, found.start() - 1) : found.start()]):
            continue
        end = -1
        brace = _BRACE.match(text, position)
        if brace is not None:
            closing = closings[brace[0].upper()](brace.end())
            end = closing + len(brace[0]) if closing < next_line(brace.end()) else -1
        if end < 0:
            value = _VALUE.match(text, position)
            end = -1 if value is None else value.end()
        if end >= 0:
            yield position, end
            position = end


def _begins_password(text: str, start: int) -> bool:
    following = text[start : start + 1]
    return following.strip() != "" and _PORT_IN_PROSE.match(text, start) is None


def _is_secret(name: str, before: str) -> bool:
    """Return whether a field is secret, given its name and the character before it."""
    folded = name.casefold()
    if any(word in folded for word in _SECRET_WORDS):
        return True
    if before == "%":  # the separator is encoded: %26, and its digits belong to the word
        return folded[:2] in ("3f", "26", "3b") and folded[2:] in _SECRET_FIELDS
    return before in ("?", "&", ";") and folded in _SECRET_FIELDS


class _Next:
    """Finds the next occurrence of a pattern, in linear time for all positions together when they increase."""

    def __init__(self, text: str, pattern: str) -> None:
        self._text = text
        self._pattern = re.compile(pattern, re.IGNORECASE)
        self._searched, self._found = 0, -1

    def __call__(self, position: int) -> int:
        """Return the first place at or after ``position``; the length of the text when there is none."""
        if not self._searched <= position <= self._found:
            match = self._pattern.search(self._text, position)
            self._searched, self._found = position, len(self._text) if match is None else match.start()
        return self._found
