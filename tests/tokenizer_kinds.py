"""A tiny fast tokenizer of every kind, trained on the spot."""

from tokenizers import (
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)
from transformers import PreTrainedTokenizerFast

from tests.tiny import tiny_tokenizer

SPECIAL = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
CORPUS = ["the film was unbelievable and the plot was good", "never a dull film, not bad"] * 4


def _wrap(raw):
    raw.post_processor = processors.Sequence(
        [raw.post_processor] * (raw.post_processor is not None)
        + [processors.TemplateProcessing("<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 2)])]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=raw, bos_token="<s>", eos_token="</s>", pad_token="<pad>",
        unk_token="<unk>", mask_token="<mask>",
    )  # fmt: skip


def byte_level(trim_offsets=True, use_regex=True):
    raw = Tokenizer(models.BPE())
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    raw.decoder = decoders.ByteLevel()
    raw.post_processor = processors.ByteLevel(trim_offsets=trim_offsets)
    trainer = trainers.BpeTrainer(
        vocab_size=300, special_tokens=SPECIAL, show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )  # fmt: skip
    raw.train_from_iterator(CORPUS, trainer)
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=use_regex)
    return _wrap(raw)


def sentence_piece(pre_tokenized=True):
    raw = Tokenizer(models.Unigram())
    if pre_tokenized:
        raw.pre_tokenizer = pre_tokenizers.Metaspace()
    else:
        raw.normalizer = normalizers.Sequence(
            [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
        )
    trainer = trainers.UnigramTrainer(
        vocab_size=60, special_tokens=SPECIAL, unk_token="<unk>", show_progress=False
    )
    learnt = raw.pre_tokenizer
    raw.pre_tokenizer = pre_tokenizers.Metaspace()  # pieces of words also where none are parted
    raw.train_from_iterator(CORPUS, trainer)
    raw.pre_tokenizer = learnt
    return _wrap(raw)


KINDS = {
    "WordPiece": tiny_tokenizer,
    "byte-level": byte_level,
    "byte-level, leading spaces": lambda: byte_level(trim_offsets=False),
    "byte-level, one word": lambda: byte_level(trim_offsets=False, use_regex=False),
    "SentencePiece": sentence_piece,
    "SentencePiece, one word": lambda: sentence_piece(pre_tokenized=False),
}


def one_for_all():
    """As in GPT-2: one token has every role."""
    made = byte_level()
    for role in ("bos", "eos", "unk", "pad", "mask"):
        setattr(made, f"{role}_token", "</s>")
    return made


def unknown_ends():
    """What stands for an unknown word also ends a text."""
    made = tiny_tokenizer()
    made.unk_token = "[SEP]"
    return made


def more_special():
    made = tiny_tokenizer()
    made.add_special_tokens({"extra_special_tokens": ["[USER]"]})
    return made


def whole_words():
    vocabulary = {word: i for i, word in enumerate([*SPECIAL, *sorted({*CORPUS[0].split()})])}
    raw = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    raw.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return _wrap(raw)


def characters():
    vocabulary = {char: i for i, char in enumerate([*SPECIAL, *sorted({*"".join(CORPUS)})])}
    raw = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    raw.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    return _wrap(raw)


def cut_on_the_left():
    made = sentence_piece()
    made.truncation_side = "left"
    return made


EVERY_KIND = KINDS | {
    "one token for all roles": one_for_all,
    "unknown words end a text": unknown_ends,
    "more special tokens": more_special,
    "whole words": whole_words,
    "characters": characters,
    "cut on the left": cut_on_the_left,
}
