"""Prompts of both formats: the ids of apply_chat_template in every use, text from data that is never control, what ends an
answer, thoughts, and chat templates that cannot serve."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from families import FAMILIES, LLAMA, byte_level, sentencepiece, shipped
from tokenizers import AddedToken

from regime_w.runtime.errors import UserError
from regime_w.tasks.encoding import Encoder, Piece
from regime_w.tasks.prompts import Prompts
from scripts import evaluate, generate, train_dpo, train_sft

CHAT = {"format": "chat", "system": None, "style_in": "user", "template_kwargs": {}, "think_marks": "auto"}
TEMPLATE = {"format": "template", "template": "Question: {question}\nAnswer:\n", "think_marks": "auto"}
STYLES = {"wolfram": "Be exact.", "maudlin": "Think; name what is fragile:\n- each step"}
QUESTIONS = [
    "What is 3 + 4?",
    "  Tom’s 3 {apples} cost $4,50 each.\n\nHow   much\tare {question} of them? 数学 é́ 🍎  ",
    "1 234\n- a\n- b\n```\n  x = [1, 2]\n```",
]
ANSWER = "Step 1: 3 + 4 = 7.\n\n#### 7"
HOSTILE = [
    "<s>", "</s>", "<pad>", "<unk>", "<|im_start|>system", "<|im_end|>", "<|endoftext|>", "<|eot_id|>", "<|begin_of_text|>",
    "<start_of_turn>model", "<end_of_turn>", "<eos>", "<bos>", "[INST]", "[/INST]", "<|end|>", "<|user|>", "<think>", "</think>",
    "<tool_call>", "<|fim_prefix|>",
]  # fmt: skip


@pytest.fixture(scope="module", params=FAMILIES)
def family(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A family, its tokenizer, and a folder with its generation_config.json."""
    found = FAMILIES[request.param]
    tokenizer = found.build()
    folder = tmp_path_factory.mktemp("model")
    ends = tokenizer.convert_tokens_to_ids(list(found.generation))
    (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": ends}))
    return found, tokenizer, folder


def prompts_of(family: Any, **changes: Any) -> Prompts:
    found, tokenizer, folder = family
    prompt = CHAT | {"template_kwargs": found.variables} | changes
    return Prompts({"prompt": prompt, "styles": STYLES}, tokenizer, folder)


def messages_of(question: str, style: str, system: str | None, style_in: str, folded: bool) -> list[dict[str, str]]:
    """What a user of apply_chat_template would write."""
    instruction = STYLES.get(style)
    first = [text for text in (system, instruction if style_in == "system" else None) if text]
    user = [*([instruction] if instruction and style_in == "user" else []), question.strip()]
    if folded:
        first, user = [], first + user
    found = [{"role": "system", "content": "\n\n".join(first)}] if first else []
    return [*found, {"role": "user", "content": "\n\n".join(user)}]


@pytest.mark.parametrize("style_in", ["user", "system"])
@pytest.mark.parametrize("system", [None, "You solve sums."])
def test_every_use_gives_the_ids_of_apply_chat_template(family: Any, system: str | None, style_in: str) -> None:
    found, tokenizer, _ = family
    prompts = prompts_of(family, system=system, style_in=style_in)
    folded = "System role not supported" in tokenizer.chat_template
    rows = [{"id": f"q{n}", "question": question, "answer": ANSWER} for n, question in enumerate(QUESTIONS)]
    for style in ("wolfram", "plain"):
        common = {"seed": 0, "arms": [{"name": "a", "style": style, "temperature": 1.0}]}
        asked = generate.make_asks(rows, common, 1, prompts)
        settings = {"styles": [style], "k": 1, "temperature": 1.0}
        evaluated = evaluate.make_asks(rows, {"seed": 0, "evaluate": settings}, prompts)[0]
        learnt = train_sft.examples(rows, {"sft": {"styles": [style]}}, prompts)
        for number, row in enumerate(rows):
            messages = messages_of(row["question"], style, system, style_in, folded)
            expected = template_ids(tokenizer, messages, found.variables, True)
            whole = template_ids(
                tokenizer, [*messages, {"role": "assistant", "content": ANSWER}], found.variables, False
            )
            end = tokenizer.convert_tokens_to_ids(found.end)
            whole = whole[: len(whole) - whole[::-1].index(end)]
            assert list(asked[number].prompt_ids) == expected
            assert [list(ask.prompt_ids) for ask in evaluated[2 * number : 2 * number + 2]] == [expected, expected]
            assert learnt[number]["input_ids"] == whole
            assert learnt[number]["labels"] == [-100] * len(expected) + whole[len(expected) :]
            pair = {
                "id": row["id"],
                "question": row["question"],
                "prompt_style": style,
                "chosen": ANSWER,
                "rejected": "8",
            }
            pair |= {"prompt": prompts.ask(row["question"], style).text}
            sampled = {"chosen_ids": [*range(5, 9), end], "rejected_ids": [7, end]}
            ids = train_dpo.tokens_of(prompts, pair | sampled)
            assert ids == {"prompt_ids": expected, **sampled}
            # What another tool wrote has no ids: the answer is what SFT would learn.
            assert train_dpo.tokens_of(prompts, pair)["chosen_ids"] == whole[len(expected) :]
            foreign = {"prompt": messages, "chosen": [{"role": "assistant", "content": ANSWER}]}
            foreign |= {"rejected": [{"role": "assistant", "content": "8"}]}
            assert train_dpo.tokens_of(prompts, foreign)["prompt_ids"] == expected
            assert train_dpo.tokens_of(prompts, foreign)["chosen_ids"] == whole[len(expected) :]


def template_ids(
    tokenizer: Any, messages: list[dict[str, str]], variables: Mapping[str, Any], generation: bool
) -> list[int]:
    out = tokenizer.apply_chat_template(messages, add_generation_prompt=generation, **variables)
    return list(out["input_ids"])


def test_an_answer_ends_as_the_template_ends_a_turn_and_generation_stops_there(family: Any) -> None:
    found, tokenizer, _ = family
    prompts = prompts_of(family)
    assert prompts.ending.strip() == found.end
    known = {tokenizer.convert_tokens_to_ids(token) for token in found.generation} | {tokenizer.eos_token_id}
    end = tokenizer.convert_tokens_to_ids(found.end)
    assert set(prompts.stops) == known | {end}
    assert any("generation_config.json does not end at" in note for note in prompts.notes) == (end not in known)


@pytest.mark.parametrize("format_", ["chat", "template"])
def test_text_from_data_is_never_control(family: Any, format_: str) -> None:
    found, tokenizer, folder = family
    changes = TEMPLATE if format_ == "template" else {"template_kwargs": found.variables}
    prompts = Prompts({"prompt": CHAT | changes, "styles": STYLES}, tokenizer, folder)
    calm = prompts.ask("What is 3 ?", "wolfram").ids
    wanted = [number for number in calm if number in prompts.encoder.control.values()]
    for text in [*HOSTILE, " ".join(HOSTILE), "".join(HOSTILE)]:
        ids = prompts.ask(f"What is {text} ?", "wolfram").ids
        assert [number for number in ids if number in prompts.encoder.control.values()] == wanted
        assert tokenizer.decode(ids).count(text) == 1 + tokenizer.decode(calm).count(text)
        prompt_ids, answer = prompts.example("What is 3 ?", "wolfram", f"It is {text} .")
        assert tuple(prompt_ids) == calm
        inside = [number for number in answer if number in prompts.encoder.control.values()]
        thoughts = sum(text.count(mark) for mark in prompts.marks) if prompts.marks else 0
        calm_answer = prompts.example("What is 3 ?", "wolfram", "It is 3 .")[1]
        assert len(inside) == thoughts + sum(number in prompts.encoder.control.values() for number in calm_answer)
        assert answer[-1] == calm_answer[-1]
        assert set(answer[:-1]).isdisjoint(prompts.stops)
        assert text in tokenizer.decode(answer)


def test_text_that_together_with_the_template_spells_a_token_is_text(tmp_path: Path) -> None:
    tokenizer = sentencepiece("", ["<unk>", "<s>", "</s>"], bos_token="<s>", eos_token="</s>")
    prompts = Prompts({"prompt": TEMPLATE | {"template": "<{question}>"}, "styles": {}}, tokenizer, tmp_path)
    ids = prompts.ask("/s", "plain").ids
    assert ids[0] == tokenizer.bos_token_id
    assert tokenizer.eos_token_id not in ids
    assert tokenizer.decode(ids[1:]).strip() == "</s>"


def test_what_merges_to_the_spelling_of_a_control_token_is_text() -> None:
    """A vocabulary in which plain pieces merge to `</s>`: the tokenizer itself makes EOS of it, split or not."""
    from tokenizers import Tokenizer, models
    from transformers import PreTrainedTokenizerFast

    pieces = ["<unk>", "</s>", "<", "/", "s", ">", "</", "s>", "a"]
    model = models.BPE(
        vocab={piece: number for number, piece in enumerate(pieces)}, merges=[("<", "/"), ("s", ">"), ("</", "s>")]
    )
    backend = Tokenizer(model)
    backend.add_special_tokens([AddedToken("</s>", special=True, normalized=False)])
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="</s>")
    assert tokenizer("a</s>", split_special_tokens=True)["input_ids"] == [8, 1]
    encoder = Encoder(tokenizer, [1])
    assert encoder.ids([Piece("a</s>", False), Piece("</s>", True)]) == [8, 6, 7, 1]


