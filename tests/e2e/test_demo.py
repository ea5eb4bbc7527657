"""The embedded default from questions to report, as a user runs it; then what may and what may not be made again."""

import json
import re

import pytest
from helpers import clone_to, demo_config, snakemake
from plans import edit_config, planned

from regime_w.runtime.records import read_json, read_jsonl

pytestmark = [pytest.mark.demo, pytest.mark.timeout(1800)]


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    """A clone with the finished demo, and what Snakemake printed."""
    folder = clone_to(tmp_path_factory.mktemp("demo") / "clone")
    done = snakemake(folder, "eval_report", timeout=1500)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return folder, done.stdout + done.stderr


@pytest.fixture(scope="module")
def report(demo):
    return read_json(demo[0] / "results/demo/eval_report.json")


def row(report, name):
    return next(model for model in report["models"] if model["name"] == name)


def test_it_ends_with_the_report_and_its_main_figures(demo):
    folder, printed = demo
    assert "Report: results/demo/eval_report.html" in printed
    assert re.search(r"SFT +\d+\.\d%", printed)
    for form in ("html", "md", "json"):
        assert (folder / f"results/demo/eval_report.{form}").stat().st_size > 1000
    assert (folder / "results/demo/config.yaml").is_file()


def test_sft_leaves_room_and_keeps_the_format(report):
    sft = row(report, "sft")
    assert sft["n"] >= 500
    assert 0.30 <= sft["greedy"]["value"] <= 0.85
    assert 0.30 <= sft["mean"]["value"] <= 0.85
    assert sft["format"]["sampled"]["well_formed"] >= 0.95


def test_dpo_gains_in_maths_by_the_reports_own_test(report):
    gain = next(c for c in report["comparisons"] if c["model"] == "round2" and c["against"] == "sft")
    for measure in ("mean", "greedy"):
        assert gain[measure]["outcome"] == "better"
        assert gain[measure]["p"] < 0.05
    before, after = (row(report, name)["format"]["sampled"]["well_formed"] for name in ("sft", "round2"))
    assert after >= before - 0.01
    assert report["verdict"]["status"] == "gain"


def test_the_second_set_is_answered_in_letters_better_than_by_guessing(demo, report):
    rows = read_jsonl(demo[0] / "data/demo/answers/choice/round2.jsonl")
    assert {row["gold_answer"] for row in rows} == {*"ABCD"}
    assert {row["greedy"]["answer"] for row in rows} <= {*"ABCD", None}
    assert [row["name"] for row in report["other_sets"]["choice"]["models"]] == ["base", "sft", "round1", "round2"]
    for name in ("sft", "round2"):
        assert row(report["other_sets"]["choice"], name)["greedy"]["low"] > 1 / 4


def test_rollouts_have_eight_arms_and_the_fixed_fields(demo):
    rollouts = read_jsonl(demo[0] / "data/demo/round1/rollouts.jsonl")
    for line in rollouts[:50]:
        assert {"question", "gold_answer", "trajectories"} <= set(line)
        assert len({trajectory["arm"] for trajectory in line["trajectories"]}) == 8
        for trajectory in line["trajectories"]:
            assert {"full_text", "answer", "reasoning", "num_tokens", "reward", "correct"} <= set(trajectory)
    assert len({trajectory["seed"] for line in rollouts for trajectory in line["trajectories"]}) > 0.99 * 8 * len(
        rollouts
    )


def test_train_and_evaluation_questions_are_disjoint(demo):
    folder = demo[0] / "data/demo/questions"
    asked, numbers, letters = (
        {
            line["question"].rpartition("\n\nQuestion: ")[2]
            for name in names
            for line in read_jsonl(folder / f"{name}.jsonl")
        }
        for names in (("train", "heldout"), ("eval/generated",), ("eval/choice",))
    )
    assert min(map(len, (asked, numbers, letters))) > 100
    assert not asked & (numbers | letters)
    assert not numbers & letters


def test_preferences_are_what_any_trainer_reads(demo):
    from datasets import load_dataset

    path = str(demo[0] / "data/demo/round1/preferences.jsonl")
    loaded = load_dataset("json", data_files=path, split="train", cache_dir=str(demo[0] / ".cache"))
    assert {"prompt", "chosen", "rejected"} <= set(loaded.column_names)
    assert len(loaded) == read_json(demo[0] / "data/demo/round1/preferences.json")["kept"]


def test_a_second_call_has_nothing_to_do(demo):
    done = snakemake(demo[0], "eval_report")
    assert done.returncode == 0
    assert "Nothing to be done" in done.stdout + done.stderr


def test_touched_scripts_rerun_nothing(demo):
    for path in [*(demo[0] / "scripts").rglob("*.py"), *(demo[0] / "regime_w").rglob("*.py")]:
        path.touch()
    assert planned(demo[0]) == {}


def test_snakemakes_own_report(demo):
    done = snakemake(demo[0], "eval_report", "--report", "report.html")
    assert done.returncode == 0, done.stderr
    assert "eval_report" in (demo[0] / "report.html").read_text()


def test_other_shards_and_a_ninth_arm_keep_finished_trajectories(demo):
    """Last: it edits the clone's config."""
    folder, _ = demo
    before = (folder / "data/demo/round1/rollouts.jsonl").read_bytes()
    edit_config(folder, generate__shards=1)
    done = snakemake(folder, "data/demo/round1/rollouts.jsonl")
    assert done.returncode == 0, done.stderr
    asked, kept, made = _counts(done.stdout + done.stderr)
    assert (kept, made) == (asked, 0)
    assert (folder / "data/demo/round1/rollouts.jsonl").read_bytes() == before

    edit_config(folder, arms=[*demo_config()["arms"], {"name": "wolfram_t12", "style": "wolfram", "temperature": 1.2}])
    done = snakemake(folder, "data/demo/round1/completions/0-of-1.jsonl")
    assert done.returncode == 0, done.stderr
    asked, kept, made = _counts(done.stdout + done.stderr)
    assert kept == asked * 8 // 9
    assert made == asked // 9


def _counts(text):
    found = re.search(r"(\d+) trajectories asked for, (\d+) kept from the journal, (\d+) to make", text)
    assert found, json.dumps(text[-2000:])
    return tuple(map(int, found.groups()))
