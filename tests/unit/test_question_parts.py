"""Where each question goes: held out, to SFT, to a round, or nowhere since it stands in evaluation; each text in one part."""

import json
import sys

import pytest
from helpers import ROOT

from regime_w.method.draws import drawn, in_share
from regime_w.questions.mixture import load_all, mix
from regime_w.questions.overlap import whole_text
from regime_w.questions.parts import shard_of, style_of, take
from regime_w.questions.varying import make_variants
from regime_w.runtime.errors import UserError
from regime_w.runtime.records import read_json, read_jsonl
from regime_w.runtime.seals import write_jsonl
from regime_w.sampling.rollouts import select
from regime_w.tasks.verifiers import open_verifier
from scripts import check_questions, fetch_evaluation, fetch_questions, join_evaluation, split_questions

QUESTIONS, VARIANTS = 40, 3
TASK = {"verifier": "number", "timeout": 10}
SOURCE = {"source": "file", "n": None, "seed": 0, "licence": "MIT"}
SHARES = {"heldout_fraction": 0.2, "rollout_fraction": 0.4, "overlap_ngram": 8, "overlap_drop": 0.5, "variants": 0}


def run(module, monkeypatch, **arguments):
    """A stage's main with these options; Paths and lists of them become words, all else JSON."""
    words = [module.__name__]
    for name, value in arguments.items():
        values = value if isinstance(value, list) else [value]
        words += [f"--{name.replace('_', '-')}", *(json.dumps(v) if isinstance(v, dict) else str(v) for v in values)]
    monkeypatch.setattr(sys, "argv", words)
    module.main()


@pytest.fixture(scope="module")
def monkey():
    with pytest.MonkeyPatch.context() as context:
        yield context


class Run:
    """The stages from sources to a summary, in a folder."""

    def __init__(self, folder, monkeypatch):
        self.folder, self.patch = folder, monkeypatch
        self.sets = []

    def evaluation(self, name, rows, verifier="number"):
        write_jsonl(self.folder / f"{name}.source.jsonl", rows)
        source = {"source": "file", "path": str(self.folder / f"{name}.source.jsonl")}
        params = {"set": name, "source": source, "task": TASK | {"verifier": verifier}}
        self.sets.append(self.folder / f"{name}.jsonl")
        run(fetch_evaluation, self.patch, params=params, output=self.sets[-1], summary=self.folder / f"{name}.json")

    def train(self, rows, **changes):
        write_jsonl(self.folder / "source.jsonl", rows)
        source = SOURCE | {"path": str(self.folder / "source.jsonl")} | changes.pop("source", {})
        run(join_evaluation, self.patch, sets=self.sets, output=self.folder / "evaluation.jsonl")
        files = {"train": self.folder / "train.jsonl", "heldout": self.folder / "heldout.jsonl"}
        params = {"train": [source], "task": TASK, **SHARES, **changes}
        run(fetch_questions, self.patch, params=params, evaluation=self.folder / "evaluation.jsonl",
            summary=self.folder / "train.json", **files)  # fmt: skip
        return self

    def split(self, name, **params):
        params = {"use": "rollouts", "part": "all", "skip": 0, "n": None} | params
        output = self.folder / f"{name}.jsonl"
        run(split_questions, self.patch, params=params, questions=self.folder / "train.jsonl", output=output)
        return read_jsonl(output)

    def check(self, *parts, sft_known=True):
        run(check_questions, self.patch, params={"overlap_ngram": 8, "overlap_drop": 0.5, "sft_known": sft_known},
            sets=self.sets, set_summaries=[path.with_suffix(".json") for path in self.sets],
            train=self.folder / "train.jsonl", heldout=self.folder / "heldout.jsonl",
            train_summary=self.folder / "train.json", parts=[self.folder / f"{part}.jsonl" for part in parts],
            output=self.folder / "summary.json")  # fmt: skip
        return read_json(self.folder / "summary.json")

    def __getitem__(self, name):
        return read_jsonl(self.folder / f"{name}.jsonl")


def numbered(n, name="train"):
    """Questions of which no two have a word in common but for short ones."""
    return [{"question": f"{name}{i}a and {name}{i}b?", "answer": f"So\n#### {i}"} for i in range(n)]