def test_a_tokenizer_without_a_rust_half_keeps_text_apart_too(tmp_path: Path) -> None:
    from transformers import PreTrainedTokenizer

    class Letters(PreTrainedTokenizer):
        """A letter a token, in Python."""

        vocab_size = 300

        def get_vocab(self) -> dict[str, int]:
            return {chr(number): number for number in range(300)} | self.added_tokens_encoder

        def _tokenize(self, text: str, **_: Any) -> list[str]:
            return list(text)

        def _convert_token_to_id(self, token: str) -> int:
            return ord(token) if len(token) == 1 and ord(token) < 300 else 0

        def _convert_id_to_token(self, index: int) -> str:
            return chr(index)

    tokenizer = Letters(eos_token="</s>", bos_token="<s>")
    prompts = Prompts({"prompt": TEMPLATE, "styles": {}}, tokenizer, tmp_path)
    text = "Is <s> or </s> 5?"
    assert list(prompts.ask(text, "plain").ids) == [ord(letter) for letter in f"Question: {text}\nAnswer:\n"]
    assert prompts.example(text, "plain", "a</s>")[1] == [*map(ord, "a</s>"), tokenizer.eos_token_id]


def test_one_bos_whatever_template_and_tokenizer_write(tmp_path: Path) -> None:
    chatml = FAMILIES["qwen2.5"].build().chat_template
    for template, adds in ((shipped("llama3"), True), (shipped("llama3"), False), (chatml, True), (chatml, False)):
        tokenizer = byte_level(
            template, [*LLAMA, "<|im_start|>", "<|im_end|>"], bos=LLAMA[0], adds_bos=adds, eos_token="<|eot_id|>"
        )
        prompts = Prompts({"prompt": CHAT, "styles": {}}, tokenizer, tmp_path)
        wanted = int(adds or template != chatml)
        ids = prompts.ask("1 + 1?", "plain").ids
        assert ids.count(tokenizer.bos_token_id) == wanted
        assert ids[:1].count(tokenizer.bos_token_id) == wanted
        assert any("writes no BOS" in note for note in prompts.notes) == (adds and template == chatml)
        text = prompts.ask("1 + 1?", "plain").text
        assert tokenizer(text)["input_ids"] == list(ids)  # other trainers read the text alone
        doubled = TEMPLATE | {"template": "<|begin_of_text|>{question}"}
        if adds:
            with pytest.raises(UserError, match=r"prompt\.template holds '<\|begin_of_text\|>'"):
                Prompts({"prompt": doubled, "styles": {}}, tokenizer, tmp_path)
        else:
            own = Prompts({"prompt": doubled, "styles": {}}, tokenizer, tmp_path)
            assert own.ask("1?", "plain").ids.count(tokenizer.bos_token_id) == 1


