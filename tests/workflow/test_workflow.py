"""Which edit reruns what, by dry runs of the real Snakefile over outputs that are marked as made."""

import json
import re
import shlex
import shutil
from pathlib import Path

import pytest
import yaml
from helpers import clone_to, snakemake
from plans import dry_run, edit_config, make_outputs, planned

from regime_w.runtime.records import expand

REPORTS = {"view_trajectories", "eval_report"}
STAGES_BELOW_PAIRS = {"build_preferences", "train_dpo", "merge_lora", "evaluate"} | REPORTS


def models_of(jobs: dict[str, list[str]], rule: str) -> set[str]:
    return {re.search(r"(?:model|policy)=([\w/]+)", wildcards)[1] for wildcards in jobs.get(rule, [])}


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A clone whose outputs all exist and are recorded as made with its config, of one round."""
    folder = clone_to(tmp_path_factory.mktemp("finished") / "clone")
    edit_config(folder, rounds=1)
    make_outputs(folder, "eval_report")
    assert planned(folder) == {}
    return folder


@pytest.fixture
def clone(finished, tmp_path):
    """A copy of the finished clone with times kept, free to edit."""
    return Path(shutil.copytree(finished, tmp_path / "clone", symlinks=True))


def test_a_reward_weight_reruns_scores_and_below_but_no_generation(clone):
    edit_config(clone, reward__beta=0.4)
    jobs = planned(clone)
    assert set(jobs) == {"score_rollouts", "check_rollouts"} | STAGES_BELOW_PAIRS
    assert models_of(jobs, "evaluate") == {"round1"}
    assert models_of(jobs, "merge_lora") == {"round1/merged"}


@pytest.mark.parametrize("labels", [{"source": "vote"}, {"source": "gold", "noise": 0.1}])
def test_labels_rerun_scores_and_below_but_no_generation(clone, labels):
    edit_config(clone, labels=labels)
    jobs = planned(clone)
    assert set(jobs) == {"score_rollouts", "check_rollouts", "check_labels"} | STAGES_BELOW_PAIRS
    commands = [job.command for job in dry_run(clone, "eval_report", "--forceall") if job.rule == "fetch_questions"]
    (command,) = commands
    assert ("--gold optional" in command) == (labels["source"] == "vote")


def test_a_users_verifier_is_an_input_of_what_grades(clone):
    """Its file reruns scores and evaluations; what was generated stays (evaluations take their texts from the journal)."""
    own = clone / "graders" / "own.py"
    own.parent.mkdir()
    own.write_text("def grade(text, gold, row): return {'answer': text, 'correct': text == gold}\n")
    edit_config(clone, task__verifier="graders/own.py:grade")
    make_outputs(clone, "eval_report")
    assert planned(clone) == {}
    own.write_text(own.read_text().replace("text == gold", "gold in text"))
    jobs = planned(clone)
    assert set(jobs) == {"score_rollouts", "check_rollouts"} | STAGES_BELOW_PAIRS
    assert models_of(jobs, "evaluate") == {"base", "sft", "round1"}


def test_pairs_per_question_reruns_pairs_and_below(clone):
    edit_config(clone, pairs__per_question=1)
    assert set(planned(clone)) == STAGES_BELOW_PAIRS


def test_dpo_beta_reruns_dpo_its_merge_its_evaluation_and_the_report(clone):
    edit_config(clone, dpo__beta=0.2)
    jobs = planned(clone)
    assert set(jobs) == STAGES_BELOW_PAIRS - {"build_preferences"}
    assert models_of(jobs, "evaluate") == {"round1"}
    assert models_of(jobs, "merge_lora") == {"round1/merged"}


@pytest.mark.parametrize("edit", ["instruction", "ninth arm", "shards"])
def test_arms_and_shards_rerun_generate_and_below(clone, edit):
    if edit == "instruction":
        edit_config(clone, styles__wolfram="Style: very exact.")
    elif edit == "ninth arm":
        arms = yaml.safe_load((clone / "configs/demo.yaml").read_text())["arms"]
        edit_config(clone, arms=[*arms, {"name": "wolfram_t12", "style": "wolfram", "temperature": 1.2}])
    else:
        edit_config(clone, generate__shards=3)
    jobs = planned(clone)
    assert "generate" in jobs
    assert "score_rollouts" in jobs
    assert "base_model" not in jobs
    if edit != "instruction":  # an instruction is also part of the prompts that SFT trains on
        assert "train_sft" not in jobs
        assert models_of(jobs, "evaluate") == {"round1"}
    if edit == "shards":
        assert len(jobs["generate"]) == 3


def test_evaluation_k_reruns_evaluations_and_report(clone):
    edit_config(clone, evaluate__k=4)
    jobs = planned(clone)
    assert set(jobs) == {"evaluate"} | REPORTS
    assert models_of(jobs, "evaluate") == {"base", "sft", "round1"}


def test_the_reports_settings_rerun_the_report(clone):
    edit_config(clone, report__gallery=7)
    assert set(planned(clone)) == {"eval_report"}


def test_a_second_round_adds_its_stages_only(clone):
    edit_config(clone, rounds=2)
    jobs = planned(clone)
    assert models_of(jobs, "evaluate") == {"round2"}
    assert models_of(jobs, "merge_lora") == {"round2/merged"}
    assert "train_sft" not in jobs
    assert all("round=2" in wildcards for wildcards in jobs["generate"])


@pytest.mark.parametrize("changes", [{"rounds": 0}, {"method": "none"}])
def test_without_rounds_base_and_sft_alone_are_reported(clone, changes):
    edit_config(clone, **changes)
    assert set(planned(clone)) <= REPORTS | {"check_questions"}
    done = snakemake(clone, "eval_report", "--dry-run", "--forceall", "--quiet", "host")
    rules = set(re.findall(r"rule (\w+):", done.stdout + done.stderr))
    assert {"fetch_questions", "base_model", "train_sft", "merge_lora", "evaluate"} <= rules
    assert not {"generate", "score_rollouts", "build_preferences", "train_dpo"} & rules


@pytest.mark.parametrize(
    ("module", "rules"),
    [
        ("regime_w/method/coherence.py", {"score_rollouts", "check_rollouts"} | STAGES_BELOW_PAIRS),
        ("scripts/train_dpo.py", STAGES_BELOW_PAIRS - {"build_preferences"}),
        ("scripts/eval_report.py", {"eval_report"}),
        ("regime_w/report/report.html.j2", {"eval_report"}),
        ("regime_w/report/sort.js", {"eval_report"}),
        ("regime_w/report/viewer.js", REPORTS),
    ],
)
def test_an_edited_file_of_the_code_reruns_the_rules_that_use_it(clone, module, rules):
    with open(clone / module, "a") as file:
        file.write("\n# edited\n")
    assert set(planned(clone)) == rules


def test_a_touch_of_the_code_reruns_nothing(clone):
    for path in [*clone.rglob("*.py"), *clone.rglob("*.j2"), *clone.rglob("*.smk")]:
        path.touch()
    assert planned(clone) == {}


@pytest.mark.parametrize(("config", "rounds"), [("abel", {"round1"}), ("smollm2", {"round1", "round2"})])
def test_real_runs_plan_from_questions_to_report(finished, config, rounds):
    jobs = planned(finished, "--configfile", f"configs/{config}.yaml", "--config", f"run={config}")
    assert {"fetch_questions", "base_model", "train_sft", "generate", "train_dpo", "eval_report"} <= set(jobs)
    assert models_of(jobs, "evaluate") == {"base", "sft"} | rounds


def test_the_shape_of_abels_jobs_on_eight_gpus(finished):
    """8 H100s: 500 x 8 trajectories are one engine's work, training takes all eight."""
    jobs = dry_run(finished, "eval_report", "--configfile", "configs/abel.yaml", "--resources", "gpu=8", cores=64)
    asked = {job.rule: job.resources.get("gpu") for job in jobs}
    assert asked["train_dpo"] == "8"
    for rule in ("generate", "evaluate", "merge_lora"):
        assert asked[rule] == "1"


