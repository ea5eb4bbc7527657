"""Question records from the rows of a source: fields found by column, checked one by one, gold answers read by the verifier.

    loaded = load("questions.train", source, open_verifier(task))
    loaded.records    # [{"id": "train-00017", "question": "...", "answer": "rationale\\n#### 18", "gold_answer": "18"}, ...]
    loaded.told       # where the questions are from; counts of rows, bad rows, rows without a rationale, doubles

A record has no `answer` where the data has no rationale. Besides: `rationales` by style, `options` of a choice, `corrected`
where the rationale leads to another answer than gold, `data` with the columns of `keep`.
"""

import json
import math
import re
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

from regime_w.questions.corrections import corrections_of
from regime_w.questions.overlap import whole_text
from regime_w.questions.sources import Line, read
from regime_w.questions.variants import without_annotations
from regime_w.runtime.errors import UserError
from regime_w.runtime.records import sha256_file
from regime_w.tasks.verifiers import Verifier

Record = dict[str, Any]
# The column of each field where `columns` does not say otherwise.
COLUMNS = {
    "id": "id",
    "question": "question",
    "answer": "answer",
    "gold": "gold_answer",
    "options": "options",
    "rationales": "rationales",
}
# Columns that hold a field in data sets of others: named in the error, never taken unasked.
LIKELY = {
    "question": ("question", "problem", "prompt", "query", "instruction", "input", "Question", "Problem"),
    "answer": ("solution", "rationale", "response", "output", "explanation", "Solution", "Rationale", "answer"),
    "gold": ("answer", "final_answer", "gold", "target", "correct", "label", "answerKey", "Answer"),
    "options": ("options", "choices"),
}
IN_BRACES = re.compile(r"\{([^{}]+)\}")
LABELLED = re.compile(r"\s*\(?([A-Za-z]|[0-9]{1,2})[).:]\s*(.*)", re.DOTALL)
LETTERED = re.compile(r"\s*\(?([A-Z]) ?[).:=](.*)")
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
BARE = 100  # characters of an answer that is no rationale
SHOWN = 5


class Bad(Exception):
    """Why a row is no question."""


class Loaded(NamedTuple):
    records: list[Record]
    told: dict[str, Any]


