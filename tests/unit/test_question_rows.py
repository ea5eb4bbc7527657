"""Records from the rows of a data set: which column is what, what a gold answer may be, and every bad row in one line."""

import json

import pytest

from regime_w.questions.rows import load, plain
from regime_w.runtime.errors import UserError
from regime_w.tasks.verifiers import open_verifier

GOOD = {"question": "How many are 1 and 2?", "answer": "1 + 2 = 3\n#### 3"}


@pytest.fixture
def loaded(tmp_path):
    """load(rows or text) of a JSONL file, with the source's other keys and the verifier."""

    def load_(rows, verifier="number", without_gold=False, **source):
        path = tmp_path / "train.jsonl"
        text = rows if isinstance(rows, str) else "".join(json.dumps(row) + "\n" for row in rows)
        path.write_text(text)
        source = {"source": "file", "path": str(path)} | source
        task = {"verifier": verifier, "timeout": 10}
        return load("questions.train", source, open_verifier(task), without_gold=without_gold)

    return load_


def one(records):
    (record,) = records
    return record


BAD = [
    ({"question": None}, "question is null"),
    ({"question": ["a", "b"]}, "question is a list"),
    ({"question": {"a": 1}}, "question is an object"),
    ({"question": 3}, "question is a number"),
    ({"question": "  "}, "question is empty"),
    ({"id": None}, "id is null"),
    ({"id": float("nan")}, "id is NaN"),
    ({"id": [1]}, "id is a list"),
    ({"id": True}, "id is true or false"),
    ({"answer": ["x", "#### 3"]}, "answer is a list"),
    ({"answer": {"a": 3}}, "answer is an object"),
    ({"answer": None}, "answer is null"),
    ({"answer": float("nan")}, "answer is NaN"),
    ({"answer": "It is some."}, "answer: no number after #### in 'It is some.'"),
    ({"gold_answer": None}, "gold_answer is null"),
    ({"gold_answer": "many"}, "gold_answer: number reads no answer in 'many'"),
    ({"rationales": {"wolfram": 3}}, "rationales must be texts by style"),
    ({"question": "half \ud800"}, "it holds half a character"),
]


@pytest.mark.parametrize(("change", "problem"), BAD, ids=[problem[:30] for _, problem in BAD])
def test_a_bad_row_is_one_line_with_file_line_and_column(loaded, tmp_path, change, problem):
    with pytest.raises(UserError) as error:
        loaded([GOOD, GOOD | change])
    message = str(error.value)
    assert message.startswith(f"{tmp_path}/train.jsonl:2: {problem}")
    assert message.endswith("mend or remove it, or set questions.train.on_bad_row to drop")


@pytest.mark.parametrize(("change", "problem"), BAD, ids=[problem[:30] for _, problem in BAD])
def test_bad_rows_can_be_passed_over_and_are_counted(loaded, change, problem):
    records, told = loaded([GOOD | change, GOOD, GOOD | change], on_bad_row="drop")
    assert [record["id"] for record in records] == ["train-00001"]
    assert (told["rows"], told["questions"], told["bad_rows"]["count"]) == (3, 1, 2)
    (reason,) = told["bad_rows"]["by_reason"]
    assert problem in reason
    assert [place.partition(": ")[0][-2:] for place in told["bad_rows"]["first"]] == [":1", ":3"]


@pytest.mark.parametrize(
    "line", ['{"question": "1?", "question": "2?", "answer": "#### 3"}', '{"question": "1?", "answer"', "7"]
)
def test_lines_that_are_no_rows_are_bad_rows(loaded, line):
    text = json.dumps(GOOD) + "\n" + line
    with pytest.raises(UserError, match=r"train.jsonl:2: .*stands twice|:2: not JSON|:2: a JSON object"):
        loaded(text)
    assert loaded(text, on_bad_row="drop").told["bad_rows"]["count"] == 1


def test_ids_must_differ(loaded):
    with pytest.raises(UserError, match=r"train.jsonl:2: the id 'a' stands twice; ids must differ"):
        loaded([GOOD | {"id": "a"}, GOOD | {"id": "a"}])
    assert len(loaded([GOOD | {"id": "a"}, GOOD | {"id": "a"}], on_bad_row="drop").records) == 1


def test_a_name_begins_the_ids(loaded):
    records, _ = loaded([GOOD | {"id": 60}, GOOD], name="aime")
    assert [record["id"] for record in records] == ["aime-60", "aime-00001"]


