"""Names of options in the text of a page: they stay whole at the end of a line, where a browser breaks at hyphens."""

from __future__ import annotations

import re

_APART = re.compile(r"(<(script|style|svg|pre|title|textarea)\b.*?</\2>|<[^>]*>)", re.DOTALL)
_OPTION = re.compile(r"(?<![\w-])--[a-z](?:[\w-]*\w)?")


def unbroken(html: str) -> str:
    """Return a page in which each option of a command, as ``--all-rows``, is on one line; its text is unchanged."""
    found, end = [], 0
    for tag in _APART.finditer(html):
        found += [_whole(html[end : tag.start()]), tag[0]]
        end = tag.end()
    return "".join([*found, _whole(html[end:])])


def _whole(text: str) -> str:
    return _OPTION.sub(r'<span class="nb">\g<0></span>', text)
