"""Generated tables of a Markdown page, between `<!-- table: NAME -->` and `<!-- end -->`."""

import re
from collections.abc import Sequence

from regime_w.runtime.errors import UserError

MARK = re.compile(r"<!-- table: ([^>]+) -->\n")
END = "<!-- end -->"


def markdown_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A pipe table; cells are Markdown already."""
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (columns, ["---"] * len(columns), *rows))


def tables_of(text: str) -> list[str]:
    """Names of a page's tables, in their order."""
    return MARK.findall(text)


def put_tables(text: str, tables: dict[str, str]) -> str:
    """The page with each table between its marks; UserError for one without."""
    for name, content in tables.items():
        mark = f"<!-- table: {name} -->\n"
        before, found, after = text.partition(mark)
        _, end, rest = after.partition(END)
        if not (found and end):
            raise UserError(f"the page has no {mark.strip()} with an {END} behind it; put both in")
        text = f"{before}{mark}{content}\n{end}{rest}"
    return text
