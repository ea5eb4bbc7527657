"""Score completions: answer, correctness, coherence and reward of each trajectory, one line a question.

    python -m scripts.score_rollouts --params '{"arms": [...], "coherence": {...}, "reward": {...}}' \
        --completions data/demo/round1/completions/*.jsonl --questions data/demo/train.jsonl \
        --output data/demo/round1/rollouts.jsonl

Record: {"id", "question", "gold_answer", "coherence": {"s_end", "s_path", "s_cf", "s_wm"}, "trajectories": [
    {"full_text", "answer", "reasoning", "num_tokens", "reward", "correct", "arm", "style", "temperature", "seed",
     "finish_reason", "extraction", "s_end", "s_path", "s_cf", "s_wm"} in the order of the arms]}
A trajectory has `"disagreement": true` where math-verify reads its answer otherwise than we do.
"""

import argparse
import json
from collections import Counter
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from scripts.errors import UserError, run
from scripts.progress import Progress
from scripts.records import iter_jsonl, read_jsonl, write_jsonl
from scripts.regime_w.answers import Extraction, cut, equal, extract, math_verify_agrees, normalise, reasoning_part
from scripts.regime_w.coherence import Coherence, coherence, mean
from scripts.regime_w.rewards import reward

COMPLETION = ("id", "arm", "style", "temperature", "seed", "text", "num_tokens", "finish_reason")
DIGITS = 6  # of scores and rewards in the records


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--params", type=json.loads, required=True, help="arms, coherence, reward")
    parser.add_argument("--completions", type=Path, nargs="+", required=True, help="one file a shard, in any order")
    parser.add_argument("--questions", type=Path, required=True)
    parser.add_argument("--output", type=Path, required=True)
    args = parser.parse_args()
    params = args.params
    if params["reward"].get("math_verify") and not find_spec("math_verify"):
        raise UserError(
            "reward.math_verify needs the package math-verify; install it or set reward.math_verify to false"
        )

    questions = read_jsonl(args.questions, required=("id", "question", "gold_answer"))
    arms = [arm["name"] for arm in params["arms"]]
    completions = read_completions(args.completions, {question["id"] for question in questions}, set(arms))
    asked = [question for question in questions if question["id"] in completions]
    require_complete(asked, completions, arms)
    progress = Progress(len(asked), "Scored", unit="questions")
    rows = []
    for question in asked:
        of_arm = completions.pop(question["id"])
        rows.append(score(question, [of_arm[arm] for arm in arms], params))
        progress.update()
    seconds = progress.close()
    write_jsonl(args.output, rows)
    print(f"Scored in {seconds:.1f} s, saved to: {args.output}")
    print(summary(rows))
    if params["reward"].get("math_verify"):
        print(
            f"math-verify disagrees on: {sum('disagreement' in item for row in rows for item in row['trajectories'])}"
        )


def read_completions(paths: list[Path], ids: set[str], arms: set[str]) -> dict[str, dict[str, dict[str, Any]]]:
    """Completions by question id and arm; UserError for a trajectory given twice or that nobody asked for."""
    found: dict[str, dict[str, dict[str, Any]]] = {}
    twice, unknown = [], []
    for path in paths:
        for row in iter_jsonl(path, required=COMPLETION):
            name = f"question {row['id']}, arm {row['arm']} in {path}"
            if row["id"] not in ids or row["arm"] not in arms:
                unknown.append(name)
            elif row["arm"] in found.setdefault(row["id"], {}):
                twice.append(name)
            else:
                found[row["id"]][row["arm"]] = row
    if unknown:
        raise UserError(
            f"{len(unknown)} trajectories of a question or arm that is not asked for, first: {unknown[0]}; "
            "remove the completions folder and run generate again"
        )
    if twice:
        raise UserError(f"{len(twice)} trajectories twice, first: {twice[0]}; give each shard's file once")
    if not found:
        raise UserError(f"no completion in {len(paths)} files, first: {paths[0]}; run generate again")
    return found


