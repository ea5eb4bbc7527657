"""What a reasoning model thinks before it answers: the text between its think marks, <think> and </think> for most.

    marks_of(tokenizer, template)                           # Marks("<think>", "</think>"), None for a model without
    thinking(tokenizer, marks, prompt, ids, "<think>\\n2 and 2\\n</think>\\n\\n#### 4")   # Thinking(tokens=5, end=24)

A prompt may end inside the marks already; a completion that is cut off inside them is all thought.
"""

import re
from collections.abc import Sequence
from typing import Any, NamedTuple

from regime_w.tasks.encoding import Piece


class Marks(NamedTuple):
    open: str
    close: str


class Thinking(NamedTuple):
    """Tokens of the thought with its marks, and where in the text it ends and the answer begins; (0, 0) without."""

    tokens: int
    end: int


# Of Qwen, DeepSeek and most; Magistral; Command A; Seed; gpt-oss; Gemma 4; and what others write as plain text.
KNOWN = (
    Marks("<think>", "</think>"),
    Marks("[THINK]", "[/THINK]"),
    Marks("<|START_THINKING|>", "<|END_THINKING|>"),
    Marks("<seed:think>", "</seed:think>"),
    Marks("<|channel|>analysis<|message|>", "<|channel|>final<|message|>"),
    Marks("<|channel>thought", "<channel|>"),
    Marks("<thought>", "</thought>"),
    Marks("<reasoning>", "</reasoning>"),
)


def marks_of(tokenizer: Any, template: str) -> Marks | None:
    """The think marks that the tokenizer has tokens for, or that the chat template writes."""
    tokens = tokenizer.get_vocab()
    for marks in KNOWN:
        if all(mark in tokens for mark in marks) or all(mark in template for mark in marks):
            return marks
    return None


def still_open(text: str, marks: Marks) -> bool:
    """Whether what follows a text stands inside the marks."""
    return text.rfind(marks.open) > text.rfind(marks.close)


def split_marks(text: str, marks: Marks | None) -> list[Piece]:
    """A text, its marks as control and the rest as data."""
    if marks is None:
        return [Piece(text, False)]
    parts = re.split(f"({re.escape(marks.open)}|{re.escape(marks.close)})", text)
    return [Piece(part, part in marks) for part in parts if part] or [Piece("", False)]


def thinking(tokenizer: Any, marks: Marks | None, begun: bool, ids: Sequence[int], text: str) -> Thinking:
    """The thought that a completion begins with; `begun`: its prompt ends inside the marks."""
    if marks is None or not (begun or text.lstrip().startswith(marks.open)):
        return Thinking(0, 0)
    close = text.find(marks.close)
    if close < 0:
        return Thinking(len(ids), len(text))
    end = close + len(marks.close)
    number = tokenizer.convert_tokens_to_ids(marks.close)
    if number in ids:
        return Thinking(list(ids).index(number) + 1, end)
    # Marks of several tokens: the fewest tokens whose text reaches as far.
    low, high = 0, len(ids)
    while low < high:
        middle = (low + high) // 2
        if len(tokenizer.decode(ids[:middle], skip_special_tokens=False)) < end:
            low = middle + 1
        else:
            high = middle
    return Thinking(low, end)


def said(text: str, end: int) -> str:
    """What a completion says behind its thought."""
    return text[end:].lstrip() if end else text


def thought(text: str, end: int) -> str:
    """What a completion thought, without the marks."""
    inner = text[:end].strip()
    for known in KNOWN:
        inner = inner.removeprefix(known.open).removesuffix(known.close)
    return inner.strip()
