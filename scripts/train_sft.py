"""Fine-tune a LoRA adapter on the rationales and sums like theirs (TRL SFTTrainer), or take an existing adapter over.

    python -m scripts.train_sft --params '{"sft": {...}, ...}' --base checkpoints/demo/base \
        --questions data/demo/questions/sft.jsonl --work checkpoints/demo/sft_lora.work \
        --output checkpoints/demo/sft_lora --gpus 0

Loss on the completion alone, its end included; prompts and token ids come from regime_w/tasks/prompts.py.
On 8 GPUs it starts itself through accelerate (data parallel).
"""

import argparse
import logging
from pathlib import Path
from typing import Any

from regime_w.models.adapters import check_adapter, check_adapters_tokenizer, copy_adapter
from regime_w.models.cards import card
from regime_w.models.folders import trusted
from regime_w.models.manifests import load_manifest, new_artefact, write_manifest
from regime_w.questions.sum_exercises import exercises
from regime_w.runtime.errors import UserError, run
from regime_w.runtime.records import fingerprint, from_argument, read_jsonl, write_json, write_text
from regime_w.runtime.seals import check
from regime_w.tasks.prompts import Prompts, prompts_of
from regime_w.training.sft import example, train

log = logging.getLogger(__name__)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--params", type=from_argument, required=True, help="sft, prompt, styles (instructions), seed, training_seed"
    )
    parser.add_argument("--base", type=Path, required=True)
    parser.add_argument("--questions", type=Path, nargs="?", help="where it is trained here")
    parser.add_argument("--work", type=Path, required=True, help="checkpoints to resume from; kept over failures")
    parser.add_argument("--output", type=Path, required=True, help="the adapter folder")
    parser.add_argument("--gpus", type=int, default=0)
    parser.add_argument(
        "--card", type=from_argument, default={}, help="what the adapter's model card says it is made of"
    )
    parser.add_argument("--tracking", type=from_argument, default={}, help="to (trackers), project, run, folder")
    args = parser.parse_args()
    if args.params["sft"]["adapter"]:
        take_over(Path(args.params["sft"]["adapter"]), args.base, args.output, args.params, args.card)
    else:
        fine_tune(args)


def take_over(
    adapter: Path, base_folder: Path, output: Path, params: dict[str, Any], facts: dict[str, Any] | None = None
) -> None:
    """Copy an existing adapter after checking that it fits the base; its own card stays, where it has one."""
    base, manifest = load_manifest(base_folder)
    with new_artefact(output) as folder:
        copy_adapter(adapter, folder)
        try:
            check_adapter(folder, base, params)
            check_adapters_tokenizer(folder, base, params)
        except UserError as error:
            raise UserError(str(error).replace(str(folder), str(adapter))) from None
        if not (folder / "README.md").is_file():
            write_text(folder / "README.md", card(facts or {}, "adapter"))
        write_json(folder / "training.json", {"log_history": [], "examples": 0, "steps": 0, "adapter": str(adapter)})
        write_manifest(folder, {"adapter": str(adapter), "base": manifest["fingerprint"]})
    log.info(f"SFT adapter {adapter} taken over to {output}")


def examples(rows: list[dict[str, Any]], params: dict[str, Any], prompts: Prompts) -> list[dict[str, list[int]]]:
    """Token ids and labels, one example a question, the styles in turn.

    A question whose rationale leads to another answer than gold is left out, such as one whose wrong label was corrected.
    """
    styles = params["sft"]["styles"]
    made = []
    for number, row in enumerate(rows):
        if row.get("corrected"):
            continue
        style = styles[number % len(styles)]
        answer = row.get("rationales", {}).get(style, row["answer"])
        made.append(example(*prompts.example(row["question"], style, answer)))
    return made


def fine_tune(args: argparse.Namespace) -> None:
    from regime_w.training import trainer as training

    training.launch(args.gpus, "scripts.train_sft")
    params, sft = args.params, args.params["sft"]
    base, manifest = load_manifest(args.base)
    check(args.questions)
    rows = read_jsonl(args.questions, ("id", "question", "answer"))
    practice = exercises((row["answer"] for row in rows), sft["sum_exercises"], params["seed"])
    rows += [{"question": question, "answer": answer} for question, answer in practice]
    prompts = prompts_of(base, params, trusted(params))
    data = examples(rows, params, prompts)
    made_from = {"base": manifest["fingerprint"], "data": fingerprint(data), "params": params}
    train(args, "SFT", sft, base, prompts.tokenizer, data, params["training_seed"], made_from)


if __name__ == "__main__":
    run(main)
