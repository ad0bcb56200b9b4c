"""The docs as a site: each page has its place, each link an end, no other host is asked."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
PAGES = sorted(page for page in DOCS.rglob("*.md") if "decisions" not in page.parts)
SCRIPT = re.compile(r"<(?:script|link|img)\b[^>]*?\b(?:src|href)=\"?(https?:[^\s\">]+)")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built site. Strictly: a dead link or a page without a place ends the build."""
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return folder


def test_every_page_is_there(site: Path) -> None:
    for page in PAGES:
        where = page.relative_to(DOCS).with_suffix("")
        assert (site / ("" if where.name == "index" else where) / "index.html").is_file(), page


def test_a_reader_asks_no_other_host(site: Path) -> None:
    asked = {
        address
        for page in site.rglob("*.html")
        for address in SCRIPT.findall(page.read_text())
        if 'rel="canonical"' not in address
    }
    assert asked == set()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(DOCS)))
def test_a_page_that_names_another_links_to_it(page: Path) -> None:
    named = re.findall(r"(?<!\[)`docs/[\w/-]+\.md`", page.read_text())
    assert not named, "write [title](page.md)"


PARTS = [
    "Start", "Install", "Data", "Train", "Search", "Deploy", "From TAO", "Reference", "Project",
]  # fmt: skip
"""In a reader's order: from the first look to a change of the project."""


def test_the_site_leads_from_the_start_to_the_project() -> None:
    nav = yaml.safe_load((ROOT / "mkdocs.yml").read_text())["nav"]
    assert [name for part in nav for name in part] == PARTS
    start = [page for entry in nav[0]["Start"] for page in entry.values()]
    assert start[:4] == ["index.md", "quickstart.md", "concepts.md", "verified.md"]


def test_a_photograph_of_a_dataset_is_an_image_on_every_page() -> None:
    """A picture is a drawing for the reader: a page's, a chart, an image with boxes on it."""
    drawings = re.compile(
        r"drawn pictures|pages and pictures|README's picture|pictures of the validation"
        r"|\[the picture|\| picture \|",
        re.IGNORECASE,
    )
    left = [
        f"{page.relative_to(DOCS)}: {line.strip()}"
        for page in PAGES
        for line in prose(page.read_text()).splitlines()
        if re.search(r"\bpictures?\b", drawings.sub("", line), re.IGNORECASE)
    ]
    assert not left, "write image:\n" + "\n".join(left)


def prose(text: str) -> str:
    """A page without its blocks, its code and the targets of its links."""
    text = re.sub(r"^```.*?^```$", "", text, flags=re.DOTALL | re.MULTILINE)
    return re.sub(r"`[^`\n]*`|\]\([^)]*\)|^    .*$", "", text, flags=re.MULTILINE)
