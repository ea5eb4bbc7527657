"""The outside check without the harness: why two graders disagree, the page, the task that is written, what the config may say."""

import re
from typing import Any

import pytest
import yaml
from helpers import ROOT, demo_config, snakemake

from regime_w.config.harness import HARNESS
from regime_w.config.plan import outside_sets
from regime_w.config.schema import load
from regime_w.report.outside import REASONS, compare, page, terminal
from regime_w.runtime.errors import UserError
from regime_w.runtime.records import read_jsonl
from regime_w.sampling.harness import TASKS, write_task
from regime_w.tasks.verifiers import open_verifier

NUMBER = open_verifier({"verifier": "number", "timeout": 5})
ABOUT = {"lm_eval": "0", "task": "gsm8k", "task_version": 3.0, "transformers": "0", "torch": "0"}


def ours(text: str, gold: str = "18", finish: str = "stop", thought: int = 0) -> dict[str, Any]:
    """A row of evaluate's, graded by our grader."""
    grade = NUMBER.grade(text[thought:], gold, {})
    greedy = {
        "text": text, "answer": grade.answer, "correct": finish == "stop" and grade.correct, "extraction": grade.method,
        "finish_reason": finish, "answer_start": thought,
    }  # fmt: skip
    return {"id": "q", "question": "?", "gold_answer": gold, "greedy": greedy}


def theirs(text: str, strict: tuple[str, bool], flexible: tuple[str, bool], other_ids: bool = False) -> dict[str, Any]:
    """What the harness found on one question."""
    pairs = {"strict-match": strict, "flexible-extract": flexible}
    grades = {name: {"answer": answer, "correct": right} for name, (answer, right) in pairs.items()}
    return {
        "harness": ABOUT,
        "figures": {name: float(right) for name, (_, right) in pairs.items()},
        "other_ids": ["q"] if other_ids else [],
        "left_out": ["<s>"],
        "answers": [{"id": "q", "text": text, "grades": grades}],
    }


RIGHT, NOTHING = ("18", True), ("[invalid]", False)
CASES = {
    "first_mark": (ours("#### 20\nNo:\n#### 18"), theirs("#### 20\nNo:\n#### 18", ("20", False), RIGHT)),
    "no_mark": (ours("So \\boxed{18}"), theirs("So \\boxed{18}", NOTHING, RIGHT)),
    "string": (ours("#### 18.00"), theirs("#### 18.00", ("18.00", False), ("18.00", False))),
    "truncated": (ours("#### 18", finish="length"), theirs("#### 18", RIGHT, RIGHT)),
    "thought": (ours("#### 20 </think>#### 18", thought=16), theirs("#### 20 </think>#### 18", ("20", False), RIGHT)),
    "text": (ours("#### 18"), theirs("#### 20", ("20", False), ("20", False))),
    "prompt": (ours("#### 18"), theirs("#### 20", ("20", False), ("20", False), other_ids=True)),
    "cut": (ours("#### 18\nQuestion: 3?"), theirs("#### 18\nQuestion: 3?", RIGHT, ("3", False))),
    "last_number": (ours("#### 18\nIt took 2 days."), theirs("#### 18\nIt took 2 days.", RIGHT, ("2", False))),
    "reading": (ours("#### 18 or 19"), theirs("#### 18 or 19", RIGHT, ("19", False))),
}


@pytest.mark.parametrize("why", REASONS)
def test_each_disagreement_has_its_reason(why: str) -> None:
    row, found = CASES[why]
    check = compare("quiz", "round1", [row], found, NUMBER)
    told = [pair["disagreements"] for pair in check["pairs"]]
    assert why in told[0] or why in told[1], told
    for pair in check["pairs"]:
        assert pair["agree"] == 1 - sum(each["count"] for each in pair["disagreements"].values())
        assert abs(pair["ours_correct"] - pair["theirs_correct"]) == len(pair["disagreements"])
    shown = page({"run": "toy", "checks": [check]})
    assert REASONS[why].replace("`", "").split(":")[0].split("#")[0].strip() in shown.replace("\\", "")


