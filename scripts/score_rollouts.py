"""Score completions: answer, correctness, coherence and reward of each trajectory, one line a question.

    python -m scripts.score_rollouts --params '{"task": {...}, "arms": [...], "coherence": {...}, "reward": {...}}' \
        --completions data/demo/round1/completions/*.jsonl --questions data/demo/questions/round1.jsonl \
        --output data/demo/round1/rollouts.jsonl

Record: {"id", "question", "gold_answer", "coherence": {"s_end", "s_path", "s_cf", "s_wm"}, "trajectories": [
    {"full_text", "answer", "reasoning", "num_tokens", "reward", "correct", "arm", "style", "temperature", "seed",
     "finish_reason", "token_ids", "thinking_tokens", "answer_start", "extraction", "s_end", "s_path", "s_cf", "s_wm"} in the
     order of the arms]}
`reasoning` is a reasoning model's thought, else the text before the answer. What it thinks is no answer: only what follows
is graded.
A trajectory has `"disagreement": true` where math-verify reads its answer otherwise than we do, `"score"` where the verifier
gives one (0 for a text that did not end by itself), and `"fault"` where the verifier could not tell, with the reason.
Where labels are not simply the gold answers (config section `labels`, regime_w/method/labels.py), `correct` is by the label,
a question has `"label"`, `"label_source"` and `"agreement"` besides, `"gold_answer"` is null unless gold made its label, and a
trajectory has `"support"`, and with cross_style a `"label"` of its own. Nothing else of gold stands there, nor is it read.
"""

import argparse
import json
import logging
import os
from array import array
from collections import Counter
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, BinaryIO

from regime_w.method.coherence import Coherence, coherence, mean
from regime_w.method.labels import GOLD, is_withheld, labels_of, least_agreement, one_label, source_of
from regime_w.method.rewards import reward
from regime_w.method.votes import UNMARKED, fault_kind
from regime_w.runtime.compute import threads
from regime_w.runtime.errors import UserError, run
from regime_w.runtime.parallel import in_order
from regime_w.runtime.progress import Progress
from regime_w.runtime.records import expand, from_argument, scan_jsonl, to_line
from regime_w.runtime.seals import check, check_all, common_source, new_records, require_same
from regime_w.tasks.answers import equal, math_verify_agrees
from regime_w.tasks.marks import cut
from regime_w.tasks.thinking import said, thought
from regime_w.tasks.verifier import Grade, Verifier
from regime_w.tasks.verifiers import open_verifier, refuse_if_all_failed

log = logging.getLogger(__name__)

CARRIED = ("token_ids", "thinking_tokens", "answer_start")  # where a completion has them
TELLS_GOLD = ("gold_answer", "answer", "rationales", "corrected")  # of a question
COMPLETION = ("id", "arm", "style", "temperature", "seed", "text", "num_tokens", "finish_reason")
DIGITS = 6  # of scores and rewards in the records
CHUNK = 64  # questions a task
OPEN_FILES = 256


class Places:
    """Where each record stands: row q has the question and then its trajectories in the order of the arms.

    14 bytes each, so that a million questions fit in memory; their texts are read when they are scored.
    """

    def __init__(self, arms: list[str]) -> None:
        self.arms = arms
        self.width = 1 + len(arms)
        self.paths: list[Path] = []
        self.file, self.start, self.size = array("H"), array("q"), array("i")

    def __len__(self) -> int:
        return len(self.size) // self.width

    def add_row(self) -> None:
        self.file.extend([0] * self.width)
        self.start.extend([0] * self.width)
        self.size.extend([0] * self.width)  # 0 bytes: there is no such record

    def put(self, row: int, column: int, place: tuple[int, int]) -> None:
        """A record of the last of `paths`."""
        slot = row * self.width + column
        self.file[slot] = len(self.paths) - 1
        self.start[slot], self.size[slot] = place

    def has(self, row: int, column: int) -> bool:
        return self.size[row * self.width + column] > 0

    def read(self, row: int, column: int) -> dict[str, Any]:
        slot = row * self.width + column
        file = _opened(self.paths[self.file[slot]])
        return json.loads(os.pread(file.fileno(), self.size[slot], self.start[slot]))


