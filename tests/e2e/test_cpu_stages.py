"""score_rollouts, check_rollouts and build_preferences as users run them, on a few made-up completions."""

import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from helpers import stage, template

from regime_w.method.samples import build_samples
from regime_w.runtime.errors import UserError
from regime_w.runtime.seals import measure, write_jsonl, write_seal
from scripts.check_rollouts import check
from scripts.score_rollouts import score

ARMS = [
    {"name": f"{style}_t0{tenths}", "style": style, "temperature": tenths / 10}
    for style in ("wolfram", "maudlin")
    for tenths in (2, 3, 4, 5)
]
SCORE = {
    "task": {"verifier": "number", "timeout": 10},
    "arms": ARMS,
    "coherence": {"s_end": 0.4, "s_path": 0.3, "s_cf": 0.3, "answers": "marked", "path_mix": 0.5},
    "reward": {
        "correct": "correct",
        "alpha": 1.0, "beta": 0.5, "lambda_length": 0.001, "length_limit": 512,
        "coherence_level": "trajectory", "math_verify": True,
    },
}  # fmt: skip
PAIR = {
    "pairs": {
        "policy": "capped", "per_question": 4, "coherence_share": 0.25, "min_margin": 0.05, "max_similarity": 0.95,
        "max_length_ratio": 3.0, "train_prompt": "arm", "same_style": True,
        "calculations": 0, "truncated": "drop", "max_pairs": None,
    },
    "styles": {"wolfram": "Be exact.", "maudlin": "Look for fragile steps."},
    "prompt": template("Question:\n{question}\nAnswer:\n"),
    "seed": 42,
}  # fmt: skip
CHECK = {"trajectories": 8, "n_questions": 3}
FINALS = [
    ["#### 18", "#### 17", "#### $18", "#### 18 eggs", "#### 18", "#### 12", "so 18", "#### 5:00 PM"],
    ["#### 7"] * 8,  # all wrong, and unanimously: gold is 8
    ["#### 3", "#### 3", "#### 4", "#### 3 or 4", "#### 3", "#### 3", "#### 4", "nothing"],
]
GOLD = ["18", "8", "3"]
OPENINGS = [
    "First we count",
    "Take what is given",
    "Let me see",
    "The sum goes like this",
    "It is said",
    "Now",
    "We know",
    "Add",
]


def completion(question: int, arm: int, **changes: Any) -> dict[str, Any]:
    body = f"{OPENINGS[arm]} {arm} and {question + arm} so 2 + {arm} = {2 + arm}.\n" + "then on " * (arm % 4)
    return {
        "key": f"{question}-{arm}", "id": f"q{question}", "arm": ARMS[arm]["name"], "style": ARMS[arm]["style"],
        "temperature": ARMS[arm]["temperature"], "seed": arm, "text": f"{body}\n{FINALS[question][arm]}", "num_tokens": 40 + arm,
        "finish_reason": "stop", **changes,
    }  # fmt: skip


def completions() -> list[dict[str, Any]]:
    rows = [completion(question, arm) for question in range(3) for arm in range(8)]
    rows[3]["finish_reason"] = "length"
    return rows


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    write_jsonl(path, rows)
    return path


def read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def questions(folder: Path) -> Path:
    return write(
        folder / "train.jsonl",
        [{"id": f"q{i}", "question": f"How many, {i}?", "gold_answer": GOLD[i]} for i in range(3)],
    )


def run_score(folder: Path, rows: list[dict[str, Any]], params: dict[str, Any] = SCORE):
    half = len(rows) // 2
    shards = [write(folder / "1-of-2.jsonl", rows[half:]), write(folder / "0-of-2.jsonl", rows[:half])]
    return stage(
        "score_rollouts", "--params", json.dumps(params), "--completions", *shards, "--questions", questions(folder),
        "--output", folder / "rollouts.jsonl",
    )  # fmt: skip


