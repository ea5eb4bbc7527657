"""A model's own chat template, which never sees data: it is rendered with stand-ins, and data is put in their places.

    source = source_of(tokenizer, {"enable_thinking": False})
    conversation(source, [("user", ["How many?"])], generation=True)
    # [Piece("<|im_start|>user\\n", True), Piece("How many?", False), Piece("<|im_end|>\\n<|im_start|>assistant\\n", True)]

So text from data cannot turn the template's own decisions, and what a template makes of one question it makes of all.
"""

import re
from collections.abc import Sequence
from datetime import date
from typing import Any, NamedTuple

from regime_w.runtime.errors import UserError
from regime_w.tasks.encoding import Piece

DATE = date(2024, 7, 26)  # what templates that write today's date are given: prompts are the same on every day
STAND_IN = re.compile(r"Standin([0-9]+)nidnatS")
BETWEEN = "\n\n"  # a message's texts


class Source(NamedTuple):
    """A chat template, what it is given beside the messages, and the formats of the dates that it has asked for."""

    template: str
    variables: dict[str, Any]
    dates: list[str]


Message = tuple[str, Sequence[str]]  # role and texts, which stand a blank line apart


def source_of(tokenizer: Any, template_kwargs: dict[str, Any]) -> Source:
    """The tokenizer's chat template; UserError where it has none, or does not know one of the variables."""
    try:
        template = tokenizer.get_chat_template()
    except (ValueError, AttributeError):
        raise UserError(
            "prompt.format is chat, and the model's tokenizer has no chat template; set prompt.format: template, or "
            "save chat_template.jinja in the model's folder"
        ) from None
    for name in template_kwargs:
        if not re.search(rf"\b{re.escape(name)}\b", template):
            raise UserError(f"prompt.template_kwargs: the model's chat template knows no {name!r}; take it out")
    dates: list[str] = []

    def today(form: str) -> str:
        dates.append(form)
        return DATE.strftime(form)

    return Source(template, {**tokenizer.special_tokens_map, "strftime_now": today, **template_kwargs}, dates)


def conversation(source: Source, messages: Sequence[Message], generation: bool) -> list[Piece]:
    """The conversation as the template writes it, with the beginning of an answer where `generation`.

    UserError where the template fails, or does not write each text once and in its order.
    """
    texts = [text for _, own in messages for text in own]
    number = iter(range(len(texts)))
    stand_ins = [(role, [f"Standin{next(number)}nidnatS" for _ in own]) for role, own in messages]
    try:
        rendered = _once(source, stand_ins, generation, as_parts=False)
    except (TemplateFault, Left) as fault:
        try:  # some templates, of vision models chiefly, take a message's parts alone
            rendered = _once(source, stand_ins, generation, as_parts=True)
        except (TemplateFault, Left):
            raise fault from None
    places = list(STAND_IN.finditer(rendered))
    pieces, start = [], 0
    for place, text in zip(places, texts, strict=True):
        pieces += [Piece(rendered[start : place.start()], True), Piece(text, False)]
        start = place.end()
    return [*pieces, Piece(rendered[start:], True)]


def _once(source: Source, messages: Sequence[Message], generation: bool, as_parts: bool) -> str:
    """The conversation, in which each text stands once and in its order."""
    rendered = render(source, messages, generation, as_parts)
    roles = [role for role, own in messages for _ in own]
    found = [int(place[1]) for place in STAND_IN.finditer(rendered)]
    if found != list(range(len(roles))):
        raise Left(roles, found)
    return rendered


class Left(UserError):
    """The template does not write each of the texts once; `roles` of the texts, numbers of those that it wrote."""

    def __init__(self, roles: list[str], found: list[int]) -> None:
        lost = [role for number, role in enumerate(roles) if found.count(number) != 1]
        what = f"the {lost[0]}'s text {'twice' if found else 'not at all'}" if lost else "the texts in another order"
        super().__init__(f"the model's chat template writes {what}; set prompt.format: template")


def render(source: Source, messages: Sequence[Message], generation: bool, as_parts: bool) -> str:
    from transformers.utils.chat_template_utils import render_jinja_template

    contents: list[Any] = [BETWEEN.join(texts) for _, texts in messages]
    if as_parts:
        contents = [[{"type": "text", "text": content}] for content in contents]
    conversations = [
        [{"role": role, "content": content} for (role, _), content in zip(messages, contents, strict=True)]
    ]
    try:
        rendered = render_jinja_template(
            conversations=conversations,
            chat_template=source.template,
            add_generation_prompt=generation,
            **source.variables,
        )[0][0]
    except Exception as error:  # whatever a template raises: its own exceptions, and all that Jinja and Python know
        why = str(error).strip() or type(error).__name__
        raise TemplateFault(f"the model's chat template fails: {why:.200}; set prompt.format: template") from None
    return rendered


class TemplateFault(UserError):
    """A chat template raised."""


def writes_system(source: Source) -> bool:
    """Whether the template takes a system message and writes its text once."""
    try:
        conversation(source, [("system", ["s"]), ("user", ["q"])], generation=True)
    except (TemplateFault, Left):
        return False
    return True


def after_answer(source: Source, question: Sequence[Message]) -> tuple[str, str]:
    """What the template writes after an answer that ends a conversation, and after one that a further question follows.

    Where it does not take a further question, the first twice.
    """
    whole = [*question, ("assistant", ["a"])]
    last = conversation(source, whole, generation=False)[-1].text
    try:
        between = conversation(source, [*whole, ("user", ["q"])], generation=False)[-3].text
    except (TemplateFault, Left):
        between = last
    return last, between


def turn_end(after: tuple[str, str], spelled: Any, stops: Sequence[str]) -> str | None:
    """What ends an answer, from what the template writes behind one; None where that holds no control token.

    Up to the last control token that stands both at a conversation's end and between two turns, or up to the first
    that generation stops at: nothing behind it is ever sampled. `spelled(text)` gives the control tokens and their ends.
    """
    last, between = after
    both = last[: next((at for at, (a, b) in enumerate(zip(last, between, strict=False)) if a != b), len(last))]
    for text, most in ((both, None), (last, 1), (between, 1)):
        tokens = spelled(text)[:most]
        if text is between:
            tokens = [token for token in tokens if token[0] in stops]
        if tokens:
            end = next((end for name, end in tokens if name in stops), tokens[-1][1])
            return text[:end]
    return None
