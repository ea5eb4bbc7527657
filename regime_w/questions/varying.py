"""Variants of a data set's questions with other numbers, on all of a job's threads (variants.py makes one)."""

import random
from typing import Any

from regime_w.questions.variants import Template, read
from regime_w.runtime.compute import threads
from regime_w.runtime.errors import UserError
from regime_w.runtime.parallel import in_order
from regime_w.runtime.progress import Progress
from regime_w.tasks.answers import gold_from_rationale


def make_variants(rows: list[dict[str, Any]], count: int, seed: int) -> list[dict[str, Any]]:
    """Up to `count` records a question with other numbers: each question's first, then each one's second, and so on, so
    that a prefix holds all questions alike.

    Questions without a rationale, with one that does not lead to gold, or with rationales by style, have none. UserError
    where no question has one.
    """
    templates: list[tuple[str, Template]] = []
    for row in rows if count else ():
        unfit = row.get("corrected") or row.get("rationales") or not row.get("answer")
        if not unfit and (found := read(row["question"], row["answer"])):
            templates.append((row["id"], found))
    progress = Progress(max(1, len(templates)), "Varied", unit="questions")
    varied = []
    for own in in_order(_vary, templates, threads(), (count, seed)):
        varied.append(own)
        progress.update(1)
    progress.close()
    made = []
    for number in range(1, count + 1):
        for (identity, _), own in zip(templates, varied, strict=True):
            if number not in own:
                continue
            question, answer = own[number]
            made.append(
                {
                    "id": f"{identity}-v{number}",
                    "question": question,
                    "answer": answer,
                    "gold_answer": gold_from_rationale(answer),
                    "variant_of": identity,
                }
            )
    if count and not made:
        raise UserError(
            "questions.variants: no question's answer writes out calculations (48/2 = 24) that say where its numbers go; "
            "set it to 0"
        )
    return made


def _vary(params: tuple[int, int], task: tuple[str, Template]) -> dict[int, tuple[str, str]]:
    """A question's variants by number, less those that are alike."""
    (count, seed), (identity, template) = params, task
    seen = {template.question}
    found = {}
    for number in range(1, count + 1):
        variant = template.vary(random.Random(f"{seed}:{identity}:{number}"))
        if variant is not None and variant[0] not in seen:
            seen.add(variant[0])
            found[number] = variant
    return found
