"""The generator of word problems: right answers, disjoint splits, the same output for the same arguments."""

import random
import re

import pytest

from regime_w.questions import synthetic as synthetic
from regime_w.runtime.errors import UserError
from regime_w.tasks.answers import equal, extract, gold_from_rationale
from regime_w.tasks.verifiers import open_verifier

SUM = re.compile(r"(\d+)([-+*/])(\d+)=(\d+)")
COMPUTE = {op: function for op, (function, _) in synthetic.OPERATIONS.items()}


def test_records_are_complete_and_the_same_every_time():
    rows = synthetic.generate(50, "train", seed=3)
    assert rows == synthetic.generate(50, "train", seed=3)
    assert rows[:20] == synthetic.generate(20, "train", seed=3)
    assert rows != synthetic.generate(50, "train", seed=4)
    assert len({row["id"] for row in rows}) == len({row["question"] for row in rows}) == 50
    assert set(rows[0]) == {"id", "question", "answer", "gold_answer", "rationales"}
    assert all("{" not in row["question"] for row in rows)


def test_every_sum_of_every_rationale_is_right_and_ends_at_gold():
    for row in synthetic.generate(600, "eval", seed=1):
        for style, text in row["rationales"].items():
            assert gold_from_rationale(text) == row["gold_answer"]
            assert extract(text).method == "hash"
            assert equal(extract(text).answer, row["gold_answer"])
            sums = SUM.findall(text)
            assert len(sums) >= 2
            for left, operation, right, result in sums:
                assert COMPUTE[operation](int(left), int(right)) == int(result), (style, text)
            numbers = {int(n) for n in re.findall(r"\d+", row["question"])}
            results = {int(result) for *_, result in sums}
            used = {int(n) for left, _, right, _ in sums for n in (left, right)}
            assert used <= numbers | results
        assert row["answer"] == row["rationales"]["wolfram"]


def test_a_choice_shows_the_right_answer_among_slips_and_asks_the_same_questions():
    rows, plain = (synthetic.generate(300, "eval", 2, form) for form in ("choice", "number"))
    verifier = open_verifier({"verifier": "choice", "timeout": 10})
    for row, number in zip(rows, plain, strict=True):
        assert row["id"] == number["id"]
        right, letter = number["gold_answer"], row["gold_answer"]
        shown, question = row["question"].split("\n\nQuestion: ")
        assert question == number["question"]
        assert shown.splitlines() == [f"{name}={text}." for name, text in zip("ABCD", row["options"], strict=True)]
        assert len({*row["options"]}) == 4
        assert all(int(option) > 0 for option in row["options"])
        assert row["options"]["ABCD".index(letter)] == right
        for style, text in row["rationales"].items():
            assert text.endswith(f"#### {letter}")
            assert verifier.grade(number["rationales"][style], letter, row).correct  # it may state the number, too
            assert verifier.gold_in(text, row) == letter
        wrong = next(option for option in row["options"] if option != right)
        assert not verifier.grade(f"#### {wrong}", letter, row).correct
    assert {row["gold_answer"] for row in rows} == {*"ABCD"}


def test_styles_read_as_they_should():
    steps = [synthetic.Step(4, "*", 7, 28), synthetic.Step(28, "-", 5, 23)]
    assert synthetic.rationale(steps, "wolfram", "pens") == "Step 1: 4*7=28 pens.\nStep 2: 28-5=23 pens."
    assert synthetic.rationale(steps, "maudlin", "pens") == (
        "First, 4*7=28. Check: 28/7=4.\nThen, 28-5=23. Check: 23+5=28."
    )


def calculations(split: str, draws: int) -> set[str]:
    rng = random.Random(0)
    problems = (synthetic._problem(rng, split) for _ in range(draws))
    return {synthetic._key(template, operands) for template, operands, _ in problems}


def test_no_calculation_stands_in_two_splits():
    found = {split: calculations(split, 5000) for split in synthetic.SPLITS}
    assert not found["train"] & found["eval"]
    assert not found["pretrain"] & (found["train"] | found["eval"])
    assert min(map(len, found.values())) > 500


def test_no_question_stands_in_two_splits_or_in_the_pretraining_text():
    evaluation = {row["question"] for row in synthetic.generate(800, "eval", seed=1)}
    train = {row["question"] for row in synthetic.generate(2000, "train", seed=0)}
    assert not evaluation & train
    given = " ".join(given for document in synthetic.pretraining_text(5000, seed=0) for given, _ in document)
    assert not [question for question in evaluation | train if question in given]


def test_swapped_factors_are_one_calculation():
    template = synthetic.TEMPLATES[0]
    swapped = {"a": 9, "b": 4, "c": 11}
    assert synthetic._key(template, {"a": 4, "b": 9, "c": 11}) == synthetic._key(template, swapped)


def test_every_template_and_wording_comes_up():
    questions = " ".join(row["question"] for row in synthetic.generate(2000, "train", seed=0))
    for template in synthetic.TEMPLATES:
        for wording in template.wordings + template.rare_wordings:
            pattern = re.sub(r"\\\{\w+\\\}", r"\\w+", re.escape(wording.partition("|")[0]))
            assert re.search(pattern, questions), wording


def test_pretraining_text_seldom_ends_as_fine_tuning_teaches():
    documents = list(synthetic.pretraining_text(4000, seed=0))
    assert documents == list(synthetic.pretraining_text(4000, seed=0))
    hashed = sum("####" in solution for document in documents for _, solution in document)
    assert 0 < hashed < 0.03 * len(documents)
    for document in documents:
        for left, operation, right, result in SUM.findall("".join(map("".join, document))):
            assert COMPUTE[operation](int(left), int(right)) == int(result)


def test_asking_for_too_much_or_for_an_unknown_split_is_a_user_error(monkeypatch):
    monkeypatch.setattr(synthetic, "TRIES", 200)
    with pytest.raises(UserError, match=r"has \d+ questions in split 'eval', 100000 were asked for"):
        synthetic.generate(100_000, "eval", seed=0)
    with pytest.raises(UserError, match="split 'test' is none"):
        synthetic.generate(1, "test", seed=0)
