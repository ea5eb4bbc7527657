"""Verifiers: each finds, reads and compares its own kind of answer, and says the same to all that ask."""

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from helpers import ROOT
from hypothesis import given
from hypothesis import strategies as st

from regime_w.runtime.errors import UserError
from regime_w.tasks.choice import Choice
from regime_w.tasks.exact import Exact, plain
from regime_w.tasks.latex import Latex, written
from regime_w.tasks.verifier import Verifier, as_text
from regime_w.tasks.verifiers import grade_questions, new_verifier, open_verifier, refuse_if_all_failed

PAIRS = json.loads((Path(__file__).parent / "math_verify_pairs.json").read_text())["pairs"]
# Where math-verify's own tests want something else of their texts than is wanted of an answer here.
OTHERWISE = {
    "1,22": "two numbers, which a decimal comma is to them",
    "$\\\\boxed{35 cm} ++++++ \\\\boxed{4}$": "boxes with a sum between them, one answer to them",
}


def task(verifier: str, timeout: float = 20) -> dict[str, Any]:
    return {"verifier": verifier, "timeout": timeout}


@pytest.fixture(scope="module")
def latex() -> Iterator[Latex]:
    verifier = Latex(timeout=20)
    yield verifier
    verifier.close()


def test_number_is_what_it_was() -> None:
    verifier = open_verifier(task("number"))
    assert verifier.gold("1,080") == "1080"
    assert verifier.gold(145.0) == "145"
    assert verifier.gold(1e-05) == "0.00001"
    assert [verifier.gold(raw) for raw in ("blue", "", None, True, ["18"], float("nan"), {})] == [None] * 7
    assert verifier.gold_in("9 * 2 = <<9*2=18>>18\n#### 18") == "18"
    assert verifier.gold_in("so \\boxed{18}") == "18"
    assert verifier.gold_in("so 18") is None
    grade = verifier.grade("9 * 2 = 18\n#### $18.00", "18")
    assert (grade.answer, grade.correct, grade.score, grade.method) == ("18", True, 1.0, "hash")
    assert (grade.span, grade.reasoning, grade.fault) == ("$18.00", "9 * 2 = 18", None)
    assert not verifier.grade("so 18", "18").correct  # unmarked
    assert not verifier.grade("#### 18", None).correct  # labels withheld
    assert verifier.equal("18.0", "18")
    assert open_verifier(task("number")) is verifier


def test_unknown_verifiers() -> None:
    with pytest.raises(UserError, match="'numbers' is none of number, choice, exact, latex, nor path"):
        open_verifier(task("numbers"))


# latex


@pytest.mark.parametrize("step", [pytest.param(6, id="smoke"), pytest.param(1, marks=pytest.mark.fuzz, id="full")])
def test_math_verifys_own_pairs(latex: Latex, step: int) -> None:
    """Gold text, predicted text and verdict of math-verify's tests, at its default settings."""
    assert len(PAIRS) > 240
    wrong = []
    for _, gold, text, expected in PAIRS[::step]:
        reference = latex.gold(gold) or latex.gold_in(gold)
        if reference is None or gold in OTHERWISE:
            wrong.append(gold)
            continue
        grade = latex.grade(text, reference)
        if latex.equal(reference, grade.answer) is not expected or grade.fault:
            wrong.append(gold)
    assert {gold for gold in wrong if len(gold) < 1000} <= set(OTHERWISE)
    assert len(wrong) <= len(OTHERWISE) + 1  # one is a solution of 1,000 characters, no answer


