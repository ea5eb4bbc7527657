"""Our figures beside another tool's: per question whether both graders agree, and where they do not, why.

    check = compare("generated", "round2", ours, theirs, verifier)   # theirs: what regime_w/sampling/harness.py found
    page({"run": "demo", "checks": [check]})                          # Markdown

Ours is `strict` (right, in a marked place, of a finished text) or `flexible` (the answer that was found is right, wherever
it stood). The harness's strict grader stands beside the one, its flexible one beside the other.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from regime_w.report.format import label, percent
from regime_w.report.render import aligned, markdown
from regime_w.runtime.errors import UserError
from regime_w.tasks.marks import cut
from regime_w.tasks.verifier import Verifier

EXAMPLES = 5
KINDS = ("strict", "flexible")
NO_ANSWER = "[invalid]"  # the harness's word for it
MARK = "####"
# Why two graders disagree; of several reasons the first.
REASONS = {
    "prompt": "the harness's tokenisation of the prompt gives other token ids than ours",
    "text": "the texts differ (arithmetic in other batches): of the harness's text our grader says what the harness says",
    "thought": "ours reads what follows the thought, the harness reads the thought too",
    "truncated": "the text was cut off at the longest answer: ours never counts it as correct",
    "string": "the same value: the harness compares strings, ours compares exact values",
    "no_mark": "the mark that the harness wants is not there: ours takes other marks too, and the harness finds no answer",
    "cut": "the text goes on behind its answer (a next question, an end mark): ours is cut there",
    "first_mark": "several `####`: the harness takes the first, ours the last",
    "last_number": "the harness takes the last number of the text, ours what the text says is its answer",
    "reading": "the same place is read otherwise",
}


class Verdict(NamedTuple):
    """What our grader and the harness's say of one question, and what each was said of."""

    kind: str  # of KINDS
    ours: bool
    theirs: bool
    answer: str | None  # which the harness's grader took; None where it does not tell


def compare(
    name: str, model: str, ours: Sequence[dict[str, Any]], theirs: Mapping[str, Any], verifier: Verifier
) -> dict[str, Any]:
    """One model on one evaluation set. `ours`: rows of evaluate's answers.

    UserError where the harness was asked a question that ours was not, or its own figures are not the mean of its grades.
    """
    rows = {row["id"]: row for row in ours}
    answers = theirs["answers"]
    if strange := [answer["id"] for answer in answers if answer["id"] not in rows]:
        raise UserError(f"{name}/{model}: the harness answered question {strange[0]}, we did not; run both again")
    other_ids = set(theirs["other_ids"])
    same = {answer["id"] for answer in answers if same_text(rows[answer["id"]], answer["text"], theirs["left_out"])}
    pairs = []
    for kind, (grader, figure) in zip(KINDS, theirs["figures"].items(), strict=True):
        verdicts = {
            answer["id"]: verdict(kind, rows[answer["id"]], answer["grades"][grader], verifier) for answer in answers
        }
        theirs_right = sum(each.theirs for each in verdicts.values())
        if abs(theirs_right / len(answers) - figure) > 1e-6:
            raise UserError(
                f"{name}/{model}: {grader} is {figure} by the harness's word, its grades say otherwise; run it again"
            )
        found: dict[str, list[str]] = {}
        for answer in answers:
            own = verdicts[answer["id"]]
            if own.ours != own.theirs:
                why = (
                    "prompt"
                    if answer["id"] in other_ids
                    else reason(own, rows[answer["id"]], answer["text"], answer["id"] in same, verifier)
                )
                found.setdefault(why, []).append(answer["id"])
        pairs.append(
            {
                "ours": kind,
                "theirs": grader,
                "ours_correct": sum(each.ours for each in verdicts.values()),
                "theirs_correct": theirs_right,
                "agree": len(answers) - sum(map(len, found.values())),
                "disagreements": {
                    why: {
                        "count": len(found[why]),
                        "ours_alone_correct": sum(verdicts[each].ours for each in found[why]),
                        "examples": found[why][:EXAMPLES],
                    }
                    for why in REASONS
                    if why in found
                },
            }
        )
    return {
        "set": name,
        "model": model,
        "questions": len(answers),
        "same_texts": len(same),
        "other_ids": len(other_ids),
        "harness": theirs["harness"],
        "pairs": pairs,
    }


def same_text(row: Mapping[str, Any], text: str, left_out: Iterable[str]) -> bool:
    """Whether the harness's text is ours, less the special tokens that it leaves out."""
    own = row["greedy"]["text"]
    for token in left_out:
        own = own.replace(token, "")
    return bool(own.strip() == text.strip())


