"""Which files of questions there are and what their edits rerun; plans of runs that begin elsewhere, or have no SFT or rounds."""

import json
import re
import shutil
from pathlib import Path

import pytest
from helpers import clone_to, snakemake
from plans import edit_config, make_outputs, planned

from regime_w.runtime.records import read_json, read_jsonl
from regime_w.runtime.seals import write_jsonl

SECOND = {"source": "synthetic", "split": "eval", "n": 20, "seed": 2}
ASKED = {"evaluate", "check_questions", "eval_report", "view_trajectories"}
ROUND = {"generate", "score_rollouts", "check_rollouts", "build_preferences", "train_dpo", "merge_lora"}


def wildcards(jobs, rule, name):
    return {re.search(rf"{name}=([\w/]+)", found)[1] for found in jobs.get(rule, [])}


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A clone whose outputs all exist and are recorded as made with its config, of one round."""
    folder = clone_to(tmp_path_factory.mktemp("finished") / "clone")
    edit_config(folder, rounds=1)
    make_outputs(folder, "eval_report")
    return folder


@pytest.fixture
def clone(finished, tmp_path):
    return Path(shutil.copytree(finished, tmp_path / "clone", symlinks=True))


def test_a_new_set_asks_the_models_that_are_there_and_retrains_nothing(clone):
    edit_config(clone, questions__eval={"second": SECOND})
    jobs = planned(clone)
    assert set(jobs) == {"fetch_evaluation", "join_evaluation"} | ASKED
    assert wildcards(jobs, "fetch_evaluation", "set") == wildcards(jobs, "evaluate", "set") == {"second"}
    assert wildcards(jobs, "evaluate", "model") == {"base", "sft", "round1"}


def test_another_evaluation_set_is_fetched_again_and_retrains_nothing(clone):
    edit_config(clone, questions__eval={"generated": {"n": 900}})
    assert set(planned(clone)) == {"fetch_evaluation", "join_evaluation"} | ASKED


def test_what_differs_for_a_set_asks_that_set_again(clone):
    edit_config(clone, questions__eval={"second": SECOND})
    make_outputs(clone, "eval_report")
    edit_config(clone, questions__eval={"second": SECOND | {"evaluate": {"k": 4}}})
    jobs = planned(clone)
    assert set(jobs) == {"evaluate", "eval_report", "view_trajectories"}
    assert wildcards(jobs, "evaluate", "set") == {"second"}


def test_a_training_edit_never_fetches_evaluation(clone):
    edit_config(clone, questions__heldout_fraction=0.1)
    jobs = planned(clone)
    assert not {"fetch_evaluation", "join_evaluation", "base_model"} & set(jobs)
    assert {"fetch_questions", "split_questions", "train_sft"} <= set(jobs)
    assert wildcards(jobs, "evaluate", "model") == {"sft", "round1"}


@pytest.mark.parametrize(
    ("key", "value", "part", "others"),
    [("sft__n_examples", 900, "sft", ROUND | {"train_sft"}), ("generate__n_samples", 1500, "round1", ROUND)],
)
def test_each_part_has_a_file_of_its_own(clone, key, value, part, others):
    edit_config(clone, **{key: value})
    jobs = planned(clone)
    assert set(jobs) == others | ASKED | {"split_questions"}
    assert wildcards(jobs, "split_questions", "part") == {part}


def test_another_round_of_new_questions_moves_none_of_those_before(clone):
    edit_config(clone, rounds=2, generate={"new_questions": True, "n_samples": 1000, "skip": 0})
    make_outputs(clone, "eval_report")
    edit_config(clone, rounds=3)
    jobs = planned(clone)
    assert set(jobs) == ROUND | ASKED | {"split_questions"}
    assert wildcards(jobs, "split_questions", "part") == {"round3"}
    assert wildcards(jobs, "evaluate", "model") == {"round3"}


@pytest.fixture
def other_runs(tmp_path):
    """A fresh clone, and files of another tool's work."""
    folder = clone_to(tmp_path / "clone")
    write_jsonl(folder / "rollouts.jsonl", [{"question": "1?", "gold_answer": "1", "trajectories": []}])
    write_jsonl(folder / "pairs.jsonl", [{"prompt": "1?", "chosen": "1", "rejected": "2"}])
    return folder


def test_without_sft_round_1_samples_from_the_base(other_runs):
    edit_config(other_runs, rounds=1, sft={"method": "none"})
    jobs = planned(other_runs)
    assert "train_sft" not in jobs
    assert wildcards(jobs, "merge_lora", "policy") == {"round1/merged"}
    assert wildcards(jobs, "evaluate", "model") == {"base", "round1"}
    assert wildcards(jobs, "split_questions", "part") == {"round1"}
    shown = snakemake(other_runs, "eval_report", "--dry-run", "--quiet", "host")
    generate = re.search(r"^rule generate:\n((?:    .*\n)+)", shown.stdout + shown.stderr, re.MULTILINE)[1]
    assert "checkpoints/demo/base" in generate


def test_another_tools_rollouts_are_scored_in_place_of_our_own(other_runs):
    edit_config(other_runs, rounds=2, start={"rollouts": "rollouts.jsonl"})
    jobs = planned(other_runs)
    assert len(jobs["import_rollouts"]) == 1
    assert wildcards(jobs, "generate", "round") == {"2"}
    assert wildcards(jobs, "score_rollouts", "round") == {"1", "2"}
    assert wildcards(jobs, "split_questions", "part") == {"sft", "round2"}
    assert "import_preferences" not in jobs