@pytest.fixture(scope="module")
def fetched(tmp_path_factory, monkey):
    """A run of questions half of which have annotations, with variants."""
    rows = [
        {
            "question": f"Ann has {n + 6} bags of {n + 7} red pens and Tom has a cat named {n}th. How many pens has she?",
            "answer": f"{(n + 6) * (n + 7)}\n#### 9"
            if n % 2
            else f"{n + 6}*{n + 7} = <<{n + 6}*{n + 7}={(n + 6) * (n + 7)}>>{(n + 6) * (n + 7)}\n#### {(n + 6) * (n + 7)}",
        }
        for n in range(QUESTIONS)
    ]
    run_ = Run(tmp_path_factory.mktemp("questions"), monkey)
    run_.evaluation("platinum", numbered(5, "eval"))
    # Questions that differ in numbers alone overlap with each other: this is about parts.
    corrections = {"train-00002": "72 -> 71"}
    return run_.train(rows, variants=VARIANTS, overlap_ngram=50, source={"corrections": corrections})


@pytest.fixture(scope="module")
def rows(fetched):
    return fetched["train"]


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
    heldout = fetched["heldout"]
    assert heldout
    held = {row["id"] for row in heldout}
    assert not held & {row.get("variant_of", row["id"]) for row in rows}
    assert all("variant_of" not in row and "<<" not in row["answer"] for row in heldout)


def test_a_variant_is_in_the_part_of_its_question(fetched, rows):
    part = {row["id"]: row["part"] for row in rows}
    assert set(part.values()) == {"sft", "rollouts"}
    assert all(row["part"] == part[row["variant_of"]] for row in rows if "variant_of" in row)
    counts = read_json(fetched.folder / "train.json")["counts"]
    assert sum(counts["parts"].values()) == counts["train"] == len(rows)
    assert counts["variants"] == sum("variant_of" in row for row in rows)


def test_draws_are_those_of_the_hash():
    """What they were before there was one function; other draws would be other parts, shards, styles and questions."""
    assert drawn("train-00017") == 0xF40C7E6B
    assert [n for n in range(80) if in_share("heldout", f"train-{n:05d}", 0.05)] == [0, 22, 38, 39, 52, 65, 68, 69]
    assert [shard_of(f"train-{n:05d}", 8) for n in range(6)] == [4, 6, 1, 5, 0, 3]
    assert [style_of(f"eval-{n:05d}", ["a", "b"]) for n in range(6)] == ["b", "a", "a", "a", "a", "a"]


def test_the_parts_share_no_draw_with_the_held_out_questions():
    both = [in_share("heldout", str(n), 0.5) == in_share("rollouts", str(n), 0.5) for n in range(2000)]
    assert 900 < sum(both) < 1100


@pytest.mark.parametrize("part", ["all", "sft", "rollouts"])
def test_sft_learns_the_first_of_its_part(fetched, rows, part):
    wanted = [row for row in rows if part in ("all", row["part"])]
    assert fetched.split("sft", use="sft", part=part) == wanted
    assert fetched.split("sft", use="sft", part=part, n=5) == wanted[:5]
    message = rf"sft\.n_examples asks for 999 questions, .* has {len(wanted)} of part {part}"
    with pytest.raises(UserError, match=message):
        fetched.split("sft", use="sft", part=part, n=999)


def test_a_round_takes_its_questions_of_its_part(fetched, rows):
    wanted = [row for row in rows if row["part"] == "rollouts"]
    assert fetched.split("round1", part="rollouts", skip=1, n=4) == wanted[1:5]
    assert fetched.split("round2", part="rollouts", skip=5, n=4) == wanted[5:9]
    shards = [row["id"] for index in range(3) for row in select(fetched.folder / "round2.jsonl", f"{index}-of-3")]
    assert sorted(shards) == sorted(row["id"] for row in wanted[5:9])
    with pytest.raises(UserError, match=rf"4 questions after the first 397, .* has {len(wanted)} of part rollouts"):
        fetched.split("round9", part="rollouts", skip=397, n=4)


