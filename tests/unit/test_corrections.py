"""Labels known to be wrong: corrected by id, only where they are what the correction expects, and kept out of SFT."""

import json

import pytest
import yaml
from helpers import ROOT, save_random_model, template

from regime_w.questions.corrections import corrections_of
from regime_w.questions.rows import described, load
from regime_w.runtime.errors import UserError
from regime_w.tasks.prompts import Prompts
from regime_w.tasks.verifiers import open_verifier
from scripts import train_sft

SOURCE = {"source": "file", "n": None, "hub_id": None, "licence": "MIT"}
ROWS = [
    {"question": "What is 2 + 2?", "answer": "2 + 2 = 5.\n#### 5"},
    {"question": "What is 3 + 3?", "answer": "3 + 3 = 6.\n#### 6"},
]


def load_source(source):
    return load("questions.train", source, open_verifier({"verifier": "number", "timeout": 10})).records


@pytest.fixture
def path(tmp_path):
    file = tmp_path / "train.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    return str(file)


@pytest.mark.parametrize("correction", ["4", "5 -> 4", "5.0->4"])
def test_a_correction_replaces_the_label(path, correction):
    rows = load_source(SOURCE | {"path": path, "corrections": {"train-00000": correction}})
    assert [row["gold_answer"] for row in rows] == ["4", "6"]
    assert [row["answer"] for row in rows] == ["2 + 2 = 5.\n#### 4", "3 + 3 = 6.\n#### 6"]
    assert [row.get("corrected") for row in rows] == [True, None]


def test_a_correction_of_another_label_is_refused(path):
    with pytest.raises(UserError, match="question train-00001: its label is '6', corrections expects '5'"):
        load_source(SOURCE | {"path": path, "corrections": {"train-00001": "5 -> 4"}})


def test_a_correction_of_no_question_is_refused(path):
    with pytest.raises(UserError, match="'train-00009', which is no question's id"):
        load_source(SOURCE | {"path": path, "corrections": {"train-00009": "4"}})


def test_sft_leaves_out_the_rationale_that_led_to_the_wrong_label(path, tmp_path):
    from transformers import AutoTokenizer

    rows = load_source(SOURCE | {"path": path, "corrections": {"train-00000": "5 -> 4"}})
    prompts = Prompts(
        {"prompt": template("{question}\n"), "styles": {}},
        AutoTokenizer.from_pretrained(save_random_model(tmp_path / "model")),
        tmp_path / "model",
    )
    (kept,) = train_sft.examples(rows, {"sft": {"styles": ["plain"]}}, prompts)
    assert "3 + 3" in prompts.tokenizer.decode(kept["input_ids"])


def test_the_known_wrong_labels_of_gsm8k_say_what_they_replace():
    corrections = yaml.safe_load((ROOT / "configs/gsm8k.yaml").read_text())["questions"]["train"]["corrections"]
    assert len(corrections) == 8
    assert all(" -> " in correction for correction in corrections.values())


@pytest.mark.parametrize(
    ("name", "text"),
    [("c.json", '{"train-00000": "5 -> 4"}'), ("c.csv", "\ufeffid,correction\r\ntrain-00000,5 -> 4\r\n\r\n")],
)
def test_corrections_of_a_file(path, tmp_path, name, text):
    (tmp_path / name).write_text(text, newline="")
    assert corrections_of(str(tmp_path / name)) == {"train-00000": "5 -> 4"}
    source = SOURCE | {"path": path, "corrections": str(tmp_path / name)}
    assert [row["gold_answer"] for row in load_source(source)] == ["4", "6"]
    assert described(source)["corrections"] == 1


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("c.json", "[1]", "corrections are texts by question id"),
        ("c.json", '{"a": 1}', "corrections are texts by question id"),
        ("c.json", "{", "not JSON"),
        ("c.csv", "train-00000,4\n", "the header id,correction was expected"),
        ("c.csv", "", "the header id,correction was expected"),
        ("c.csv", "id,correction\na,4,5\n", r"c\.csv:2: an id and a correction were expected, found 3"),
        ("c.csv", "id,correction\na,4\na,5\n", r"c\.csv:3: the id 'a' stands there twice"),
        ("c.csv", 'id,correction\na,"4\n', "not CSV"),
    ],
)
def test_a_file_that_holds_no_corrections_is_one_line(tmp_path, name, text, message):
    (tmp_path / name).write_text(text)
    with pytest.raises(UserError, match=message):
        corrections_of(str(tmp_path / name))
