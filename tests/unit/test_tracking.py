"""Trackers: told before any work where one is missing, left out where one fails, and of no effect on what is trained."""

import logging
import os
import random
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import clone_to, snakemake
from plans import edit_config, make_outputs, planned
from report_inputs import PARAMS, inputs
from transformers import TrainerCallback

from regime_w.report.summary import summarise
from regime_w.report.tracking import evaluation_points, log_evaluation
from regime_w.runtime import trackers as known
from regime_w.runtime.errors import UserError
from regime_w.training.tracking import Shield, named, trackers


def tracking(folder: Path, *to: str) -> dict[str, Any]:
    return {"to": list(to), "project": "mine", "run": "demo/train_sft", "folder": str(folder)}


@pytest.fixture
def own_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """The variables that `prepare` sets go with the test."""
    for name in ("TENSORBOARD_LOGGING_DIR", "WANDB_PROJECT", "WANDB_DIR", "WANDB_SILENT", "TRACKIO_DIR"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "theirs")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://theirs")


def scalars(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """Steps and values by tag, of all event files below a folder."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    found: dict[str, list[tuple[int, float]]] = {}
    for file in folder.rglob("events.out.tfevents.*"):
        events = EventAccumulator(str(file))
        events.Reload()
        for tag in events.Tags()["scalars"]:
            found[tag] = [(event.step, event.value) for event in events.Scalars(tag)]
    return found


def test_a_tracker_that_is_not_installed_is_a_line_each(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(known, "find_spec", lambda name: None)
    with pytest.raises(UserError) as told:
        trackers(tracking(tmp_path, "wandb", "mlflow"))
    assert told.value.lines == (
        "tracking.to: wandb is not installed; run `pip install wandb`, or take it out",
        "tracking.to: mlflow is not installed; run `pip install mlflow`, or take it out",
    )
    assert not list(tmp_path.iterdir())


def test_without_trackers_nothing_is_asked(tmp_path: Path) -> None:
    assert trackers({}) == trackers(tracking(tmp_path)) == []
    assert named({}) == {"report_to": "none"}
    assert named(tracking(tmp_path, "wandb"))["run_name"] == "demo/train_sft"


def test_what_a_user_set_stays(own_environment: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(known, "find_spec", lambda name: name)
    known.prepare(tracking(tmp_path, "mlflow", "wandb"))
    assert os.environ["MLFLOW_TRACKING_URI"] == "http://theirs"
    assert os.environ["WANDB_PROJECT"] == "mine"
    assert os.environ["WANDB_DIR"] == str(tmp_path / "wandb")
    assert (tmp_path / "wandb").is_dir()


class Failing(TrainerCallback):
    def __init__(self, error: BaseException) -> None:
        self.error = error
        self.calls = 0

    def on_log(self, *_: Any, **__: Any) -> None:
        self.calls += 1
        random.random()
        torch.rand(1)
        raise self.error


class Counting(TrainerCallback):
    calls = 0

    def on_log(self, *_: Any, **__: Any) -> str:
        self.calls += 1
        torch.rand(1)
        return "a control of its own"


@pytest.mark.parametrize("error", [ConnectionError("no\nnetwork"), SystemExit(1), ValueError()])
def test_a_tracker_that_fails_is_left_out_and_the_others_go_on(
    error: BaseException, caplog: pytest.LogCaptureFixture
) -> None:
    failing, counting = Failing(error), Counting()
    shield = Shield({"wandb": failing, "mlflow": counting})
    torch.manual_seed(3)
    random.seed(3)
    with caplog.at_level(logging.WARNING):
        assert [shield.on_log(None, None, None, logs={}) for _ in range(3)] == [None] * 3
    assert (failing.calls, counting.calls) == (1, 3)
    (line,) = [record.getMessage() for record in caplog.records]
    assert line.startswith("tracking: wandb fails and is left out from here on: ")
    assert "\n" not in line
    drawn = random.random(), float(torch.rand(1))
    torch.manual_seed(3)
    random.seed(3)
    assert drawn == (random.random(), float(torch.rand(1)))


def test_an_interrupt_ends_a_training() -> None:
    with pytest.raises(KeyboardInterrupt):
        Shield({"wandb": Failing(KeyboardInterrupt())}).on_log(None, None, None)


def test_the_evaluation_is_a_step_a_model(own_environment: None, tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    summary = summarise(PARAMS, **inputs(tmp_path / "made"))
    log_evaluation(summary, tracking(tmp_path / "tracking", "tensorboard") | {"run": "demo/eval_report"})
    found = scalars(tmp_path / "tracking/tensorboard/demo/eval_report")
    assert found["demo/greedy"] == [(0, pytest.approx(0.4)), (1, pytest.approx(0.8)), (2, pytest.approx(0.9))]
    assert found["demo/greedy_low"][0] == (0, pytest.approx(0.1682, abs=1e-4))
    assert len(evaluation_points(summary)) == 3


def test_an_evaluation_that_cannot_be_logged_is_told(
    own_environment: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(known, "find_spec", lambda name: name)

    def refuse(*_: Any) -> None:
        raise ConnectionError("no network")

    monkeypatch.setattr("regime_w.report.tracking.open_tracker", refuse)
    with caplog.at_level(logging.WARNING):
        log_evaluation(summarise(PARAMS, **inputs(tmp_path / "made")), tracking(tmp_path, "wandb"))
    assert [record.getMessage() for record in caplog.records] == [
        "tracking: wandb fails and is left out from here on: no network"
    ]


def test_a_missing_tracker_ends_a_dry_run_and_one_that_is_there_reruns_nothing(tmp_path: Path) -> None:
    """Of a run that was made without trackers."""
    clone = clone_to(tmp_path / "clone")
    module = clone / "regime_w/runtime/trackers.py"
    module.write_text(
        module.read_text()
        .replace('("tensorboard", "tensorboardX")', '("json",)')
        .replace('("trackio",)', '("no_such_package",)')
    )
    make_outputs(clone, "eval_report")
    edit_config(clone, tracking={"to": ["trackio"]})
    done = snakemake(clone, "eval_report", "--dry-run")
    assert done.returncode != 0
    assert "error: tracking.to: trackio is not installed; run `pip install trackio`, or take it out" in done.stderr
    edit_config(clone, tracking={"to": ["tensorboard"], "project": "mine"})
    assert not planned(clone)
    edit_config(clone, dpo__beta=0.2)
    assert "train_dpo" in planned(clone)
