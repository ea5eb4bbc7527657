"""SFT, merge and DPO as stages on a random model; and one token sequence in SFT, generation, DPO and evaluation."""

import json
import random
import shutil

import pytest
import torch
from accelerate.data_loader import SeedableRandomSampler
from helpers import save_random_model, stage
from training_inputs import CHAT, DPO, PAIRS, PROMPTS, QUESTIONS, SFT, TEMPLATE
from transformers import AutoModelForCausalLM

from regime_w.models.folders import safetensors_shapes
from regime_w.models.manifests import load_manifest, write_manifest
from regime_w.runtime.errors import UserError
from regime_w.runtime.records import read_json
from regime_w.runtime.seals import write_jsonl
from regime_w.tasks.prompts import Prompts
from regime_w.training import trainer as training
from regime_w.training.packing import pack
from regime_w.training.sampled import ids_of
from regime_w.training.trainer import SortedSteps, drop_attention_mask
from scripts import evaluate, generate, train_dpo, train_sft


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    save_random_model(folder / "base")
    write_manifest(folder / "base", {})
    write_jsonl(folder / "train.jsonl", QUESTIONS)
    write_jsonl(folder / "preferences.jsonl", PAIRS)
    for done in (sft(folder, SFT), merge(folder, folder / "sft_lora")):
        assert done.returncode == 0, done.stderr
    return folder


def sft(folder, params, output="sft_lora", more=()):
    return stage(
        "train_sft", "--params", json.dumps(params), "--base", folder / "base", "--questions",
        folder / "train.jsonl", "--work", folder / f"{output}.work", "--output", folder / output, *more,
    )  # fmt: skip


def merge(folder, adapter, base="base", params='{"device": "auto"}'):
    return stage(
        "merge_lora", "--params", params, "--base", folder / base, "--adapter",
        adapter, "--output", folder / "merged",
    )  # fmt: skip


def dpo(folder, params=DPO, preferences="preferences.jsonl", output="dpo_lora", more=()):
    return stage(
        "train_dpo", "--params", json.dumps(params), "--policy", folder / "merged", "--preferences",
        folder / preferences, "--work", folder / f"{output}.work", "--output", folder / output,
        *more,
    )  # fmt: skip


def test_sft_practises_sums_besides(run, tmp_path):
    shutil.copytree(run / "base", tmp_path / "base")
    rows = [row | {"answer": f"{i} + {i} = {2 * i}\n#### {2 * i}"} for i, row in enumerate(QUESTIONS)]
    write_jsonl(tmp_path / "train.jsonl", rows)
    done = sft(tmp_path, SFT | {"sft": SFT["sft"] | {"sum_exercises": 4}})
    assert done.returncode == 0, done.stderr
    assert read_json(tmp_path / "sft_lora/training.json")["examples"] == len(rows) + 4


def test_a_tracked_training_makes_the_same_weights(run, tmp_path):
    """TensorBoard's events in the run's folder, and a tracker that cannot write there is left out."""
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    tracking = {"to": ["tensorboard"], "project": "mine", "run": "demo/train_sft", "folder": str(tmp_path)}
    done = sft(run, SFT, "tracked", ("--tracking", json.dumps(tracking)))
    assert done.returncode == 0, done.stderr
    (file,) = (tmp_path / "tensorboard/demo/train_sft").iterdir()
    events = EventAccumulator(str(file))
    events.Reload()
    history = read_json(run / "tracked/training.json")["log_history"]
    losses = {entry["step"]: entry["loss"] for entry in history if "loss" in entry}
    assert {event.step: event.value for event in events.Scalars("train/loss")} == pytest.approx(losses)
    weights = [load_manifest(run / name)[1]["files"]["adapter_model.safetensors"] for name in ("sft_lora", "tracked")]
    assert weights[0] == weights[1]
    (tmp_path / "file").write_text("")
    tracking |= {"folder": str(tmp_path / "file")}
    done = sft(run, SFT, "tracked", ("--tracking", json.dumps(tracking)))
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("tracking: tensorboard fails and is left out from here on") == 1


