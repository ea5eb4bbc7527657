"""One prompt for SFT, generation, DPO and evaluation, as text and as token ids.

`template`: the model's own prompt format, Abel's by default (GAIR-NLP/abel, evaluation/inference.py), a style's
instruction before it. `chat`: messages through the model's chat template, the instruction in the system message or before
the question. Text from data is never read as control tokens.

    prompts = Prompts(params, tokenizer, folder)        # params: prompt (the config section), styles
    prompts.ask("1 + 1?", "wolfram")                    # Prompt(text, ids): ids with exactly one BOS where there is one
    prompts.example("1 + 1?", "wolfram", "#### 2")      # ids of the prompt, and of the answer with what ends it
    prompts.stops                                       # ids at which a completion ends
"""

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

from regime_w.runtime.errors import UserError
from regime_w.tasks import chat
from regime_w.tasks.encoding import Encoder, Piece, text_of
from regime_w.tasks.thinking import Marks, Thinking, marks_of, split_marks, still_open, thinking

log = logging.getLogger(__name__)

PLAIN = "plain"
Params = Mapping[str, Any]


class Prompt(NamedTuple):
    """A question as a model is asked it. `text` is without the BOS of `ids` where the tokenizer adds one itself."""

    text: str
    ids: tuple[int, ...]


@dataclass(frozen=True)
class Form:
    """The prompt of one style around a question, what the template writes between it and an answer, and the BOS that the
    tokenizer would write too."""

    before: tuple[Piece, ...]
    after: tuple[Piece, ...]
    opening: str = ""
    bos: str = ""

    def pieces(self, question: str) -> list[Piece]:
        return [*self.before, Piece(question.strip(), False), *self.after]

    def text(self, question: str) -> str:
        return text_of(self.pieces(question)).removeprefix(self.bos)


def template_form(template: str, instruction: str | None) -> Form:
    """The question in a template (braces in it are safe), the style's instruction, if any, in front."""
    before, _, after = template.partition("{question}")
    lead = (Piece(instruction.strip(), False), Piece("\n\n", True)) if instruction else ()
    return Form((*lead, Piece(before, True)), (Piece(after, True),))


def chat_form(source: chat.Source, prompt: Params, instruction: str | None, system_role: bool) -> Form:
    """The question as a user's message. Where the template has no system role, its text stands before the question."""
    system = [] if prompt["system"] is None else [prompt["system"].strip()]
    user: list[str] = []
    if instruction:
        (system if prompt["style_in"] == "system" else user).append(instruction.strip())
    system = list(filter(None, system)) or system[:1]  # an empty message is one too: it takes the template's own away
    question = "q"  # stands for any
    if not system_role:
        system, user = [], [*filter(None, system), *user]
    messages: list[chat.Message] = [("system", system)] if system else []
    messages.append(("user", [*user, question]))
    pieces = chat.conversation(source, messages, generation=True)
    place = 2 * (len(system) + len(user)) + 1
    whole = chat.conversation(source, [*messages, ("assistant", ["a"])], generation=False)
    written, answered = text_of(pieces), text_of(whole[:-2])
    opening = answered.removeprefix(written) if answered.startswith(written) else ""
    return Form(tuple(pieces[:place]), tuple(pieces[place + 1 :]), opening)


def forms_of(params: Params, source: chat.Source | None) -> dict[str, Form]:
    """The form of each style; `source` is the model's chat template where the format is chat."""
    prompt, instructions = params["prompt"], {PLAIN: None, **params["styles"]}
    if source is None:
        return {style: template_form(prompt["template"], text) for style, text in instructions.items()}
    system_role = chat.writes_system(source)
    return {style: chat_form(source, prompt, text, system_role) for style, text in instructions.items()}


def style_trained(style: str, train_prompt: str) -> str:
    """The style whose prompt a pair or sample of `style` is trained with, as `train_prompt` of its config section says."""
    return PLAIN if train_prompt == "canonical" else style


def form_of(forms: Mapping[str, Form], style: str, where: str) -> Form:
    if style not in forms:
        raise UserError(f"{where}: style {style!r} is not under styles; known are {sorted(set(forms) - {PLAIN})}")
    return forms[style]