def test_a_template_without_a_system_role_has_its_text_before_the_question(tmp_path: Path) -> None:
    tokenizer = FAMILIES["gemma"].build()
    params = {"prompt": CHAT | {"system": "Solve it.", "style_in": "system"}, "styles": STYLES}
    prompts = Prompts(params, tokenizer, tmp_path)
    assert prompts.ask("1?", "wolfram").text == (
        "<start_of_turn>user\nSolve it.\n\nBe exact.\n\n1?<end_of_turn>\n<start_of_turn>model\n"
    )
    assert any("no system message" in note for note in prompts.notes)


def test_a_template_that_takes_messages_in_parts(tmp_path: Path) -> None:
    special = ["<|im_start|>", "<end_of_utterance>", "<image>"]
    tokenizer = byte_level(shipped("smolvlm"), special, bos="<|im_start|>", eos_token="<end_of_utterance>")
    prompts = Prompts({"prompt": CHAT, "styles": STYLES}, tokenizer, tmp_path)
    parts = [{"role": "user", "content": [{"type": "text", "text": "Be exact.\n\n1 <image>?"}]}]
    text = tokenizer.apply_chat_template(parts, add_generation_prompt=True, tokenize=False)
    assert prompts.ask("1 <image>?", "wolfram").text == text
    assert tokenizer.convert_tokens_to_ids("<image>") not in prompts.ask("1 <image>?", "wolfram").ids
    assert prompts.ending == "<end_of_utterance>"


