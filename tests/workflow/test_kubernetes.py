"""The Kubernetes profile: what each pod asks for, and a run over a pretended cluster, through storage and deployed sources."""

import re
import subprocess

import pytest
import yaml
from helpers import ROOT, clone_to, snakemake
from pretended_cluster import cluster

PROFILE = yaml.safe_load((ROOT / "profiles/kubernetes/config.v9+.yaml").read_text())
ON_GPU = {"train_sft", "merge_lora", "generate", "train_dpo", "evaluate"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A clone under git: what pods are sent is what git knows."""
    folder = clone_to(tmp_path_factory.mktemp("kubernetes") / "clone")
    for command in ("init -q .", "add .", "-c user.name=t -c user.email=t@example.org commit -q -m all"):
        subprocess.run(["git", *command.split()], cwd=folder, check=True)
    return folder


def test_every_file_is_in_the_storage_and_gpu_rules_alone_ask_for_gpus(folder):
    options = ("--workflow-profile", "profiles/kubernetes", "--configfile", "configs/abel.yaml")
    done = snakemake(folder, "eval_report", "--dry-run", *options, cores=64)
    text = done.stdout + done.stderr
    assert done.returncode == 0, text
    blocks = dict(re.findall(r"^rule (\w+):\n((?:    .*\n)+)", text, re.MULTILINE))
    assert blocks.keys() >= ON_GPU | {"fetch_questions", "base_model", "score_rollouts", "eval_report"}
    for name, block in blocks.items():
        files = re.search(r"output: (.*)", block)[1].split(", ")
        assert all(file.startswith("/mnt/regime-w/") and file.endswith("(send to storage)") for file in files)
        resources = dict(part.split("=", 1) for part in re.search(r"resources: (.*)", block)[1].split(", "))
        assert int(resources["mem_mb"]) >= 8000
        assert resources["scale"] == "0"  # else GPUs stand among the requests alone, which Kubernetes refuses
        assert resources["gpu_manufacturer"] == "nvidia"  # else the plugin refuses jobs with GPUs
        assert ("gpu" in resources) == (name in ON_GPU)


def test_retries_and_memory_grow_as_on_slurm():
    sections = {"default": PROFILE["default-resources"], **PROFILE["set-resources"]}
    assert all(re.fullmatch(r"[1-9]\d* \* attempt", section["mem_mb"]) for section in sections.values())
    slurm = yaml.safe_load((ROOT / "profiles/slurm/config.v9+.yaml").read_text())
    assert PROFILE["retries"] == slurm["retries"]
    assert PROFILE["set-threads"] == slurm["set-threads"]
    for name, section in PROFILE["set-resources"].items():
        assert section["mem_mb"] == slurm["set-resources"][name]["mem_mb"]


def test_a_pods_job_reads_and_writes_the_volume_alone(folder, tmp_path, monkeypatch):
    volume = tmp_path / "volume"
    volume.mkdir()
    with cluster(tmp_path) as (pretended, kubeconfig):
        monkeypatch.setenv("KUBECONFIG", str(kubeconfig))
        options = ("--workflow-profile", "profiles/kubernetes", "--default-storage-prefix", str(volume))
        options += ("--kubernetes-persistent-volumes", f"regime-w:{volume}", "--seconds-between-status-checks", "1")
        options += ("--container-image", "example.org/regime-w:cpu", "--retries", "0", "--resources", "gpu=0")
        done = snakemake(folder, "data/demo/questions/train.json", *options)
        assert done.returncode == 0, done.stdout + done.stderr + pretended.logs()
        *_, job = pretended.jobs.values()
    assert (volume / "data/demo/questions/train.json").is_file()
    assert not (folder / "data").exists()
    pod = job["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert container["image"] == "example.org/regime-w:cpu"
    limits = container["resources"]["limits"]
    assert (limits["cpu"], limits["memory"]) == ("1000m", "8000M")
    assert {mount["mountPath"] for mount in container["volumeMounts"]} == {"/workdir", str(volume)}
    claims = [each["persistentVolumeClaim"] for each in pod["volumes"] if "persistentVolumeClaim" in each]
    assert [claim["claimName"] for claim in claims] == ["regime-w"]