class Reader:
    """How rows of a source become records. `where` is the source's place in the config, `prefix` begins ids that rows lack."""

    def __init__(self, where: str, source: dict[str, Any], verifier: Verifier, prefix: str, without_gold: bool) -> None:
        self.where, self.verifier, self.without_gold = where, verifier, without_gold
        self.name, self.prefix = source.get("name"), source.get("name") or prefix
        self.columns = COLUMNS | (source.get("columns") or {})
        self.asked = {field for field, column in self.columns.items() if column and column != COLUMNS[field]}
        self.corrections = corrections_of(source.get("corrections") or {})
        self.keep = source.get("keep") or []

    def record(self, line: Line, number: int) -> Record:
        """The record of row `number` (from 0); Bad says what is wrong with it."""
        if line.problem:
            raise Bad(line.problem)
        row = line.row
        question = text_of(row, self.columns["question"])
        if not question:
            raise Bad(f"{self.columns['question']} is empty")
        labels, options = self.options(row)
        record: Record = {"id": self.identity(row, number)}
        record["question"] = question if shows(question, options) else f"{question}\n{shown_options(options)}"
        if options:
            record["options"] = options
        if self.keep:
            record["data"] = {name: row.get(name) for name in self.keep}
        answer, gold = self.answer_and_gold(row, record, labels)
        corrected = record["id"] in self.corrections
        if corrected:
            gold = self.corrected(record, gold)
            answer = answer and f"{answer.rpartition('####')[0].rstrip() or answer}\n#### {gold}"
        elif answer and gold is not None:
            led = self.verifier.gold_in(answer, record)
            if led is None:
                answer = self.marked(answer, gold, record)
            corrected = led is not None and not self.verifier.equal(led, gold)
        record |= ({"answer": answer} if answer else {}) | {"gold_answer": gold}
        if corrected:
            record["corrected"] = True
        if rationales := self.rationales(row):
            record["rationales"] = rationales
        try:
            json.dumps(record, ensure_ascii=False, allow_nan=False).encode("utf-8")
        except UnicodeEncodeError:
            raise Bad("it holds half a character (a lone surrogate)") from None
        except (TypeError, ValueError) as error:
            raise Bad(f"it cannot be written as JSON ({error})") from None
        return record

    def identity(self, row: Record, number: int) -> str:
        column = self.columns["id"]
        if not column or column not in row:
            return f"{self.prefix}-{number:05d}"
        text = text_of(row, column, numbers=True)
        if not text:
            raise Bad(f"{column} is empty")
        return f"{self.name}-{text}" if self.name else text

    def answer_and_gold(self, row: Record, record: Record, labels: list[str]) -> tuple[str | None, str | None]:
        """The rationale and the gold answer of a row; either may be None, the gold answer where labels may lack."""
        column, gold_column = (self.columns[field] or "" for field in ("answer", "gold"))
        answer = text_of(row, column, numbers=True) if given(row, column) else None
        if given(row, gold_column):
            raw = row.get(gold_column) if gold_column in row else text_of(row, gold_column, numbers=True)
            if str(raw) in labels:
                raw = LETTERS[labels.index(str(raw))]
            if (gold := self.verifier.gold(raw, record)) is None:
                raise Bad(f"{gold_column}: {self.verifier.name} reads no answer in {raw!r:.60}")
            return answer, gold
        named = "gold" in self.asked or gold_column in row
        if self.without_gold and (named or answer is None):
            return answer, None
        if named or answer is None:
            name = gold_column if named else column
            found = "null" if name in row else "missing"
            raise Bad(
                f"{name} is {found}, and without labels there is nothing to learn (labels.source: vote needs none)"
            )
        if (gold := self.verifier.gold_in(answer, record)) is not None:
            return answer, gold
        if len(answer) <= BARE and not set("\n=") & set(answer):
            gold = self.verifier.gold(row.get(column, answer), record)
            if gold is not None:
                return None, gold
        kind = "number" if self.verifier.name == "number" else f"answer for {self.verifier.name}"
        raise Bad(f"{column}: no {kind} after #### in {answer[-40:]!r}")

    def corrected(self, record: Record, gold: str | None) -> str:
        """The right answer of a correction; `WAS -> IS` only where the label is WAS, so that no other question's is."""
        was, arrow, right = (part.strip() for part in self.corrections[record["id"]].rpartition("->"))
        if arrow and not self.verifier.equal(gold, self.verifier.gold(was, record)):
            raise UserError(
                f"question {record['id']}: its label is {gold!r}, corrections expects {was!r}; is this another data set?"
            )
        if (read := self.verifier.gold(right, record)) is None:
            raise UserError(
                f"{self.where}.corrections: {record['id']}: {self.verifier.name} reads no answer in {right!r}"
            )
        return read

    def marked(self, answer: str, gold: str, record: Record) -> str:
        """The rationale with the gold answer at its end, where the verifier finds it; so SFT teaches to mark answers."""
        ended = f"{answer}\n#### {gold}"
        return ended if self.verifier.equal(self.verifier.gold_in(ended, record), gold) else answer

    def options(self, row: Record) -> tuple[list[str], list[str]]:
        """The labels that the data has for the options of a choice, such as 1 or A, and their texts without them."""
        column = self.columns["options"]
        if not given(row, column):
            if "options" in self.asked:
                raise Bad(f"{column} is {'null' if column in row else 'missing'}")
            return [], []
        found = row[column]
        if isinstance(found, str):  # a cell of CSV
            try:
                found = json.loads(found)
            except ValueError:
                raise Bad(f"{column}: a list was expected, found {found!r:.60}") from None
        labels: list[Any] = []
        if isinstance(found, dict):  # by letter, or as ARC has them: {"label": [...], "text": [...]}
            labels, found = found.get("label") or list(found), found.get("text") or list(found.values())
        if not (isinstance(found, list) and len(found) <= len(LETTERS)):
            raise Bad(f"{column}: a list of up to {len(LETTERS)} texts was expected, found {kind_of(found)}")
        texts = [text_of({column: text}, column, numbers=True) for text in found]
        matches = [match for text in texts if (match := LABELLED.fullmatch(text))]
        written = [match[1].upper() for match in matches]
        if texts and written in (list(LETTERS[: len(texts)]), [str(n) for n in range(1, len(texts) + 1)]):
            labels, texts = written, [match[2] for match in matches]
        return [str(label) for label in labels] if len(labels) == len(texts) else [], texts

    def rationales(self, row: Record) -> dict[str, str]:
        column = self.columns["rationales"]
        found = row[column] if given(row, column) else {}
        if not (isinstance(found, dict) and all(isinstance(text, str | None) for text in found.values())):
            raise Bad(f"{column} must be texts by style")
        return {style: text for style, text in found.items() if text}

    def missing(self, row: Record) -> list[str]:
        """The fields whose columns a row lacks: the question, what `columns` names, and an answer where there is none."""
        lacking = [
            field
            for field, column in self.columns.items()
            if column and (field == "question" or field in self.asked) and not there(row, column)
        ]
        if not self.without_gold and not any(there(row, self.columns[field]) for field in ("answer", "gold")):
            lacking += [] if {"answer", "gold"} & set(lacking) else ["answer"]
        return lacking

    def no_column(self, missing: list[str], row: Record) -> str:
        guess: dict[str, str] = {}
        for field, names in LIKELY.items():
            if name := next((name for name in names if name in row and name not in guess.values()), None):
                guess[field] = name
        shown = ", ".join(f"{field}: {name}" for field, name in guess.items()) or "question: ..., answer: ..."
        return (
            f"no column for the {' and the '.join(missing)}; the columns are {', '.join(map(str, row))}. Map them, for instance "
            f"{self.where}.columns: {{{shown}}} (answer: a solution; gold: the answer alone; '{{a}} {{b}}' joins two columns)"
        )