def verdict(kind: str, row: Mapping[str, Any], grade: Mapping[str, Any], verifier: Verifier) -> Verdict:
    greedy = row["greedy"]
    ours = greedy["correct"] if kind == "strict" else verifier.equal(row["gold_answer"], greedy["answer"])
    return Verdict(kind, ours, grade["correct"], grade["answer"])


def reason(own: Verdict, row: Mapping[str, Any], text: str, same: bool, verifier: Verifier) -> str:
    """Why the graders disagree on a question whose prompt was the same, of REASONS. `text` is the harness's, maybe ours too."""
    greedy, gold, answer = row["greedy"], row["gold_answer"], row["greedy"]["answer"]
    if not same:
        again = verifier.grade(text, gold, row)
        answer = again.answer
        if own.theirs == (again.correct if own.kind == "strict" else verifier.equal(gold, answer)):
            return "text"
    elif greedy.get("answer_start"):
        return "thought"
    elif own.kind == "strict" and greedy["finish_reason"] != "stop" and own.theirs:
        return "truncated"
    if own.answer is not None and verifier.equal(verifier.gold(own.answer), answer):
        return "string"
    kept = cut(text)
    if own.kind == "strict" and (own.answer == NO_ANSWER or (own.answer is None and not own.theirs)):
        return "no_mark"
    if kept.strip() != text.strip() and (own.kind == "flexible" or MARK not in kept):
        return "cut"
    if own.kind == "strict" and text.count(MARK) > 1:
        return "first_mark"
    return "last_number" if own.kind == "flexible" and own.answer is not None else "reading"


HEADINGS = (
    "set", "model", "questions", "ours, strict", "harness, strict", "agree", "ours, flexible", "harness, flexible", "agree",
    "same text",
)  # fmt: skip


def lines(summary: Mapping[str, Any]) -> list[list[str]]:
    """The table, its heading first: a line a model and set."""
    found = [list(HEADINGS)]
    for check in summary["checks"]:
        n, cells = check["questions"], [check["set"], label(check["model"]), f"{check['questions']:,}"]
        for pair in check["pairs"]:
            cells += [percent(pair[key] / n) for key in ("ours_correct", "theirs_correct", "agree")]
        found.append([*cells, percent(check["same_texts"] / n)])
    return found


def table(rows: Sequence[Sequence[str]]) -> list[str]:
    head, *body = [[markdown(cell) for cell in row] for row in rows]
    return [f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *body)]


def page(summary: Mapping[str, Any]) -> str:
    """The Markdown page."""
    told = [
        f"# Outside check of {markdown(summary['run'])}",
        "",
        "EleutherAI's lm-evaluation-harness answered our questions with our prompts, greedily, and graded with its own task.",
        "",
        *table(lines(summary)),
        "",
    ]
    for check in summary["checks"]:
        told += [f"## {markdown(check['set'])}, {markdown(label(check['model']))}", "", *_asked(check), ""]
        for pair in check["pairs"]:
            told += [*_disagreements(check, pair), ""]
    return "\n".join(told)


def _asked(check: Mapping[str, Any]) -> list[str]:
    harness, n = check["harness"], check["questions"]
    return [
        f"- lm-eval {harness['lm_eval']}, task {markdown(harness['task'])} {markdown(harness['task_version'])}, transformers"
        f" {harness['transformers']}, torch {markdown(harness['torch'])}.",
        f"- Prompts with the same token ids: {n - check['other_ids']:,} of {n:,}.",
        f"- Greedy texts that are the same: {check['same_texts']:,} of {n:,}.",
    ]


def _disagreements(check: Mapping[str, Any], pair: Mapping[str, Any]) -> list[str]:
    names = f"Ours {pair['ours']} and the harness's {markdown(pair['theirs'])}"
    if not pair["disagreements"]:
        return [f"{names} agree on every question."]
    rows = [["why", "questions", "ours alone correct", "examples"]]
    rows += [
        [
            REASONS[why].replace("`", ""),
            str(each["count"]),
            str(each["ours_alone_correct"]),
            ", ".join(each["examples"]),
        ]
        for why, each in pair["disagreements"].items()
    ]
    return [f"{names} disagree on {check['questions'] - pair['agree']:,} of {check['questions']:,}:", "", *table(rows)]


def terminal(summary: Mapping[str, Any]) -> str:
    """The table in aligned columns."""
    head, *body = lines(summary)
    return "\n".join(aligned({"columns": head, "rows": [[{"main": cell, "sub": ""} for cell in row] for row in body]}))