def test_a_conversation_that_ends_otherwise_than_a_turn_does(tmp_path: Path) -> None:
    """gpt-oss ends a turn with <|end|> and a conversation with <|return|>; Phi-3 writes <|endoftext|> behind the last <|end|>;
    GLM writes nothing, the next turn's <|user|> is the end."""
    special = ["<|start|>", "<|end|>", "<|return|>", "<|message|>", "<|channel|>", "<|endoftext|>"]
    oss = byte_level(shipped("gptoss"), special, eos_token="<|return|>")
    assert Prompts({"prompt": CHAT, "styles": {}}, oss, tmp_path).ending == "<|return|>"
    special = ["[gMASK]", "<sop>", "<|user|>", "<|assistant|>", "<|system|>", "<|endoftext|>", "<think>", "</think>"]
    glm = byte_level(shipped("glm4moe"), special, eos_token="<|endoftext|>")
    prompts = Prompts({"prompt": CHAT, "styles": {}}, glm, tmp_path)
    assert prompts.ending == "<|endoftext|>"
    assert any("nothing behind an answer" in note for note in prompts.notes)
    (tmp_path / "generation_config.json").write_text(
        json.dumps({"eos_token_id": glm.convert_tokens_to_ids(["<|endoftext|>", "<|user|>"])})
    )
    prompts = Prompts({"prompt": CHAT, "styles": {}}, glm, tmp_path)
    assert prompts.ending.strip() == "<|user|>"


def test_the_date_in_a_template_is_the_same_on_every_day(tmp_path: Path) -> None:
    tokenizer = FAMILIES["llama3.2"].build()
    prompts = Prompts({"prompt": CHAT, "styles": {}}, tokenizer, tmp_path)
    assert "Today Date: 26 Jul 2024" in prompts.ask("1?", "plain").text
    assert any("on every day" in note for note in prompts.notes)
    own = CHAT | {"template_kwargs": {"date_string": "1 Jan 2020"}}
    prompts = Prompts({"prompt": own, "styles": {}}, tokenizer, tmp_path)
    assert "Today Date: 1 Jan 2020" in prompts.ask("1?", "plain").text
    assert not any("on every day" in note for note in prompts.notes)


THOUGHT = "<think>\n3 and 4 ... 7\n</think>\n\n#### 7"


def test_a_thought_is_counted_and_an_answer_with_one_is_learnt_as_it_is(tmp_path: Path) -> None:
    tokenizer = FAMILIES["qwen3"].build()
    prompts = Prompts({"prompt": CHAT, "styles": {}}, tokenizer, tmp_path)
    _, ids = prompts.example("3 + 4?", "plain", THOUGHT)
    names = tokenizer.convert_ids_to_tokens(ids)
    assert names[0] == "<think>"
    assert names.count("<think>") == names.count("</think>") == 1
    thinking = prompts.thinking("plain", ids, THOUGHT)
    assert thinking == (names.index("</think>") + 1, THOUGHT.index("\n\n####"))
    assert prompts.thinking("plain", ids[:5], "<think>\n3 and") == (5, len("<think>\n3 and"))
    assert prompts.thinking("plain", ids, "It is 7. </think>") == (0, 0)


def test_a_prompt_that_ends_inside_the_marks(tmp_path: Path) -> None:
    special = ["<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>", "<｜User｜>", "<｜Assistant｜>"]
    tokenizer = byte_level(
        shipped("deepseek_r1_distill"),
        special,
        ["<think>", "</think>"],
        bos=special[0],
        adds_bos=True,
        eos_token=special[1],
    )
    prompts = Prompts({"prompt": CHAT, "styles": {}}, tokenizer, tmp_path)
    assert prompts.ask("3 + 4?", "plain").text.endswith("<think>\n")
    assert prompts.thinking("plain", [1, 2, 3], "3 and 4</think>\n7")[1] == len("3 and 4</think>")
    assert prompts.thinking("plain", [1, 2, 3], "3 and") == (3, 5)
    _, plain = prompts.example("3 + 4?", "plain", "#### 7")
    assert tokenizer.decode(plain) == "</think>\n\n#### 7<｜end▁of▁sentence｜>"
    _, thought = prompts.example("3 + 4?", "plain", THOUGHT)
    assert tokenizer.decode(thought) == THOUGHT.removeprefix("<think>\n") + "<｜end▁of▁sentence｜>"


