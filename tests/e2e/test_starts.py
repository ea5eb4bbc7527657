"""Whole runs that begin elsewhere: no SFT, another tool's trajectories or pairs, several evaluation sets of other answers."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from helpers import clone_to, save_random_model, snakemake

from regime_w.runtime.records import read_json, read_jsonl
from regime_w.runtime.seals import write_jsonl

pytestmark = pytest.mark.runs
SMALL: dict[str, Any] = {
    "rounds": 1,
    "base_model": {"source": "local", "licence": "MIT"},
    "prompt": {"template": "Question: {question}\nAnswer:\n"},
    "questions": {
        "train": [
            {"source": "file", "path": "sums.jsonl", "weight": 3.0, "name": "sums"},
            {"source": "file", "path": "more.csv", "weight": 1.0, "columns": {"question": "problem", "gold": "result"}},
        ],
        "eval": {
            "sums": {"source": "file", "path": "test.json"},
            "letters": {
                "source": "file", "path": "letters.jsonl", "columns": {"answer": None, "gold": "correct"},
                "task": {"verifier": "choice"}, "evaluate": {"k": 1},
            },
        },
    },
    "sft": {"method": "none"},
    "arms": [{"name": f"arm_{name}", "style": "plain", "temperature": 1.0} for name in "abcd"],
    "generate": {"n_samples": 6, "max_new_tokens": 6, "shards": 1},
    "evaluate": {"k": 2, "max_new_tokens": 6, "styles": ["plain"]},
    "engine": {"name": "transformers"},
    "pairs": {"max_similarity": 1.0, "min_margin": 0.0},
    "dpo": {
        "batch_size": 4, "per_device_batch_size": 4, "lora": {"r": 4, "alpha": 8}, "gradient_checkpointing": False,
    },
    "report": {"n_boot": 200},
}  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A clone with a random model, data in four formats, and another tool's work."""
    clone = clone_to(tmp_path / "clone")
    save_random_model(clone / "model")
    write_jsonl(clone / "sums.jsonl", [{"id": n, "question": f"{n} + {n}?", "answer": str(2 * n)} for n in range(30)])
    (clone / "more.csv").write_text("\ufeffproblem,result\n" + "".join(f"{n} - 1?,{n - 1}\n" for n in range(30)))
    test = [{"question": f"{n} times {n}?", "answer": f"So\n#### {n * n}"} for n in range(4)]
    (clone / "test.json").write_text(str(test).replace("'", '"').replace("\n", "\\n"))
    letters = [
        {"question": f"Which is {n}?", "options": ["A)1", "B)2", "C)3"], "correct": "ABC"[n - 1]} for n in (1, 2, 3)
    ]
    write_jsonl(clone / "letters.jsonl", letters)
    texts = ["It is 7.\n#### 7", "It is 8.\n#### 8", "I say 7.\n#### 7", "None."]
    rollouts = [
        {"question": f"Given {n}?", "gold_answer": 7 + n % 2, "trajectories": [{"full_text": text} for text in texts]}
        for n in range(8)
    ]
    write_jsonl(clone / "rollouts.jsonl", rollouts)
    pairs = [{"prompt": f"Question: Given {n}?\nAnswer:\n", "chosen": "#### 7", "rejected": "#### 8"} for n in range(8)]
    write_jsonl(clone / "pairs.jsonl", pairs)
    return clone


def run(folder: Path, name: str, **changes: Any) -> dict[str, Any]:
    config = SMALL | {"run": name} | changes
    config["base_model"] = config["base_model"] | {"path": "model"}
    (folder / f"{name}.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
    done = snakemake(folder, "eval_report", "--configfile", f"{name}.yaml", timeout=1500)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    found: dict[str, Any] = read_json(folder / f"results/{name}/eval_report.json")
    return found


def test_another_tools_trajectories_train_the_base_model(folder: Path) -> None:
    found = run(folder, "taken", start={"rollouts": "rollouts.jsonl"})
    assert [model["name"] for model in found["models"]] == ["base", "round1"]
    assert (found["set"], found["k"]) == ("sums", 2)
    letters = found["other_sets"]["letters"]
    assert (letters["k"], letters["models"][0]["n"]) == (1, 3)
    assert {row["gold_answer"] for row in read_jsonl(folder / "data/taken/answers/letters/base.jsonl")} == set("ABC")
    assert found["rollouts"]["round1"]["questions"] == 8
    assert found["rollouts"]["round1"]["accuracy"]["value"] == pytest.approx(3 / 8)
    assert found["preferences"]["round1"]["kept"] > 0
    assert found["training"]["round1"]["examples"] == found["preferences"]["round1"]["kept"]
    assert "sft" not in found["training"]
    assert found["questions"]["parts"] == {
        "round1": {"questions": 8, "variants": 0, "seen_by_sft": None, "seen_by_rounds": 0}
    }
    assert found["questions"]["start"]["path"] == "rollouts.jsonl"
    page = (folder / "results/taken/eval_report.md").read_text()
    assert "Round 1 began with another tool's work: file rollouts.jsonl" in page
    assert not (folder / "data/taken/questions/train.jsonl").exists()


def test_another_tools_pairs_then_a_round_of_our_own(folder: Path) -> None:
    """The random model is never right, so the second round gets the pairs of wrong sums that the policy alone may lack: it
    is planned, not run."""
    found = run(folder, "pairs", start={"preferences": "pairs.jsonl"})
    assert found["preferences"]["round1"]["kept_by_type"] == {"given": 8}
    assert found["training"]["round1"]["examples"] == 8
    assert found["rollouts"] == {}
    done = snakemake(
        folder, "data/pairs/round2/completions/0-of-1.jsonl", "--configfile", "pairs.yaml", "--config", "rounds=2"
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    asked = read_jsonl(folder / "data/pairs/questions/round2.jsonl")
    assert [row["id"].split("-")[0] for row in asked].count("sums") in (4, 5)
    assert len(read_jsonl(folder / "data/pairs/round2/completions/0-of-1.jsonl")) == 6 * 4


def test_models_that_are_there_are_reported_alone(folder: Path) -> None:
    found = run(folder, "alone", rounds=0)
    assert [model["name"] for model in found["models"]] == ["base"]
    assert found["verdict"]["headline"] == "Only base was evaluated: nothing to compare"
    assert found["training"] == found["rollouts"] == found["preferences"] == {}
    page = (folder / "results/alone/eval_report.html").read_text()
    assert "letters" in page