def test_what_a_round_shares_with_sft_and_rounds_before_is_counted(fetched):
    sft = fetched.split("sft", use="sft", n=20)
    first, second = fetched.split("round1", skip=15, n=10), fetched.split("round2", skip=20, n=50)
    found = fetched.check("sft", "round1", "round2")["parts"]
    assert found["sft"] == {"questions": 20, "variants": 0}
    assert (found["round1"]["seen_by_sft"], found["round1"]["seen_by_rounds"]) == (5, 0)
    assert found["round2"]["seen_by_sft"] == 0
    asked = {row.get("variant_of", row["id"]) for row in first}
    assert found["round2"]["seen_by_rounds"] == sum(row.get("variant_of", row["id"]) in asked for row in second) > 5
    assert found["round2"]["variants"] == sum("variant_of" in row for row in second) > 0
    assert len({row["id"] for row in sft} & {row["id"] for row in first}) == 5
    assert fetched.check("round1", sft_known=False)["parts"]["round1"]["seen_by_sft"] is None


def test_variants_of_questions_without_calculations_are_refused():
    row = {"id": "a", "question": "What is 2 + 2?", "answer": "It is 4.\n#### 4"}
    assert make_variants([row], 0, 0) == []
    with pytest.raises(UserError, match=r"questions\.variants: no question's answer writes out calculations"):
        make_variants([row, {"id": "b", "question": "?"}], 1, 0)


@pytest.fixture
def run_of(tmp_path, monkeypatch):
    return Run(tmp_path, monkeypatch)


def test_questions_of_evaluation_are_dropped_whatever_their_length_and_language(run_of):
    copied = [{"question": q, "answer": "#### 1"} for q in ("2 + 2?", "小明有三个苹果。一共几个？", "Сколько?")]
    run_of.evaluation("platinum", [*copied[:2], *numbered(4, "eval")])
    run_of.evaluation("aqua", [{"question": "сколько", "answer": "#### 1"}])
    run_of.train([*numbered(20), *copied], heldout_fraction=0.0)
    assert len(run_of["train"]) == 20
    told = read_json(run_of.folder / "train.json")["overlap"]["evaluation"]
    assert told["dropped"] == [f"train-000{n}" for n in (20, 21, 22)]
    assert {entry["set"] for entry in told["highest"]} == {"platinum", "aqua"}


def test_training_on_what_is_evaluated_alone_is_refused(run_of):
    run_of.evaluation("platinum", numbered(5))
    with pytest.raises(UserError, match="all 5 questions stand in evaluation or were held out"):
        run_of.train(numbered(5))


def test_a_text_stands_in_one_part_only(run_of):
    """Copies of one text, that differ in their rationale, go where the first one goes; a near copy of a held-out one, nowhere."""
    run_of.evaluation("platinum", numbered(3, "eval"))
    rows = [row | {"answer": f"Otherwise {k}\n{row['answer']}"} for k in range(3) for row in numbered(40)]
    words = " ".join(f"w{n}" for n in range(20))
    near = [{"question": f"{words} {n}", "answer": "#### 1"} for n in range(40)]
    run_of.train(rows + near)
    parts = {name: {whole_text(row["question"]) for row in run_of[name]} for name in ("train", "heldout")}
    assert not parts["train"] & parts["heldout"]
    assert len(run_of["heldout"]) == len(parts["heldout"])
    by_text = {}
    for row in run_of["train"]:
        by_text.setdefault(whole_text(row["question"]), set()).add(row["part"])
    assert all(len(found) == 1 for found in by_text.values())
    assert not any(row["question"].startswith("w0") for row in run_of["train"])  # one of them was held out
    assert any(row["question"].startswith("w0") for row in run_of["heldout"])
    learnt, asked = run_of.split("sft", use="sft"), run_of.split("round1")
    assert len(learnt) == 3 * len(asked)


def test_rows_that_stand_twice_or_contradict_are_dropped_and_counted(run_of, capsys):
    run_of.evaluation("platinum", [*numbered(3, "eval"), numbered(1, "eval")[0]])
    rows = numbered(10)
    more = [rows[0], rows[1] | {"answer": "#### 99"}, rows[2] | {"answer": "Other words\n#### 2"}]
    run_of.train(rows + more, heldout_fraction=0.0)
    assert len(run_of["train"]) == 11
    told = read_json(run_of.folder / "train.json")["doubles"]
    assert told == {
        "identical_dropped": 1,
        "contradicting_dropped": 1,
        "other_rationale_kept": 1,
        "variants_dropped": 0,
    }
    assert "1 identical dropped, 1 contradicting dropped, 1 other rationale kept" in capsys.readouterr().out
    assert run_of.check()["eval"]["platinum"]["doubles"]["identical"] == 1
    assert len(run_of["platinum"]) == 4  # evaluation sets are what they are