def test_marks_of_several_tokens_are_counted_too(tmp_path: Path) -> None:
    tokenizer = FAMILIES["qwen2.5"].build()
    own = TEMPLATE | {"think_marks": ["<reason>", "</reason>"]}
    prompts = Prompts({"prompt": own, "styles": {}}, tokenizer, tmp_path)
    text = "<reason>3 and 4 is 7</reason> #### 7"
    ids = tokenizer(text)["input_ids"]
    tokens, end = prompts.thinking("plain", ids, text)
    assert text[:end] == "<reason>3 and 4 is 7</reason>"
    assert tokenizer.decode(ids[: tokens - 1]) != text[:end]
    assert tokenizer.decode(ids[:tokens]).startswith(text[:end])
    none = Prompts({"prompt": own | {"think_marks": None}, "styles": {}}, tokenizer, tmp_path)
    assert none.thinking("plain", ids, text) == (0, 0)


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("{{ raise_exception('not today') }}", "fails: not today"),
        ("{% for message in messages %}{{ message.content.no.such }}{% endfor %}", "fails: "),
        ("{% for message in messages %}{{ message.content }}", "fails: "),
        ("hello", "not at all"),
        ("{% for m in messages %}{{ m.content + m.content }}{% endfor %}", "twice"),
    ],
)
def test_a_chat_template_that_cannot_serve(tmp_path: Path, template: str, message: str) -> None:
    tokenizer = byte_level(template, ["</s>"], eos_token="</s>")
    with pytest.raises(UserError, match=message) as error:
        Prompts({"prompt": CHAT, "styles": {}}, tokenizer, tmp_path)
    assert "prompt.format: template" in str(error.value)


def test_no_chat_template_no_end_and_an_unknown_variable(tmp_path: Path) -> None:
    bare = byte_level("", ["</s>"], eos_token="</s>")
    bare.chat_template = None
    with pytest.raises(UserError, match="has no chat template"):
        Prompts({"prompt": CHAT, "styles": {}}, bare, tmp_path)
    with pytest.raises(UserError, match="has no EOS token"):
        Prompts({"prompt": TEMPLATE, "styles": {}}, byte_level("", ["</s>"]), tmp_path)
    typo = CHAT | {"template_kwargs": {"enable_thinkin": False}}
    with pytest.raises(UserError, match="knows no 'enable_thinkin'"):
        Prompts({"prompt": typo, "styles": {}}, FAMILIES["qwen3"].build(), tmp_path)
    with pytest.raises(UserError, match="style 'exact' is not under styles"):
        Prompts({"prompt": TEMPLATE, "styles": STYLES}, FAMILIES["qwen3"].build(), tmp_path).ask("1?", "exact")


def test_pairs_of_another_tool_as_text_end_once_and_have_one_bos(tmp_path: Path) -> None:
    tokenizer = FAMILIES["mistral v3"].build()
    prompts = Prompts({"prompt": CHAT, "styles": {}}, tokenizer, tmp_path)
    for prompt in ("<s>[INST] 3 + 4?[/INST]", "[INST] 3 + 4?[/INST]"):
        for answer in (" It is 7.", " It is 7.</s>"):
            ids, completion = prompts.foreign(prompt, answer)
            assert tokenizer.convert_ids_to_tokens(ids)[:2] == ["<s>", "[INST]"]
            assert completion.count(tokenizer.eos_token_id) == 1
            assert completion[-1] == tokenizer.eos_token_id
    with pytest.raises(UserError, match="texts, or all of them lists"):
        prompts.foreign("a", [{"role": "assistant", "content": "b"}])
    turn = [{"role": "user", "content": "a"}]
    with pytest.raises(UserError, match="one message of the assistant"):
        prompts.foreign(turn, [{"role": "assistant", "content": "b"}, *turn])
    plain = Prompts({"prompt": TEMPLATE, "styles": {}}, tokenizer, tmp_path)
    with pytest.raises(UserError, match=r"set prompt\.format: chat"):
        plain.foreign([{"role": "user", "content": "a"}], [{"role": "assistant", "content": "b"}])


def test_pairs_of_another_prompt_are_refused(tmp_path: Path) -> None:
    prompts = Prompts({"prompt": TEMPLATE, "styles": STYLES}, FAMILIES["qwen2.5"].build(), tmp_path)
    pair = {"id": "q1", "question": "1?", "prompt_style": "wolfram", "prompt": "Be vague.\n\nQuestion: 1?\nAnswer:\n"}
    with pytest.raises(UserError, match="q1: its prompt was made by another"):
        train_dpo.tokens_of(prompts, pair | {"chosen": "1", "rejected": "2", "chosen_ids": [1], "rejected_ids": [2]})
