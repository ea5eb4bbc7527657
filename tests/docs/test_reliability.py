"""docs/reliability.md names tests that exist, in every row."""

import re

from helpers import ROOT

ROWS = [
    [cell.strip() for cell in line.strip("|").split(" | ")]
    for line in (ROOT / "docs/reliability.md").read_text().splitlines()
    if line.startswith("| ") and not line.startswith("| fault |")
]


def test_every_row_of_the_table_names_tests_that_exist() -> None:
    assert len(ROWS) >= 25
    for row in ROWS:
        assert len(row) == 4, row
        named = re.findall(r"`(?:\w+/)?(\w+\.py)::(test_\w+)`", row[3])
        assert named, row[0]
        for file, test in named:
            paths = list((ROOT / "tests").glob(f"*/{file}"))
            assert len(paths) == 1, f"{row[0]}: {file}"
            assert f"def {test}(" in paths[0].read_text(), f"{row[0]}: {file} has no {test}"


def test_every_test_of_faults_and_hostile_input_stands_in_the_table() -> None:
    text = (ROOT / "docs/reliability.md").read_text()
    for path in [*(ROOT / "tests").glob("f*/test_*.py"), ROOT / "tests/unit/test_security.py"]:
        for test in re.findall(r"^def (test_\w+)\(", path.read_text(), re.MULTILINE):
            assert f"{path.name}::{test}`" in text, f"{path.name}::{test}"
