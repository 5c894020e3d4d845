"""What a reader of the HTML sees: sections with their texts, and every address in the page."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from html.parser import HTMLParser

_VOID = {"meta", "link", "br", "wbr", "img", "input", "hr"}
_ADDRESSES = {"href", "src", "srcset", "xlink:href", "action", "data", "poster", "background"}


@dataclass
class PageReader(HTMLParser):
    """Texts by section title, rows of tables, addresses, names of elements; nesting is checked on the way."""

    texts: dict[str, list[str]] = field(default_factory=lambda: {"": []})
    rows: list[list[str]] = field(default_factory=list)
    addresses: list[str] = field(default_factory=list)
    elements: list[str] = field(default_factory=list)
    ids: list[str] = field(default_factory=list)
    attributes: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__()
        self._open: list[str] = []
        self._section = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append(tag)
        self.addresses += [value or "" for name, value in attrs if name in _ADDRESSES]
        self.attributes += [name for name, _ in attrs]
        self.ids += [value or "" for name, value in attrs if name == "id"]
        if tag not in _VOID:
            self._open.append(tag)
        if tag == "tr":
            self.rows.append([])
        if tag in ("th", "td"):
            self.rows[-1].append("")

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag, tag

    def handle_data(self, data: str) -> None:
        text = " ".join(data.split())
        if not text:
            return
        if self._open[-1:] == ["style"]:
            self.addresses += re.findall(r"url\((.*?)\)", data)
            return
        if self._open[-1] in ("h2", "h3"):
            self._section = text
            self.texts.setdefault(text, [])
        self.texts[self._section].append(text)
        if {"th", "td"} & set(self._open):
            self.rows[-1][-1] = f"{self.rows[-1][-1]} {text}".strip()

    def text(self, section: str) -> str:
        return " ".join(self.texts[section])


def read_page(html: str) -> PageReader:
    reader = PageReader()
    reader.feed(html)
    reader.close()
    assert reader._open == []
    return reader
