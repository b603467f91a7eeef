"""Links of the pages that leave this folder: what they name comes along to the site, other pages are named alone.

On a disk, and where the project is hosted, such a link is followed as it stands. The site has only what lies in docs/,
so that recipes, code and pictures which a page links to are copied into its folder ``files/``.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File

ROOT = Path(__file__).parents[1]
LINK = re.compile(r"(!?)\[([^\]]*)\]\((\.\./[^)#\s]*)(#[^)]*)?\)")


def on_page_markdown(markdown: str, page: Any, config: Any, files: Any) -> str:
    """The text of a page, with the links that leave the folder led to what came along."""

    def led(found: re.Match[str]) -> str:
        mark, text, link, _ = found.groups()
        target = Path(os.path.normpath(Path(page.file.abs_src_path).parent / link))
        if target.is_relative_to(ROOT / "docs"):
            return found[0]
        if not target.is_file() or target.suffix in (".md", ".ipynb"):
            return text if mark else f"{text} (`{target.relative_to(ROOT)}`)"
        name = f"files/{target.relative_to(ROOT)}"
        if files.get_file_from_path(name) is None:
            files.append(File.generated(config, name, abs_src_path=str(target)))
        return f"{mark}[{text}]({os.path.relpath(name, Path(page.file.src_uri).parent)})"

    return LINK.sub(led, markdown)
