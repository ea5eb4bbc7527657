"""A byte-level BPE tokenizer trained on given texts, for the models that this pipeline makes itself.

train([" two apples"], pre_tokenizers.ByteLevel(add_prefix_space=False), 600)
"""

from collections.abc import Iterable
from typing import Any

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

BOS, EOS, PAD = "<s>", "</s>", "<pad>"


def train(texts: Iterable[str], splitting: Any, vocab_size: int) -> PreTrainedTokenizerFast:
    """At most `vocab_size` tokens, BOS, EOS and PAD the first; `splitting` is a pre-tokenizer of `tokenizers`.

    A text gets one BOS in front. Padding stands on the left, as generation wants it.
    """
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = splitting
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=[BOS, EOS, PAD],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{BOS} $A", special_tokens=[(BOS, tokenizer.token_to_id(BOS))]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=BOS,
        eos_token=EOS,
        pad_token=PAD,
        padding_side="left",
        clean_up_tokenization_spaces=False,
    )