def test_commands_of_many_shards_fit_the_shell(clone):
    """Linux hands a program at most 128 KiB in one argument, and the shell takes a command as one."""
    edit_config(clone, generate__shards=1000, rounds=2)
    jobs = dry_run(clone, "eval_report", "--forceall")
    assert sum(job.rule == "generate" for job in jobs) == 2000
    assert max(len(job.command) for job in jobs) < 2**17 / 4
    words = {job.rule: shlex.split(job.command) for job in jobs if job.told.get("wildcards") != "run=demo, round=2"}
    given = words["score_rollouts"]
    files = expand([Path(given[given.index("--completions") + 1])])
    assert files == [Path(f"data/demo/round1/completions/{shard}-of-1000.jsonl") for shard in range(1000)]
    given = words["eval_report"]
    file = given[given.index("--inputs") + 1]
    assert file.startswith("@")
    inputs = json.loads((clone / file[1:]).read_text())
    assert sum("/generate/" in path for path in inputs["usage"]) == 2000
    assert list(inputs["evaluations"]["generated"]) == ["base", "sft", "round1", "round2"]


BAD = [
    ({"dpo__bata": 1}, "dpo.bata: no such key; did you mean 'beta'?"),
    ({"dpo__beta": "much"}, "dpo.beta: "),
    ({"reward__beta": 2.0}, "wrong"),
    ({"run": "a; touch pwned"}, "run: "),
    ({"coherence__s_end": 0.9}, "s_end + s_path + s_cf must be 1"),
    ({"questions__train__source": "file", "questions__train__path": "none.jsonl"}, "none.jsonl does not exist"),
    ({"base_model__source": "local", "base_model__path": "no/model"}, "no/model does not exist"),
    (
        {"base_model__source": "local", "base_model__path": "{run}/model"},
        "has braces, which Snakemake takes for wildcards",
    ),
    ({"engine__vllm__tensor_parallel_size": 64}, "tensor_parallel_size is 64 but"),
    ({"arms": [{"name": "a", "style": "wolfram", "temperature": 0.2}] * 2}, "the name 'a' stands twice"),
    ({"arms": [{"name": n, "style": "none", "temperature": 0.2} for n in "ab"]}, "style 'none' is not under styles"),
    ({"prompt__template": "no question"}, "template must hold {question}"),
]


