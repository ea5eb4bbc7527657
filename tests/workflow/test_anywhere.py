"""The workflow from any working directory, as a module of another workflow, and with files in a storage: plans, and a toy run."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from helpers import clone_to, snakemake
from plans import dry_run
from toy import CONFIG, RUN, SET, write_questions

from regime_w.models.manifests import load_manifest
from regime_w.runtime.records import read_json

OUTER = """
configfile: "outer.yaml"


module regime:
    snakefile:
        "{checkout}/Snakefile"
    config:
        config["regime"]
    prefix:
        "model"


use rule * from regime as regime_*


rule accuracy:
    default_target: True
    input:
        "model/results/{run}/eval_report.json",
    output:
        "accuracy.json",
    shell:
        "cp {{input}} {{output}}"
"""
STAGES = {
    "fetch_evaluation", "join_evaluation", "fetch_questions", "split_questions", "check_questions", "base_model",
    "train_sft", "merge_lora", "generate", "score_rollouts", "check_rollouts", "build_preferences", "train_dpo",
    "evaluate", "view_trajectories", "eval_report",
}  # fmt: skip


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return clone_to(tmp_path_factory.mktemp("check out") / "regime's")


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory: pytest.TempPathFactory, checkout: Path) -> Path:
    """A folder of another workflow, with modules and folders of its own that are called as ours are."""
    folder = tmp_path_factory.mktemp("elsewhere")
    (folder / "Snakefile").write_text(OUTER.format(checkout=checkout, run=RUN))
    (folder / "outer.yaml").write_text(yaml.safe_dump({"regime": CONFIG}))
    (folder / "toy.yaml").write_text(yaml.safe_dump(CONFIG))
    write_questions(folder)
    for place in (folder, folder / "foreign"):
        for package in ("scripts", "regime_w"):
            (place / package).mkdir(parents=True)
            (place / package / "__init__.py").write_text("raise SystemExit('another package of this name')\n")
    (folder / "foreign/peft.py").write_text("raise SystemExit('another module of this name')\n")
    return folder


@pytest.fixture
def foreign(elsewhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(elsewhere / "foreign"))
    monkeypatch.setenv("PYTHONSAFEPATH", "1")


def test_a_working_directory_elsewhere(checkout: Path, elsewhere: Path, tmp_path: Path) -> None:
    options = ("--snakefile", str(checkout / "Snakefile"), "--directory", str(elsewhere))
    jobs = dry_run(tmp_path, "eval_report", *options, "--configfile", str(elsewhere / "toy.yaml"))
    assert {job.rule for job in jobs} == STAGES
    assert not any(output.startswith("/") for job in jobs for output in job.outputs)


def test_jobs_run_in_a_working_directory_elsewhere(
    checkout: Path, elsewhere: Path, tmp_path: Path, foreign: None
) -> None:
    target = f"data/{RUN}/questions/summary.json"
    options = ("--snakefile", str(checkout / "Snakefile"), "--directory", str(elsewhere))
    done = snakemake(tmp_path, target, *options, "--configfile", str(elsewhere / "toy.yaml"))
    assert done.returncode == 0, done.stdout + done.stderr
    assert SET in read_json(elsewhere / target)["eval"]
    assert not list(tmp_path.iterdir())
    assert not [path for name in ("data", "logs", ".snakemake") if (path := checkout / name).exists()]


def test_a_module_of_another_workflow(elsewhere: Path) -> None:
    jobs = dry_run(elsewhere, "accuracy")
    assert {job.rule for job in jobs} == {"accuracy", *(f"regime_{stage}" for stage in STAGES)}
    ours = [output for job in jobs if job.rule != "accuracy" for output in job.outputs]
    assert all(output.startswith("model/") for output in ours)


@pytest.mark.runs
@pytest.mark.timeout(1200)
def test_a_module_with_its_files_in_a_storage_runs(elsewhere: Path, tmp_path: Path, foreign: None) -> None:
    assert shutil.which("rsync"), "the storage plugin needs rsync: install it"
    store = tmp_path / "store"
    options = ["--default-storage-provider", "fs", "--default-storage-prefix", str(store), "--cores", "2"]
    command = [sys.executable, "-m", "snakemake", *options]
    done = subprocess.run(command, cwd=elsewhere, capture_output=True, text=True, timeout=1100)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert read_json(store / "accuracy.json")["run"] == RUN
    for folder in ("base", "sft_lora", "sft_merged", "round1/dpo_lora", "round1/merged"):
        load_manifest(store / f"model/checkpoints/{RUN}/{folder}")
    assert not (elsewhere / "model").exists()
    again = subprocess.run([*command, "--dry-run"], cwd=elsewhere, capture_output=True, text=True, timeout=300)
    assert "Nothing to be done" in again.stdout + again.stderr