def test_a_later_set_is_held_against_what_was_trained_on(run_of, capsys):
    run_of.evaluation("platinum", numbered(4, "eval"))
    run_of.train(numbered(20), heldout_fraction=0.2)
    run_of.split("sft", use="sft")
    assert run_of.check("sft")["eval"]["platinum"]["left_out"] == []
    run_of.evaluation("aqua", [*numbered(3, "new"), *numbered(2), *numbered(2, "eval")])
    found = run_of.check("sft")["eval"]
    assert found["aqua"]["left_out"] == ["eval-00003", "eval-00004"]
    assert found["aqua"]["in_other_sets"] == {"platinum": 2}
    assert found["platinum"]["left_out"] == []
    assert "aqua: 2 of its questions stand in the training data" in capsys.readouterr().out


def test_rows_without_a_rationale_are_asked_but_not_learnt(run_of):
    run_of.evaluation("platinum", numbered(3, "eval"))
    rows = [*numbered(6), *({"question": row["question"], "answer": "7"} for row in numbered(4, "bare"))]
    run_of.train(rows, heldout_fraction=0.0)
    assert len(run_of.split("round1")) == 10
    assert len(run_of.split("sft", use="sft")) == 6
    assert read_json(run_of.folder / "train.json")["counts"]["without_rationale"] == 4
    with pytest.raises(UserError, match=r"asks for 7 questions, .* has 6 with a rationale of part all"):
        run_of.split("sft", use="sft", n=7)


def test_sources_are_mixed_evenly_and_by_weight():
    a, b = [f"a{n}" for n in range(6)], [f"b{n}" for n in range(3)]
    assert mix([a, b], [None, None]) == ["a0", "b0", "a1", "a2", "b1", "a3", "a4", "b2", "a5"]
    assert mix([a, b], [1.0, 1.0]) == ["a0", "b0", "a1", "b1", "a2", "b2"]
    assert mix([a, b], [1.0, 3.0]) == ["b0", "a0", "b1", "b2"]
    assert mix([a], [None]) == a


def test_several_sources_have_ids_and_counts_of_their_own(tmp_path):
    sources = []
    for name in ("one", "two"):
        write_jsonl(tmp_path / f"{name}.jsonl", numbered(4, name))
        sources.append({"source": "file", "path": str(tmp_path / f"{name}.jsonl")})
    sources[1] |= {"n": 2}
    rows, told = load_all("questions.train", sources, open_verifier(TASK))
    ids = [row["id"].removeprefix("train") for row in rows]
    assert ids == ["1-00000", "2-00000", "1-00001", "1-00002", "2-00001", "1-00003"]
    assert [source["taken"] for source in told] == [4, 2]
    named = [source | {"name": name} for source, name in zip(sources, ("x", "y"), strict=True)]
    assert load_all("questions.train", named, open_verifier(TASK))[0][1]["id"] == "y-00000"
    for path in ("one", "two"):
        write_jsonl(tmp_path / f"{path}.jsonl", [row | {"id": n} for n, row in enumerate(numbered(4, path))])
    with pytest.raises(UserError, match="two sources have the id '0'; give each source a `name`"):
        load_all("questions.train", sources, open_verifier(TASK))


def test_the_demos_questions_stand_where_they_stood():
    """What was held out, and which a round began and ended with, before parts were files."""
    ids = [f"synthetic-train-0-{n:05d}" for n in range(3300)]
    held = [identity for identity in ids if in_share("heldout", identity, 0.05)]
    assert (len(held), held[:2]) == (166, ["synthetic-train-0-00020", "synthetic-train-0-00025"])
    own = [{"id": identity} for identity in ids if identity not in set(held)]
    asked = take(own, {"use": "rollouts", "part": "all", "skip": 1000, "n": 2000}, ROOT)
    assert [row["id"] for row in (asked[0], asked[-1])] == ["synthetic-train-0-01052", "synthetic-train-0-03160"]