def test_merge_prints_what_the_guide_prints(run):
    done = merge(run, run / "sft_lora")
    for line in (
        "Configuration:",
        "  Device: cpu",
        "Merging LoRA weights",
        "LoRA merge complete!",
        "Merged model saved to:",
    ):
        assert line in done.stdout
    assert read_json(run / "merged/manifest.json")["made_from"]["largest_logit_difference"] < 0.01


def test_merge_on_a_gpu_that_is_not_there(run):
    done = merge(run, run / "sft_lora", params='{"device": "cuda"}')
    assert done.returncode == 2
    assert "set merge.device: auto" in done.stderr


def test_dpo_preflight_record_and_resume(run):
    done = dpo(run)
    assert done.returncode == 0, done.stderr
    assert "first_chosen" in done.stdout
    record = read_json(run / "dpo_lora/training.json")
    assert record["examples"] == 12
    assert record["steps"] == 3
    assert record["preflight"]["bos_tokens"] == 1
    assert record["preflight"]["first_chosen"].endswith("#### 0</s>")
    assert any("rewards/margins" in entry for entry in record["log_history"])
    # Killed after its last checkpoint: the same command goes on from there.
    before = load_manifest(run / "dpo_lora")[1]["files"]["adapter_model.safetensors"]
    shutil.rmtree(run / "dpo_lora")
    again = dpo(run)
    assert "Resuming from" in again.stdout
    assert load_manifest(run / "dpo_lora")[1]["files"]["adapter_model.safetensors"] == before


def test_other_parameters_start_afresh(run):
    changed = dpo(run, DPO | {"dpo": DPO["dpo"] | {"beta": 0.2}})
    assert changed.returncode == 0, changed.stderr
    assert "Resuming" not in changed.stdout


def test_compiled_layers_learn_the_same(run):
    curves, weights = [], []
    for output, compiled in (("eager", False), ("compiled", True)):
        done = dpo(run, DPO | {"dpo": DPO["dpo"] | {"compile": compiled}}, output=output)
        assert done.returncode == 0, done.stderr
        assert ("2 layers are compiled" in done.stdout) == compiled
        record = read_json(run / output / "training.json")
        curves.append([entry["logps/chosen"] for entry in record["log_history"] if "loss" in entry])
        weights.append(safetensors_shapes(run / output / "adapter_model.safetensors"))
    assert curves[1] == pytest.approx(curves[0], rel=1e-3)
    assert weights[1] == weights[0]


@pytest.mark.parametrize(
    ("module", "params", "inputs"),
    [
        (train_sft, SFT, {"--base": "base", "--questions": "train.jsonl"}),
        (train_dpo, DPO, {"--policy": "merged", "--preferences": "preferences.jsonl"}),
    ],
)
def test_packed_layers_learn_the_same(run, tmp_path, monkeypatch, module, params, inputs):
    curves, train = [], training.train
    for packed in (False, True):  # on a CPU trainings are padded

        def trained(trainer, *rest, packed=packed):
            if packed:
                pack(trainer.model)
            return train(trainer, *rest)

        output = tmp_path / f"{packed}"
        command = ["", "--params", json.dumps(params), "--work", tmp_path / "work", "--output", output]
        command += [word for option, file in inputs.items() for word in (option, run / file)]
        monkeypatch.setattr("sys.argv", [str(word) for word in command])
        monkeypatch.setattr(training, "train", trained)
        shutil.rmtree(tmp_path / "work", ignore_errors=True)
        module.main()
        history = read_json(output / "training.json")["log_history"]
        curves.append([entry["loss"] for entry in history if "loss" in entry])
    assert len(curves[0]) > 1
    assert curves[1] == pytest.approx(curves[0], rel=1e-4)


