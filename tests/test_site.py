"""The documentation builds as a site, without a warning, and every link in it leads to something."""

from __future__ import annotations

import os
import re
from pathlib import Path
from urllib.parse import unquote, urldefrag

import pytest
from mkdocs.commands.build import build
from mkdocs.config import load_config
from mkdocs.exceptions import Abort

ROOT = Path(__file__).parents[1]
LINK = re.compile(r'(?:href|src)="([^"]+)"')
ELSEWHERE = re.compile(r"(https?|data|mailto):|//")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built pages; a warning ends the build."""
    folder = tmp_path_factory.mktemp("site")
    build(load_config(str(ROOT / "mkdocs.yml"), site_dir=str(folder)))
    return folder


def test_every_link_leads_to_something(site: Path) -> None:
    pages = [*site.rglob("*.html")]
    assert len(pages) >= 20
    absent = set()
    for page in pages:
        for link in LINK.findall(page.read_text("utf-8")):
            path, fragment = urldefrag(unquote(link))
            if ELSEWHERE.match(link) or page.name == "404.html":
                continue
            target = page if not path else Path(os.path.normpath(page.parent / path))
            target = target / "index.html" if target.is_dir() else target
            is_there = target.is_file()
            if is_there and fragment and target.suffix == ".html":
                is_there = f'id="{fragment}"' in target.read_text("utf-8") or fragment.startswith("__")
            absent |= set() if is_there else {f"{page.name}: {link}"}
    assert not absent


def test_files_that_a_page_names_come_along(site: Path) -> None:
    for name in ("config/mnist/small.yaml", "benchmarks/results/growth_batch.png"):
        assert (site / "files" / name).read_bytes() == (ROOT / name).read_bytes()


def test_names_have_their_texts(site: Path) -> None:
    text = (site / "reference.html").read_text("utf-8")
    assert "Put DEC into a timm backbone, in place" in text and "The number of knots per axis" not in text
    assert all(f'id="{name}"' in text for name in ("models.dec.with_dec", "layers.spec.DEC", "hubconf.trained"))


def test_nothing_is_asked_of_the_network(site: Path) -> None:
    """Neither fonts nor scripts of elsewhere: the site is read where there is none."""
    for page in site.rglob("*.html"):
        loaded = re.findall(r'<(?:script|link|img)[^>]+(?:src|href)="(https?:[^"]+)"', page.read_text("utf-8"))
        assert not [link for link in loaded if "canonical" not in link], page.name


def test_a_link_that_leads_nowhere_ends_the_build(tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "index.md").write_text("[there](nowhere.md)\n")
    settings = (ROOT / "mkdocs.yml").read_text().partition("\nnav:")[0].replace("[docs/links.py]", "[]")
    (tmp_path / "mkdocs.yml").write_text(settings)
    with pytest.raises(Abort):
        build(load_config(str(tmp_path / "mkdocs.yml"), site_dir=str(tmp_path / "site")))