@pytest.mark.parametrize(
    ("gold", "text", "right"),
    [
        ("0.75", "so \\boxed{\\frac34}", True),
        ("\\frac{3}{4}", "#### 0.75", True),
        ("1000", "\\boxed{10^3}", True),
        ("6", "Answer: $2\\cdot3$", True),
        ("[0, 1)", "\\boxed{[0,1)}", True),
        ("[0, 1)", "\\boxed{(0,1)}", False),
        ("\\{1, 2, 3\\}", "\\boxed{3, 2, 1}", True),
        (
            "\\begin{pmatrix} 1 \\\\ 2 \\end{pmatrix}",
            "\\boxed{\\begin{pmatrix} 1 \\\\ \\frac{4}{2} \\end{pmatrix}}",
            True,
        ),
        ("\\begin{pmatrix} 1 \\\\ 2 \\end{pmatrix}", "\\boxed{\\begin{pmatrix} 2 \\\\ 1 \\end{pmatrix}}", False),
        ("\\text{Evelyn}", "\\boxed{Evelyn}", True),
        ("\\text{Evelyn}", "\\boxed{\\text{Carla}}", False),
        ("x^2 + 2x + 1", "\\boxed{(x+1)^2}", True),
        ("x^2 + 2x + 1", "\\boxed{(x-1)^2}", False),
        ("36", "\\boxed{36\\text{ cm}^2}", True),
        ("45^\\circ", "\\boxed{45}", True),
        ("1,-2", "\\boxed{-2} and \\boxed{1}.", True),
        ("3", "It is \\boxed{3}. Indeed \\boxed{3} fits.", True),
        ("7", "#### Step 1: find $x$\nso $x = 7$.\n#### 7", True),
        ("7", "#### Step 1: find $x$\nso \\boxed{7}.\nLet us check our answer: $7 = 7$", True),
        ("7", "so \\boxed{6}, no.\nFinal answer: $7$", True),
        ("5x", "\\boxed{5}", False),
    ],
)
def test_latex(latex: Latex, gold: str, text: str, right: bool) -> None:
    grade = latex.grade(text, latex.gold(gold))
    assert (grade.correct, grade.fault) == (right, None)
    assert grade.method in ("hash", "answer", "boxed")


def test_latex_without_a_mark_is_a_fallback(latex: Latex) -> None:
    grade = latex.grade("Hence $x = \\frac{1}{2}$.", "0.5")
    assert (grade.method, grade.correct) == ("fallback", False)
    assert latex.equal("0.5", grade.answer)
    assert latex.grade("no formula here", "0.5")[:4] == (None, False, 0.0, "none")


def test_equal_answers_are_one_text(latex: Latex) -> None:
    texts = ["\\boxed{\\frac{1}{2}x}", "\\boxed{x/2}", "\\boxed{3x}", "\\boxed{x+2x}", "nothing", "#### 5"]
    answers = [grade.answer for grade in latex.grade_all(texts, "x/2")]
    assert answers == ["x/2", "x/2", "3x", "3x", None, "5"]
    assert [grade.correct for grade in latex.grade_all(texts, "x/2")] == [True, True, False, False, False, False]
    assert latex.grade_all(texts, None)[0].answer == "\\frac{1}{2}x"  # without gold the first one's


def test_what_hangs_a_simplifier_is_ended() -> None:
    verifier = Latex(timeout=4)
    try:
        tower = verifier.grade("\\boxed{9^{9^{9^{9^9}}}}", "\\int_0^1 x^{x^{x}} dx")
        assert not tower.correct
        assert (tower.fault or "").partition(":")[0] in ("timeout", "died", "exception")
        assert verifier.grade("\\boxed{x+x}", "2x").correct  # and goes on
        assert verifier.grade("\\boxed{" + "9" * 100_000 + "}", "2x").answer is None
        assert verifier.gold("9" * 1_001) is None
    finally:
        verifier.close()


@given(st.text(max_size=60) | st.text("0123456789 .,\\frac{}xy$%^_()=", max_size=40))
def test_written_answers_are_their_own(text: str) -> None:
    once = written(text)
    assert once is None or written(once) == once


# choice

AQUA = {"options": ["A)5", "B)6 apples", "C)none of these", "D)8", "E)A car"]}


@pytest.mark.parametrize(
    ("text", "letter"),
    [
        ("#### B", "B"), ("#### (B)", "B"), ("#### B)", "B"), ("#### B. 6 apples", "B"), ("#### $B$", "B"), ("#### b", "B"),
        ("\\boxed{B}", "B"), ("\\boxed{\\text{B}}", "B"), ("\\boxed{\\textbf{(B)}}", "B"), ("Answer: Option D", "D"),
        ("Answer: (d)", "D"), ("so the answer is (B).", "B"), ("The answer is B", "B"), ("The correct option is **C**.", "C"),
        ("Ans. B", "B"), ("#### 6 apples", "B"), ("#### 6", "B"), ("#### 8", "D"), ("#### none of these", "C"),
        ("#### A car", "E"), ("The answer is 8.", "D"), ("#### B) 6 apples, since (A) is too small", "B"),
        ("The answer is: B\n#### C", "C"), ("We have A.\n\nAnswer: A. 5", "A"),
        ("#### A or B", None), ("#### A, B", None), ("#### (B) or (C)", None), ("#### a pen", None), ("#### F", None),
        ("#### A dog barked", None), ("I think so.", None), ("", None), ("The answer is not B", None),
    ],
)  # fmt: skip
def test_choice(text: str, letter: str | None) -> None:
    grade = Choice().grade(text, letter, AQUA)
    assert grade.answer == letter
    assert grade.correct is (letter is not None)