@lru_cache(maxsize=OPEN_FILES)
def _opened(path: Path) -> BinaryIO:
    return open(path, "rb")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--params", type=from_argument, required=True, help="task, arms, coherence, reward, labels")
    parser.add_argument("--completions", type=Path, nargs="+", required=True, help="one file a shard, in any order")
    parser.add_argument("--questions", type=Path, required=True)
    parser.add_argument("--output", type=Path, required=True)
    args = parser.parse_args()
    params = args.params
    open_verifier(params["task"]).check()
    if asks_math_verify(params):
        if not find_spec("math_verify"):
            raise UserError(
                "reward.math_verify needs the package math-verify; install it or set reward.math_verify to false"
            )
        math_verify_agrees("0", "0")  # imports it once, before the processes start

    completions, questions = expand(args.completions), check(args.questions)
    seals = check_all(completions)
    for seal in seals:
        require_same(seal, "questions", args.questions, questions.sha256)
    made_from = common_source(seals, "model") | {"questions": questions.sha256}
    places, asked = locate(completions, args.questions, [arm["name"] for arm in params["arms"]])
    progress = Progress(len(asked), "Scored", unit="questions")
    tasks = (asked[start : start + CHUNK] for start in range(0, len(asked), CHUNK))
    counts: Counter[str] = Counter()
    fault = ""
    with new_records(args.output, made_from) as file:
        for lines, found, first in in_order(score_rows, tasks, threads(), (places, params)):
            file.write(lines)
            counts.update(found)
            fault = fault or first
            progress.update(found["questions"])
        refuse_if_all_failed(counts["fault"], counts["trajectories"], fault)
    seconds = progress.close()
    log.info(f"Scored in {seconds:.1f} s, saved to: {args.output}")
    log.info(summary(counts))
    if is_withheld(labelling(params)):
        log.info(labels_told(counts))
    if counts["fault"]:
        log.info(faults_told(counts, fault))
    if asks_math_verify(params):
        log.info(f"math-verify disagrees on: {counts['disagreement']}")


def locate(completions: list[Path], questions: Path, arms: list[str]) -> "tuple[Places, array[int]]":
    """The places of all records, and the rows of the questions.

    UserError for a trajectory that is given twice, that nobody asked for, or that is missing.
    """
    places, rows = Places(arms), dict[str, int]()
    places.paths.append(questions)
    for place, question in scan_jsonl(questions, required=("id", "question", "gold_answer")):
        if question["id"] in rows:
            raise UserError(f"{questions}: the id {question['id']!r} stands twice; give each question an id of its own")
        rows[question["id"]] = len(rows)
        places.add_row()
        places.put(rows[question["id"]], 0, place)
    columns = {arm: column for column, arm in enumerate(arms, 1)}
    twice, unknown = _Told(), _Told()
    for path in completions:
        places.paths.append(path)
        for place, completion in scan_jsonl(path, required=COMPLETION):
            row, column = rows.get(completion["id"]), columns.get(completion["arm"])
            if row is None or column is None:
                unknown.add(completion, path)
            elif places.has(row, column):
                twice.add(completion, path)
            else:
                places.put(row, column, place)
    if unknown.count:
        raise UserError(
            f"{unknown.count} trajectories of a question or arm that is not asked for, first: {unknown.first}; "
            "remove the completions folder and run generate again"
        )
    if twice.count:
        raise UserError(f"{twice.count} trajectories twice, first: {twice.first}; give each shard's file once")
    asked = array("i", range(len(places)))
    require_complete(places, asked)
    return places, asked


class _Told:
    """How many trajectories are wrong in the same way, and which is the first."""

    def __init__(self) -> None:
        self.count, self.first = 0, ""

    def add(self, completion: dict[str, Any], path: Path) -> None:
        self.count += 1
        self.first = self.first or f"question {completion['id']}, arm {completion['arm']} in {path}"


def require_complete(places: Places, asked: "array[int]") -> None:
    """UserError where a question lacks a trajectory."""
    columns = range(1, places.width)
    missing = [(row, column) for row in asked for column in columns if not places.has(row, column)]
    if missing:
        row, column = missing[0]
        raise UserError(
            f"{len(missing)} of {len(asked) * len(places.arms)} trajectories are missing, first: question "
            f"{places.read(row, 0)['id']}, arm {places.arms[column - 1]}; run generate again, it makes just those"
        )