def load(
    where: str, source: dict[str, Any], verifier: Verifier, prefix: str = "train", without_gold: bool = False
) -> Loaded:
    """The source's first `n` question records in its order, answers still with calculator annotations.

    UserError for a bad row, by file, line and column (`on_bad_row: drop` counts it instead), for columns that are not there,
    for corrections that fit no question, and where there are too few questions.
    """
    reader = Reader(where, source, verifier, prefix, without_gold)
    records: list[Record] = []
    problems, places, rows = Counter[str](), list[str](), 0
    ids = set[str]()
    for rows, line in enumerate(read(source), 1):
        try:
            record = reader.record(line, rows - 1)
            if record["id"] in ids:
                raise Bad(f"the id {record['id']!r:.80} stands twice; ids must differ")
        except Bad as problem:
            if not records and not line.problem and (missing := reader.missing(line.row)):
                raise UserError(f"{line.where}: {reader.no_column(missing, line.row)}") from None
            if source.get("on_bad_row") != "drop":
                advice = f"mend or remove it, or set {where}.on_bad_row to drop"
                raise UserError(f"{line.where}: {problem}; {advice}") from None
            problems[str(problem)] += 1
            places.append(f"{line.where}: {problem}")
            continue
        ids.add(record["id"])
        records.append(record)
        if len(records) == source.get("n"):
            break
    if not records:
        raise UserError(f"{where}: no questions found; check the source{f' ({places[0]})' if places else ''}")
    if (wanted := source.get("n")) and len(records) < wanted:
        raise UserError(f"{where}.n asks for {wanted} questions, the source has {len(records)}")
    if not wanted and (unknown := sorted(set(reader.corrections) - ids)):
        raise UserError(f"{where}.corrections names {unknown[0]!r}, which is no question's id")
    told = described(source) | {
        "rows": rows,
        "questions": len(records),
        "bad_rows": {
            "count": problems.total(),
            "by_reason": dict(problems.most_common(SHOWN)),
            "first": places[:SHOWN],
        },
        "without_rationale": sum("answer" not in record for record in records),
        "without_gold": sum(record["gold_answer"] is None for record in records),
        "rationale_not_gold": sum("corrected" in record for record in records),
        "doubles": doubles(records),
    }
    return Loaded(records, told)


