"""Blocks of the page, which the HTML and the Markdown template both render.

A block is a dict with `kind`: `title`, `text`, `table` (columns, rows of cells), `figure` (svg, alt), `beside` (a table and
a figure), `cases` (answers with their texts) or `code`; page_top.py has three more. A cell is {"main", "sub", "tone"}; all
strings but a figure's svg are plain text, the templates escape them.
"""

from typing import Any

import yaml

from regime_w.report.format import interval, percent, points

Block = dict[str, Any]
Cell = dict[str, Any]
ROUND_FIGURES = 4  # rounds that have plots of their own


def cell(main: Any, sub: str = "", tone: str = "") -> Cell:
    return {"main": str(main), "sub": sub, "tone": tone}


def table(
    columns: list[str],
    rows: list[list[Cell]],
    *,
    caption: str = "",
    left: int = 1,
    marked: int = -1,
    folded: bool = False,
    sortable: bool = True,
    total: bool = False,
) -> Block:
    """`left` columns hold text, the others numbers; `marked` is a row to stand out; `folded` opens on a click; the last row
    is a `total`, which sorting leaves where it is; where rows are facts of several kinds, no column is `sortable`."""
    looks = {"caption": caption, "left": left, "marked": marked, "folded": folded}
    looks |= {"sortable": sortable and len(rows) - total > 1, "total": total}
    return {"kind": "table", "columns": columns, "rows": rows, **looks}


def beside(left: Block, right: Block) -> Block:
    return {"kind": "beside", "table": left, "figure": right}


def figure(svg: str, caption: str, alt: str) -> Block:
    return {"kind": "figure", "svg": svg, "caption": caption, "alt": alt}


def text(content: str) -> Block:
    return {"kind": "text", "text": content}


def title(content: str) -> Block:
    return {"kind": "title", "text": content}


def together(left: Block, plots: list[Block]) -> list[Block]:
    """One plot stands beside its table, several below it."""
    return [beside(left, plots[0])] if len(plots) == 1 else [left, *plots]


def estimate(found: dict[str, float]) -> Cell:
    return cell(percent(found["value"]), interval(found))


def difference(found: dict[str, float]) -> Cell:
    return cell(points(found["difference"]), f"{points(found['low'])} to {points(found['high'])}")


def as_yaml(content: Any) -> str:
    return yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=110)