def test_graders_that_agree_are_shown_so() -> None:
    check = compare("quiz", "round1", [ours("<s>#### 18")], theirs("#### 18", RIGHT, RIGHT), NUMBER)
    assert (check["questions"], check["same_texts"], [pair["agree"] for pair in check["pairs"]]) == (1, 1, [1, 1])
    summary = {"run": "toy", "checks": [check]}
    row = "| quiz | round 1 | 1 | 100.0% | 100.0% | 100.0% | 100.0% | 100.0% | 100.0% | 100.0% |"
    assert row in page(summary)
    assert page(summary).count("agree on every question") == 2
    assert terminal(summary).splitlines()[1].split()[:3] == ["quiz", "round", "1"]


def test_a_question_that_was_not_ours_and_figures_that_are_not_the_grades_are_refused() -> None:
    found = theirs("#### 18", RIGHT, RIGHT)
    with pytest.raises(UserError, match="answered question q, we did not"):
        compare("quiz", "round1", [ours("#### 18") | {"id": "other"}], found, NUMBER)
    with pytest.raises(UserError, match=r"strict-match is 0\.5 by the harness's word"):
        compare(
            "quiz",
            "round1",
            [ours("#### 18")],
            found | {"figures": {"strict-match": 0.5, "flexible-extract": 1}},
            NUMBER,
        )


ROWS = [{"id": "q1", "question": "1 {{ 7 }}?", "prompt": "Q: 1 {{ 7 }}?\nA:", "ids": (1,), "gold": "1,000"}]
SETTINGS = {"stop": ["\nQuestion"], "ends": ["</s>"], "end_ids": (2,), "max_new_tokens": 64}


@pytest.mark.parametrize(
    ("verifier", "gold"),
    [("number", {"answer": "1,000"}), ("latex", {"problem": "1 {{ 7 }}?", "solution": "$\\boxed{1,000}$"})],
)
def test_the_task_has_our_prompts_and_stops_and_no_grader_of_its_own(tmp_path, verifier, gold) -> None:
    write_task(tmp_path, tmp_path / "tasks", ROWS, SETTINGS | {"verifier": verifier})
    task = yaml.safe_load((tmp_path / "outside.yaml").read_text())
    assert task["include"] == str(tmp_path / "tasks" / TASKS[verifier])
    assert not {"filter_list", "metric_list", "process_results", "doc_to_target"} & task.keys()
    assert (task["num_fewshot"], task["generation_kwargs"]["max_gen_toks"]) == (0, 64)
    assert task["generation_kwargs"]["until"] == ["\nQuestion", "</s>"]
    shared = {"id": "q1", "question": ROWS[0]["question"], "prompt": ROWS[0]["prompt"]}
    assert read_jsonl(tmp_path / "outside.jsonl") == [shared | gold]


def test_the_package_that_is_named_is_the_one_that_is_pinned() -> None:
    assert HARNESS in (ROOT / "envs/outside.txt").read_text().splitlines()
    name, version = re.fullmatch(r"([a-z-]+)\[.*\]==(.*)", HARNESS).groups()
    assert f"{name}=={version}" in (ROOT / "envs/outside.lock").read_text().splitlines()


@pytest.mark.parametrize(
    ("section", "message"),
    [
        (
            {"models": ["round3"]},
            "outside_check.models: the run has no model 'round3'; it has base, sft, round1, round2",
        ),
        (
            {"sets": ["quiz"]},
            r"outside_check.sets: 'quiz' is not under questions.eval; known are \['choice', 'generated'\]",
        ),
        ({"limit": 0}, r"outside_check\.limit"),
    ],
)
def test_what_the_config_names_must_be_there(section, message) -> None:
    with pytest.raises(UserError, match=message):
        load(demo_config(outside_check=section))


def test_sets_that_the_harness_cannot_grade_are_left_out_and_refused_where_named() -> None:
    config = demo_config()
    assert outside_sets(load(config)) == ["generated"]
    with pytest.raises(UserError, match="choice is graded by choice, the harness grades number and latex alone"):
        load(config | {"outside_check": {"sets": ["choice"]}})


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "error: lm-eval is not installed here: `make outside_check` makes an environment that has it"),
        (
            ("--config", "task={verifier: exact}"),
            "error: outside_check: lm-evaluation-harness grades numbers and LaTeX",
        ),
    ],
)
def test_a_dry_run_says_in_one_line_that_the_check_cannot_run(words, message) -> None:
    done = snakemake(ROOT, "outside_check", "--dry-run", *words)
    assert done.returncode
    told = [line for line in done.stderr.splitlines() if line.startswith("error")]
    assert len(told) == 1
    assert told[0].startswith(message)
    assert "Traceback" not in done.stderr
