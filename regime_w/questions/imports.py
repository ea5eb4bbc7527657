"""Another tool's rollouts and preference pairs, as records of ours: what a run can begin with instead of its own (`start`).

for question, completions in rollouts("work.jsonl", arms, verifier, prompts): ...
for pair in pairs("pairs.parquet", chat=True): ...
"""

from collections.abc import Iterator
from typing import Any

from regime_w.questions.rows import Bad, given, kind_of, text_of
from regime_w.questions.sources import read
from regime_w.runtime.errors import UserError
from regime_w.tasks.prompts import Prompts
from regime_w.tasks.verifiers import Verifier

Row = dict[str, Any]
TEXTS = ("full_text", "text", "completion")  # where a trajectory's text may stand
ENDS = ("stop", "length")


def rollouts(
    path: str, arms: list[Row], verifier: Verifier, prompts: Prompts, without_gold: bool = False
) -> Iterator[tuple[Row, list[Row]]]:
    """The question and the completions of each row of a file: {"question", "gold_answer", "trajectories": [{"full_text"}, ...]}.

    Trajectories are in the order of the arms, unless each names its `arm`. Token ids are taken over where they are those of
    the text, else made from it. UserError for the first row that is no good.
    """
    for number, line in enumerate(read({"source": "file", "path": path, "split": "train", "hub_config": None})):
        try:
            if line.problem:
                raise Bad(line.problem)
            yield _question(line.row, number, verifier, without_gold), _completions(line.row, number, arms, prompts)
        except Bad as problem:
            raise UserError(f"{line.where}: {problem}; mend or remove it (start.rollouts)") from None


def pairs(path: str, chat: bool) -> Iterator[Row]:
    """The pairs of a file in TRL's formats, {"prompt", "chosen", "rejected", "id", "pair_type": "given"}: texts, or messages.

    Of conversations without a prompt it is what both have in common, as TRL has it. UserError for the first row that is no
    good, and for conversations where the prompts of the run are none (`chat` is false).
    """
    for number, line in enumerate(read({"source": "file", "path": path, "split": "train", "hub_config": None})):
        try:
            if line.problem:
                raise Bad(line.problem)
            yield _pair(line.row, number, chat)
        except Bad as problem:
            raise UserError(f"{line.where}: {problem}; mend or remove it (start.preferences)") from None


def asked(prompt: Any) -> str:
    """What a pair's prompt asks, as far as can be told: the last message, or the whole text."""
    return prompt if isinstance(prompt, str) else str(prompt[-1]["content"])


def _question(row: Row, number: int, verifier: Verifier, without_gold: bool) -> Row:
    if not (question := text_of(row, "question")):
        raise Bad("question is empty")
    identity = text_of(row, "id", numbers=True) if "id" in row else f"given-{number:05d}"
    gold = verifier.gold(row.get("gold_answer"), row)
    if gold is None and not (without_gold and row.get("gold_answer") is None):
        raise Bad(f"gold_answer: {verifier.name} reads no answer in {row.get('gold_answer')!r:.60}")
    kept = {name: row[name] for name in ("options", "data") if given(row, name)}
    return {"id": identity, "question": question, **kept, "gold_answer": gold}


def _completions(row: Row, number: int, arms: list[Row], prompts: Prompts) -> list[Row]:
    found = row.get("trajectories")
    if not (isinstance(found, list) and all(isinstance(own, dict) for own in found)):
        raise Bad(f"trajectories is {kind_of(found)}, a list of objects was expected")
    if len(found) != len(arms):
        raise Bad(f"{len(found)} trajectories for {len(arms)} arms; `arms` describes those of the file, in their order")
    names = [own.get("arm") for own in found]
    if any(name is not None for name in names):
        if sorted(map(str, names)) != sorted(arm["name"] for arm in arms):
            raise Bad(f"its trajectories are of the arms {', '.join(map(str, names))}, not of those of the config")
        by_name = dict(zip(names, found, strict=True))
        found = [by_name[arm["name"]] for arm in arms]
    identity = text_of(row, "id", numbers=True) if "id" in row else f"given-{number:05d}"
    return [
        {"id": identity, **_completion(text_of(row, "question"), own, arm, prompts)}
        for own, arm in zip(found, arms, strict=True)
    ]