def test_choice_without_a_mark_is_a_fallback() -> None:
    for text in ("So (A) is wrong and (B) holds.", "Taking all together\nB"):
        grade = Choice().grade(text, "B", AQUA)
        assert (grade.answer, grade.method, grade.correct) == ("B", "fallback", False)


@pytest.mark.parametrize(
    ("raw", "row", "letter"),
    [
        ("A", AQUA, "A"), ("(b)", AQUA, "B"), ("6 apples", AQUA, "B"), (1, AQUA, "B"), (5, AQUA, "A"), ("Z", AQUA, None),
        (9, AQUA, None), (None, AQUA, None), (1, {"options": {"A": "x", "B": "y"}}, "B"), ("C", {}, "C"), ("K", {}, None),
        ("y", {"options": {"label": ["A", "B"], "text": ["x", "y"]}}, "B"), ("twice", {"options": ["twice", "twice"]}, None),
        ("I and II", {"options": ["A)I only", "B)I and II"]}, "B"), ("A)I only", {"options": ["A)I only", "B)I and II"]}, "A"),
    ],
)  # fmt: skip
def test_gold_choices(raw: Any, row: dict[str, Any], letter: str | None) -> None:
    assert Choice().gold(raw, row) == letter


# exact


@pytest.mark.parametrize(
    ("gold", "text", "right"),
    [
        ("Paris", "It is the capital.\nAnswer: **Paris**.", True),
        ("paris", "#### PARIS", True),
        ("New  York", "\\boxed{\\text{New York}}", True),
        ("Straße", '#### "STRASSE"', True),
        ("1,000", "#### 1000", False),
        ("yes", "#### yes\n\nI hope this helps!", True),
        ("yes", "#### Step 1\nWe see.\nAnswer: yes", True),
        ("yes", "#### no\nAnswer: yes", True),
        ("yes", "#### yes, it is", False),
    ],
)
def test_exact(gold: str, text: str, right: bool) -> None:
    verifier = Exact()
    assert verifier.grade(text, verifier.gold(gold)).correct is right


def test_exact_without_a_mark() -> None:
    grade = Exact().grade("I think that the answer is Paris. It is large.", "paris")
    assert (grade.answer, grade.method, grade.correct) == ("paris", "fallback", False)
    assert Exact().grade("Paris", "paris").answer is None
    assert Exact().gold("...") is None


@given(st.text(max_size=80))
def test_exact_forms_are_their_own(text: str) -> None:
    once = plain(text)
    assert once is None or plain(once) == once


def test_numbers_as_text() -> None:
    assert [as_text(raw) for raw in (" x ", 5, 0.1, 1e22, True, None, float("inf"))] == [
        "x", "5", "0.1", "10000000000000000000000", "", "", "",
    ]  # fmt: skip


# A function of the user's

GRADER = """
    import os, time
    from helper import LIMIT

    def grade(text, gold, row):
        print("grading")
        if "slow" in text: time.sleep(60)
        if "die" in text: os._exit(1)
        if "boom" in text: raise ValueError("no\\nsuch thing")
        if "number" in text: return 5
        if "nothing" in text: return {"answer": None, "correct": False}
        if "high" in text: return {"answer": "1", "correct": True, "score": 7}
        passed = text.count("pass") / LIMIT
        return {"answer": text, "correct": passed == 1 and row["id"] == "q1", "score": passed}
"""


@pytest.fixture
def grader(tmp_path: Path) -> Iterator[Verifier]:
    (tmp_path / "helper.py").write_text("LIMIT = 2\n")
    (tmp_path / "json.py").write_text(textwrap.dedent(GRADER))  # named like a module
    verifier = new_verifier(f"{tmp_path / 'json.py'}:grade", 1.0)
    yield verifier
    verifier.close()