def score_rows(shared: tuple[Places, dict[str, Any]], rows: "array[int]") -> tuple[bytes, Counter[str], str]:
    """Lines of the rollouts of some questions, their counts for the summary, and the verifier's first fault."""
    places, params = shared
    lines, counts, first = [], Counter[str](), ""
    for row in rows:
        question, *completions = (places.read(row, column) for column in range(places.width))
        scored = score(question, completions, params)
        lines.append(to_line(scored))
        counts["questions"] += 1
        if "label_source" in scored:
            counts[f"label: {scored['label_source']}"] += 1
            counts["without label"] += all(
                each.get("label", scored["label"]) is None for each in scored["trajectories"]
            )
        for trajectory in scored["trajectories"]:
            counts["trajectories"] += 1
            counts["correct"] += trajectory["correct"]
            counts["truncated"] += trajectory["finish_reason"] == "length"
            counts["disagreement"] += "disagreement" in trajectory
            counts[f"by {trajectory['extraction']}"] += 1
            if fault := trajectory.get("fault"):
                counts["fault"] += 1
                counts[f"fault: {fault_kind(fault)}"] += 1
                first = first or f"question {scored['id']}, arm {trajectory['arm']}: {fault}"
    return b"".join(lines), counts, first


def score(question: dict[str, Any], completions: list[dict[str, Any]], params: dict[str, Any]) -> dict[str, Any]:
    """The rollouts row of one question; `completions` in the order of the arms."""
    verifier, labels = open_verifier(params["task"]), labelling(params)
    by_gold = source_of(question["id"], labels) == "gold"
    row = question if by_gold else {name: value for name, value in question.items() if name not in TELLS_GOLD}
    gold = gold_of(question, verifier, labels) if by_gold else None
    ends = [completion.get("answer_start", 0) for completion in completions]
    answers = [said(completion["text"], end) for completion, end in zip(completions, ends, strict=True)]
    texts = [cut(answer) for answer in answers]
    grades = verifier.grade_all(texts, gold, row)
    reasonings = [
        thought(completion["text"], end) if end else grade.reasoning
        for completion, end, grade in zip(completions, ends, grades, strict=True)
    ]
    every = params["coherence"]["answers"] == "all"
    each = coherence(
        [
            grade.answer if every or (is_marked(grade) and completion["finish_reason"] == "stop") else None
            for grade, completion in zip(grades, completions, strict=True)
        ],
        reasonings,
        [completion["style"] for completion in completions],
        params["coherence"],
        params["coherence"]["path_mix"],
    )
    whole = mean(each)
    outs = [
        {
            "answer": grade.answer,
            "extraction": grade.method,
            # What goes on with another question did not end by itself.
            "finish_reason": completion["finish_reason"] if len(text) == len(answer) else "length",
            "style": completion["style"],
            "full_text": text,
        }
        for completion, answer, text, grade in zip(completions, answers, texts, grades, strict=True)
    ]
    found = labels_of(question["id"], outs, gold, labels)
    trajectories = []
    for completion, out, grade, reasoning, own, label in zip(
        completions, outs, grades, reasonings, each, found, strict=True
    ):
        ended = out["finish_reason"] == "stop"
        right = (
            grade.correct if label.source == "gold" else is_marked(grade) and grade.answer == label.answer is not None
        )
        correct, its_score = ended and right, grade.score if ended else 0.0
        quality = its_score if params["reward"]["correct"] == "score" else float(correct)
        s_wm = whole.s_wm if params["reward"]["coherence_level"] == "question" else own.s_wm
        trajectory = {
            "full_text": completion["text"],
            "answer": grade.answer,
            "reasoning": reasoning,
            "num_tokens": completion["num_tokens"],
            "reward": round(reward_of(quality, s_wm, completion["num_tokens"], params["reward"]), DIGITS),
            "correct": correct,
            **{name: completion[name] for name in ("arm", "style", "temperature", "seed", "finish_reason")},
            **{name: completion[name] for name in CARRIED if name in completion},
            "extraction": grade.method,
            **rounded(own),
        }
        if is_withheld(labels):
            trajectory["support"] = float(right) if label.source == "gold" else round(label.support, DIGITS)
            if label.source == "cross_style":
                trajectory["label"] = label.answer
        if verifier.scores and label.source == "gold":
            trajectory["score"] = round(its_score, DIGITS)
        if grade.fault:
            trajectory["fault"] = grade.fault
        if gold is not None and asks_math_verify(params) and disagrees(grade, gold):
            trajectory["disagreement"] = True
        trajectories.append(trajectory)
    agreement = least_agreement(found)
    told = {
        "label": one_label(found),
        "label_source": found[0].source,
        "agreement": None if agreement is None else round(agreement, DIGITS),
    }
    return {
        "id": question["id"],
        "question": question["question"],
        "gold_answer": gold,
        **(told if is_withheld(labels) else {}),
        "coherence": rounded(whole),
        "trajectories": trajectories,
    }


