"""A page to read a run's trajectories in: every question of each round, and every model's answers to evaluation questions.

    python -m scripts.view_trajectories --params '{"run": "demo", "pairs": {...}, "reward": {...}, "seed": 0}' \
        --inputs '{"rollouts": {"round1": "data/demo/round1/rollouts.jsonl"}, "answers": {"eval": {"base": "..."}}}' \
        --output results/demo/trajectories.html

--inputs: rollouts by round, and answers by evaluation set and model, the models in their order.
Open the page in a browser; it needs no network. See regime_w/report/viewer.py.
"""

import argparse
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from regime_w.method.pairs import judge
from regime_w.report.inputs import given
from regime_w.report.viewer import answers_view, rollouts_view, write_viewer
from regime_w.runtime.errors import run
from regime_w.runtime.records import from_argument, iter_jsonl, read_jsonl
from regime_w.runtime.seals import check_all

log = logging.getLogger(__name__)

ROLLOUTS = ("id", "question", "gold_answer", "trajectories")
ANSWERS = ("id", "question", "gold_answer", "greedy", "samples")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--params", type=from_argument, required=True, help="run, pairs (null where none are made), reward, seed"
    )
    parser.add_argument("--inputs", type=from_argument, required=True, help="JSON, or @FILE; see above")
    parser.add_argument("--output", type=Path, required=True)
    args = parser.parse_args()
    params, found = args.params, given(args.inputs, ("rollouts", "answers"))

    def judged(row: Mapping[str, Any]) -> list[tuple[int, int, str, str | None]]:
        if not params["pairs"]:
            return []
        wanted = params["pairs"] | {"by": params["reward"].get("correct")}
        return [(c.chosen, c.rejected, c.pair_type, reason) for c, reason in judge(row, wanted, params["seed"])]

    read = [found.get("rollouts", {}), *found.get("answers", {}).values()]
    check_all(path for files in read for path in files.values())
    views = [
        rollouts_view(name, iter_jsonl(path, ROLLOUTS), judged, params["reward"])
        for name, path in found.get("rollouts", {}).items()
    ]
    views += [
        answers_view(name, {model: read_jsonl(path, ANSWERS) for model, path in files.items()})
        for name, files in found.get("answers", {}).items()
    ]
    size = write_viewer(args.output, params["run"], views)
    log.info(f"{sum(len(view['items']) for view in views):,} questions in {args.output} ({size / 2**20:.1f} MiB)")


if __name__ == "__main__":
    run(main)
