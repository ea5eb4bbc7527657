// Sorts a table by the column whose header is clicked, or entered by keyboard: ascending, descending, then as it was.
"use strict";

// The numbers that format.py writes, with what may stand around them; of `from → to` the end counts, of `12 / 3` the 12.
const NUMBER = /^(?:.* → )?(< )?([+−-]?)\$?([\d,]*\.?\d+(?:e[+-]?\d+)?) ?(%|k|M|B|s|min|h|bytes|kB|MB|GB|GiB|x)?(?: \/ .*)?$/;
const UNITS = { k: 1e3, M: 1e6, B: 1e9, min: 60, h: 3600, kB: 1e3, MB: 1e6, GB: 1e9 };
const NONE = "–";
const byWords = new Intl.Collator(document.documentElement.lang, { numeric: true });

// What a cell says first, without its interval.
function text(cell) {
  const first = cell.firstChild;
  return first && first.nodeType === Node.TEXT_NODE ? first.data.trim() : "";
}

function number(said) {
  const found = NUMBER.exec(said);
  if (!found) return null;
  const size = Number(found[3].replaceAll(",", "")) * (UNITS[found[4]] ?? 1);
  return (found[2] && found[2] !== "+" ? -size : size) - (found[1] ? 1e-9 : 0);
}

// Rows by a column; rows without a value come last, whichever the direction.
function sorted(rows, column, sign) {
  const said = new Map(rows.map((row) => [row, text(row.cells[column])]));
  const [full, empty] = [[], []];
  for (const row of rows) ([NONE, ""].includes(said.get(row)) ? empty : full).push(row);
  const values = new Map(full.map((row) => [row, number(said.get(row))]));
  const numeric = [...values.values()].every((value) => value !== null);
  const compare = (a, b) => (numeric ? values.get(a) - values.get(b) : byWords.compare(said.get(a), said.get(b)));
  return [...full.sort((a, b) => sign * compare(a, b)), ...empty];
}

function makeSortable(table) {
  const body = table.tBodies[0], asMade = [...body.rows], headers = [...table.tHead.rows[0].cells];
  headers.forEach((header, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...header.childNodes);
    header.append(button);
    button.addEventListener("click", () => {
      const next = { ascending: "descending", descending: null }[header.ariaSort];
      for (const other of headers) other.removeAttribute("aria-sort");
      const order = next === undefined ? "ascending" : next;
      if (order) header.setAttribute("aria-sort", order);
      body.append(...(order ? sorted(asMade, column, order === "ascending" ? 1 : -1) : asMade));
    });
  });
}

document.querySelectorAll("table.sortable").forEach(makeSortable);
