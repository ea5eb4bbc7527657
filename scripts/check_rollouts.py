"""Check rollouts with jq programs: their number, eight trajectories each, every field's type, finite rewards.

    python -m scripts.check_rollouts --params '{"trajectories": 8, "n_questions": 500}' \
        --rollouts data/demo/round1/rollouts.jsonl --output results/demo/round1/rollouts_check.json

Each program of ROW_CHECKS is true for a good line; to run one by hand:  jq -c 'PROGRAM' rollouts.jsonl | sort | uniq -c
Output: {"checks": [{"name", "program", "passed", "found"}], "passed", "questions", "trajectories", "faults"}, the last how
often the verifier failed, by kind.
"""

import argparse
import json
import logging
from collections import Counter
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import jq

from regime_w.runtime.errors import UserError, run
from regime_w.runtime.parallel import over_rollouts
from regime_w.runtime.records import from_argument, lines_of
from regime_w.runtime.seals import write_record

log = logging.getLogger(__name__)

ROW_CHECKS = {
    "id is text": '.id | type == "string" and length > 0',
    "question is text": '.question | type == "string" and length > 0',
    "gold_answer is text": '.gold_answer | type == "string" and length > 0',
    "coherence in [0, 1]": ".coherence | [.s_end, .s_path, .s_cf, .s_wm] | all(NUMBER and . >= 0 and . <= 1)",
    "number of trajectories": '.trajectories | type == "array" and length == TRAJECTORIES',
    "arms differ": "[.trajectories[].arm] | length == (unique | length)",
    "full_text is text": '[.trajectories[].full_text] | all(type == "string")',
    "answer is text or null": '[.trajectories[].answer] | all(. == null or (type == "string" and length > 0))',
    "reasoning is text": '[.trajectories[].reasoning] | all(type == "string")',
    "num_tokens is a count": "[.trajectories[].num_tokens] | all(NUMBER and . >= 0 and . == floor)",
    "token_ids are num_tokens ids": '[.trajectories[] | select(has("token_ids"))] | '
    'all((.token_ids | type == "array" and all(NUMBER and . >= 0 and . == floor)) and (.token_ids | length) == .num_tokens)',
    "thinking_tokens are of num_tokens": '[.trajectories[] | select(has("thinking_tokens"))] | '
    "all(.num_tokens as $all | .thinking_tokens | NUMBER and . >= 0 and . <= $all)",
    "reward is finite": "[.trajectories[].reward] | all(NUMBER)",
    "correct is true or false": '[.trajectories[].correct] | all(type == "boolean")',
    "arm and style are text": '[.trajectories[] | .arm, .style] | all(type == "string" and length > 0)',
    "temperature is a number": "[.trajectories[].temperature] | all(NUMBER and . >= 0)",
    "seed is an integer": "[.trajectories[].seed] | all(NUMBER and . == floor)",
    "finish_reason is stop or length": '[.trajectories[].finish_reason] | all(IN("stop", "length"))',
    "extraction is a method": '[.trajectories[].extraction] | all(IN("hash", "answer", "boxed", "function", "fallback", "none"))',
    "scores in [0, 1]": "[.trajectories[] | .s_end, .s_path, .s_cf, .s_wm] | all(NUMBER and . >= 0 and . <= 1)",
    "score in [0, 1]": "[.trajectories[] | .score // 0] | all(NUMBER and . >= 0 and . <= 1)",
    "fault is text": '[.trajectories[] | .fault // ""] | all(type == "string")',
    "correct ones ended and are marked": '[.trajectories[] | select(.correct)] | all(.finish_reason == "stop" and '
    '(.extraction | IN("hash", "answer", "boxed", "function")))',
}
GOLD_CHECK = "gold_answer is text"
# Where labels are not simply the gold answers (`labels`), in place of GOLD_CHECK.
LABEL_CHECKS = {
    "gold_answer is text or null": '.gold_answer | . == null or (type == "string" and length > 0)',
    "label is text or null": '[.label, (.trajectories[] | .label)] | all(. == null or (type == "string" and length > 0))',
    "label_source is one": '.label_source | IN("gold", "noise", "vote", "cross_style", "random", "none")',
    "agreement in [0, 1] or null": ".agreement | . == null or (NUMBER and . >= 0 and . <= 1)",
    "support in [0, 1]": "[.trajectories[].support] | all(NUMBER and . >= 0 and . <= 1)",
}
NUMBER = '(type == "number" and (isnan or isinfinite | not))'
FAULTS = '[try (.trajectories[].fault // empty | split(":")[0]) catch empty]'
# Over the list of all ids.
FILE_CHECKS = {"number of questions": "length QUESTIONS", "ids differ": "length == (unique | length)"}
SHORTENED = (
    '.trajectories |= .[:1] | walk(if type == "string" and length > 60 then .[:60] + "..." '
    'elif type == "array" and length > 4 then (.[:4] | map(tostring) | join(", ")) + ", ..." else . end)'
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--params", type=from_argument, required=True, help="trajectories, n_questions (or null), labels"
    )
    parser.add_argument("--rollouts", type=Path, required=True)
    parser.add_argument("--output", type=Path, required=True)
    args = parser.parse_args()

    result, failures = check(
        args.rollouts, args.params["trajectories"], args.params.get("n_questions"), args.params.get("labels", False)
    )
    if failures:
        raise UserError(f"{args.rollouts}{failures[0]}; {len(failures)} checks failed; run score_rollouts again")
    with open(args.rollouts, "rb") as file:
        first = next(line for line in file if not line.isspace()).decode()
    log.info(f"Total rollouts: {result['questions']}\nTrajectories per rollout: {args.params['trajectories']}")
    if result["faults"]:
        kinds = ", ".join(f"{kind} {count}" for kind, count in result["faults"].items())
        log.info(f"The verifier failed on {sum(result['faults'].values())} trajectories: {kinds}")
    log.info(
        f"Checks passed: {len(result['checks'])}\nThe first rollout, its first trajectory alone, long texts and lists cut:"
    )
    log.info(json.dumps(jq.compile(SHORTENED).input_text(first).first(), indent=2, ensure_ascii=False))
    write_record(args.output, result)