@pytest.mark.parametrize(("changes", "message"), BAD, ids=[next(iter(changes)) for changes, _ in BAD])
def test_bad_configs_end_in_one_line_before_any_work(clone, changes, message):
    edit_config(clone, **changes)
    done = snakemake(clone, "eval_report", "--dry-run")
    assert done.returncode != 0
    errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1, done.stderr
    assert message in errors[0]
    assert "Traceback" not in done.stderr
    assert not (clone / "pwned").exists()


def test_report_graph_and_lint(finished):
    for arguments, wanted in ((["--rulegraph", "mermaid-js"], "eval_report"), (["--lint"], "good condition")):
        done = snakemake(finished, "eval_report", *arguments)
        assert done.returncode == 0, done.stdout + done.stderr
        assert wanted in done.stdout + done.stderr


def test_every_params_value_is_json(finished):
    commands = [shlex.split(job.command) for job in dry_run(finished, "eval_report", "--forceall")]
    values = [words[words.index("--params") + 1] for words in commands if "--params" in words]
    assert len(values) >= 10
    for value in values:
        json.loads((finished / value[1:]).read_text() if value.startswith("@") else value)


@pytest.mark.parametrize(
    ("folder", "rules"),
    [
        ("base", {"base_model"}),
        ("sft_lora", {"base_model", "train_sft"}),
        ("sft_merged", {"base_model", "train_sft", "merge_lora"}),
        ("round1/dpo_lora", STAGES_BELOW_PAIRS - REPORTS - {"evaluate"} | {"generate", "score_rollouts"}),
    ],
)
def test_models_and_adapters_are_targets(tmp_path, folder, rules):
    jobs = planned(clone_to(tmp_path / "clone"), target=f"checkpoints/demo/{folder}")
    assert rules <= set(jobs)
    assert not {"evaluate", *REPORTS} & set(jobs)


def test_a_touch_of_all_files_and_folders_reruns_nothing(clone):
    for path in sorted(clone.rglob("*"), reverse=True):
        if ".snakemake" not in path.parts:
            path.touch()
    assert planned(clone) == {}
    for stamp in clone.rglob(".snakemake_timestamp"):  # as a copy by other tools leaves it
        stamp.unlink()
    assert planned(clone) == {}


def test_what_reads_a_model_reruns_when_its_content_changes(clone):
    (clone / "checkpoints/demo/sft_merged.sha256").write_text("of other weights\n")
    jobs = planned(clone)
    assert models_of(jobs, "evaluate") == {"sft", "round1"}
    assert models_of(jobs, "merge_lora") == {"round1/merged"}
    assert {"generate", "train_dpo"} <= set(jobs)
    assert not {"base_model", "train_sft"} & set(jobs)


def test_a_folder_that_is_gone_is_made_again_where_it_is_needed(clone):
    shutil.rmtree(clone / "checkpoints/demo/round1/merged")
    assert planned(clone) == {}
    assert set(planned(clone, target="checkpoints/demo/round1/merged")) == {"merge_lora"}
    edit_config(clone, evaluate__k=4)
    assert models_of(planned(clone), "merge_lora") == {"round1/merged"}


def test_a_moved_checkout_reruns_nothing(finished, tmp_path):
    moved = Path(shutil.copytree(finished, tmp_path / "else where's", symlinks=True))
    assert planned(moved) == {}


def test_braces_in_the_checkouts_path_end_in_one_line(tmp_path):
    clone = clone_to(tmp_path / "{run}")
    done = snakemake(clone, "eval_report", "--dry-run")
    assert done.returncode != 0
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert "{run}: the path has braces, which Snakemake takes for wildcards" in line
    assert "Traceback" not in done.stderr
