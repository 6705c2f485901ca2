"""What a page of HTML holds, as far as tests ask."""

from __future__ import annotations

from html.parser import HTMLParser


class Page(HTMLParser):
    """Parses a page.

    Attributes:
        requests: what a browser would fetch: every address that is not in the page itself.
        tags: how many there are of each.
        unnamed: images without a text in their place.
        text: everything that is to be read, joined by spaces.
    """

    def __init__(self, html: str) -> None:
        super().__init__()
        self.requests: list[str] = []
        self.tags: dict[str, int] = {}
        self.unnamed = 0
        self._texts: list[str] = []
        self._hidden = 0
        self.feed(html)
        self.close()

    @property
    def text(self) -> str:
        return " ".join(" ".join(self._texts).split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        self.tags[tag] = self.tags.get(tag, 0) + 1
        for name in ("src", "srcset", "href", "data", "action", "poster"):
            address = values.get(name)
            if address and not address.startswith(("data:", "#")):
                self.requests.append(address)
        if tag == "img" and not values.get("alt"):
            self.unnamed += 1
        self._hidden += tag in ("style", "title")

    def handle_endtag(self, tag: str) -> None:
        self._hidden -= tag in ("style", "title")

    def handle_data(self, data: str) -> None:
        if self._hidden:
            for trace in ("url(", "@import"):
                if trace in data:
                    self.requests.append(trace)
        else:
            self._texts.append(data)