def described(source: dict[str, Any]) -> dict[str, Any]:
    """Where questions are from: hub id and revision, file with its hash, folder, generator with its seed; and the licence."""
    keys = {
        "synthetic": ("form", "split", "seed"),
        "file": ("path",),
        "hub": ("hub_id", "hub_config", "revision", "split"),
    }
    found = {"source": source["source"], **{key: source.get(key) for key in keys[source["source"]]}}
    if source["source"] == "file" and Path(source["path"]).is_file():
        found["sha256"] = sha256_file(Path(source["path"]))
    return found | {
        "licence": source.get("licence"),
        "corrections": len(corrections_of(source.get("corrections") or {})),
    }


def doubles(records: Iterable[Record]) -> dict[str, int]:
    """How many records have a text that one before them has: with the same rationale, another one, another gold answer."""
    seen: dict[str, Record] = {}
    counts = Counter[str]()
    for record in records:
        if (first := seen.setdefault(whole_text(record["question"]), record)) is not record:
            counts[double(record, first)] += 1
    return {kind: counts[kind] for kind in ("identical", "other_rationale", "contradicting")}


def double(record: Record, first: Record) -> str:
    """In what a record differs from an earlier one of the same text."""
    if record["gold_answer"] != first["gold_answer"]:
        return "contradicting"
    return "identical" if record.get("answer") == first.get("answer") else "other_rationale"


def there(row: Record, column: str | None) -> bool:
    """Whether a row has a column, or all those in the braces of one."""
    if not column or column in row:
        return bool(column)
    names = IN_BRACES.findall(column)
    return bool(names) and set(names) <= set(row)


def given(row: Record, column: str | None) -> bool:
    """Whether a row says something there: not null, not an empty text."""
    if not column or not there(row, column):
        return False
    return column not in row or row[column] not in (None, "")


def text_of(row: Record, column: str, numbers: bool = False) -> str:
    """The text in a column, or of the columns in its braces; a number counts as its digits where `numbers` may stand."""
    if column not in row and (names := IN_BRACES.findall(column)):
        texts = {name: text_of(row, name, numbers=True) for name in names}
        return IN_BRACES.sub(lambda match: texts[match[1]], column).strip()
    if column not in row:
        raise Bad(f"{column} is missing")
    value = row[column]
    if isinstance(value, float) and math.isnan(value):
        raise Bad(f"{column} is NaN")
    if isinstance(value, str):
        return value.strip()
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if numbers and is_number and (isinstance(value, int) or math.isfinite(value)):
        return str(value)
    raise Bad(f"{column} is {kind_of(value)}")


def kind_of(value: Any) -> str:
    kinds = {bool: "true or false", int: "a number", float: "a number", list: "a list", dict: "an object"}
    return "null" if value is None else kinds.get(type(value), f"a {type(value).__name__}")


def shows(question: str, options: list[str]) -> bool:
    """Whether a question's text has these options already, each on a line of its own behind its letter."""
    lines = [match for line in question.splitlines() if (match := LETTERED.fullmatch(line))]
    there = {match[1]: match[2].strip().removesuffix(".") for match in lines}
    return all(there.get(letter) == text.removesuffix(".") for letter, text in zip(LETTERS, options, strict=False))


def shown_options(options: list[str]) -> str:
    """A line an option, as the model is asked: `A) 5`."""
    return "\n".join(f"{letter}) {text}" for letter, text in zip(LETTERS, options, strict=False))


def plain(record: Record) -> Record:
    """The record without calculator annotations: they teach a model a notation that its own format does not have."""
    return record | ({"answer": without_annotations(record["answer"]).strip()} if "answer" in record else {})