def check(
    path: Path, trajectories: int, n_questions: int | None, labels: bool = False
) -> tuple[dict[str, Any], list[str]]:
    """Run all checks; return what is written and a sentence for each failed check, beginning with its first bad line."""
    wanted = {name: program for name, program in ROW_CHECKS.items() if not (labels and name == GOLD_CHECK)}
    programs = {
        name: program.replace("NUMBER", NUMBER).replace("TRAJECTORIES", str(trajectories))
        for name, program in (wanted | (LABEL_CHECKS if labels else {})).items()
    }
    # A program that stumbles (a text where a list should be) has not passed; one pass over a line runs them all.
    verdicts = ", ".join(f"(try ({program}) catch false)" for program in programs.values())
    program = f"{{id: .id?, verdicts: [{verdicts}], faults: {FAULTS}}}"
    bad: list[list[tuple[int, Any]]] = [[] for _ in programs]
    ids: list[Any] = []
    faults: Counter[str] = Counter()
    before = 0  # lines of the parts that are checked already
    unreadable = ""
    for part in over_rollouts(check_part, path, "Checked", program):
        if part.unreadable:
            number, error = part.unreadable
            unreadable = (
                unreadable or f"{path}:{before + number}: jq cannot read it ({error}); run score_rollouts again"
            )
        for number, identity, check_number in part.bad:
            bad[check_number].append((before + number, identity))
        ids += part.ids
        faults += part.faults
        before += part.lines
    if unreadable:
        raise UserError(unreadable)

    checks, failures = [], []
    for name, program in FILE_CHECKS.items():
        program = program.replace("QUESTIONS", "> 0" if n_questions is None else f"== {n_questions}")
        passed = bool(jq.compile(program).input_value(ids).first())
        found = f"{len(ids)} lines, {len(set(map(str, ids)))} ids"
        checks.append({"name": name, "program": program, "passed": passed, "found": found})
        if not passed:
            failures.append(f": {name}: {program} is false, found {found}")
    for (name, program), lines_found in zip(programs.items(), bad, strict=True):
        found = f"{len(ids) - len(lines_found)} of {len(ids)} lines"
        checks.append({"name": name, "program": program, "passed": not lines_found, "found": found})
        if lines_found:
            number, identity = lines_found[0]
            failures.append(f":{number}: question {identity}: not so: {name} ({len(lines_found)} lines)")
    return {
        "checks": checks,
        "passed": not failures,
        "questions": len(ids),
        "trajectories": trajectories * len(ids),
        "faults": dict(faults.most_common()),
    }, failures


class Part(NamedTuple):
    """What was found in a part of the file; lines are numbered from 1 in it."""

    lines: int
    ids: list[Any]
    faults: Counter[str]
    bad: list[tuple[int, Any, int]]  # line, id, index of the check
    unreadable: tuple[int, str] | None  # line, jq's words


_compiled = cache(jq.compile)  # once a process


def check_part(shared: tuple[Path, str], part: tuple[int, int]) -> Part:
    path, program = shared
    compiled = _compiled(program)
    ids: list[Any] = []
    faults: Counter[str] = Counter()
    bad: list[tuple[int, Any, int]] = []
    number = 0
    for number, (_, line) in enumerate(lines_of(path, part), 1):
        if line.isspace():
            continue
        try:
            row = compiled.input_text(line.decode("utf-8", "replace")).first()
        except (ValueError, StopIteration) as error:
            return Part(number, ids, faults, bad, (number, str(error)))
        ids.append(row["id"])
        faults.update(row["faults"])
        bad += [(number, row["id"], index) for index, passed in enumerate(row["verdicts"]) if not passed]
    return Part(number, ids, faults, bad, None)


if __name__ == "__main__":
    run(main)