def test_another_tools_pairs_are_trained_on_in_place_of_our_own(other_runs):
    edit_config(other_runs, rounds=2, start={"preferences": "pairs.jsonl"})
    jobs = planned(other_runs)
    assert len(jobs["import_preferences"]) == 1
    for rule in ("generate", "score_rollouts", "check_rollouts", "build_preferences"):
        assert wildcards(jobs, rule, "round") == {"2"}
    assert wildcards(jobs, "train_dpo", "round") == {"1", "2"}
    assert "import_rollouts" not in jobs


def test_a_start_alone_needs_no_training_questions(other_runs):
    edit_config(other_runs, rounds=1, sft={"method": "none"}, start={"preferences": "pairs.jsonl"})
    jobs = planned(other_runs)
    assert set(jobs) == {"base_model", "fetch_evaluation", "import_preferences", "train_dpo", "merge_lora"} | ASKED


@pytest.mark.parametrize(
    ("sft", "rules", "models"),
    [
        ("none", set(), {"base"}),
        ("lora", {"join_evaluation", "fetch_questions", "split_questions", "train_sft", "merge_lora"}, {"base", "sft"}),
    ],
)
def test_models_that_are_there_are_evaluated_alone(other_runs, sft, rules, models):
    edit_config(other_runs, rounds=0, sft__method=sft)
    jobs = planned(other_runs)
    assert set(jobs) == {"base_model", "fetch_evaluation"} | rules | ASKED
    assert wildcards(jobs, "evaluate", "model") == models


def test_one_gpu_asks_all_models_by_one_job_a_set(other_runs):
    edit_config(other_runs, rounds=1, questions__eval={"second": SECOND})
    jobs = planned(other_runs, "--resources", "gpu=1")
    assert wildcards(jobs, "evaluate_all", "set") == {"generated", "second"}
    assert "evaluate" not in jobs


def test_the_files_of_a_run(other_runs):
    """From sources to a summary, with a set that comes later and shares texts with training."""
    rows = [{"question": f"q{n}a and q{n}b?", "answer": f"So\n#### {n}"} for n in range(40)]
    write_jsonl(other_runs / "train.jsonl", rows)
    write_jsonl(other_runs / "test.jsonl", [*rows[:2], {"question": "Who?", "answer": "#### 7"}])
    source = {"source": "file", "n": None}
    edit_config(
        other_runs,
        rounds=2,
        questions__train=source | {"path": "train.jsonl"},
        questions__eval={"generated": None, "test": source | {"path": "test.jsonl"}},
        questions__heldout_fraction=0.2,
        sft__n_examples=10,
        generate__skip=5,
        generate__n_samples=10,
        generate__new_questions=True,
    )
    summary = "data/demo/questions/summary.json"
    done = snakemake(other_runs, summary)
    assert done.returncode == 0, done.stderr
    folder = other_runs / "data/demo/questions"
    names = {str(path.relative_to(folder).with_suffix("")) for path in folder.rglob("*.jsonl")}
    assert names == {"eval/test", "evaluation", "train", "heldout", "sft", "round1", "round2"}
    train = [row["id"] for row in read_jsonl(folder / "train.jsonl")]
    assert not {"train-00000", "train-00001"} & set(train)
    ids = {name: [row["id"] for row in read_jsonl(folder / f"{name}.jsonl")] for name in ("sft", "round1", "round2")}
    assert ids == {"sft": train[:10], "round1": train[5:15], "round2": train[15:25]}
    found = read_json(other_runs / summary)
    assert found["parts"]["round1"]["seen_by_sft"] == 5
    assert found["train"]["overlap"]["evaluation"]["dropped"] == ["train-00000", "train-00001"]
    write_jsonl(other_runs / "late.jsonl", [rows[int(train[0][-5:])], {"question": "When?", "answer": "#### 8"}])
    late = {"late": source | {"path": "late.jsonl"}, "test": source | {"path": "test.jsonl"}}
    edit_config(other_runs, questions__eval=late | {"generated": None})
    before = (folder / "train.jsonl").stat().st_mtime_ns
    assert snakemake(other_runs, summary).returncode == 0
    assert (folder / "train.jsonl").stat().st_mtime_ns == before
    assert read_json(other_runs / summary)["eval"]["late"]["left_out"] == ["eval-00000"]
    assert planned(other_runs, target=summary) == {}


def test_bad_rows_end_in_one_line_in_the_dry_run_or_the_job(other_runs):
    (other_runs / "test.csv").write_text('﻿problem,solution\n1 + 1?,"So\n#### 2"\n')
    edit_config(other_runs, questions__eval={"generated": None, "own": {"source": "file", "path": "test.csv"}})
    done = snakemake(other_runs, "data/demo/questions/eval/own.jsonl", "--show-failed-logs")
    assert done.returncode != 0
    lines = [line for line in done.stdout.splitlines() if "error: " in line]
    assert "test.csv:2: no column for the question and the answer; the columns are problem, solution. " in lines[0]
    columns = {"question": "problem", "answer": "solution"}
    edit_config(
        other_runs,
        questions__eval={"generated": None, "own": {"source": "file", "path": "test.csv", "columns": columns}},
    )
    done = snakemake(other_runs, "data/demo/questions/eval/own.jsonl")
    assert done.returncode == 0, done.stderr
    (row,) = read_jsonl(other_runs / "data/demo/questions/eval/own.jsonl")
    assert json.dumps(row) == '{"id": "eval-00000", "question": "1 + 1?", "answer": "So\\n#### 2", "gold_answer": "2"}'
