"""The page as HTML and Markdown, and its main figures for the terminal."""

import base64
import hashlib
import re
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape

from regime_w.report.format import clean
from regime_w.report.page import page
from regime_w.report.page_models import key_table, sets_of
from regime_w.report.page_top import top

MARKDOWN = re.compile(r"([\\`*_\[\]|~#$])")
LINKS = re.compile(r"(:)(?=//)|(?<=www)(\.)", re.IGNORECASE)  # GitHub makes links of bare addresses


def render(summary: dict[str, Any], viewer: str | None = None) -> tuple[str, str]:
    """(HTML, Markdown) of one summary; `viewer` is the file beside the page to read trajectories in."""
    return fill(summary, page(summary), top(summary, viewer))


def fill(
    summary: dict[str, Any], sections: list[dict[str, Any]], cards: list[dict[str, Any]] | None = None
) -> tuple[str, str]:
    """(HTML, Markdown) of sections of blocks under the summary's run, title and verdict, and the cards of page_top.py.

    The page's security policy lets no script run but ours, named by its hash.
    """
    script = (Path(__file__).parent / "sort.js").read_text(encoding="utf-8")
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=select_autoescape(("html.j2",), default=False),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {"clean": clean, "md": markdown, "fenced": fenced}
    context = {"summary": summary, "sections": sections, "cards": cards or []}
    context |= {"script": script, "script_hash": base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}
    context["ended"] = str(summary.get("usage", {}).get("total", {}).get("ended", ""))
    context["titles"] = {section["id"]: section["title"] for section in sections}
    html = environment.get_template("report.html.j2").render(context)
    md = environment.get_template("report.md.j2").render(context)
    return html, re.sub(r"\n{3,}", "\n\n", md)


def markdown(text: Any) -> str:
    """Text for a Markdown line or table cell: one line, its marks and HTML made inert."""
    line = " ".join(clean(text).split())
    line = line.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return LINKS.sub(lambda found: f"&#{ord(found[0])};", MARKDOWN.sub(r"\\\1", line))


def fenced(text: Any) -> str:
    """A code block whose fence is longer than any run of backticks inside."""
    content = clean(text)
    fence = "`" * max(3, 1 + max(map(len, re.findall("`+", content)), default=0))
    return f"{fence}text\n{content}\n{fence}"


def terminal(summary: dict[str, Any]) -> str:
    """The key table of each evaluation set in aligned columns, with the verdict above."""
    verdict = summary["verdict"]
    said = [verdict["headline"], verdict["sentence"], *verdict["reasons"], *verdict["notes"]]
    for name, found in sets_of(summary).items():
        said += ["", *([f"{name}:"] if summary["other_sets"] else []), *aligned(key_table(found))]
    return clean("\n".join(said))


def aligned(block: dict[str, Any]) -> list[str]:
    """A table's lines for the terminal."""
    rows = [block["columns"]] + [
        [f"{c['main']} [{c['sub'].replace(' to ', ', ')}]" if c["sub"] else c["main"] for c in row]
        for row in block["rows"]
    ]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            text.rjust(width) if place else text.ljust(width)
            for place, (text, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    ]