def run_pairs(folder: Path, rollouts: Path, **pairs: Any):
    params = PAIR | {"pairs": PAIR["pairs"] | pairs}
    return stage(
        "build_preferences", "--params", json.dumps(params), "--rollouts", rollouts,
        "--output", folder / "preferences.jsonl", "--summary", folder / "preferences.json",
    )  # fmt: skip


@pytest.fixture(scope="module")
def scored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("scored")
    done = run_score(folder, completions()[::-1])
    assert done.returncode == 0, done.stderr
    assert "Total rollouts: 3\nTrajectories per rollout: 8\n" in done.stdout
    assert "math-verify disagrees on: " in done.stdout
    return folder / "rollouts.jsonl"


def test_score(scored: Path) -> None:
    rows = read(scored)
    assert [row["id"] for row in rows] == ["q0", "q1", "q2"]
    first = rows[0]
    assert set(first) == {"id", "question", "gold_answer", "coherence", "trajectories"}
    assert [item["arm"] for item in first["trajectories"]] == [arm["name"] for arm in ARMS]
    # Truncated (3), fallback (6) and a time of day (7) are not correct.
    assert [item["correct"] for item in first["trajectories"]] == [True, False, True, False, True, False, False, False]
    assert [item["extraction"] for item in first["trajectories"]] == ["hash"] * 6 + ["fallback", "none"]
    # Three marked answers of finished texts agree; the truncated and the unmarked 18 count for nothing.
    assert first["coherence"]["s_end"] == pytest.approx(3 / 28, abs=1e-6)
    assert [item["s_end"] for item in first["trajectories"][2:4]] == [pytest.approx(2 / 7, abs=1e-6), 0]
    for item in first["trajectories"]:
        assert item["reward"] == pytest.approx(item["correct"] + 0.5 * item["s_wm"], abs=2e-6)
        assert item["full_text"].startswith(item["reasoning"])
    assert "disagreement" not in first["trajectories"][0]


def test_coherence_of_all_answers() -> None:
    question = {"id": "q0", "question": "?", "gold_answer": "18"}
    params = SCORE | {"coherence": SCORE["coherence"] | {"answers": "all"}}
    row = score(question, completions()[:8], params)
    assert row["coherence"]["s_end"] == pytest.approx(10 / 28, abs=1e-6)


def test_score_tells_where_math_verify_disagrees() -> None:
    question = {"id": "q0", "question": "?", "gold_answer": "5"}
    row = score(question, [completion(0, arm) for arm in range(8)], SCORE)
    assert [item.get("disagreement", False) for item in row["trajectories"]] == [False] * 7 + [True]
    silent = SCORE | {"reward": SCORE["reward"] | {"math_verify": False}}
    assert not any("disagreement" in item for item in score(question, [completion(0, 7)], silent)["trajectories"])


def test_score_with_the_questions_coherence() -> None:
    params = SCORE | {"reward": SCORE["reward"] | {"coherence_level": "question"}}
    row = score({"id": "q2", "question": "?", "gold_answer": "3"}, [completion(2, arm) for arm in range(8)], params)
    rewards = {item["reward"] for item in row["trajectories"] if item["correct"]}
    assert list(rewards) == pytest.approx([1 + 0.5 * row["coherence"]["s_wm"]], abs=2e-6)
    assert len({item["s_wm"] for item in row["trajectories"]}) > 2


PARTLY = """
def grade(text, gold, row):
    if "#### 12" in text or "5:00" in text:
        raise ValueError("not these")
    if "eggs" in text:
        return None
    answer = text.rpartition("#### ")[2].strip("$") if "####" in text else None
    return {"answer": answer, "correct": answer == gold, "score": 0.25 + 0.5 * (answer == gold)}
"""


def with_function(folder: Path, code: str, **reward: Any) -> dict[str, Any]:
    (folder / "own.py").write_text(code)
    own = {"verifier": f"{folder / 'own.py'}:grade", "timeout": 30}
    return SCORE | {"task": own, "reward": SCORE["reward"] | reward}


