"""Pages: values of `model` put into HTML by the templates beside this module, and what browsers may do with them.

Everything is escaped but what this module makes itself: the colours of sample code.
"""

from collections.abc import Mapping

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from pygments import highlight
from pygments.formatters.html import HtmlFormatter
from pygments.lexers.javascript import TypeScriptLexer
from pygments.lexers.python import PythonLexer
from pygments.lexers.shell import BashLexer

from tollgate.console import shelf
from tollgate.console.model import CataloguePage, FailurePage, ModelPage, PriceState

MEDIA_TYPE = "text/html"
HEADERS: Mapping[str, str] = {
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; form-action 'self'; "
        "base-uri 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}
"""Nothing is loaded from elsewhere, nothing inside a page can run or style, and no other page can frame it."""

_LEXERS = {
    "openai-python": PythonLexer(ensurenl=True),
    "python": PythonLexer(ensurenl=True),
    "typescript": TypeScriptLexer(ensurenl=True),
    "openai-typescript": TypeScriptLexer(ensurenl=True),
    "curl": BashLexer(ensurenl=True),
}
_FORMATTER: "HtmlFormatter[str]" = HtmlFormatter(nowrap=True, classprefix="hl-")


def catalogue(page: CataloguePage) -> str:
    """The catalogue."""
    return _TEMPLATES.get_template("catalogue.html").render(page=page)


def model(page: ModelPage) -> str:
    """A model's page."""
    return _TEMPLATES.get_template("model.html").render(page=page)


def failure(page: FailurePage) -> str:
    """Why there is no page."""
    return _TEMPLATES.get_template("failure.html").render(page=page)


def _coloured(code: str, language: str) -> Markup:
    """Sample code with its words marked by class; the library escapes what it marks."""
    return Markup(highlight(code, _LEXERS[language], _FORMATTER))  # noqa: S704 - as above


def _environment() -> Environment:
    made = Environment(
        loader=PackageLoader("tollgate.console"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    made.globals |= {"asset": shelf.path_of, "PriceState": PriceState}
    made.filters["coloured"] = _coloured
    return made


_TEMPLATES = _environment()
