"""What a report reads: files by name, and evaluation records that must agree on their questions."""

from collections.abc import Collection, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from regime_w.method.sums import holds
from regime_w.method.weighted import coherence_weights
from regime_w.runtime.errors import UserError
from regime_w.runtime.records import iter_jsonl, read_json
from regime_w.runtime.seals import SHOWN, check_all, common_source, require_same, way_out

ROW = ("id", "question", "gold_answer", "greedy", "samples")
NONE: Mapping[str, Path] = MappingProxyType({})
OUT = ("text", "answer", "correct", "extraction", "num_tokens", "finish_reason")


def given(inputs: Any, known: Collection[str], required: Collection[str] = ()) -> dict[str, Any]:
    """A report's inputs, {group: file, [files] or {name: file}}, with paths in the place of their names; groups stay in order.

    UserError for an unknown or missing group, or a file or folder that is not there.
    """
    if not isinstance(inputs, dict):
        raise UserError(f"--inputs: a JSON object was expected, found {type(inputs).__name__}")
    for group in inputs:
        if group not in known:
            raise UserError(f"--inputs: {group!r} is unknown; known are {', '.join(sorted(known))}")
    for group in required:
        if not inputs.get(group):
            raise UserError(f"--inputs: {group!r} is missing")
    return {group: _paths(value, group) for group, value in inputs.items()}


def _paths(value: Any, where: str) -> Any:
    if isinstance(value, dict):
        return {name: _paths(inner, f"{where} {name}") for name, inner in value.items()}
    if isinstance(value, list):
        return [_paths(inner, where) for inner in value]
    if not isinstance(value, str):
        raise UserError(f"--inputs: {where}: a path was expected, found {type(value).__name__}")
    if not Path(value).exists():
        raise UserError(f"--inputs: {value} ({where}) does not exist; run the rule that makes it")
    return Path(value)


def read_object(path: Path) -> dict[str, Any]:
    content = read_json(path)
    if not isinstance(content, dict):
        raise UserError(f"{path}: a JSON object was expected, found {type(content).__name__}; remove it and run again")
    return content


def read_evaluations(
    files: dict[str, Path],
    left_out: Collection[str] = (),
    coherence: dict[str, Any] | None = None,
    manifests: Mapping[str, Path] = NONE,
) -> dict[str, list[dict[str, Any]]]:
    """Evaluation rows by model, all in the first model's order of questions, without those of the ids `left_out`.

    With `coherence`, the config section, each sample has its `weight` among those of its question.
    UserError where a file is empty, incomplete or not what was sealed, is of another model than the one in `manifests`, or
    two models were asked different questions or numbers of samples.
    """
    seals = dict(zip(files, check_all(files.values()), strict=True))
    common_source(seals.values(), "questions")
    for model in [name for name in files if name in manifests]:
        require_same(seals[model], "model", manifests[model], read_object(manifests[model])["fingerprint"])
    unasked = set(left_out)
    models: dict[str, list[dict[str, Any]]] = {}
    first, reference = "", dict[str, dict[str, Any]]()
    for model, path in files.items():
        rows = {row["id"]: row for row in _checked(path, coherence)}
        if not reference:
            first, reference = model, rows
        _same_questions(files, first, reference, model, rows)
        models[model] = [rows[identity] for identity in reference if identity not in unasked]
        if not models[model]:
            raise UserError(
                f"{path}: all of its questions stand in the training data, too; name another evaluation set"
            )
    return models


def check_rollouts(files: Mapping[str, Path], manifests: Mapping[str, Path]) -> None:
    """UserError where rollouts are not what was sealed, or of a model that is none of `manifests`, where there are any."""
    known = {read_object(path)["fingerprint"] for path in manifests.values()}
    models = ", ".join(map(str, manifests.values()))
    for seal in check_all(files.values()):
        if known and (model := seal.made_from.get("model")) and model not in known:
            raise UserError(
                f"{seal.path}: was made from the model {model[:SHOWN]}, which is none of {models}; {way_out(seal.path)}"
            )


def _checked(path: Path, coherence: dict[str, Any] | None) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    seen = set()
    for row in iter_jsonl(path, ROW):
        where = f"{path}: question {row['id']}"
        if row["id"] in seen:
            raise UserError(f"{where} stands twice; remove the file and run evaluate again")
        seen.add(row["id"])
        samples = len((rows or [row])[0]["samples"])
        if len(row["samples"]) != samples or not samples:
            raise UserError(f"{where} has {len(row['samples'])} samples, the first {samples}; run evaluate again")
        for out in (row["greedy"], *row["samples"]):
            if missing := [name for name in OUT if name not in out]:
                raise UserError(f"{where}: an answer has no {missing[0]!r}; remove the file and run evaluate again")
        note_sums(row)
        if coherence:
            for out, weight in zip(row["samples"], coherence_weights(row["samples"], coherence), strict=True):
                out["weight"] = weight
        for out in row["samples"]:
            del out["text"]  # most of the file, and the report shows greedy texts alone
        rows.append(row)
    if not rows:
        raise UserError(f"{path}: holds no evaluated question; remove it and run evaluate again")
    return rows


def note_sums(row: dict[str, Any]) -> None:
    """Note of each answer whether it writes out a wrong sum."""
    for out in (row["greedy"], *row["samples"]):
        out["wrong_sum"] = not holds(out["text"])


def _same_questions(
    files: dict[str, Path], first: str, reference: dict[str, Any], model: str, rows: dict[str, Any]
) -> None:
    advice = f"({files[model]}, {files[first]}); run evaluate again for both"
    if different := sorted(set(reference) ^ set(rows)):
        raise UserError(
            f"{model} and {first} were evaluated on different questions: {len(rows)} and {len(reference)}, "
            f"{different[0]!r} is only in one {advice}"
        )
    for identity, row in rows.items():
        other = reference[identity]
        if row["gold_answer"] != other["gold_answer"] or row["question"] != other["question"]:
            raise UserError(f"{model} and {first} differ in question or gold answer of {identity!r} {advice}")
        if len(row["samples"]) != len(other["samples"]):
            raise UserError(
                f"{model} has {len(row['samples'])} samples a question, {first} {len(other['samples'])} {advice}"
            )
