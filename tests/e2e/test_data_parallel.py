"""DPO over two processes, as accelerate starts it on two GPUs: the curve of one process at the same global batch."""

import json
import os
import subprocess
import sys

import pytest
from helpers import ROOT, save_random_model
from training_inputs import DPO, PAIRS

from regime_w.models.manifests import load_manifest, write_manifest
from regime_w.runtime.records import read_json
from regime_w.runtime.seals import write_jsonl

pytestmark = pytest.mark.runs
STEPS = 6


def train(folder, output, *launcher):
    params = DPO | {"dpo": DPO["dpo"] | {"epochs": STEPS * DPO["dpo"]["batch_size"] / len(PAIRS)}}
    command = [sys.executable, "-m", *launcher, "scripts.train_dpo", "--params", json.dumps(params)]
    command += ["--policy", folder / "policy", "--preferences", folder / "preferences.jsonl"]
    command += ["--work", folder / f"{output}.work", "--output", folder / output]
    env = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run([str(part) for part in command], cwd=ROOT, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    load_manifest(folder / output)
    return read_json(folder / output / "training.json")


def test_two_processes_follow_the_curve_of_one(tmp_path):
    save_random_model(tmp_path / "policy")
    write_manifest(tmp_path / "policy", {})
    write_jsonl(tmp_path / "preferences.jsonl", PAIRS)
    one = train(tmp_path, "one")
    accelerate = ("accelerate.commands.launch", "--cpu", "--num_processes", "2", "--num_machines", "1")
    settings = ("--mixed_precision", "no", "--dynamo_backend", "no", "--main_process_port", "0", "-m")
    two = train(tmp_path, "two", *accelerate, *settings)
    assert two["steps"] == one["steps"] == STEPS
    for name in ("loss", "rewards/margins", "logps/chosen"):
        curves = [[entry[name] for entry in record["log_history"] if "loss" in entry] for record in (one, two)]
        assert curves[1] == pytest.approx(curves[0], rel=0.02, abs=0.01), name