class Prompts:
    """The prompts of one model. UserError where its tokenizer or chat template cannot serve."""

    def __init__(self, params: Params, tokenizer: Any, folder: Path) -> None:
        prompt = params["prompt"]
        self.tokenizer = tokenizer
        self.source = chat.source_of(tokenizer, prompt["template_kwargs"]) if prompt["format"] == "chat" else None
        template = self.source.template if self.source else prompt["template"]
        self.known = end_ids(tokenizer, folder)
        self.encoder = Encoder(tokenizer, self.known, template)
        if not self.source and self.encoder.adds_bos and tokenizer.bos_token in template:
            raise UserError(
                f"prompt.template holds {tokenizer.bos_token!r}, which the model's tokenizer writes itself at the beginning; "
                "leave it out"
            )
        bos = tokenizer.bos_token if self.encoder.adds_bos else ""
        self.forms = {style: replace(form, bos=bos) for style, form in forms_of(params, self.source).items()}
        self.notes: list[str] = []
        self.ending = self._ending()
        self.stops = tuple(sorted({*self.known, self.encoder.control[self._spelled(self.ending)[-1][0]]}))
        own = prompt["think_marks"]
        self.marks: Marks | None = marks_of(tokenizer, template) if own == "auto" else Marks(*own) if own else None
        self._tell(prompt)

    def ask(self, question: str, style: str) -> Prompt:
        """The prompt of a question in a style, `plain` for none."""
        form = self.form(style)
        return Prompt(form.text(question), tuple(self._prompt_ids(form.pieces(question))))

    def form(self, style: str) -> Form:
        return form_of(self.forms, style, "prompt")

    def example(self, question: str, style: str, answer: str) -> tuple[list[int], list[int]]:
        """Token ids of a prompt and of an answer given as text, with what ends it: those of the whole conversation.

        Where tokens would span both, the answer is tokenised apart, so that the prompt's ids are those of generation.
        """
        form = self.form(style)
        pieces = form.pieces(question)
        return self._example(pieces, self._answer(pieces, form.opening, answer), [Piece(self.ending, True)])

    def begun(self, question: str, style: str, text: str) -> tuple[list[int], list[int]]:
        """Token ids of a prompt and of a completion that the model wrote and that breaks off: nothing ends it."""
        return self._example(self.form(style).pieces(question), [Piece(text, True)], [])

    def foreign(self, prompt: Any, completion: Any) -> tuple[list[int], list[int]]:
        """Token ids of another tool's prompt and completion: texts, or messages for the chat template.

        In texts that are no messages control tokens are read, as other trainers do; the completion ends as ours do.
        """
        if isinstance(prompt, str) and isinstance(completion, str):
            pieces, opening, answer = [Piece(prompt, True)], "", completion.removesuffix(self.ending)
        else:
            if isinstance(prompt, str) or isinstance(completion, str):
                raise UserError(
                    "a pair's prompt, chosen and rejected are to be texts, or all of them lists of messages"
                )
            if self.source is None:
                raise UserError("the pairs are conversations; set prompt.format: chat to train on them")
            if [each["role"] for each in completion] != ["assistant"]:
                raise UserError("a pair's chosen and rejected side are to be one message of the assistant")
            messages = [(str(each["role"]), [str(each["content"]).strip()]) for each in [*prompt, *completion]]
            pieces = chat.conversation(self.source, messages[: len(prompt)], generation=True)
            whole = text_of(chat.conversation(self.source, messages, generation=False)[:-2])
            opening = whole.removeprefix(text_of(pieces)) if whole.startswith(text_of(pieces)) else ""
            answer = messages[-1][1][0]
        return self._example(pieces, self._answer(pieces, opening, answer), [Piece(self.ending, True)])

    def thinking(self, style: str, ids: Sequence[int], text: str) -> Thinking:
        """What a completion thought before its answer."""
        return thinking(self.tokenizer, self.marks, self._thinks(self.form(style).after), ids, text)

    def _thinks(self, pieces: Sequence[Piece]) -> bool:
        """Whether a prompt that ends in these pieces ends inside the think marks."""
        written = text_of(piece for piece in pieces if piece.control)
        return self.marks is not None and still_open(written, self.marks)

    def _example(self, prompt: list[Piece], answer: list[Piece], end: list[Piece]) -> tuple[list[int], list[int]]:
        ids = self._prompt_ids(prompt)
        whole = self.encoder.begun(self.encoder.ids([*prompt, *answer, *end]))
        if whole[: len(ids)] == ids:
            return ids, whole[len(ids) :]
        return ids, self.encoder.ids([*answer, *end])

    def _answer(self, prompt: Sequence[Piece], opening: str, answer: str) -> list[Piece]:
        """An answer given as text, in which the think marks alone are control, and the template's own beginning of one."""
        pieces = split_marks(answer.strip() if self.source else answer, self.marks)
        if self.marks:
            thinks = pieces[0].text == self.marks.open
            if thinks:
                opening = ""  # the template would write that it does not
            if self._thinks(prompt):
                if thinks:  # the mark stands in the prompt
                    pieces = split_marks(text_of(pieces[1:]).lstrip("\n"), self.marks)
                opening = "" if Piece(self.marks.close, True) in pieces else f"{self.marks.close}\n\n"
        return [Piece(opening, True), *pieces]

    def _prompt_ids(self, pieces: list[Piece]) -> list[int]:
        return self.encoder.begun(self.encoder.ids(pieces))

    def _spelled(self, text: str) -> list[tuple[str, int]]:
        return self.encoder.ends_of_spelled(text)

    def _ending(self) -> str:
        """What ends an answer: what the chat template writes behind one, EOS where it writes nothing or there is none."""
        if self.source:
            after = chat.after_answer(self.source, [("user", ["q"])])
            stops = [name for name, number in self.encoder.control.items() if number in self.known]
            if end := chat.turn_end(after, self._spelled, stops):
                return end
            self.notes.append("the chat template writes nothing behind an answer; it ends with EOS")
        if self.tokenizer.eos_token is None:
            raise UserError(
                "the model's tokenizer has no EOS token, so no completion would end; name eos_token in its "
                "tokenizer_config.json"
            )
        return str(self.tokenizer.eos_token)

    def _tell(self, prompt: Params) -> None:
        """What of the config or the model is not as one would think."""
        if any(self._thinks(form.after) for form in self.forms.values()):
            self.notes.append(
                "prompts end inside the think marks; an answer that SFT learns without a thought closes them first"
            )
        if self.source is None:
            return
        name = self._spelled(self.ending)[-1][0]
        if self.encoder.control[name] not in self.known:
            self.notes.append(
                f"generation_config.json does not end at {name!r}, the chat template's end of a turn; we do"
            )
        wants_system = prompt["system"] or (prompt["style_in"] == "system" and len(self.forms) > 1)
        if wants_system and not chat.writes_system(self.source):
            self.notes.append("the chat template has no system message; its text stands before the question")
        if self.source.dates:
            self.notes.append(f"the chat template's date is {chat.DATE:%d %b %Y} on every day")
        if self.encoder.adds_bos and not text_of(self.forms[PLAIN].before).startswith(self.tokenizer.bos_token):
            self.notes.append("the chat template writes no BOS; the tokenizer adds one, and so do we")


