"""Rows as a LaTeX table of the booktabs package."""

from __future__ import annotations

import re
from collections.abc import Sequence

_COMMANDS = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}", ">": r"\textgreater{}",
    "|": r"\textbar{}", "\N{NO-BREAK SPACE}": "~", "−": "$-$", "×": r"$\times$", "–": "--", "…": r"\dots{}",
    "·": r"$\cdot$", "≤": r"$\le$", "≥": r"$\ge$", "→": r"$\to$", "∞": r"$\infty$", "★": r"$\star$",
}  # fmt: skip
LONGEST = 40  # letters of a column whose cells are one line
LONG = r"p{0.4\linewidth}"  # a longer one would end beyond the page
_RAISED = str.maketrans("⁻⁰¹²³⁴⁵⁶⁷⁸⁹", "-0123456789")
_MARKS = (
    r"(?<![\w)*])\*\*(?=[^\s*])(?P<bold>.+?)(?<=[^\s*])\*\*(?!\w)",
    r"(?<=[\w)\]}])\*\*(?P<power>[−-]?\.?\w+(?:\.\w+)*|\([^()]*\))",
    r"(?P<ticks>`+)(?P<code>[^`]+)(?P=ticks)",
    r"\"(?P<double>[^\"]*)\"",
    r"(?<!\w)'(?P<single>[^']*)'(?!\w)",
)
_SPECIAL = re.compile(
    "|".join((*_MARKS, r"\^[−-]?\.?\w+(?:\.\w+)*|[⁻⁰¹²³⁴⁵⁶⁷⁸⁹]+|--+|[\"`" + re.escape("".join(_COMMANDS)) + "]"))
)


def latex_text(text: str) -> str:
    """Return a text with LaTeX's special characters escaped.

    Raised digits and what follows ``^`` or, in a formula, ``**`` are superscripts; ``**bold**`` is bold, code in
    backticks is in typewriter letters, straight quotes around words are curved; hyphens of an option stay hyphens.
    """
    return _SPECIAL.sub(_escaped, text)


def _escaped(found: re.Match[str]) -> str:
    special = found[0]
    if special in _COMMANDS:
        return _COMMANDS[special]
    if found["bold"]:
        return rf"\textbf{{{latex_text(found['bold'])}}}"
    if found["code"]:
        return rf"\texttt{{{latex_text(found['code'])}}}"
    if found["double"] is not None:
        return _quoted("``", found["double"], "''")
    if found["single"] is not None:
        return _quoted("`", found["single"], "'")
    if set(special) <= {"-"}:
        return "{}".join(special)  # two hyphens would be one dash
    if special in ('"', "`"):  # of no pair
        return "''" if special == '"' else r"\textasciigrave{}"
    power = (found["power"] or special).strip("^()").translate(_RAISED).replace("−", "-")
    return f"$^{{{power}}}$" if re.fullmatch(r"[-\d.]+", power) else rf"\textsuperscript{{{latex_text(power)}}}"


def _quoted(opening: str, text: str, closing: str) -> str:
    """Return a text in quotes, kept apart from quotes at its own ends."""
    inner = latex_text(text)
    apart = [inner[:1] in ("", "`"), inner[-1:] == "'"]
    return f"{opening}{'{}' * apart[0]}{inner}{'{}' * apart[1]}{closing}"


def latex_table(
    heads: Sequence[str], rows: Sequence[Sequence[str]], *, words: Sequence[bool], caption: str = "", label: str = ""
) -> str:
    """Return rows of text as a ``tabular`` with the rules of booktabs; in a ``table`` if there is a caption.

    ``words`` are the columns that hold words, which are set to the left, and in lines where they are long; numbers are
    set to the right.
    """
    columns = "".join(
        "r" if not left else LONG if max((len(row[k]) for row in rows), default=0) > LONGEST else "l"
        for k, left in enumerate(words)
    )
    lines = [
        rf"\begin{{tabular}}{{{columns}}}",
        r"\toprule",
        *_lines([heads]),
        r"\midrule",
        *_lines(rows),
        r"\bottomrule",
        r"\end{tabular}",
    ]
    if caption:
        about = [rf"\caption{{{latex_text(caption)}}}", *([rf"\label{{{label}}}"] if label else [])]
        lines = [r"\begin{table}", r"\centering", *about, *lines, r"\end{table}"]
    return "\n".join(lines) + "\n"


def _lines(rows: Sequence[Sequence[str]]) -> list[str]:
    return [rf"{' & '.join(map(latex_text, row))} \\" for row in rows]
