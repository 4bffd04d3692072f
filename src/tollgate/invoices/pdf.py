"""The one door to typst: a stored document becomes a PDF/A-3b file that holds the document as data, too.

The same document makes the same bytes: no clock, system font, file or network has a say in them. As a program, this
module makes one file of the document on its standard input: setting type is work of native code that may take seconds
and cannot be interrupted, so servers have it done by a process of its own (`printing`).
"""

import json
import mmap
import os
import resource
import sys
from collections.abc import Callable, Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any, Final

import msgspec
import typst

from tollgate.invoices.rules.papers import glyphs
from tollgate.invoices.rules.papers.choice import paper_of
from tollgate.invoices.rules.papers.paper import Paper

TAGGED_LINES_MAX = 1000
"""Files of more lines are not tagged for screen readers: tags are most of their size, and of the work."""

_FONT_PACKAGES = ("manimgx_fonts", "manimgx_fonts_cjk")
_FIRST_FONT = "Noto Sans"
_STANDARD: Final = "a-3b"
_TEMPLATE = Path(__file__).parent / "templates" / "document.typ"
_CPU_SECONDS_MAX = 120
_MEMORY_MAX = 4 * 1024**3
_NICENESS = 10
_FIRST_TO_GO = Path("/proc/self/oom_score_adj")
"""Where Linux reads whom to end first when memory is short: this process rather than one that forwards calls."""


def pdf_of(document: str) -> bytes:
    """The file of an invoice, a draft or a credit note, by the JSON text of its document.

    Characters that no font has are named in it, as in `[U+0007]`; what it holds as data is untouched.
    """
    paper = paper_of(document)
    fonts = typst.Fonts(include_system_fonts=False, include_embedded_fonts=False, font_paths=list(_folders()))
    shown = [_characters(path) for folder in _folders() for path in _font_files(folder)]
    try:
        return _compiled(paper, document, fonts, lambda text: glyphs.legible(text, shown))
    except typst.TypstError:
        # PDF/A takes no empty box in the place of a character, and what a font makes of several is known only now.
        return _compiled(paper, document, fonts, glyphs.plain)


def _compiled(paper: Paper, document: str, fonts: typst.Fonts, legible: Callable[[str], str]) -> bytes:
    told = _each_text(msgspec.to_builtins(paper), legible)
    told["fonts"] = [family for family in fonts.families() if family != _FIRST_FONT]
    lines = sum(len(group.rows) for section in paper.sections for group in section.groups)
    compiler = typst.Compiler(
        _TEMPLATE,
        root=_TEMPLATE.parent,
        font_paths=fonts,
        ignore_system_fonts=True,
        sys_inputs={"paper": json.dumps(told), "document": document},
    )
    made = compiler.compile(format="pdf", pdf_standards=_STANDARD, pdf_tags=lines <= TAGGED_LINES_MAX)
    assert isinstance(made, bytes)  # noqa: S101 - only pictures come one for each page
    return made


def _each_text(told: Any, legible: Callable[[str], str]) -> Any:
    if isinstance(told, str):
        return legible(told)
    if isinstance(told, dict):
        return {name: _each_text(value, legible) for name, value in told.items()}
    return [_each_text(each, legible) for each in told] if isinstance(told, list | tuple) else told


def _folders() -> Iterator[str]:
    return (str(files(package)) for package in _FONT_PACKAGES)


def _font_files(folder: str) -> list[Path]:
    return sorted(path for path in Path(folder).iterdir() if path.suffix in {".ttf", ".otf", ".ttc"})


def _characters(path: Path) -> set[int]:
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as font:
        return glyphs.characters(font)


def main() -> None:
    """A document comes in, its PDF goes out, on what processors and memory others leave and within limits."""
    os.nice(_NICENESS)
    resource.setrlimit(resource.RLIMIT_CPU, (_CPU_SECONDS_MAX, _CPU_SECONDS_MAX))
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY_MAX, _MEMORY_MAX))
    if _FIRST_TO_GO.exists():
        _FIRST_TO_GO.write_text("1000")
    sys.stdout.buffer.write(pdf_of(sys.stdin.buffer.read().decode()))


if __name__ == "__main__":
    main()