@pytest.mark.parametrize(
    ("row", "advice"),
    [
        ({"problem": "1 + 2?", "solution": "#### 3"}, "questions.train.columns: {question: problem, answer: solution}"),
        ({"problem": "1 + 2?", "solution": "So", "answer": "3"}, "{question: problem, answer: solution, gold: answer}"),
        ({"problem": "1 + 2?", "answer": "3"}, "{question: problem, answer: answer}"),
        ({"Body": "One and two.", "Question": "How many?", "Answer": 3.0}, "{question: Question, gold: Answer}"),
        ({"question": "1 + 2?", "rationale": "Three", "correct": "A"}, "{question: question, answer: rationale, gold: correct}"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("on_bad_row", ["error", "drop"])
def test_columns_of_other_names_are_told_and_how_to_map_them(loaded, row, advice, on_bad_row):
    with pytest.raises(UserError) as error:
        loaded([row], on_bad_row=on_bad_row)
    assert f"the columns are {', '.join(row)}." in str(error.value)
    assert advice in str(error.value)


def test_a_column_that_is_mapped_must_be_there(loaded):
    with pytest.raises(UserError, match=r"no column for the question; the columns are question, answer"):
        loaded([GOOD], columns={"question": "problem"})
    with pytest.raises(UserError, match=r"no column for the options"):
        loaded([GOOD], columns={"options": "choices"})


def test_columns_are_mapped(loaded):
    row = {"problem": "1 + 2?", "solution": "1 + 2 = 3\n#### 3", "answer": "3.0", "nr": 7}
    record = one(
        loaded([row], columns={"question": "problem", "answer": "solution", "gold": "answer", "id": "nr"}).records
    )
    assert record == {"id": "7", "question": "1 + 2?", "answer": "1 + 2 = 3\n#### 3", "gold_answer": "3"}


def test_a_question_can_be_made_of_several_columns(loaded):
    row = {"Body": "Tom has {3} pens.", "Question": "How many has he?", "Answer": 3.0}
    record = one(loaded([row], columns={"question": "{Body} {Question}", "gold": "Answer"}).records)
    assert record["question"] == "Tom has {3} pens. How many has he?"
    assert record["gold_answer"] == "3"
    with pytest.raises(UserError, match=r"train.jsonl:2: Body is null"):
        loaded([row, row | {"Body": None}], columns={"question": "{Body} {Question}", "gold": "Answer"})


@pytest.mark.parametrize(
    ("answer", "gold"), [("3", "3"), (3, "3"), (3.0, "3"), ("1,080 dollars", "1080"), (-0.5, "-0.5")]
)
def test_an_answer_alone_is_a_gold_answer_without_rationale(loaded, answer, gold):
    records, told = loaded([{"question": "?", "answer": answer}])
    assert one(records) == {"id": "train-00000", "question": "?", "gold_answer": gold}
    assert told["without_rationale"] == 1


def test_a_rationale_without_a_mark_is_no_gold_answer(loaded):
    with pytest.raises(UserError, match=r"answer: no number after #### in '1 \+ 2 = 3'"):
        loaded([{"question": "?", "answer": "1 + 2 = 3"}])


def test_a_solution_gets_the_gold_answer_at_its_end(loaded):
    record = one(loaded([{"question": "?", "answer": "One and two are three.", "gold_answer": "3"}]).records)
    assert record["answer"] == "One and two are three.\n#### 3"
    boxed = one(loaded([{"question": "?", "answer": r"So \boxed{3}.", "gold_answer": "3"}]).records)
    assert boxed["answer"] == r"So \boxed{3}."


def test_a_solution_that_leads_elsewhere_is_noted(loaded):
    records, told = loaded([GOOD | {"gold_answer": "4"}])
    assert one(records)["corrected"] is True
    assert told["rationale_not_gold"] == 1


def test_rows_without_gold_answer_are_refused_unless_labels_may_lack(loaded):
    rows = [GOOD, GOOD | {"gold_answer": None}, {"question": "Who knows?"}]
    with pytest.raises(
        UserError, match=r"train.jsonl:2: gold_answer is null, and without labels there is nothing to learn"
    ):
        loaded(rows)
    with pytest.raises(UserError, match=r"train.jsonl:1: no column for the answer"):
        loaded(rows[2:])
    records, told = loaded(rows, without_gold=True)
    assert [record["gold_answer"] for record in records] == ["3", None, None]
    assert ("answer" in records[1], "answer" in records[2]) == (True, False)
    assert told["without_gold"] == 2


OPTIONS = [
    ["A)5", "B)6", "C)none of these"],
    ["5", "6", "none of these"],
    {"A": "5", "B": "6", "C": "none of these"},
    {"label": ["1", "2", "3"], "text": ["5", "6", "none of these"]},
    '["(A) 5", "(B) 6", "(C) none of these"]',
]


@pytest.mark.parametrize("options", OPTIONS)
def test_options_are_shown_with_the_question(loaded, options):
    """The gold answer is the label that the data has for the second one."""
    gold = "2" if isinstance(options, dict) and "label" in options else "B"
    record = one(loaded([{"question": "2 + 4?", "options": options, "gold_answer": gold}], "choice").records)
    assert record["question"] == "2 + 4?\nA) 5\nB) 6\nC) none of these"
    assert record["options"] == ["5", "6", "none of these"]
    assert record["gold_answer"] == "B"


@pytest.mark.parametrize(
    ("question", "shown"),
    [
        ("2 + 4?\n(A) 5\n(B) 6\n(C) none of these.", False),
        ("A=5.\nB=6.\nC=none of these\n\nQuestion: 2 + 4?", False),
        ("2 + 4? A) 5 B) 6 C) none of these", True),  # not each on a line of its own
        ("Which of 5, 6 and none of these?\nA) 5\nB) 7\nC) none of these", True),
    ],
)
def test_options_that_a_question_shows_already_are_not_shown_again(loaded, question, shown):
    row = {"question": question, "options": ["5", "6", "none of these"], "gold_answer": "B"}
    record = one(loaded([row], "choice").records)
    assert record["question"] == question + ("\nA) 5\nB) 6\nC) none of these" if shown else "")
    assert record["options"] == row["options"]


def test_options_that_are_none(loaded):
    for options, problem in (
        (7, "a list of up to 26 texts"),
        ("A or B", "a list was expected"),
        ([["a"]], "options is a list"),
    ):
        with pytest.raises(UserError, match=f"train.jsonl:1: .*{problem}"):
            loaded([{"question": "?", "options": options, "gold_answer": "A"}], "choice")


def test_the_verifier_says_what_a_gold_answer_is(loaded):
    rows = [{"problem": "x?", "solution": r"So $y = \boxed{x^2 + 1}$."}]
    columns = {"question": "problem", "answer": "solution"}
    assert one(loaded(rows, "latex", columns=columns).records)["gold_answer"] == "x^2 + 1"
    cities = [{"question": "Capital of France?", "answer": "Paris"}]
    assert one(loaded(cities, "exact").records)["gold_answer"] == "paris"
    with pytest.raises(UserError, match="no number after ####"):
        loaded(cities)


def test_columns_are_kept_for_a_verifier_of_ones_own(loaded):
    record = one(loaded([GOOD | {"tests": ["f(1) == 2"], "level": None}], keep=["tests", "level", "other"]).records)
    assert record["data"] == {"tests": ["f(1) == 2"], "level": None, "other": None}


def test_n_takes_the_first_good_rows(loaded):
    rows = [GOOD | {"question": None}] + [GOOD | {"question": f"{n}?"} for n in range(9)]
    records, told = loaded(rows, n=4, on_bad_row="drop")
    assert [record["question"] for record in records] == ["0?", "1?", "2?", "3?"]
    assert told["rows"] == 5
    with pytest.raises(UserError, match=r"questions\.train\.n asks for 12 questions, the source has 9"):
        loaded(rows, n=12, on_bad_row="drop")
    with pytest.raises(UserError, match=r"questions\.train: no questions found"):
        loaded("\n")


def test_texts_that_stand_again_are_counted(loaded):
    rows = [
        GOOD,
        GOOD | {"answer": "2 + 1 = 3\n#### 3"},
        GOOD | {"question": "how many are 1  and 2"},
        GOOD | {"answer": "#### 4"},
    ]
    records, told = loaded(rows)
    assert len(records) == 4
    assert told["doubles"] == {"identical": 1, "other_rationale": 1, "contradicting": 1}


def test_annotations_of_calculators_go():
    row = {"answer": "1+2 = <<1+2=3>>3\n#### 3"}
    assert plain(row) == {"answer": "1+2 = 3\n#### 3"}
    assert plain({"question": "?"}) == {"question": "?"}
