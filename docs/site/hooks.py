"""What MkDocs needs to know of this repository: pages that lie elsewhere in it, and links that hold here and there.

Links in Markdown are those of the repository, so that they work where it is browsed. On the site, those to a page lead
to the page, and those to other files to the repository, if `repo_url` says where that is; else their text is left.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[2]

_LINK = re.compile(r"(?<!!)\[([^\]\n]*(?:\n[^\]\n]+)?)\]\(([^)\s]+)\)")
_FENCE = re.compile(r"(^```.*?^```)", re.DOTALL | re.MULTILINE)


def elsewhere() -> dict[str, str]:
    """Pages that do not lie in `docs/`: their path in the repository by their path on the site."""
    papers = {f"papers/{path.parent.name}.md": f"projects/{path.parent.name}/README.md" for path in _readmes()}
    return {**papers, "components.md": "CONTENTS.md"}


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds the pages from elsewhere."""
    for page, source in elsewhere().items():
        files.append(File.generated(config, page, abs_src_path=str(ROOT / source)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Makes links of the repository links of the site."""
    own = elsewhere().get(page.file.src_uri, f"docs/{page.file.src_uri}")
    pages = {source: name for name, source in elsewhere().items()} | {"README.md": "index.md"}

    def rewritten(match: re.Match[str]) -> str:
        text, target = match.groups()
        if re.match(r"\w+:|#", target):
            return match[0]
        path, hash_, anchor = target.partition("#")
        path = posixpath.normpath(posixpath.join(posixpath.dirname(own), path))
        if not (ROOT / path).exists():
            # As it is, so that MkDocs says where it stands.
            return match[0]
        name = pages.get(path, path.removeprefix("docs/") if path.startswith("docs/") else None)
        if name is not None:
            file = files.get_file_from_path(name)
            if file is not None and file.page is not None and text == target.partition("#")[0].replace("../", ""):
                # Where the text is the path in the repository.
                text = str(file.page.title)
            return f"[{text}]({posixpath.relpath(name, posixpath.dirname(page.file.src_uri) or '.')}{hash_}{anchor})"
        return f"[{text}]({config.repo_url.rstrip('/')}/blob/main/{path})" if config.repo_url else text

    # Code shows Markdown's brackets as they are.
    parts = _FENCE.split(markdown)
    return "".join(part if part.startswith("```") else _LINK.sub(rewritten, part) for part in parts)


def _readmes() -> list[Path]:
    return sorted(ROOT.glob("projects/*/README.md"))
