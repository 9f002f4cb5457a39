"""What MkDocs calls while it builds the site: pages from code and from the root of the checkout, links, the gallery.

A page may link to any file of the checkout, as it does when it is read there. Links to files outside `docs/` become
links to the page of the site, or to a copy of the file under `source/`.
"""

from __future__ import annotations

import posixpath
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

from docs import gallery, site_pages

ROOT = Path(__file__).resolve().parents[1]
# Pages of the site that are files elsewhere in the checkout.
ELSEWHERE = {
    **{
        f"project/{name.lower()}.md": f"{name}.md"
        for name in ("ARCHITECTURE", "LOG", "CHANGELOG", "CONTRIBUTING", "SECURITY")
    },
    "project/own_script.md": "examples/own_script/README.md",
    "project/own_function.md": "examples/own_function/README.md",
}
_LINK = re.compile(r"(?<=\]\()(?![a-z]+:|#)([^)\s#]+)(?=[)#])")
_FENCE = re.compile(r"(^```.*?^```$)", re.MULTILINE | re.DOTALL)
_made = Path(tempfile.mkdtemp(prefix="sweeplaw-gallery-"))  # beside the site, which MkDocs empties as it begins
_reports: dict[str, subprocess.Popen[bytes]] = {}


def on_pre_build(config: MkDocsConfig) -> None:
    """Start the reports of the gallery, each in a process of its own beside the build."""
    for name in gallery.EXHIBITS:
        command = [sys.executable, "-m", "docs.gallery", name, str(_made / f"{name}.html")]
        _reports[name] = subprocess.Popen(command, cwd=ROOT)


def on_files(files: Files, *, config: MkDocsConfig) -> Files:
    """Add the pages that are not in `docs/`."""
    for path, text in site_pages.pages().items():
        files.append(File.generated(config, path, content=text))
    for path, origin in ELSEWHERE.items():
        files.append(File.generated(config, path, content=(ROOT / origin).read_text(encoding="utf-8")))
    return files


def on_page_markdown(markdown: str, *, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Return the page with its links as the site has them; code blocks stay."""
    parts = _FENCE.split(markdown)
    return "".join(part if index % 2 else _linked(part, page, config, files) for index, part in enumerate(parts))


def _linked(text: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    here = page.file.src_uri
    origin = posixpath.dirname(ELSEWHERE.get(here, f"docs/{here}"))
    sites = {path: site for site, path in ELSEWHERE.items()}

    def replaced(found: re.Match[str]) -> str:
        path = posixpath.normpath(posixpath.join(origin, found[1]))
        if path.startswith("docs/"):
            target = path.removeprefix("docs/")
        elif path in sites:
            target = sites[path]
        elif (ROOT / path).is_file():
            target = f"source/{path}"
            if files.get_file_from_path(target) is None:
                files.append(File.generated(config, target, abs_src_path=str(ROOT / path)))
        else:
            return found[1]  # which MkDocs warns of
        return posixpath.relpath(target, posixpath.dirname(here) or ".")

    return _LINK.sub(replaced, text)


def on_build_error(error: Exception) -> None:
    """End the reports of the gallery when the site cannot be built."""
    for process in _reports.values():
        process.terminate()
        process.wait()
    shutil.rmtree(_made, ignore_errors=True)


def on_post_build(config: MkDocsConfig) -> None:
    """Wait for the reports of the gallery, and add them. Raise PluginError if one failed."""
    if failed := [name for name, process in _reports.items() if process.wait()]:
        raise PluginError(f"the gallery has no report of {', '.join(failed)}")
    shutil.copytree(_made, Path(config.site_dir) / "gallery")
    shutil.rmtree(_made)
