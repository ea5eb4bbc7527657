"""What Snakemake's own tools make of the repository: snakedeploy, the workflow catalog, an RO-Crate of a run."""

import json
import os
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
import yaml
from helpers import ROOT, clone_to, snakemake
from plans import make_outputs, planned
from toy import CONFIG, RUN, write_questions

from regime_w.models.manifests import load_manifest


@pytest.fixture(scope="module")
def clone(tmp_path_factory):
    return clone_to(tmp_path_factory.mktemp("ecosystem") / "regime-w")


@pytest.mark.skipif(sys.version_info >= (3, 13), reason="snakedeploy has no release for Python 3.13")
def test_a_project_that_snakedeploy_made_plans_the_demo(clone, tmp_path):
    """From a local clone; its module's snakefile is a path that the user has to write out."""
    shutil.copytree(ROOT / "config", clone / "config")
    project = tmp_path / "project"
    project.mkdir()
    command = [Path(sys.executable).with_name("snakedeploy"), "deploy-workflow", clone, project, "--branch", "main"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    snakefile = project / "workflow/Snakefile"
    text = snakefile.read_text()
    assert text.count('"Snakefile"') == 1
    snakefile.write_text(text.replace('"Snakefile"', f'"{clone}/Snakefile"') + "\n")
    jobs = planned(project)
    assert {"fetch_questions", "base_model", "train_sft", "generate", "train_dpo", "eval_report"} <= set(jobs)


def test_the_catalogs_entry_says_what_the_rules_have():
    entry = yaml.safe_load((ROOT / ".snakemake-workflow-catalog.yml").read_text())["usage"]
    rules = "".join(path.read_text() for path in (ROOT / "rules").glob("*.smk"))
    assert entry["software-stack-deployment"]["conda"] == ("\n    conda:\n" in rules)
    assert entry["software-stack-deployment"]["apptainer"] == ("\ncontainer: " in (ROOT / "Snakefile").read_text())
    assert entry["report"] == ("report(" in rules)


def test_jobs_run_in_the_image_that_the_snakefile_names(clone, tmp_path, monkeypatch):
    """With an apptainer that notes what it is asked and runs the command outside of any image."""
    apptainer = tmp_path / "bin/apptainer"
    apptainer.parent.mkdir()
    apptainer.write_text(
        f"""#!/bin/bash
if [ "$1" = --version ]; then echo apptainer version 1.3.0; exit; fi
echo "$@" >> {tmp_path}/asked
while [ "$1" != envs/cpu.sif ]; do shift || exit 9; done
shift
exec "$@"
"""
    )
    apptainer.chmod(0o755)
    (clone / "envs/cpu.sif").touch()
    monkeypatch.setenv("PATH", f"{apptainer.parent}:{os.environ['PATH']}")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    done = snakemake(clone, "check_questions", "--sdm", "apptainer", "--until", "fetch_questions")
    assert done.returncode == 0, done.stdout + done.stderr
    asked = (tmp_path / "asked").read_text()
    assert "exec --home" in asked
    assert "scripts.fetch_questions" in asked


def test_a_run_is_described_by_an_ro_crate(clone):
    make_outputs(clone, "eval_report")
    done = snakemake(clone, "eval_report", "--reporter", "fairscape", "--report-fairscape-name", "Regime W demo")
    assert done.returncode == 0, done.stdout + done.stderr
    entities = json.loads((clone / "ro-crate-metadata.json").read_text())["@graph"]
    kinds = Counter(kind.split("#")[-1] for entity in entities for kind in entity["@type"] if "#" in kind)
    names = {entity.get("name", "") for entity in entities}
    assert kinds["Computation"] >= 20
    assert any(name.startswith("train_dpo (round=2") for name in names)
    assert any("eval_report.html" in json.dumps(entity) for entity in entities)


@pytest.mark.runs
def test_a_base_model_is_made_once_for_two_users(clone, tmp_path, monkeypatch):
    monkeypatch.setenv("SNAKEMAKE_OUTPUT_CACHE", str(tmp_path / "cache"))
    (tmp_path / "cache").mkdir()
    found = []
    for user, steps in (("first", 20), ("second", 20), ("third", 21)):
        folder = tmp_path / user
        folder.mkdir()
        write_questions(folder)
        base_model = {"source": "tiny", "tiny": CONFIG["base_model"]["tiny"] | {"steps": steps}}
        (folder / "tiny.yaml").write_text(yaml.safe_dump(CONFIG | {"run": f"{RUN}_{user}", "base_model": base_model}))
        asked = ("-s", clone / "Snakefile", "--cache", "base_model", "--configfile", "tiny.yaml")
        done = snakemake(folder, f"checkpoints/{RUN}_{user}/base", *asked)
        assert done.returncode == 0, done.stdout + done.stderr
        found.append("Base model in" in done.stdout + done.stderr)
        load_manifest(folder / f"checkpoints/{RUN}_{user}/base")
    assert found == [True, False, True]
