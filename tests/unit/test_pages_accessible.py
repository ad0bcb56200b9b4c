"""What can be said of the pages without a browser: contrast, names, order, and that they are alone.

`tests/browser/axe.mjs` asks axe-core in Chromium, which sees the rest.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path

import pytest

from dino_trainer import pages
from dino_trainer.inference.rendering import MOST_SHOWN
from dino_trainer.pages.gallery import MOST_LINKS, Gallery, GalleryPicture
from dino_trainer.pages.plot import TONES
from tests.unit.pages_made import PAGES, inference

STYLE = (Path(pages.__file__).parent / "templates" / "style.css").read_text()
NAME = r"--([\w-]+): (#[0-9a-f]{6})"
EVERY_PAGE = pytest.mark.parametrize("text", [make() for make in PAGES.values()], ids=PAGES)
VOID = {"meta", "img", "input", "br", "link", "hr", "line", "rect"}


class Tree(HTMLParser):
    """Elements with their attributes, text and the tags around them."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[tuple[str, dict[str, str], list[str]]] = []
        self.all: list[tuple[str, dict[str, str], list[str], list[str]]] = []
        self.feed(text)
        assert not self.open, f"left open: {[tag for tag, *_ in self.open]}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given, words = {name: value or "" for name, value in attrs}, list[str]()
        self.all.append((tag, given, words, [each for each, *_ in self.open]))
        if tag not in VOID:
            self.open.append((tag, given, words))

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.all.append((tag, {n: v or "" for n, v in attrs}, [], [each for each, *_ in self.open]))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop()[0] == tag, "closed in another order"

    def handle_data(self, data: str) -> None:
        for _, _, words in self.open:
            words.append(data)

    def of(self, *tags: str) -> list[tuple[str, dict[str, str], str, list[str]]]:
        return [(tag, a, "".join(w).strip(), up) for tag, a, w, up in self.all if tag in tags]


def themes() -> dict[str, dict[str, str]]:
    """The colours of each theme; what the dark one leaves out is that of the light one."""
    light, dark = STYLE.split("@media screen and (prefers-color-scheme: dark)")
    first = dict(re.findall(NAME, light))
    return {"light": first, "dark": first | dict(re.findall(NAME, dark))}


def luminance(colour: tuple[float, ...]) -> float:
    parts = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in colour]
    return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2]


def rgb(text: str) -> tuple[float, ...]:
    return tuple(int(text[at : at + 2], 16) / 255 for at in (1, 3, 5))


def contrast(one: tuple[float, ...], other: tuple[float, ...]) -> float:
    """WCAG's ratio, 1 to 21."""
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def pairs() -> Iterator[tuple[str, str, float]]:
    """What stands on what, and the ratio that WCAG AA asks: 4.5 of text, 3 of shapes."""
    for text in ("text", "muted", "link"):
        yield from ((text, ground, 4.5) for ground in ("page", "card"))
    for soft in ("good-soft", "bad-soft", "warn-soft"):
        yield from (("text", soft, 4.5), ("link", soft, 4.5))
    yield from (("bad", "card", 4.5), ("warn", "card", 4.5), ("bad", "good-soft", 4.5))
    yield from ((f"t{tone}", "card", 3) for tone in range(TONES))


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_all_that_is_written_can_be_read(theme: str) -> None:
    colours = themes()[theme]
    for upper, lower, least in pairs():
        ratio = contrast(rgb(colours[upper]), rgb(colours[lower]))
        assert ratio >= least, f"{upper} on {lower} in the {theme} theme: {ratio:.2f}"


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_numbers_on_the_darkest_cell_of_a_matrix_can_be_read(theme: str) -> None:
    colours = themes()[theme]
    [most] = re.findall(r"var\(--share\) \* ([.\d]+)\)", STYLE)
    heat, card = rgb(colours["heat"]), rgb(colours["card"])
    cell = tuple(float(most) * h + (1 - float(most)) * c for h, c in zip(heat, card, strict=True))
    assert contrast(rgb(colours["text"]), cell) >= 4.5


def test_the_themes_differ_in_every_colour_but_none_is_missing() -> None:
    light, dark = themes().values()
    used = set(re.findall(r"var\(--([\w-]+)", STYLE)) - {"share", "tone", "t"}
    assert used <= set(light)
    assert not [name for name in light if light[name] == dark[name]]