def test_function(grader: Verifier) -> None:
    assert grader.scores
    assert grader.gold("[tests]") == "[tests]"
    assert grader.gold({"a": 1}) == '{"a": 1}'
    assert grader.gold(None) is None
    whole, half, none = grader.grade_all(["pass pass</s> x", "pass", "nothing"], None, {"id": "q1"})
    assert whole[:4] == ("pass pass", True, 1.0, "function")
    assert half[:4] == ("pass", False, 0.5, "function")
    assert none[:4] == (None, False, 0.0, "none")


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("slow", "timeout: no answer in 1 s"),
        ("die", "died: the process that graded ended"),
        ("boom", "exception: ValueError: no such thing"),
        ("number", "return: a dict was expected, found int"),
        ("high", "return: score must be a number from 0 to 1, found 7"),
    ],
)
def test_what_a_function_does_wrong_costs_that_answer(grader: Verifier, text: str, fault: str) -> None:
    first, failed, after = grader.grade_all(["pass", text, "pass"], "gold", {"id": "q1"})
    assert failed[:4] == (None, False, 0.0, "none")
    assert failed.fault is not None
    assert failed.fault.startswith(fault)
    assert first == after
    assert first.fault is None


ENDLESS = """
import os, subprocess, sys, time

def grade(text, gold, row):
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    with open(text, "w") as file:
        file.write(f"{os.getppid()} {os.getpid()} {child.pid}")
    while True:
        pass
"""


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def gone(pids: list[int]) -> bool:
    for _ in range(600):
        if not any(map(alive, pids)):
            return True
        time.sleep(0.1)
    return False


def test_an_answer_that_is_given_up_takes_with_it_what_it_started(tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(ENDLESS)
    verifier = new_verifier(f"{tmp_path / 'own.py'}:grade", 3)
    assert (verifier.grade(str(tmp_path / "pids"), None).fault or "").startswith("timeout")
    _, *own = map(int, (tmp_path / "pids").read_text().split())
    assert gone(own)
    verifier.close()


def test_nothing_outlives_a_stage_that_is_killed(tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(ENDLESS)
    code = (
        "from regime_w.tasks.verifiers import new_verifier\n"
        f"new_verifier({str(tmp_path / 'own.py')!r} + ':grade', 600).grade({str(tmp_path / 'pids')!r}, None)"
    )
    stage = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT)
    while not (tmp_path / "pids").is_file() or len((tmp_path / "pids").read_text().split()) < 3:
        assert stage.poll() is None
        time.sleep(0.1)
    server, worker, child = map(int, (tmp_path / "pids").read_text().split())
    stage.kill()
    stage.wait()
    try:
        assert gone([server, worker])
    finally:
        with suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)  # what a function starts is the job's to end (runtime/job.py)


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("def grade(text: ...", "SyntaxError"),
        ("def other(): ...", "no attribute 'grade'"),
        ("import nowhere", "nowhere"),
    ],
)
def test_a_file_that_cannot_be_loaded_is_told_first(tmp_path: Path, code: str, said: str) -> None:
    (tmp_path / "mine.py").write_text(code)
    verifier = new_verifier(f"{tmp_path / 'mine.py'}:grade", 5)
    with pytest.raises(UserError, match=said):
        verifier.check()
    verifier.close()


def test_a_run_ends_where_all_answers_failed() -> None:
    refuse_if_all_failed(0, 8, "")
    refuse_if_all_failed(7, 8, "question q1: boom")
    with pytest.raises(UserError, match="failed on all 8 answers, first question q1: boom"):
        refuse_if_all_failed(8, 8, "question q1: boom")


def test_questions_are_graded_side_by_side_in_their_order(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("def grade(text, gold, row): return {'answer': text, 'correct': text == gold}\n")
    asked = [([f"{number}", "x"], f"{number}", {}) for number in range(20)]
    for workers in (1, 3):
        found = list(grade_questions(task(f"{tmp_path / 'mine.py'}:grade"), asked, workers))
        assert [[grade.answer for grade in grades] for grades in found] == [[f"{n}", "x"] for n in range(20)]
        assert all(first.correct and not second.correct for first, second in found)