def test_score_by_a_users_function(tmp_path: Path) -> None:
    """Its faults cost those answers, are told in the log and counted by the check; its score is the reward."""
    done = run_score(tmp_path, completions(), with_function(tmp_path, PARTLY, correct="score"))
    assert done.returncode == 0, done.stderr
    assert "The verifier failed on: 3 (exception 2, return 1), which are not correct; first: question q0" in done.stdout
    rows = read(tmp_path / "rollouts.jsonl")
    first = rows[0]["trajectories"]
    assert [item["correct"] for item in first] == [True, False, True, False, True, False, False, False]
    assert [item["score"] for item in first] == [0.75, 0.25, 0.75, 0.0, 0.75, 0.0, 0.25, 0.0]  # 3 is truncated
    assert [item.get("fault", "").partition(":")[0] for item in first] == [
        "",
        "",
        "",
        "return",
        "",
        "exception",
        "",
        "exception",
    ]
    for item in first:
        assert item["reward"] == pytest.approx(item["score"] + 0.5 * item["s_wm"], abs=2e-6)
    result, failures = check(tmp_path / "rollouts.jsonl", 8, 3)
    assert not failures
    assert result["faults"] == {"exception": 2, "return": 1}
    done = stage(
        "check_rollouts", "--params", json.dumps(CHECK), "--rollouts", tmp_path / "rollouts.jsonl",
        "--output", tmp_path / "check.json",
    )  # fmt: skip
    assert "The verifier failed on 3 trajectories: exception 2, return 1" in done.stdout


def test_score_refuses_a_function_that_always_fails(tmp_path: Path) -> None:
    failing = "def grade(text, gold, row):\n    raise ValueError('never')\n"
    done = run_score(tmp_path, completions(), with_function(tmp_path, failing))
    assert done.returncode == 2
    assert done.stderr.startswith(
        "error: task.verifier failed on all 24 answers, first question q0, arm wolfram_t02: exc"
    )
    assert "never" in done.stderr
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "rollouts.jsonl").exists()


def test_score_by_other_verifiers(tmp_path: Path) -> None:
    """A letter and a formula, through the same records; equal answers are one text."""
    options = {"options": ["7", "18", "none"]}
    texts = [
        "#### B",
        "#### (B) 18",
        "#### 18",
        "#### A",
        "so \\boxed{C}",
        "nothing",
        "the answer is (A)",
        "#### A or B",
    ]
    outs = [completion(0, arm, text=text) for arm, text in enumerate(texts)]
    row = score(
        {"id": "q0", "question": "?", "gold_answer": "B"} | options,
        outs,
        SCORE | {"task": {"verifier": "choice", "timeout": 1}},
    )
    assert [item["answer"] for item in row["trajectories"]] == ["B", "B", "B", "A", "C", None, "A", None]
    assert [item["correct"] for item in row["trajectories"]] == [True] * 3 + [False] * 5
    texts = ["#### 2x", "\\boxed{x + x}", "#### 3x", "\\boxed{x+2x}", "", "", "", ""]
    outs = [completion(0, arm, text=text) for arm, text in enumerate(texts)]
    row = score(
        {"id": "q0", "question": "?", "gold_answer": "x \\cdot 2"},
        outs,
        SCORE | {"task": {"verifier": "latex", "timeout": 30}},
    )
    assert [item["answer"] for item in row["trajectories"][:4]] == ["x \\cdot 2"] * 2 + ["3x"] * 2
    assert [item["s_end"] for item in row["trajectories"][:4]] == pytest.approx([1 / 7] * 4, abs=1e-6)
    assert [item["correct"] for item in row["trajectories"][:4]] == [True, True, False, False]