@EVERY_PAGE
def test_a_page_says_its_language_title_and_parts(text: str) -> None:
    tree = Tree(text)
    [(_, html, _, _)] = tree.of("html")
    assert html["lang"] == "en"
    [title] = [words for _, _, words, up in tree.of("title") if "head" in up]
    assert title.startswith("dino ")
    assert [tag for tag, *_ in tree.of("header", "main")] == ["header", "main"]
    [(_, nav, _, _)] = tree.of("nav")
    assert nav["aria-label"]
    assert "width=device-width" in text


@EVERY_PAGE
def test_headings_descend_by_one_and_every_part_is_in_the_list(text: str) -> None:
    tree = Tree(text)
    levels = [int(tag[1]) for tag, *_ in tree.of("h1", "h2", "h3", "h4")]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(b <= a + 1 for a, b in pairwise(levels))
    parts = [given["id"] for _, given, _, _ in tree.of("section")]
    listed = [given["href"][1:] for _, given, _, up in tree.of("a") if "nav" in up]
    assert listed == parts
    assert all("section" in up for *_, up in tree.of("h2"))


@EVERY_PAGE
def test_whatever_is_seen_or_pressed_has_a_name(text: str) -> None:
    tree = Tree(text)
    assert all(given["alt"] for _, given, *_ in tree.of("img"))
    for _, given, _, _ in tree.of("svg"):
        assert given.get("aria-hidden") == "true" or (given["role"], bool(given["aria-label"])) == (
            "img",
            True,
        )
    for _, given, words, up in tree.of("a", "select"):
        assert words or given.get("aria-label") or "figure" in up
        assert "a" not in up
    assert all("label" in up for *_, up in tree.of("select"))
    assert all(given["scope"] for _, given, *_ in tree.of("th"))
    for _, given, _, _ in tree.of("div"):
        if given.get("class") == "scroll":
            assert (given["tabindex"], given["role"]) == ("0", "region")
            assert given["aria-label"]


@EVERY_PAGE
def test_ids_are_unique_and_every_link_leads_to_one(text: str) -> None:
    tree = Tree(text)
    ids = [given["id"] for _, given, _, _ in tree.all if "id" in given]
    assert len(ids) == len(set(ids))
    for _, given, _, _ in tree.of("a"):
        assert given["href"][0] == "#"
        assert given["href"][1:] in ids


@EVERY_PAGE
def test_a_page_is_alone(text: str) -> None:
    """No script, no other file, and a policy that lets a browser ask for none."""
    tree = Tree(text)
    assert not tree.of("script", "link", "iframe", "object", "embed", "form", "base")
    sources = [given[name] for _, given, *_ in tree.all for name in ("src", "srcset", "data")
               if name in given]  # fmt: skip
    assert all(one.startswith("data:image/jpeg;base64,") for one in sources)
    assert not [name for _, given, *_ in tree.all for name in given if name.startswith("on")]
    assert "url(" not in text
    assert "@import" not in text
    [policy] = [
        given["content"]
        for _, given, *_ in tree.of("meta")
        if given.get("http-equiv") == "Content-Security-Policy"
    ]
    assert policy == "default-src 'none'; img-src data:; style-src 'unsafe-inline'"


def test_a_page_of_many_pictures_is_as_large_as_they_are() -> None:
    """Of each picture there is one copy, and little besides."""
    jpeg = b"x" * 90_000
    more = len(inference(MOST_SHOWN, jpeg)) - len(inference(0))
    assert more < MOST_SHOWN * (len(jpeg) * 4 / 3 + 2000)
    assert len(inference(0)) < 40_000


def test_what_pictures_are_about_leads_to_the_first_of_them() -> None:
    shown = [GalleryPicture(str(n), b"", classes={"a"} if n % 2 else {"a", "b"}, about={n})
             for n in range(9)]  # fmt: skip
    gallery = Gallery(shown)
    assert gallery.filters == [("a", 9), ("b", 5)]
    assert [gallery.kinds(one) for one in shown[:2]] == ["c1 c2", "c1"]
    assert gallery.about("b") == [1, 3, 5][:MOST_LINKS]
    assert gallery.about(8) == [9]
    assert gallery.about("c") == []