def labelling(params: dict[str, Any]) -> dict[str, Any]:
    """The config section `labels`; the gold answers where nothing is said of it."""
    return dict(params.get("labels", GOLD))


def gold_of(question: dict[str, Any], verifier: Verifier, labels: dict[str, Any]) -> str:
    """The gold answer as the verifier reads it; UserError where there is none, or one that it cannot read."""
    if question["gold_answer"] is None:
        raise UserError(
            f"question {question['id']}: it has no gold answer, and labels.source is {labels['source']}; give it one, or set "
            "labels.source: vote, which needs none"
        )
    gold = verifier.gold(question["gold_answer"], question)
    if gold is None:
        raise UserError(
            f"question {question['id']}: the verifier {verifier.name} cannot read the gold answer "
            f"{question['gold_answer']!r:.200}; mend or remove it"
        )
    return gold


def is_marked(grade: Grade) -> bool:
    return grade.method not in UNMARKED


def asks_math_verify(params: dict[str, Any]) -> bool:
    """Whether numbers get a second opinion; other verifiers are math-verify itself, or read what it cannot."""
    return bool(params["reward"]["math_verify"]) and params["task"]["verifier"] == "number"


def reward_of(correct: float, s_wm: float, num_tokens: int, settings: dict[str, Any]) -> float:
    weights = {name: settings[name] for name in ("alpha", "beta", "lambda_length", "length_limit")}
    return reward(correct, s_wm, num_tokens, **weights)


def disagrees(grade: Grade, gold: str) -> bool:
    """Whether math-verify grades the span otherwise. Not asked where the span is the answer itself: plain digits."""
    if not grade.span or grade.span == grade.answer:
        return False
    opinion = second_opinion(grade.span, gold)
    return opinion is not None and opinion != equal(grade.answer, gold)


@lru_cache(maxsize=100_000)
def second_opinion(span: str, gold: str) -> bool | None:
    return math_verify_agrees(span, gold)


def rounded(values: Coherence) -> dict[str, float]:
    return {name: round(value, DIGITS) for name, value in values._asdict().items()}


def faults_told(counts: Counter[str], first: str) -> str:
    kinds = ", ".join(f"{name[7:]} {count}" for name, count in counts.most_common() if name.startswith("fault: "))
    return f"The verifier failed on: {counts['fault']} ({kinds}), which are not correct; first: {first}"


def labels_told(counts: Counter[str]) -> str:
    sources = ", ".join(f"{name[7:]} {count}" for name, count in counts.most_common() if name.startswith("label: "))
    return f"Labels from: {sources}; questions without a label: {counts['without label']}"


def summary(counts: Counter[str]) -> str:
    trajectories = counts["trajectories"]
    methods = ", ".join(f"{name[3:]} {number}" for name, number in counts.most_common() if name.startswith("by "))
    return "\n".join(
        [
            f"Total rollouts: {counts['questions']}",
            f"Trajectories per rollout: {trajectories // counts['questions']}",
            f"Correct: {counts['correct'] / trajectories:.1%}",
            f"Truncated: {counts['truncated'] / trajectories:.1%}",
            f"Answers found by: {methods}",
        ]
    )


if __name__ == "__main__":
    run(main)