def test_score_refuses_a_gold_answer_that_the_verifier_cannot_read() -> None:
    question = {"id": "q0", "question": "?", "gold_answer": "Z"}
    with pytest.raises(
        UserError, match="question q0: the verifier choice cannot read the gold answer 'Z'; mend or remove it"
    ):
        score(question, completions()[:8], SCORE | {"task": {"verifier": "choice", "timeout": 1}})


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (
            lambda rows: rows[:-1],
            "1 of 24 trajectories are missing, first: question q2, arm maudlin_t05; run generate again",
        ),
        (lambda rows: [*rows, rows[5]], "1 trajectories twice, first: question q0, arm maudlin_t03"),
        (lambda rows: [*rows, rows[0] | {"id": "q9"}], "1 trajectories of a question or arm that is not asked for"),
    ],
)
def test_score_refuses_an_incomplete_set(tmp_path: Path, spoil: Any, message: str) -> None:
    done = run_score(tmp_path, spoil(completions()))
    assert done.returncode == 2
    assert message in done.stderr
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "rollouts.jsonl").exists()


def test_score_refuses_two_questions_of_one_id(tmp_path: Path) -> None:
    twice = write(tmp_path / "train.jsonl", 2 * [{"id": "q0", "question": "?", "gold_answer": "18"}])
    shard = write(tmp_path / "0-of-1.jsonl", completions()[:8])
    done = stage(
        "score_rollouts", "--params", json.dumps(SCORE), "--completions", shard, "--questions", twice,
        "--output", tmp_path / "rollouts.jsonl",
    )  # fmt: skip
    assert done.returncode == 2
    assert "the id 'q0' stands twice" in done.stderr


def test_check(scored: Path, tmp_path: Path) -> None:
    output = tmp_path / "check.json"
    done = stage("check_rollouts", "--params", json.dumps(CHECK), "--rollouts", scored, "--output", output)
    assert done.returncode == 0, done.stderr
    stamp = ""
    assert re.match(rf"{stamp}Total rollouts: 3\n{stamp}Trajectories per rollout: 8\n", done.stdout)
    report = json.loads(output.read_text())
    assert (report["passed"], report["questions"], report["trajectories"]) == (True, 3, 24)
    assert all(set(entry) == {"name", "program", "passed", "found"} and entry["passed"] for entry in report["checks"])


@pytest.mark.parametrize(
    ("where", "value", "names"),
    [
        ("id", "q0", {"ids differ"}),
        ("id", 7, {"id is text"}),
        ("question", None, {"question is text"}),
        ("gold_answer", 18, {"gold_answer is text"}),
        ("coherence", {"s_end": 1}, {"coherence in [0, 1]"}),
        ("reward", float("nan"), {"reward is finite"}),
        ("reward", float("inf"), {"reward is finite"}),
        ("reward", "1", {"reward is finite"}),
        ("num_tokens", 1.5, {"num_tokens is a count"}),
        ("correct", "true", {"correct is true or false"}),
        ("arm", "wolfram_t03", {"arms differ"}),
        ("style", "", {"arm and style are text"}),
        ("temperature", None, {"temperature is a number"}),
        ("seed", 0.5, {"seed is an integer"}),
        ("finish_reason", "eos", {"finish_reason is stop or length", "correct ones ended and are marked"}),
        ("extraction", "fallback", {"correct ones ended and are marked"}),
        ("answer", 18, {"answer is text or null"}),
        ("full_text", None, {"full_text is text"}),
        ("reasoning", None, {"reasoning is text"}),
        ("s_cf", 1.1, {"scores in [0, 1]"}),
    ],
)
def test_check_finds(scored: Path, tmp_path: Path, where: str, value: Any, names: set[str]) -> None:
    rows = read(scored)
    target = rows[2] if where in rows[2] else rows[2]["trajectories"][0]
    target[where] = value
    result, failures = check(write(tmp_path / "rollouts.jsonl", rows), 8, 3)
    assert {entry["name"] for entry in result["checks"] if not entry["passed"]} == names
    assert not result["passed"]
    assert names == {"ids differ"} or failures[0].startswith(":3: question ")


