"""The reports that people open in a browser: one base, one style, and every name is text.

A page is one file that needs no other. Its template gets facts, and escapes what it shows of them;
charts alone are HTML before.
"""

from __future__ import annotations

import base64
from functools import cache
from typing import TYPE_CHECKING

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

if TYPE_CHECKING:
    from plotly.graph_objects import Figure


def render(template: str, **facts: object) -> str:
    """The page of `templates/<template>.html`. A fact that it lacks is an error."""
    return _environment().get_template(f"{template}.html").render(facts)


def chart(figure: Figure, script: bool = False) -> Markup:
    """HTML of a figure. script: with plotly's own (5 MB), which the first one of a page brings."""
    plotly = "inline" if script else False
    return Markup(figure.to_html(full_html=False, include_plotlyjs=plotly))


@cache
def _environment() -> Environment:
    made = Environment(
        loader=PackageLoader(__name__),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
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
