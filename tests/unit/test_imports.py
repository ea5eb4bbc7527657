"""Another tool's rollouts and preference pairs: what is taken over, what is made from it, and what is refused in one line."""

import json
import sys

import pytest
from helpers import save_random_model, template

from regime_w.models.manifests import write_manifest
from regime_w.questions.imports import asked, pairs, rollouts
from regime_w.runtime.errors import UserError
from regime_w.runtime.records import read_json, read_jsonl
from regime_w.runtime.seals import write_jsonl
from regime_w.tasks.prompts import prompts_of
from regime_w.tasks.verifiers import open_verifier
from scripts import import_preferences, import_rollouts, score_rollouts

ARMS = [{"name": f"{style}_{n}", "style": style, "temperature": 0.5} for style in ("plain", "wolfram") for n in "ab"]
TASK = {"verifier": "number", "timeout": 10}
PROMPT = {"prompt": template("Question: {question}\nAnswer:\n"), "styles": {"wolfram": "Be exact."}}
TEXTS = ["So\n#### 7", "So\n#### 8", "No mark", "So\n#### 7"]
ROW = {"question": "3 + 4?", "gold_answer": 7.0, "trajectories": [{"full_text": text} for text in TEXTS]}


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = save_random_model(tmp_path_factory.mktemp("models") / "model")
    write_manifest(folder, {})
    return folder


@pytest.fixture(scope="module")
def prompts(model):
    return prompts_of(model, PROMPT, {})


@pytest.fixture
def given(tmp_path):
    """A file of these rows, by its path."""

    def write(*rows):
        write_jsonl(tmp_path / "given.jsonl", rows)
        return str(tmp_path / "given.jsonl")

    return write


def run(module, monkeypatch, **arguments):
    words = [word for name, value in arguments.items() for word in (f"--{name}", str(value))]
    monkeypatch.setattr(sys, "argv", [module.__name__, *words])
    module.main()


def taken(path, prompts, arms=ARMS):
    return list(rollouts(path, arms, open_verifier(TASK), prompts))


def test_trajectories_are_in_the_order_of_the_arms(given, prompts):
    ((question, completions),) = taken(given(ROW), prompts)
    assert question == {"id": "given-00000", "question": "3 + 4?", "gold_answer": "7"}
    assert [own["arm"] for own in completions] == [arm["name"] for arm in ARMS]
    assert [own["text"] for own in completions] == TEXTS
    assert {own["finish_reason"] for own in completions} == {"stop"}


def test_trajectories_may_name_their_arms(given, prompts):
    names = [arm["name"] for arm in reversed(ARMS)]
    row = ROW | {"id": 5, "trajectories": [{"full_text": name, "arm": name} for name in names]}
    ((question, completions),) = taken(given(row), prompts)
    assert question["id"] == "5"
    assert [own["text"] for own in completions] == [arm["name"] for arm in ARMS]


def test_token_ids_are_those_of_training(given, prompts):
    """Ended texts end as SFT's do, truncated ones do not; ids that came along are kept where they spell the text."""
    tokenizer = prompts.tokenizer
    own = tokenizer("So #### 7", add_special_tokens=False)["input_ids"] + [tokenizer.eos_token_id]
    rows = [
        {"full_text": "So #### 7</s>"},
        {"full_text": "So ####", "finish_reason": "length"},
        {"full_text": "So #### 7", "token_ids": own},
        {"full_text": "So #### 7", "token_ids": [5, 6, 7]},
    ]
    ((_, completions),) = taken(given(ROW | {"trajectories": rows}), prompts)
    ids = [completion["token_ids"] for completion in completions]
    assert ids[0] == list(prompts.example("3 + 4?", "plain", "So #### 7")[1])
    assert completions[0]["text"] == "So #### 7"
    assert ids[0][-1] == tokenizer.eos_token_id
    assert tokenizer.eos_token_id not in ids[1]
    assert ids[2] == own
    assert ids[3] == list(prompts.example("3 + 4?", "wolfram", "So #### 7")[1])
    assert [completion["num_tokens"] for completion in completions] == list(map(len, ids))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"question": None}, "question is null"),
        ({"gold_answer": "many"}, "gold_answer: number reads no answer in 'many'"),
        ({"gold_answer": None}, "gold_answer: number reads no answer in None"),
        ({"trajectories": None}, "trajectories is null, a list of objects was expected"),
        ({"trajectories": [{"full_text": "a"}]}, "1 trajectories for 4 arms; `arms` describes those of the file"),
        ({"trajectories": [{"full_text": None}] * 4}, "a trajectory's full_text is null"),
        ({"trajectories": [{"full_text": "a", "arm": "a"}] * 4}, "of the arms a, a, a, a, not of those of the config"),
        ({"trajectories": [{"full_text": "a", "finish_reason": "eos"}] * 4}, "finish_reason is 'eos'"),
    ],
)
def test_rollouts_that_are_none(given, prompts, change, message):
    with pytest.raises(UserError) as error:
        taken(given(ROW, ROW | change), prompts)
    assert "given.jsonl:2: " in str(error.value)
    assert message in str(error.value)
    assert "(start.rollouts)" in str(error.value)