def test_check_refuses_without_an_output(scored: Path, tmp_path: Path) -> None:
    rows = read(scored)
    rows[1]["trajectories"] = "none"
    broken = write(tmp_path / "rollouts.jsonl", rows)
    done = stage(
        "check_rollouts", "--params", json.dumps(CHECK), "--rollouts", broken, "--output", tmp_path / "check.json"
    )
    assert done.returncode == 2
    assert f"{broken}:2: question q1: not so: number of trajectories" in done.stderr
    assert not (tmp_path / "check.json").exists()
    broken.write_text(broken.read_text()[:-20])
    with pytest.raises(UserError, match="was changed after it was made"):
        check(broken, 8, None)
    write_seal(measure(broken))
    with pytest.raises(UserError, match=r":3: jq cannot read it"):
        check(broken, 8, None)
    result, failures = check(write(broken, []), 8, None)
    assert result["questions"] == 0
    assert failures[0].startswith(": number of questions")


def test_preferences(scored: Path, tmp_path: Path) -> None:
    done = run_pairs(tmp_path, scored)
    assert done.returncode == 0, done.stderr
    pairs, report = read(tmp_path / "preferences.jsonl"), json.loads((tmp_path / "preferences.json").read_text())
    assert report["kept"] == len(pairs) == sum(report["kept_by_type"].values())
    assert report["candidates"] == report["kept"] + sum(report["dropped"].values())
    assert report["questions"] == report["questions_with_pairs"] + sum(report["no_pair_reasons"].values()) == 3
    assert report["dropped"]["truncated"] > 0
    assert report["unanimous_not_gold"] == ["q1"]
    assert report["no_pair_reasons"] == {"all_correct": 0, "all_wrong": 1, "filtered": 0}
    texts = {item["full_text"]: item for row in read(scored) for item in row["trajectories"]}
    for pair in pairs:
        chosen, rejected = texts[pair["chosen"]], texts[pair["rejected"]]
        assert chosen["correct"]
        assert rejected["correct"] == (pair["pair_type"] == "coherence")
        assert chosen["style"] == rejected["style"] == pair["style"]
        assert pair["prompt"] == f"{PAIR['styles'][pair['style']]}\n\nQuestion:\nHow many, {pair['id'][1]}?\nAnswer:\n"
    again = tmp_path / "again"
    again.mkdir()
    assert run_pairs(again, scored, train_prompt="canonical").returncode == 0
    canonical = read(again / "preferences.jsonl")
    assert [pair["chosen"] for pair in canonical] == [pair["chosen"] for pair in pairs]
    assert all(pair["prompt"].startswith("Question:\n") for pair in canonical)


def test_calculation_pairs_come_from_questions_without_a_right_answer_too(scored: Path, tmp_path: Path) -> None:
    rows = read(scored)
    for row, count in zip(rows, (1, 8), strict=False):
        for number, item in enumerate(row["trajectories"][:count]):
            item["full_text"] = f"{number}*2 = 1\n{item['full_text']}"
    done = run_pairs(tmp_path, write(tmp_path / "slips.jsonl", rows), calculations=3)
    assert done.returncode == 0, done.stderr
    pairs, report = read(tmp_path / "preferences.jsonl"), json.loads((tmp_path / "preferences.json").read_text())
    calculations = [pair for pair in pairs if pair["pair_type"] == "calculation"]
    assert Counter(pair["id"] for pair in calculations) == {"q1": 3}  # 0*2 = 0 is no result to put there
    assert report["kept_by_type"]["calculation"] == 3
    assert report["kept"] == len(pairs) == sum(report["kept_by_type"].values())
    assert report["questions"] == report["questions_with_pairs"] == 3
    whole = [pair["chosen_tokens"] for pair in pairs if pair["pair_type"] != "calculation"]
    assert report["chosen_tokens_mean"] == round(sum(whole) / len(whole), 1)
    for pair in calculations:
        assert pair["prompt"].startswith(PAIR["styles"][pair["style"]])