def test_a_profile_of_one_step(run):
    params = DPO | {"dpo": DPO["dpo"] | {"epochs": 2.0}}
    done = dpo(run, params, output="profiled", more=("--profile", run / "profile.txt"))
    assert done.returncode == 0, done.stderr
    assert "aten::mm" in (run / "profile.txt").read_text()


def test_a_right_padded_sequence_needs_no_mask(run):
    model = AutoModelForCausalLM.from_pretrained(run / "base")
    ids = torch.arange(18).view(2, 9)
    mask = torch.ones_like(ids)
    mask[1, 5:] = 0
    with torch.no_grad():
        masked = model(input_ids=ids, attention_mask=mask).logits
        drop_attention_mask(model)
        without = model(input_ids=ids, attention_mask=mask).logits
    assert torch.equal(masked[mask.bool()], without[mask.bool()])
    assert not torch.equal(masked[1, 5:], without[1, 5:])  # the mask was there, and is gone


def test_no_pairs_and_too_long_pairs_and_nan(run):
    write_jsonl(run / "none.jsonl", [])
    done = dpo(run, preferences="none.jsonl", output="other")
    assert done.returncode == 2
    assert "no preference pairs" in done.stderr
    done = dpo(run, DPO | {"dpo": DPO["dpo"] | {"max_length": 16}}, output="other")
    assert done.returncode == 2
    assert "longer than max_length 16" in done.stderr
    assert not (run / "other").exists()
    done = dpo(run, DPO | {"dpo": DPO["dpo"] | {"learning_rate": 1e38}}, output="other")
    assert done.returncode == 2
    assert "lower learning_rate" in done.stderr


def test_what_is_longer_than_the_model_has_positions_for_is_refused():
    assert training.longest([3, 5], None, 5, "pairs") == 5
    with pytest.raises(UserError, match="1 of 2 pairs are longer than the 4 tokens that the model has positions for"):
        training.longest([3, 5], None, 4, "pairs")


