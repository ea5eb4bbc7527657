"""Right answers for labels known to be wrong, by question id: written out in the config, or in a file of their own.

{"train-00167": "1920 -> 19200", "train-00356": "64"}     JSON
id,correction                                             CSV, with this header
train-00167,1920 -> 19200
"""

import csv
from pathlib import Path

from regime_w.runtime.errors import UserError
from regime_w.runtime.records import read_json

HEADER = ["id", "correction"]


def corrections_of(given: dict[str, str] | str) -> dict[str, str]:
    """Corrections by question id, `IS` or `WAS -> IS`; UserError names the file and what is wrong with it."""
    if isinstance(given, dict):
        return given
    path = Path(given)
    found = _csv(path) if path.suffix.lower() == ".csv" else read_json(path)
    if not isinstance(found, dict) or not all(isinstance(value, str) for value in found.values()):
        raise UserError(
            f'{path}: corrections are texts by question id, {{"train-00167": "1920 -> 19200"}}, or a .csv file'
        )
    return found


def _csv(path: Path) -> dict[str, str]:
    found: dict[str, str] = {}
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            rows = csv.reader(file, strict=True)
            header = next(rows, [])
            if header != HEADER:
                raise UserError(f"{path}: the header {','.join(HEADER)} was expected, found {','.join(header)!r:.60}")
            for row in rows:
                if not row:
                    continue
                if len(row) != len(HEADER):
                    raise UserError(
                        f"{path}:{rows.line_num}: an id and a correction were expected, found {len(row)} entries"
                    )
                if row[0] in found:
                    raise UserError(f"{path}:{rows.line_num}: the id {row[0]!r:.60} stands there twice; remove one")
                found[row[0]] = row[1]
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}; check the path in the config") from None
    except (csv.Error, UnicodeDecodeError) as error:
        raise UserError(f"{path}: not CSV in UTF-8 ({error})") from None
    return found
