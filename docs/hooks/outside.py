"""A hook of mkdocs: files of the tree that lie outside docs/ are a part of the site.

Links in the documents are true in the tree, as `../SECURITY.md` or `../benchmarks/lesions.png` from
a page under docs/. The site has these files under names of its own; links to them, and from them,
follow.
"""

import posixpath
import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

_ROOT = Path(__file__).parents[2]
_PAGES = {"SECURITY.md": "security.md", "CHANGELOG.md": "changes.md"}
_LINK = re.compile(r"(?<=\]\()(?!\w+:|#)([^)#\s]+)(?=[)#])")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages, and the plots of the benchmarks."""
    plots = (path.relative_to(_ROOT).as_posix() for path in _ROOT.glob("benchmarks/*.png"))
    for inside, name in [*_PAGES.items(), *((plot, plot) for plot in plots)]:
        files.append(File.generated(config, name, abs_src_path=str(_ROOT / inside)))
    return files


def on_page_markdown(markdown: str, page: Page, files: Files, **_: object) -> str:
    """Turn links that are true in the tree into those that are true in the site."""
    names = {Path(file.abs_src_path).resolve(): file.src_uri for file in files if file.abs_src_path}
    assert page.file.abs_src_path is not None  # mkdocs reads every page of this site from a file
    source = Path(page.file.abs_src_path).parent
    folder = posixpath.dirname(page.file.src_uri)

    def in_site(match: re.Match[str]) -> str:
        name = names.get((source / match[1]).resolve())
        return match[1] if name is None else posixpath.relpath(name, folder or ".")

    return _LINK.sub(in_site, markdown)
