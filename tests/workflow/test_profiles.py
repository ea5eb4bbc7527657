"""The shipped profiles against the rules: which resources each job asks for, and how retries are written."""

import re
from pathlib import Path

import pytest
import yaml
from helpers import ROOT, clone_to
from plans import dry_run

RULE_FILES = sorted((ROOT / "rules").glob("*.smk"))
TRAINING = ("train_sft", "train_dpo", "train_rft")
SLURM = yaml.safe_load((ROOT / "profiles/slurm/config.v9+.yaml").read_text())
TARGETS = {
    "study_report": "configs/smollm2.yaml",
    "eval_report": "configs/abel.yaml",
    "results/abel/round1/labels.json": "configs/abel.yaml",
    "benchmark_report": "configs/benchmark.yaml",
    "outside_check": "configs/abel.yaml",
}


def rules() -> dict[str, str]:
    """Text of each rule that is submitted, by name; a rule that is another with changes has the other's."""
    texts = "\n".join(path.read_text() for path in RULE_FILES)
    found = dict(re.findall(r"^(?:rule|checkpoint) (\w+):\n((?:(?:    .*)?\n)+)", texts, re.MULTILINE))
    found |= {
        name: found[other] for other, name in re.findall(r"^ *use rule (\w+) as (\w+) with:", texts, re.MULTILINE)
    }
    return {name: text for name, text in found.items() if "    localrule: True" not in text}


def planned(folder: Path, profile: str) -> dict[str, dict[str, str]]:
    """Resources and threads of each rule as dry runs print them, with one GPU for those that only such a run has."""
    asked = {}
    for target, config, *more in (("eval_report", "configs/abel.yaml", "--resources", "gpu=1"), *TARGETS.items()):
        options = (target, "--workflow-profile", f"profiles/{profile}", "--configfile", config)
        for job in dry_run(folder, *options, *more, cores=64):
            if not job.local:
                asked[job.rule] = job.resources | {"threads": job.told.get("threads", "1")}
    return asked


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    found = clone_to(tmp_path_factory.mktemp("profiles") / "clone")
    for name in yaml.safe_load((ROOT / "configs/gsm8k.yaml").read_text())["questions"]["eval"]:
        # Where the harness has answered, a dry run goes on without it (rules/outside.smk).
        there = found / f"data/abel/outside/{name}/round1.json"
        there.parent.mkdir(parents=True)
        there.write_text("{}")
    return found


def test_slurm_gpu_rules_ask_for_gpus_of_one_node_and_cpu_rules_for_none(folder):
    asked = planned(folder, "slurm")
    on_gpu = {name for name, text in rules().items() if re.search(r"^ +gpu=", text, re.MULTILINE)}
    assert on_gpu >= {
        "train_sft",
        "merge_lora",
        "generate",
        "train_dpo",
        "evaluate",
        "evaluate_all",
    }
    assert rules().keys() <= asked.keys()
    for name in rules():
        resources = asked[name]
        assert resources["slurm_account"] == SLURM["default-resources"]["slurm_account"]
        if name in on_gpu:
            assert int(resources["gpu"]) == (8 if name in TRAINING else 1) or name == "benchmark_generate"
            assert (resources["slurm_partition"], resources["gpu_model"], resources["nodes"]) == ("gpu", "h100", "1")
        else:
            assert resources["slurm_partition"] == "cpu"
            assert not {"gpu", "gpu_model", "nodes"} & resources.keys()


def test_slurm_gives_every_rule_memory_and_time_that_grow_with_each_attempt():
    sections = SLURM["set-resources"]
    assert sections.keys() == rules().keys()
    for name, section in {"default-resources": SLURM["default-resources"], **sections}.items():
        for key in ("runtime", "mem_mb"):
            assert re.fullmatch(r"[1-9]\d* \* attempt", section[key]), (name, key)


def test_retries_stand_in_the_slurm_profile_alone():
    """A bare `retries:` in a rule would be obeyed by the Snakemake inside each SLURM job too."""
    assert SLURM["retries"] == 2
    for path in [ROOT / "Snakefile", *RULE_FILES]:
        assert not re.search(r"^\s*retries\s*:", path.read_text(), re.MULTILINE), path


def test_the_slurm_plugin_is_pinned_where_gpu_jobs_start_once():
    """Before 2.7.1 a job of two GPUs ran its command twice."""
    pins = [
        re.search(r"snakemake-executor-plugin-slurm==([\d.]+)", (ROOT / name).read_text())[1]
        for name in ("envs/dev.txt", "docs/guide/slurm.md")
    ]
    assert pins[0] == pins[1]
    assert tuple(map(int, pins[0].split("."))) >= (2, 7, 1)


def test_eight_h100_fit_their_machine(folder):
    """One-GPU jobs for all eight GPUs at once and a training job fit the 128 cores of such a machine."""
    asked = planned(folder, "h100x8")
    for name in ("generate", "evaluate", "merge_lora"):
        assert asked[name]["gpu"] == "1"
        assert int(asked[name]["threads"]) * 8 <= 128
    for name in TRAINING:
        assert asked[name]["gpu"] == "8"
        assert int(asked[name]["threads"]) <= 128
    profile = yaml.safe_load((ROOT / "profiles/h100x8/config.v9+.yaml").read_text())
    assert profile["set-threads"].keys() <= rules().keys()
    assert "retries" not in profile
