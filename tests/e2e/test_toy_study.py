"""A whole study of recipes end to end, on a model that flips coins."""

import json
import random

import pytest
import yaml
from helpers import clone_to, save_random_model, snakemake
from plans import planned

from regime_w.runtime.records import read_json, read_jsonl

pytestmark = pytest.mark.runs
TEMPLATE = "Question: {question}\nAnswer:\n"
STUDY = {
    "recipes": {"sft": {"method": "none"}, "rft": {"method": "rejection_sampling"}, "dpo": {}},
    "baselines": ["sft"],
    "reference": "dpo",
    "evaluate": {"k": 2},
    "seeds": 2,
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
    for step in range(100):
        batch = tokenizer(rng.sample(texts, 16), return_tensors="pt", padding=True)
        labels = batch["input_ids"].masked_fill(batch["attention_mask"] == 0, -100)
        for group in optimizer.param_groups:
            group["lr"] = 5e-3 * (1 - step / 100)
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
        "extends": "configs/demo.yaml",
        "run": "toy",
        "questions": {
            "train": source | {"path": str(train), "n": None},
            "eval": {"generated": {"n": 16}, "flips": source | {"path": str(evaluation), "n": None}},
            "heldout_fraction": 0.2,
        },
        "base_model": {"source": "local", "path": str(model_of_flips(data / "model", texts))},
        "prompt": {"template": TEMPLATE},
        "sft": {"n_examples": 16, "learning_rate": 1e-5},
        "generate": {"n_samples": 30, "skip": 0, "max_new_tokens": 24, "shards": 1},
        "evaluate": {"k": 2, "max_new_tokens": 24},
        "study": STUDY,
        "rounds": 1,
    }
    folder = clone_to(tmp_path_factory.mktemp("toy") / "clone")
    (folder / "toy.yaml").write_text(yaml.safe_dump(overlay))
    done = snakemake(folder, "study_report", "--configfile", "toy.yaml", timeout=1500)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return folder


def test_the_toy_study_ends_with_a_report(toy):
    found = read_json(toy / "results/toy/study_report.json")
    assert {row["recipe"] for row in found["heldout"]["ranking"]} == {"sft", "rft", "dpo"}
    assert found["settings"]["heldout_questions"] == len(read_jsonl(toy / "data/toy/questions/heldout.jsonl"))
    assert all(0 < row["row"]["mean"]["value"] < 1 for row in found["heldout"]["ranking"])
    assert set(found["heldout"]["tests"]["sft"]) == {"rft", "dpo"}
    assert set(found["evaluation"]["rows"]) == {"sft", found["choice"]["chosen"]}
    page = (toy / "results/toy/study_report.html").read_text()
    rankings = ("Ranking on held-out questions", "Tests on held-out questions")
    for title in ("Did it help?", "What did it cost?", *rankings, "Cost"):
        assert title in page


def test_the_toy_studys_recipes_share_all_but_their_own_stages(toy):
    assert len(list((toy / "checkpoints/toy").rglob("sft_lora/manifest.json"))) == 1
    assert len(list((toy / "data/toy").rglob("completions/*.jsonl"))) == 1
    costs = read_json(toy / "results/toy/study_report.json")["costs"]["recipes"]
    own = {name: spent["own"]["jobs"] for name, spent in costs.items()}
    # build_preferences or build_samples once; train, merge, evaluate of each seed
    assert own == {"sft": 0, "rft": 7, "dpo": 7}


def test_the_toy_studys_seeds_train_other_adapters_of_the_same_pairs(toy):
    manifests = sorted((toy / "checkpoints/toy").rglob("dpo_lora/manifest.json"))
    trained = [read_json(manifest) for manifest in manifests]
    assert len(trained) == 2
    assert trained[0]["made_from"]["data"] == trained[1]["made_from"]["data"]
    assert {made["made_from"]["params"]["seed"] for made in trained} == {0, 1}
    weights = {made["files"]["adapter_model.safetensors"]["sha256"] for made in trained}
    assert len(weights) == 2
    found = read_json(toy / "results/toy/study_report.json")
    assert {row["recipe"]: row["seeds"] for row in found["heldout"]["ranking"]} == {"sft": 1, "rft": 2, "dpo": 2}
    assert {name: len(own) for name, own in found["readings"].items()} == {"generated": 1, "flips": 1}


def test_rejection_sampling_trains_on_correct_trajectories_of_its_own_policy(toy):
    (samples,) = (toy / "data/toy").rglob("samples.jsonl")
    rollouts = {row["id"]: row for row in read_jsonl(toy / "data/toy/round1/rollouts.jsonl")}
    rows = read_jsonl(samples)
    for row in rows:
        own = [t for t in rollouts[row["id"]]["trajectories"] if t["full_text"] == row["completion"]]
        assert any(trajectory["correct"] for trajectory in own)
        assert row["prompt"].endswith(TEMPLATE.format(question=rollouts[row["id"]]["question"]))
    manifests = list((toy / "checkpoints/toy").rglob("rft_lora/manifest.json"))
    assert len(manifests) == 2
    for manifest in manifests:
        assert read_json(manifest.with_name("training.json"))["examples"] == len(rows)
        assert (
            read_json(manifest)["made_from"]["policy"]
            == read_json(toy / "checkpoints/toy/sft_merged/manifest.json")["fingerprint"]
        )


def test_a_second_call_of_the_toy_study_has_nothing_to_do(toy):
    assert planned(toy, "--configfile", "toy.yaml", target="study_report") == {}


def test_a_run_without_rounds_has_a_report(toy):
    """method: none is SFT alone; the study evaluated its model already."""
    arguments = ("--configfile", "toy.yaml", "--config", "method=none")
    done = snakemake(toy, "eval_report", *arguments)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert [model["name"] for model in read_json(toy / "results/toy/eval_report.json")["models"]] == ["base", "sft"]
