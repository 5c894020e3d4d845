"""From a page to HTML: one file with its styles, drawings and images inside, and no script."""

from __future__ import annotations

from functools import lru_cache

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from ssfe import __version__
from ssfe.lab.report.page import Page

POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'"
"""The page's Content-Security-Policy: a browser fetches nothing, and runs no script, whatever the page holds."""


def render(page: Page) -> str:
    """The HTML of the page."""
    environment = _environment()
    style = Markup(environment.get_template("style.css").render())
    return environment.get_template("page.html.j2").render(page=page, style=style, policy=POLICY, version=__version__)


def breakable(text: str) -> Markup:
    """The text, which may be broken after a colon: the labels of methods with options are long words."""
    return escape(text).replace(":", Markup(":<wbr>"))


@lru_cache(maxsize=1)
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("ssfe.lab.report", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["breakable"] = breakable
    return environment
