"""Check every link between the project's pages, then write them as HTML to read offline.

`python docs/build.py FOLDER`: exit 1 with file, line and target for each link that leads nowhere.
"""

from __future__ import annotations

import html
import re
import sys
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from markdown_it import MarkdownIt
from markdown_it.token import Token

PROJECT = Path(__file__).resolve().parents[1]
STYLE = """body { max-width: 46rem; margin: 2rem auto; padding: 0 1rem; line-height: 1.5;
font-family: "Atkinson Hyperlegible", sans-serif; color: #1f2937; background: #f6f2ea; }
h1, h2, h3 { color: #6d1a36; } a { color: #1d5b8f; }
pre, code { background: #fff; } pre { padding: .75rem; overflow: auto; }
table { border-collapse: collapse; } td, th { border: 1px solid #b9b1a3; padding: .3rem .6rem; }
"""
MARKDOWN = MarkdownIt("commonmark", {"html": False}).enable("table")


@dataclass(frozen=True)
class Page:
    path: Path
    tokens: list[Token]

    @property
    def title(self) -> str:
        return next(iter(self.headings()), self.path.stem)

    def headings(self) -> Iterator[str]:
        for opening, content in zip(self.tokens, self.tokens[1:], strict=False):
            if opening.type == "heading_open":
                yield "".join(child.content for child in content.children or ())

    def links(self) -> Iterator[tuple[int, Token]]:
        """Every link or image, with its line."""
        for token in self.tokens:
            for child in token.children or ():
                if child.type in ("link_open", "image"):
                    yield (token.map or [0])[0] + 1, child


def anchor(heading: str) -> str:
    """The fragment of a heading, as code hosts make it."""
    text = unicodedata.normalize("NFC", heading).lower()
    return re.sub(r"[^\w\- ]", "", text).replace(" ", "-")


def pages() -> list[Page]:
    found = [*PROJECT.glob("*.md"), *PROJECT.glob("docs/**/*.md"), *PROJECT.glob("deploy/*.md")]
    return [Page(path, MARKDOWN.parse(path.read_text())) for path in sorted(found)]


def target_of(link: Token) -> str:
    return str(link.attrs.get("href") or link.attrs.get("src") or "")


def broken_links(every: list[Page]) -> Iterator[str]:
    """`file:line: target` for each link to a file or a heading of ours that is not there."""
    anchors = {page.path: {anchor(heading) for heading in page.headings()} for page in every}
    for page in every:
        for line, link in page.links():
            target, _, fragment = target_of(link).partition("#")
            if re.match(r"[a-z]+:", target):
                continue
            path = (page.path.parent / target).resolve() if target else page.path
            known = anchors.get(path)
            if not path.exists() or (fragment and known is not None and fragment not in known):
                yield f"{page.path.relative_to(PROJECT)}:{line}: {target_of(link)}"


def as_html(page: Page, published: set[Path]) -> str:
    """The page, with links between pages turned to their HTML; others to the file itself."""
    for _, link in page.links():
        target, _, fragment = target_of(link).partition("#")
        path = (page.path.parent / target).resolve()
        if target.endswith(".md") and path in published:
            link.attrs["href"] = re.sub(r"\.md$", ".html", target) + (
                f"#{fragment}" * bool(fragment)
            )
    for opening, content in zip(page.tokens, page.tokens[1:], strict=False):
        if opening.type == "heading_open":
            opening.attrs["id"] = anchor("".join(child.content for child in content.children or ()))
    body = MARKDOWN.renderer.render(page.tokens, MARKDOWN.options, {})
    depth = len(page.path.relative_to(PROJECT).parts) - 1
    style = f"{'../' * depth}style.css"
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<title>{html.escape(page.title)}</title><link rel="stylesheet" href="{style}"></head>'
        f"<body><main>{body}</main></body></html>\n"
    )


def main(folder: Path) -> int:
    every = pages()
    broken = list(broken_links(every))
    for line in broken:
        print(line, file=sys.stderr)  # noqa: T201 - a command
    if broken:
        return 1
    published = {page.path for page in every}
    for page in every:
        written = folder / page.path.relative_to(PROJECT).with_suffix(".html")
        written.parent.mkdir(parents=True, exist_ok=True)
        written.write_text(as_html(page, published))
    (folder / "style.css").write_text(STYLE)
    print(f"{len(every)} pages: {folder / 'README.html'}")  # noqa: T201 - a command
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