def prompts_of(folder: Path, params: Params, trust: dict[str, bool]) -> Prompts:
    """The prompts of the model in a folder; prints what is not as one would think. `trust`: `trusted` of the config."""
    from transformers import AutoTokenizer

    prompts = Prompts(params, AutoTokenizer.from_pretrained(folder, **trust), folder)
    for note in prompts.notes:
        log.info(f"Prompts: {note}")
    return prompts


def text_forms(params: Params, folder: Path | None, trust: dict[str, bool]) -> dict[str, Form]:
    """The forms for prompts as text, as `Prompts.ask` gives it; `folder` is the model, which only the chat format needs."""
    return (
        prompts_of(folder, params, trust).forms
        if params["prompt"]["format"] == "chat" and folder
        else forms_of(params, None)
    )


def end_ids(tokenizer: Any, folder: Path) -> tuple[int, ...]:
    """The ids that generation ends at by the model's own word: generation_config.json's, else config.json's, and EOS."""
    found: list[int | None] = [tokenizer.eos_token_id]
    for name in ("generation_config.json", "config.json"):
        if (folder / name).is_file():
            config = json.loads((folder / name).read_text(encoding="utf-8"))
            own = config.get("eos_token_id", (config.get("text_config") or {}).get("eos_token_id"))
            found += own if isinstance(own, list) else [own]
            break
    return tuple(sorted({number for number in found if isinstance(number, int)}))