def test_preferences_without_a_pair(scored: Path, tmp_path: Path) -> None:
    done = run_pairs(tmp_path, write(tmp_path / "rollouts.jsonl", read(scored)[1:2]))
    assert done.returncode == 2
    assert "no preference pair from 1 questions: 0 all correct, 1 all wrong" in done.stderr
    assert "train SFT longer" in done.stderr
    assert not list(tmp_path.glob("preferences*"))


SAMPLE = {key: PAIR[key] for key in ("styles", "prompt", "seed")} | {
    "rejection_sampling": {"per_question": 2, "max_samples": None, "max_similarity": 1.0, "train_prompt": "arm"}
}


def run_samples(folder: Path, rollouts: Path, **changes: Any) -> Any:
    params = SAMPLE | {"rejection_sampling": SAMPLE["rejection_sampling"] | changes}
    return stage(
        "build_samples", "--params", json.dumps(params), "--rollouts", rollouts, "--output", folder / "samples.jsonl",
        "--summary", folder / "samples.json",
    )  # fmt: skip


def test_samples(scored: Path, tmp_path: Path) -> None:
    done = run_samples(tmp_path, scored)
    assert done.returncode == 0, done.stderr
    samples, report = read(tmp_path / "samples.jsonl"), json.loads((tmp_path / "samples.json").read_text())
    rows = read(scored)
    correct = {row["id"]: [item for item in row["trajectories"] if item["correct"]] for row in rows}
    assert report["correct"] == sum(map(len, correct.values())) == report["kept"] + sum(report["dropped"].values())
    assert report["questions_with_samples"] == 2
    assert report["unanimous_not_gold"] == ["q1"]
    assert {sample["id"] for sample in samples} == {"q0", "q2"}
    for sample in samples:
        assert sample["completion"] in [item["full_text"] for item in correct[sample["id"]]]
        assert sample["prompt"].startswith(f"{PAIR['styles'][sample['style']]}\n\nQuestion:\n")
    assert max(Counter(sample["id"] for sample in samples).values()) == 2
    again = tmp_path / "again"
    again.mkdir()
    assert run_samples(again, scored, train_prompt="canonical").returncode == 0
    canonical = read(again / "samples.jsonl")
    assert [sample["completion"] for sample in canonical] == [sample["completion"] for sample in samples]
    assert all(sample["prompt"].startswith("Question:\n") for sample in canonical)


def test_samples_without_a_correct_trajectory(scored: Path, tmp_path: Path) -> None:
    done = run_samples(tmp_path, write(tmp_path / "rollouts.jsonl", read(scored)[1:2]))
    assert done.returncode == 2
    assert "no correct trajectory in 1 questions" in done.stderr
    assert not list(tmp_path.glob("samples*"))


def test_samples_are_unique_unlike_and_few() -> None:
    texts = ["one two three four"] * 2 + ["one two three for"] + ["five six", "seven", "wrong"]
    trajectories = [
        {"full_text": text, "correct": text != "wrong", "arm": str(index), "style": "wolfram", "num_tokens": 4}
        for index, text in enumerate(texts)
    ]
    record = {"id": "q", "trajectories": trajectories}
    samples, dropped = build_samples(record, {"per_question": 8, "max_similarity": 0.9}, seed=1)
    assert len({sample["completion"] for sample in samples}) == len(samples) == 3
    assert not dropped["over_cap"]
    assert dropped["identical"] + dropped["alike"] == 2
    assert samples == build_samples(record, {"per_question": 8, "max_similarity": 0.9}, seed=1)[0]
    some, dropped = build_samples(record, {"per_question": 1, "max_similarity": 1.0}, seed=1)
    assert len(some) == 1
    assert dropped["over_cap"] >= 2


def test_an_arm_may_be_plain(scored: Path, tmp_path: Path) -> None:
    rows = read(scored)
    for row in rows:
        for item in row["trajectories"]:
            item["style"] = "plain"
    assert run_pairs(tmp_path, write(tmp_path / "rollouts.jsonl", rows)).returncode == 0
    assert all(pair["prompt"].startswith("Question:\n") for pair in read(tmp_path / "preferences.jsonl"))