def _completion(question: str, own: Row, arm: Row, prompts: Prompts) -> Row:
    column = next((name for name in TEXTS if name in own), None)
    if column is None or not isinstance(own[column], str):
        raise Bad(f"a trajectory's full_text is {kind_of(own.get(column or TEXTS[0]))}, a text was expected")
    text = own[column].removesuffix(prompts.ending)
    finish = own.get("finish_reason", "stop")
    if finish not in ENDS:
        raise Bad(f"a trajectory's finish_reason is {finish!r:.40}, stop or length was expected")
    ids = own.get("token_ids")
    if not _are_ids_of(ids, text, prompts):
        make = prompts.example if finish == "stop" else prompts.begun
        _, ids = make(question, arm["style"], text)
    assert ids is not None
    thinking = prompts.thinking(arm["style"], ids, text)
    seed = own.get("seed")
    return {
        "arm": arm["name"],
        "style": arm["style"],
        "temperature": arm["temperature"],
        "seed": seed if type(seed) is int else 0,
        "text": text,
        "token_ids": list(ids),
        "num_tokens": len(ids),
        "thinking_tokens": thinking.tokens,
        "answer_start": thinking.end,
        "finish_reason": finish,
    }


def _are_ids_of(ids: Any, text: str, prompts: Prompts) -> bool:
    """Whether token ids are those of a text for this run's tokenizer, an id that ends it aside."""
    if not (isinstance(ids, list) and ids and all(type(each) is int for each in ids)):
        return False
    body = ids[:-1] if ids[-1] in prompts.stops else ids
    if not all(0 <= each < len(prompts.tokenizer) for each in ids):
        return False
    return bool(prompts.tokenizer.decode(body, skip_special_tokens=False) == text)


def _pair(row: Row, number: int, chat: bool) -> Row:
    if missing := [name for name in ("chosen", "rejected") if name not in row]:
        raise Bad(f"no {missing[0]!r}; TRL's preference format has prompt, chosen and rejected")
    prompt, chosen, rejected = row.get("prompt"), row["chosen"], row["rejected"]
    if isinstance(chosen, str) and isinstance(rejected, str):
        if not isinstance(prompt, str) or not prompt.strip():
            raise Bad(f"prompt is {kind_of(prompt) if prompt != '' else 'empty'}, a text was expected")
    else:
        if not chat:
            raise Bad("its pairs are conversations; set prompt.format: chat to train on them")
        if prompt is None and isinstance(chosen, list) and isinstance(rejected, list):
            alike = [ours == theirs for ours, theirs in zip(chosen, rejected, strict=False)]
            shared = [*alike, False].index(False)
            prompt, chosen, rejected = chosen[:shared], chosen[shared:], rejected[shared:]
        for name, messages in (("prompt", prompt), ("chosen", chosen), ("rejected", rejected)):
            _check_messages(name, messages)
    identity = text_of(row, "id", numbers=True) if "id" in row else f"given-{number:05d}"
    return {"prompt": prompt, "chosen": chosen, "rejected": rejected, "id": identity, "pair_type": "given"}


def _check_messages(name: str, messages: Any) -> None:
    if messages == []:
        raise Bad(f"{name} is empty")
    if not (isinstance(messages, list) and all(isinstance(each, dict) for each in messages)):
        raise Bad(f"{name} is {kind_of(messages)}, a list of messages was expected")
    for each in messages:
        if not (isinstance(each.get("role"), str) and isinstance(each.get("content"), str)):
            raise Bad(f"{name}: a message must have `role` and `content` as texts")
    if name != "prompt" and [each["role"] for each in messages] != ["assistant"]:
        raise Bad(
            f"{name} must be one message of the assistant's, found {', '.join(each['role'] for each in messages)}"
        )
