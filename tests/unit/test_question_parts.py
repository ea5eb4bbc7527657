"""Variants and parts of the training questions: what fetch_questions writes, and what SFT and each round take of it."""

import json

import pytest
from helpers import stage

from regime_w.runtime.errors import UserError
from regime_w.runtime.records import iter_jsonl, read_json
from regime_w.sampling.rollouts import select
from scripts.fetch_questions import drawn, variants
from scripts.train_sft import learnt

QUESTIONS, VARIANTS = 40, 3
SOURCE = {"source": "file", "n": None, "seed": 0, "licence": "MIT", "corrections": {"train-00002": "72 -> 71"}}


@pytest.fixture(scope="module")
def fetched(tmp_path_factory):
    """Folder of the files that the stage makes of questions half of which have annotations."""
    folder = tmp_path_factory.mktemp("questions")
    source = folder / "source.jsonl"
    rows = [
        {
            "question": f"Ann has {n + 6} bags of {n + 7} red pens and Tom has a cat named {n}th. How many pens has she?",
            "answer": f"{(n + 6) * (n + 7)}\n#### 9"
            if n % 2
            else f"{n + 6}*{n + 7} = <<{n + 6}*{n + 7}={(n + 6) * (n + 7)}>>{(n + 6) * (n + 7)}\n#### {(n + 6) * (n + 7)}",
        }
        for n in range(QUESTIONS)
    ]
    source.write_text("".join(json.dumps(row) + "\n" for row in rows))
    params = {
        "train": SOURCE | {"path": str(source)},
        "eval": {"source": "synthetic", "n": 5, "split": "eval", "seed": 1, "licence": "", "corrections": {}},
        "variants": VARIANTS, "heldout_fraction": 0.2, "rollout_fraction": 0.4, "overlap_ngram": 8, "overlap_drop": 0.5,
    }  # fmt: skip
    files = [f"--{name}={folder / name}.jsonl" for name in ("train", "heldout", "eval")]
    done = stage("fetch_questions", "--params", json.dumps(params), *files, "--summary", folder / "questions.json")
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="module")
def rows(fetched):
    return list(iter_jsonl(fetched / "train.jsonl"))


def test_variants_follow_the_questions_round_by_round(rows):
    own = [row for row in rows if "variant_of" not in row]
    made = rows[len(own) :]
    assert rows[: len(own)] == own
    numbers = [int(row["id"].rpartition("-v")[2]) for row in made]
    assert numbers == sorted(numbers)
    assert set(numbers) == {1, 2, 3}
    annotated = {row["id"] for row in own if not int(row["id"][-5:]) % 2 and not row.get("corrected")}
    assert any(row.get("corrected") for row in own)
    assert {row["variant_of"] for row in made} <= annotated
    assert len(made) > 2 * len(annotated)
    assert len({row["question"] for row in rows}) == len(rows)
    assert not any("<<" in row["answer"] for row in rows)
    assert all(row["answer"].endswith(f"#### {row['gold_answer']}") for row in made)


def test_heldout_questions_have_no_variants(fetched, rows):
    heldout = list(iter_jsonl(fetched / "heldout.jsonl"))
    assert heldout
    held = {row["id"] for row in heldout}
    assert not held & {row.get("variant_of", row["id"]) for row in rows}
    assert all("variant_of" not in row and "<<" not in row["answer"] for row in heldout)


def test_a_variant_is_in_the_part_of_its_question(fetched, rows):
    part = {row["id"]: row["part"] for row in rows}
    assert set(part.values()) == {"sft", "rollouts"}
    assert all(row["part"] == part[row["variant_of"]] for row in rows if "variant_of" in row)
    counts = read_json(fetched / "questions.json")["counts"]
    assert sum(counts["parts"].values()) == counts["train"] == len(rows)
    assert counts["variants"] == sum("variant_of" in row for row in rows)


def test_the_parts_share_no_salt_with_the_held_out_questions():
    both = [drawn("heldout", str(n), 0.5) == drawn("rollouts", str(n), 0.5) for n in range(2000)]
    assert 900 < sum(both) < 1100


@pytest.mark.parametrize("part", ["all", "sft", "rollouts"])
def test_sft_learns_the_first_of_its_part(fetched, rows, part):
    wanted = [row for row in rows if part in ("all", row["part"])]
    file = fetched / "train.jsonl"
    assert learnt(file, {"part": part, "n_examples": None}) == wanted
    assert learnt(file, {"part": part, "n_examples": 5}) == wanted[:5]
    with pytest.raises(
        UserError, match=rf"sft\.n_examples asks for 999 questions, .* has {len(wanted)} of part {part}"
    ):
        learnt(file, {"part": part, "n_examples": 999})


def asked(fetched, round_number, shards=1, **generate):
    settings = {"part": "rollouts", "skip": 1, "n_samples": 4, "new_questions": True} | generate
    names = [f"{index}-of-{shards}" for index in range(shards)]
    return [row for name in names for row in select(fetched / "train.jsonl", settings, round_number, name)]


def test_each_round_takes_the_next_questions_of_its_part(fetched, rows):
    wanted = [row for row in rows if row["part"] == "rollouts"]
    assert asked(fetched, 1) == wanted[1:5]
    assert asked(fetched, 2) == wanted[5:9]
    assert asked(fetched, 2, new_questions=False) == wanted[1:5]
    by_shard = asked(fetched, 2, shards=3)
    assert sorted(row["id"] for row in by_shard) == sorted(row["id"] for row in wanted[5:9])


def test_a_round_beyond_the_last_question_is_refused(fetched, rows):
    there = sum(row["part"] == "rollouts" for row in rows)
    with pytest.raises(UserError, match=f"4 questions after the first 397, .* has {there} of part rollouts"):
        asked(fetched, 100)


def test_variants_of_questions_without_calculations_are_refused():
    row = {"id": "a", "question": "What is 2 + 2?", "answer": "It is 4.\n#### 4"}
    assert variants([row], 0, 0) == []
    with pytest.raises(UserError, match=r"questions\.variants: no question's answer writes out calculations"):
        variants([row], 1, 0)