def test_an_existing_adapter_is_taken_over(run, tmp_path):
    taken = SFT | {"sft": SFT["sft"] | {"adapter": str(run / "sft_lora")}}
    output = tmp_path / "taken"
    done = stage(
        "train_sft", "--params", json.dumps(taken), "--base", run / "base", "--questions",
        run / "train.jsonl", "--work", tmp_path / "work", "--output", output,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    files = load_manifest(output)[1]["files"]
    assert (
        files["adapter_model.safetensors"]
        == read_json(run / "sft_lora/manifest.json")["files"]["adapter_model.safetensors"]
    )


def prompts_for(folder, params=PROMPTS, bos=True):
    from transformers import AutoTokenizer

    return Prompts(params, AutoTokenizer.from_pretrained(save_random_model(folder, bos=bos)), folder)


@pytest.mark.parametrize("bos", [True, False])
@pytest.mark.parametrize("params", [PROMPTS, PROMPTS | {"prompt": CHAT}], ids=["template", "chat"])
def test_one_token_sequence_everywhere(tmp_path, bos, params):
    """The prefix that SFT trains, generation samples, DPO trains and evaluation asks is the same ids, with one BOS and
    EOS inside the loss."""
    prompts = prompts_for(tmp_path / "model", params, bos)
    tokenizer = prompts.tokenizer
    question = QUESTIONS[3] | {"question": "Tom’s 3 {apples} cost $4,50 each.  How much?"}
    arms = [{"name": "w", "style": "wolfram", "temperature": 0.2}]
    (ask,) = generate.make_asks([question], {"arms": arms, "seed": 0}, 1, prompts)
    settings = {"styles": ["wolfram"], "k": 1, "temperature": 1.0}
    evaluated = evaluate.make_asks([question], {"evaluate": settings, "seed": 0}, prompts)[0]
    (example,) = train_sft.examples([question], {"sft": {"styles": ["wolfram"]}}, prompts)
    text = prompts.ask(question["question"], "wolfram").text
    asked = {"prompt": text, "question": question["question"], "prompt_style": "wolfram"}
    pair = train_dpo.tokens_of(prompts, asked | {"chosen": question["answer"], "rejected": "7\n#### 7"})
    sampled = {"chosen_ids": [9, 8, 7, 1], "rejected_ids": [9, 1]}
    assert train_dpo.tokens_of(prompts, asked | {"chosen": "", "rejected": ""} | sampled) == pair | sampled

    prefix = list(ask.prompt_ids)
    assert all(list(other.prompt_ids) == prefix for other in evaluated)
    assert pair["prompt_ids"] == prefix
    assert example["input_ids"][: len(prefix)] == prefix
    assert example["input_ids"][len(prefix) :] == pair["chosen_ids"]
    assert example["labels"] == [-100] * len(prefix) + pair["chosen_ids"]
    assert prefix.count(tokenizer.bos_token_id) == int(bos)
    assert prefix.count(tokenizer.eos_token_id) == 0
    for side in ("chosen_ids", "rejected_ids"):
        assert pair[side].count(tokenizer.eos_token_id) == 1
        assert pair[side][-1] == tokenizer.eos_token_id
        assert tokenizer.bos_token_id not in pair[side]
    assert tokenizer.decode(prefix, skip_special_tokens=True) == text


CALCULATION = {
    "id": "q0",
    "prompt": TEMPLATE.replace("{question}", "How many?"),
    "question": "How many?",
    "prompt_style": "plain",
    "chosen": "He has 3*9 = 27 eggs.\nThen 27+5 = 32 eggs\n",
    "rejected": "He has 3*9 = 27 eggs.\nThen 27+5 = 31 eggs\n",
    "pair_type": "calculation",
}


@pytest.mark.parametrize("right", ["32", "3", "312"])
def test_of_a_calculation_pair_the_result_alone_is_learnt(tmp_path, right):
    """The ids are those of the whole text as it was generated; what both sides share stands in the prompt, nothing ends."""
    prompts = prompts_for(tmp_path / "model")
    row = CALCULATION | {"chosen": CALCULATION["chosen"].replace("32", right)}
    whole = train_dpo.tokens_of(prompts, row | {"pair_type": "correctness"})
    pair = train_dpo.tokens_of(prompts, row)
    for side in ("chosen_ids", "rejected_ids"):
        assert pair["prompt_ids"] + pair[side] == whole["prompt_ids"] + whole[side][:-1]
        assert prompts.tokenizer.eos_token_id not in pair[side]
    assert pair["chosen_ids"][0] != pair["rejected_ids"][0]
    assert "= 27 eggs" in prompts.tokenizer.decode(pair["prompt_ids"])


def test_a_side_of_a_calculation_pair_is_never_empty(tmp_path):
    prompts = prompts_for(tmp_path / "model")
    pair = train_dpo.tokens_of(prompts, CALCULATION | {"chosen": "3*9 = 2", "rejected": "3*9 = 27"})
    assert pair["chosen_ids"]
    assert pair["rejected_ids"]
    assert pair["chosen_ids"] != pair["rejected_ids"]


CUT_OFF = CALCULATION | {
    "chosen": "It is 32.\n#### 32",
    "rejected": "It is 32. Or is it? It is",
    "rejected_ends": False,
    "pair_type": "correctness",
}


def test_dpo_with_pairs_whose_sides_break_off(run):
    write_jsonl(run / "mixed.jsonl", [*PAIRS[:6], CALCULATION, CUT_OFF])
    done = dpo(run, preferences="mixed.jsonl", output="mixed_lora")
    assert done.returncode == 0, done.stderr
    assert read_json(run / "mixed_lora/training.json")["preflight"]["types"] == {"correctness": 7, "calculation": 1}


def test_behind_a_rejected_text_that_was_cut_off_stands_no_end(tmp_path):
    prompts = prompts_for(tmp_path / "model")
    _, chosen = ids_of(prompts, CUT_OFF, "chosen")
    _, rejected = ids_of(prompts, CUT_OFF, "rejected")
    assert chosen[-1] in prompts.stops
    assert rejected[-1] not in prompts.stops
    assert prompts.tokenizer.decode(rejected).strip() == CUT_OFF["rejected"]


def test_a_module_that_the_model_lacks_is_one_line_before_training(random_model):
    """PEFT passes over a name where another one of the list is there."""
    model = AutoModelForCausalLM.from_pretrained(random_model)
    lora = {"r": 2, "alpha": 2, "dropout": 0.0, "target_modules": ["q_proj", "v_prj"], "target_parameters": []}
    with pytest.raises(UserError, match=r"lora\.target_modules: the model has no 'v_prj'; it has down_proj, gate_proj"):
        training.lora_config(lora, model)
    assert training.lora_config(lora | {"target_modules": ["q_proj", "v_proj"]}, model).r == 2


@pytest.mark.parametrize(("losses", "beta"), [(["sigmoid_norm"], 5.0), (["apo_zero"], 0.1)])
def test_losses_of_the_study_train(run, losses, beta):
    params = DPO | {"dpo": DPO["dpo"] | {"loss_type": losses, "loss_weights": [1.0], "beta": beta}}
    done = dpo(run, params, output=f"dpo_{losses[0]}")
    assert done.returncode == 0, done.stderr
    assert read_json(run / f"dpo_{losses[0]}/training.json")["steps"] == 3


def test_the_alarm_fires_once_when_the_chosen_log_probability_has_fallen(capsys):
    from types import SimpleNamespace

    from regime_w.training.trainer import Watch

    watch, history = Watch("DPO", alarm_logps_drop=10.0, beta=0.1), []
    # The log-probability itself falls at once, since the next step's pairs are longer.
    for step, (reward, logps) in enumerate(((0.0, -50.0), (0.5, -250.0), (-1.0, -60.0), (-1.01, -61.0), (-4.0, -90.0))):
        logs = {"loss": 1.0, "rewards/chosen": reward, "logps/chosen": logps}
        history.append(logs | {"step": step})  # as the Trainer does before it calls
        watch.on_log(None, SimpleNamespace(global_step=step, max_steps=4, log_history=history), None, logs)
        assert bool(watch.alarm) is (step >= 3)  # more than 10 nats
    assert "10.1 nats below its start by step 3" in watch.alarm
    assert capsys.readouterr().out.count("ALARM") == 1


def test_the_median_step_is_neither_the_one_that_compiles_nor_a_short_last_one():
    from regime_w.training.trainer import Watch

    watch = Watch("DPO")
    assert watch.step_seconds() is None
    watch.ends = [100.0, 130.0, 134.0, 139.0, 143.0, 144.0]
    assert watch.step_seconds() == 4.0


def test_a_step_has_the_examples_of_the_random_order_sorted_by_length():
    rng = random.Random(0)
    lengths = [rng.randint(10, 400) for _ in range(100)]
    for epoch in (0, 1):
        usual = SeedableRandomSampler(lengths, data_seed=3)
        sorted_steps = SortedSteps(lengths, step=16, micro=4, seed=3)
        one_batch = SortedSteps(lengths, step=16, micro=16, seed=3)
        for sampler in (usual, sorted_steps, one_batch):
            sampler.set_epoch(epoch)
        order, found = list(usual), list(sorted_steps)
        assert list(one_batch) == order
        assert found != order
        for start in range(0, 100, 16):
            assert sorted(found[start : start + 16]) == sorted(order[start : start + 16])
            step = [lengths[index] for index in found[start : start + 16]]
            assert step == sorted(step, reverse=True)
