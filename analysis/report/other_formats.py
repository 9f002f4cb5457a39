"""A report as Markdown with its pictures, and its tables as LaTeX: made of the page, so that all say the same."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from sweeplaw.analysis.report.page import write_text
from sweeplaw.analysis.tables.files.latex import latex_table
from sweeplaw.trials.errors import InputError

if TYPE_CHECKING:
    from bs4 import BeautifulSoup, Tag
    from markdownify import MarkdownConverter

PICTURES = "report_figures"  # folder of the pictures beside report.md
_UNREAD = "nav, script, style, .js, .skip, #tip, .alt, .dl, .plot .n, .keybar"
_DRAWING = re.compile(r"<svg\b.*?</svg>", re.DOTALL)
_STYLE = re.compile(r"<style>(.*?)</style>", re.DOTALL)
_FONT = re.compile(r"@font-face \{.*?\}\n?")  # a picture takes that of its reader, or it would be ten times as large


def markdown(html: str) -> tuple[str, dict[str, str]]:
    """Return a page (`page.page`) as Markdown, and its pictures by their path beside it, as SVG with light colours."""
    drawings: list[str] = []
    soup = _parsed(_DRAWING.sub(lambda found: _placeholder(found[0], drawings), html))
    for found in soup.select(_UNREAD):
        found.decompose()
    for figure in soup.select("figure:has(.pca)"):  # its axes are controls of the page
        figure.decompose()
    pictures = dict(_pictures(soup, drawings, _FONT.sub("", "".join(_STYLE.findall(html)))))
    _as_text(soup)
    body = soup.find("main") or soup
    text = _converter().convert_soup(body)
    return re.sub(r"\n{3,}", "\n\n", re.sub(r"[ \t]+\n", "\n", text)).strip() + "\n", pictures


def latex_tables(html: str) -> str:
    """Return every table of a page as a LaTeX ``table`` of booktabs, named by the headings that it stands under."""
    soup = _parsed(html)
    _without_breaks(soup)
    found = []
    for number, table in enumerate(soup.find_all("table"), start=1):
        heads, *rows = ([*row.find_all(["th", "td"])] for row in table.find_all("tr"))
        words = ["text" in (cell.get("class") or []) for cell in heads]
        words[0] |= any(_words(row[0])[:1].isalpha() for row in rows)  # the page sets its first column to the left
        names, cells = map(_words, heads), [[_words(cell) for cell in row] for row in rows]
        found.append(latex_table([*names], cells, words=words, caption=_heading(table), label=f"tab:sweeplaw-{number}"))
    return "\n".join(found)


def _converter() -> MarkdownConverter:
    from markdownify import MarkdownConverter

    class Converter(MarkdownConverter):
        """Escapes what begins markup, and leaves underscores and signs of formulas as they are."""

        def escape(self, text: str, parent_tags: set[str]) -> str:
            text = text.replace("&", "&amp;").replace("<", "&lt;")
            return re.sub(r"([\\`*\[|])", r"\\\1", text)

        def convert_img(self, el: Tag, text: str, parent_tags: set[str]) -> str:
            alt = self.escape(str(el.get("alt") or ""), parent_tags).replace("]", r"\]")
            return f"![{alt}]({el['src']})"

        def convert_pre(self, el: Tag, text: str, parent_tags: set[str]) -> str:
            fence = "`" * max([3, *(len(run) + 1 for run in re.findall("`+", text))])
            return f"\n\n{fence}\n{text}\n{fence}\n\n"

    return Converter(heading_style="atx", sup_symbol="<sup>")


def _as_text(soup: BeautifulSoup) -> None:
    """Give what the page lays out by style a form that text has: headings of folds, colons, lines."""
    for badge in soup.select(".badges > div"):
        badge.name = "p"
    for summary in soup.select("summary"):
        summary.name = "h4"
    for start in soup.select(".badges b, .fold summary span:first-child, h4 span:first-child"):
        start.append(": ")
    for tile in soup.select(".tile b"):
        tile.insert_after(" ")
    _without_breaks(soup)


def _without_breaks(soup: BeautifulSoup) -> None:
    for end in soup.select("td br"):
        end.replace_with(": ")


def write_markdown(html: str, folder: Path) -> list[Path]:
    """Write ``report.md`` and its pictures to ``folder`` and return their paths. A link to a file there is replaced.

    Raise InputError if the folder of the pictures is a link.
    """
    if (folder / PICTURES).is_symlink():  # a store from elsewhere may have one: nothing is written behind it
        raise InputError(f"{folder / PICTURES} is a link (accepted: a folder, or nothing)")
    text, pictures = markdown(html)
    return [write_text(folder / name, content) for name, content in {**pictures, "report.md": text}.items()]


def write_latex(html: str, folder: Path) -> Path:
    """Write ``report_tables.tex`` to ``folder`` and return its path. A link there is replaced."""
    return write_text(folder / "report_tables.tex", latex_tables(html))


def _parsed(html: str) -> BeautifulSoup:
    from bs4 import BeautifulSoup

    return BeautifulSoup(html, "html.parser")


def _placeholder(drawing: str, drawings: list[str]) -> str:
    """Return an image in place of a drawing, which no parser of HTML keeps as it is; nothing for a mere ornament."""
    if 'aria-hidden="true"' in drawing.partition(">")[0]:
        return ""
    drawings.append(drawing)
    return f'<img data-drawing="{len(drawings) - 1}">'


def _pictures(soup: BeautifulSoup, drawings: Sequence[str], style: str) -> Iterator[tuple[str, str]]:
    """Give each drawing that is left a file and a text; yield the path and content of the file."""
    for figure in soup.find_all("figure"):
        title = figure.find("h3")
        for number, image in enumerate(figure.select("img[data-drawing]"), start=1):
            name = f"{PICTURES}/{figure.get('id') or 'figure'}{'' if number == 1 else f'-{number}'}.svg"
            label = image.find_previous_sibling("p") or title
            yield name, _alone(drawings[int(str(image["data-drawing"]))], style)
            image["src"], image["alt"] = name, _words(label) if label else ""


def _alone(drawing: str, style: str) -> str:
    """Return a drawing of the page as a file: with its size, in light colours, and with the page's style."""
    head, rest = drawing.split(">", 1)
    box = re.search(r'viewBox="[-\d.]+ [-\d.]+ ([\d.]+) ([\d.]+)"', head)
    size = f' width="{box[1]}" height="{box[2]}" style="width: {box[1]}px; max-width: 100%"' if box else ""
    return (
        f'{head} xmlns="http://www.w3.org/2000/svg"{size} data-theme="light"><style><![CDATA[{style}]]></style>{rest}\n'
    )


def _words(tag: Tag) -> str:
    """Return the text of a cell on one line, raised text after ``^``."""
    pieces = (
        f"^{piece.strip()}" if piece.parent is not None and piece.parent.name == "sup" else str(piece)
        for piece in tag.find_all(string=True)
    )
    return "".join(pieces).replace("\n", " ").strip()


def _heading(table: Tag) -> str:
    """Return the section and the heading above a table."""
    nearest = table.find_previous(["h1", "h2", "h3", "summary"])
    section = table.find_previous("h2")
    titles = [_words(one.find("span") or one) for one in (section, nearest) if one is not None]
    return ": ".join(dict.fromkeys(titles))
