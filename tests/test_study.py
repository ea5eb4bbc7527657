"""A study of recipes: what they share and what each costs, and a whole one end to end on a model that flips coins."""

import json
import random
import re

import pytest
import yaml
from helpers import clone_to, save_random_model, snakemake

TEMPLATE = "Question: {question}\nAnswer:\n"
STUDY = {
    "recipes": {"sft": {"method": "none"}, "rft": {"method": "rejection_sampling"}, "dpo": {}},
    "baselines": ["sft", "rft"],
    "reference": "dpo",
    "evaluate": {"k": 2},
}


def coin_flips(folder, name, n, seed):
    """Questions whose answer nobody can know: 1 or 2."""
    rng = random.Random(seed)
    rows = []
    for number in range(n):
        side = rng.choice("12")
        rows.append({"question": f"{name} {number}?", "answer": f"It is {side}.\n#### {side}"})
    path = folder / f"{name}.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def model_of_flips(folder, texts):
    """A tiny Llama trained to answer in the right form, so that about half of its answers are correct."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    save_random_model(folder, bos=False)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder)
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3)
    rng = random.Random(0)
    for step in range(150):
        batch = tokenizer(rng.sample(texts, 16), return_tensors="pt", padding=True)
        labels = batch["input_ids"].masked_fill(batch["attention_mask"] == 0, -100)
        for group in optimizer.param_groups:
            group["lr"] = 5e-3 * (1 - step / 150)
        model(**batch, labels=labels).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    model.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def toy(tmp_path_factory):
    """A clone with the toy study's overlay, done by `snakemake study_report`."""
    data = tmp_path_factory.mktemp("data")
    train, evaluation = coin_flips(data, "train", 60, 0), coin_flips(data, "eval", 12, 1)
    styles = {"wolfram": "Style: exact.", "maudlin": "Style: careful."}
    texts = []
    for row in map(json.loads, train.read_text().splitlines()):
        prompt = TEMPLATE.format(question=row["question"])
        texts += [f"{style}\n\n{prompt}{row['answer']}</s>" for style in styles.values()]
    source = {"source": "file", "licence": "MIT"}
    overlay = {
        "run": "toy",
        "questions": {
            "train": source | {"path": str(train), "n": None},
            "eval": source | {"path": str(evaluation), "n": None},
            "heldout_fraction": 0.2,
        },
        "base_model": {"source": "local", "path": str(model_of_flips(data / "model", texts))},
        "prompt": {"template": TEMPLATE},
        "sft": {"n_examples": 16, "learning_rate": 1e-5},
        "generate": {"n_samples": 30, "skip": 0, "max_new_tokens": 24, "shards": 1},
        "evaluate": {"k": 2, "max_new_tokens": 24},
        "study": STUDY,
    }
    folder = clone_to(tmp_path_factory.mktemp("toy") / "clone")
    (folder / "toy.yaml").write_text(yaml.safe_dump(overlay))
    done = snakemake(folder, "study_report", "--configfile", "toy.yaml")
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return folder


def test_toy(toy):
    found = json.loads((toy / "results/toy/study_report.json").read_text())
    print(json.dumps(found["heldout"]["ranking"], indent=1)[:3000])
    print(found["verdict"])
