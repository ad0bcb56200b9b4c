"""The reports that people open in a browser: one base, one style, and every name is text.

A page is one file that needs no other and no script. Its template gets facts, and escapes what it
shows of them.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

from jinja2 import Environment, PackageLoader, StrictUndefined

from dino_trainer.pages.gallery import Gallery


@dataclass(frozen=True)
class PageHead:
    """What every page begins with. title: of the window. facts: the numbers that matter most.

    verdict: what came out, in a sentence or two. good: whether that is as it should be.
    """

    title: str
    heading: str
    verdict: str
    good: bool = True
    warnings: Sequence[str] = ()
    facts: Sequence[tuple[str, str]] = ()


def render(template: str, head: PageHead, gallery: Gallery | None = None, **facts: object) -> str:
    """The page of `templates/<template>.html`. A fact that it lacks is an error."""
    given = {"page": head, "gallery": gallery or Gallery(), "outline": []}
    return _environment().get_template(f"{template}.html").render(given, **facts)


@cache
def _environment() -> Environment:
    made = Environment(
        loader=PackageLoader(__name__),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        extensions=["jinja2.ext.do"],
    )
    made.filters |= {"digits": _digits, "thousands": _thousands, "jpeg": _jpeg}
    return made


def _digits(value: float | None, digits: int) -> str:
    """Nothing for a number that is not known."""
    return "" if value is None else f"{value:.{digits}f}"


def _thousands(value: int) -> str:
    return f"{value:,}"


def _jpeg(content: bytes) -> str:
    """A picture as the address of itself."""
    return f"data:image/jpeg;base64,{base64.b64encode(content).decode()}"
