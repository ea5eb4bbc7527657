"""Labels known to be wrong: corrected by id, only where they are what the correction expects, and kept out of SFT."""

import json

import pytest
import yaml
from helpers import ROOT, save_random_model, template

from regime_w.questions.rows import load
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


@pytest.mark.parametrize("name", ["abel", "smollm2"])
def test_the_known_wrong_labels_of_gsm8k_say_what_they_replace(name):
    corrections = yaml.safe_load((ROOT / f"configs/{name}.yaml").read_text())["questions"]["train"]["corrections"]
    assert len(corrections) == 8
    assert all(" -> " in correction for correction in corrections.values())
