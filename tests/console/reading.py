"""A page as a strict reader sees it: what can be read, what it loads, and whether its parts close in order."""

import re
from html.parser import HTMLParser

VOID = {"meta", "link", "input", "br", "img", "hr"}
IN_PICTURES = {"rect", "line", "circle", "path"}


class Page(HTMLParser):
    """One page; reading it asserts that it is well formed and has nothing inline that could run or style."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.ids: list[str] = []
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.pieces: list[str] = []
        self.texts_by_id: dict[str, str] = {}
        self._within: list[str | None] = []
        assert html.lower().startswith("<!doctype html>")
        self.feed(html)
        self.close()
        assert self.open == []
        assert len(self.ids) == len(set(self.ids))

    @property
    def text(self) -> str:
        """Everything there is to read, with single blanks."""
        return re.sub(r"\s+", " ", "".join(self.pieces))

    def attributes(self, name: str) -> list[str]:
        """The values of an attribute, wherever it is."""
        return [given[name] for _, given in self.tags if name in given]

    def elements(self, tag: str) -> list[dict[str, str]]:
        """The attributes of each element of this kind."""
        return [given for name, given in self.tags if name == tag]

    def chosen(self, select: str) -> str:
        """The value chosen in a list."""
        start = next(n for n, (tag, given) in enumerate(self.tags) if tag == "select" and given["name"] == select)
        return next(given["value"] for tag, given in self.tags[start:] if tag == "option" and "selected" in given)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        assert len(given) == len(attrs), f"an attribute of <{tag}> is given twice"
        assert "style" not in given, f"<{tag}> has a style of its own"
        assert not any(name.startswith("on") for name in given), f"<{tag}> runs something"
        assert tag != "style"
        assert tag != "script" or given.get("src", "").startswith("/assets/")
        self.tags.append((tag, given))
        if "id" in given:
            self.ids.append(given["id"])
        if tag not in VOID:
            self.open.append(tag)
            self._within.append(given.get("id"))
        if tag in {"p", "td", "th", "dt", "dd", "li", "div", "h1", "h2", "h3", "h4", "title", "option"}:
            self.handle_data(" ")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag in IN_PICTURES, f"<{tag}/> closes itself"
        self.handle_starttag(tag, attrs)
        self.handle_endtag(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag, f"</{tag}> closes something else"
        self._within.pop()

    def handle_data(self, data: str) -> None:
        self.pieces.append(data)
        for name in self._within:
            if name is not None:
                self.texts_by_id[name] = self.texts_by_id.get(name, "") + data