def require_complete(asked: list[dict[str, Any]], completions: dict[str, dict[str, Any]], arms: list[str]) -> None:
    """UserError where a question that has a trajectory lacks one of another arm."""
    missing = [(question["id"], arm) for question in asked for arm in arms if arm not in completions[question["id"]]]
    if missing:
        raise UserError(
            f"{len(missing)} of {len(asked) * len(arms)} trajectories are missing, first: question {missing[0][0]}, "
            f"arm {missing[0][1]}; run generate again, it makes just those"
        )


def score(question: dict[str, Any], completions: list[dict[str, Any]], params: dict[str, Any]) -> dict[str, Any]:
    """The rollouts row of one question; `completions` in the order of the arms."""
    gold = normalise(str(question["gold_answer"]))
    if gold is None:
        raise UserError(
            f"question {question['id']}: gold answer {question['gold_answer']!r} is not a number; mend or remove it"
        )
    extractions = [extract(completion["text"]) for completion in completions]
    reasonings = [reasoning_part(completion["text"]) for completion in completions]
    each = coherence(
        [extraction.answer for extraction in extractions],
        reasonings,
        [completion["style"] for completion in completions],
        params["coherence"],
        params["coherence"]["path_mix"],
    )
    whole = mean(each)
    trajectories = []
    for completion, extraction, reasoning, own in zip(completions, extractions, reasonings, each, strict=True):
        correct = is_correct(extraction, gold, completion)
        s_wm = whole.s_wm if params["reward"]["coherence_level"] == "question" else own.s_wm
        trajectory = {
            "full_text": completion["text"],
            "answer": extraction.answer,
            "reasoning": reasoning,
            "num_tokens": completion["num_tokens"],
            "reward": round(reward_of(correct, s_wm, completion["num_tokens"], params["reward"]), DIGITS),
            "correct": correct,
            **{name: completion[name] for name in ("arm", "style", "temperature", "seed", "finish_reason")},
            "extraction": extraction.method,
            **rounded(own),
        }
        if params["reward"].get("math_verify") and disagrees(extraction, gold):
            trajectory["disagreement"] = True
        trajectories.append(trajectory)
    return {
        "id": question["id"],
        "question": question["question"],
        "gold_answer": gold,
        "coherence": rounded(whole),
        "trajectories": trajectories,
    }


def is_correct(extraction: Extraction, gold: str, completion: dict[str, Any]) -> bool:
    """Whether a trajectory may be learnt from: the right answer, marked, in a text that ended and did not run on."""
    text = completion["text"]
    ended = completion["finish_reason"] == "stop" and len(cut(text)) == len(text)
    return ended and extraction.method not in ("fallback", "none") and equal(extraction.answer, gold)


def reward_of(correct: bool, s_wm: float, num_tokens: int, settings: dict[str, Any]) -> float:
    weights = {name: settings[name] for name in ("alpha", "beta", "lambda_length", "length_limit")}
    return reward(correct, s_wm, num_tokens, **weights)


def disagrees(extraction: Extraction, gold: str) -> bool:
    """Whether math-verify grades the span otherwise. Not asked where the span is the answer itself: plain digits."""
    if not extraction.span or extraction.span == extraction.answer:
        return False
    opinion = second_opinion(extraction.span, gold)
    return opinion is not None and opinion != equal(extraction.answer, gold)


@lru_cache(maxsize=100_000)
def second_opinion(span: str, gold: str) -> bool | None:
    return math_verify_agrees(span, gold)


def rounded(values: Coherence) -> dict[str, float]:
    return {name: round(value, DIGITS) for name, value in values._asdict().items()}


def summary(rows: list[dict[str, Any]]) -> str:
    trajectories = [trajectory for row in rows for trajectory in row["trajectories"]]
    count = len(trajectories)
    by_method = Counter(trajectory["extraction"] for trajectory in trajectories)
    methods = ", ".join(f"{name} {number}" for name, number in by_method.most_common())
    return "\n".join(
        [
            f"Total rollouts: {len(rows)}",
            f"Trajectories per rollout: {count // len(rows)}",
            f"Correct: {sum(trajectory['correct'] for trajectory in trajectories) / count:.1%}",
            f"Truncated: {sum(trajectory['finish_reason'] == 'length' for trajectory in trajectories) / count:.1%}",
            f"Answers found by: {methods}",
        ]
    )


if __name__ == "__main__":
    run(main)