def test_given_rollouts_are_scored_as_our_own(given, model, tmp_path, monkeypatch):
    path = given(ROW, ROW | {"question": "3 + 5?", "gold_answer": "8"})
    params = json.dumps({"rollouts": path, "arms": ARMS, "task": TASK, "seed": 0, **PROMPT})
    files = {"questions": tmp_path / "round1.jsonl", "completions": tmp_path / "given_completions.jsonl"}
    run(import_rollouts, monkeypatch, params=params, policy=model, summary=tmp_path / "given.json", **files)
    told = read_json(tmp_path / "given.json")
    assert (told["questions"], told["trajectories"]) == (2, 8)
    assert told["taken_from"]["path"] == path
    assert len(told["taken_from"]["sha256"]) == 64
    coherence = {"s_end": 0.4, "s_path": 0.3, "s_cf": 0.3, "path_mix": 0.5, "answers": "marked"}
    reward = {
        "correct": "correct", "alpha": 1.0, "beta": 0.5, "lambda_length": 0.001, "length_limit": 512,
        "coherence_level": "trajectory", "math_verify": False,
    }  # fmt: skip
    score = json.dumps({"task": TASK, "arms": ARMS, "coherence": coherence, "reward": reward})
    run(score_rollouts, monkeypatch, params=score, output=tmp_path / "rollouts.jsonl", **files)
    first, second = read_jsonl(tmp_path / "rollouts.jsonl")
    assert [own["correct"] for own in first["trajectories"]] == [True, False, False, True]
    assert [own["correct"] for own in second["trajectories"]] == [False, True, False, False]


STANDARD = {"prompt": "3 + 4?\n", "chosen": "7", "rejected": "8"}
SAID = {
    "prompt": [{"role": "system", "content": "Be exact."}, {"role": "user", "content": "3 + 4?"}],
    "chosen": [{"role": "assistant", "content": "7"}],
    "rejected": [{"role": "assistant", "content": "8"}],
}
IMPLICIT = {side: [*SAID["prompt"], *SAID[side]] for side in ("chosen", "rejected")}


def test_pairs_of_all_formats(given):
    path = given(STANDARD, SAID, IMPLICIT, STANDARD | {"id": "mine", "score_chosen": 3})
    found = list(pairs(path, chat=True))
    assert [found[0][key] for key in STANDARD] == list(STANDARD.values())
    for pair in found[1:3]:
        assert {key: pair[key] for key in SAID} == SAID
    assert found[3] == {**STANDARD, "id": "mine", "pair_type": "given"}
    assert [asked(pair["prompt"]) for pair in found[:2]] == ["3 + 4?\n", "3 + 4?"]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"prompt": "a", "chosen": "b"}, "no 'rejected'"),
        ({"chosen": "a b", "rejected": "a c"}, "prompt is null, a text was expected"),
        (STANDARD | {"prompt": ""}, "prompt is empty"),
        (STANDARD | {"chosen": 7}, "prompt is a str, a list of messages was expected"),
        (SAID | {"prompt": []}, "prompt is empty"),
        (
            SAID | {"chosen": [{"role": "assistant", "content": None}]},
            "chosen: a message must have `role` and `content`",
        ),
        (
            SAID | {"chosen": SAID["chosen"] * 2},
            "chosen must be one message of the assistant's, found assistant, assistant",
        ),
        (SAID | {"rejected": [{"role": "user", "content": "8"}]}, "rejected must be one message of the assistant's"),
    ],
)
def test_pairs_that_are_none(given, row, message):
    with pytest.raises(UserError) as error:
        list(pairs(given(SAID, row), chat=True))
    assert "given.jsonl:2: " in str(error.value)
    assert message in str(error.value)


def test_conversations_need_the_chat_format(given):
    with pytest.raises(UserError, match=r"given.jsonl:1: its pairs are conversations; set prompt\.format: chat"):
        list(pairs(given(SAID), chat=False))
    assert len(list(pairs(given(STANDARD), chat=False))) == 1


def test_pairs_are_copied_and_counted(given, tmp_path, monkeypatch):
    path = given(STANDARD, STANDARD | {"chosen": "seven"}, STANDARD | {"prompt": "Other?", "rejected": "7"}, SAID)
    files = {name: tmp_path / f"{name}.out" for name in ("output", "summary", "questions")}
    params = json.dumps({"preferences": path, "format": "chat"})
    run(import_preferences, monkeypatch, params=params, **files)
    assert [row["chosen"] for row in read_jsonl(files["output"])] == ["7", "seven", SAID["chosen"]]
    told = read_json(files["summary"])
    assert (told["questions"], told["candidates"], told["kept"], told["dropped"]) == (3, 4, 3, {"identical": 1})
    assert told["taken_from"]["path"] == path
    assert [row["question"] for row in read_jsonl(files["questions"])] == ["3 + 4?\n", "Other?", "3 + 4?"]
    with pytest.raises(UserError, match="no pair whose sides differ, in 1 rows"):
        run(
            import_preferences,
            monkeypatch,
            params=json.dumps({"preferences": given(STANDARD | {"rejected": "7"}), "format": "chat"}),
            **files,
        )
