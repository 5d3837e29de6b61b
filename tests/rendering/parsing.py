"""What a browser would see in a fragment of HTML."""

from html.parser import HTMLParser


class Page(HTMLParser):
    """Elements with their attributes, and all text in order."""

    def __init__(self, html):
        super().__init__(convert_charrefs=True)
        self.elements, self.pieces = [], []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.pieces.append(data)

    @property
    def text(self):
        return "".join(self.pieces)

    @property
    def words(self):
        """The spans that have a score, as (title, style)."""
        return [
            (attributes["title"], attributes["style"])
            for tag, attributes in self.elements
            if tag == "span" and "padding" in attributes.get("style", "")
        ]

    def tags(self):
        return {tag for tag, _ in self.elements}
