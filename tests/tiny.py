"""Tiny random classifiers (3 layers, 2 heads) and a tiny tokenizer, built without a download."""

import copy
from functools import lru_cache

import torch
from transformers import (
    AlbertConfig,
    AutoModelForSequenceClassification,
    BertConfig,
    BertTokenizer,
    DebertaV2Config,
    DistilBertConfig,
    ElectraConfig,
    ModernBertConfig,
    MPNetConfig,
    RobertaConfig,
    XLMRobertaConfig,
)

WORDS = (
    "the a film movie book food was is not never very really good great bad dull awful superb "
    "but and of in it plot acting un ##believ ##able ##s ##ly . , ! \" ' < > & / script"
).split()
VOCABULARY = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS]

_SHAPE = {
    "vocab_size": len(VOCABULARY),
    "hidden_size": 16,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "intermediate_size": 24,
    "max_position_embeddings": 64,
    "initializer_range": 0.3,
    "pad_token_id": 0,
}
_COMMON = ("vocab_size", "max_position_embeddings", "initializer_range", "pad_token_id")
_CONFIGS = {
    "bert": lambda **kw: BertConfig(**_SHAPE | kw),
    "roberta": lambda **kw: RobertaConfig(**_SHAPE | kw),
    "xlm-roberta": lambda **kw: XLMRobertaConfig(**_SHAPE | kw),
    "electra": lambda **kw: ElectraConfig(embedding_size=8, **_SHAPE | kw),
    "distilbert": lambda **kw: DistilBertConfig(
        dim=16, n_layers=3, n_heads=2, hidden_dim=24,
        **{name: _SHAPE[name] for name in _COMMON} | kw,
    ),
    "albert": lambda **kw: AlbertConfig(embedding_size=8, **_SHAPE | kw),
    "mpnet": lambda **kw: MPNetConfig(**_SHAPE | kw),
    "deberta-v2": lambda **kw: DebertaV2Config(
        relative_attention=True, pos_att_type=["c2p", "p2c"], position_buckets=8,
        share_att_key=True, norm_rel_ebd="layer_norm", position_biased_input=False,
        **_SHAPE | kw,
    ),
    "modernbert": lambda **kw: ModernBertConfig(
        local_attention=8, cls_token_id=2, sep_token_id=3, bos_token_id=2, eos_token_id=3,
        **_SHAPE | kw,
    ),
}  # fmt: skip
ARCHITECTURES = tuple(_CONFIGS)


def tiny_tokenizer():
    return BertTokenizer(vocab={word: i for i, word in enumerate(VOCABULARY)}, do_lower_case=True)


def tiny_model(kind="bert", labels=3, dtype=torch.float64, seed=0, **config):
    """A random model in evaluation mode; biases and norms are random too, so that they matter.

    It is the caller's own, to be changed at will. Random numbers drawn next follow from the seed.
    """
    settings = tuple(sorted((name, repr(value)) for name, value in config.items()))
    model = _made.get(key := (kind, labels, dtype, seed, settings))
    if model is None:
        model = _made[key] = _random_model(kind, labels, seed, config).to(dtype).eval()
    torch.manual_seed(seed)
    return copy.deepcopy(model)


_made = {}
"""Every model that was made so far: a copy takes half of the time."""


@lru_cache
def shared_model(kind="bert", labels=3, dtype=torch.float64, seed=0):
    """A `tiny_model` for all tests that only look at it."""
    return tiny_model(kind, labels, dtype, seed)


def _random_model(kind, labels, seed, config):
    torch.manual_seed(seed)
    model = AutoModelForSequenceClassification.from_config(
        _CONFIGS[kind](num_labels=labels, **config)
    )
    for name, parameter in model.named_parameters():
        if parameter.dim() == 1:
            noise = torch.randn_like(parameter) * 0.2
            parameter.data.copy_(noise + ("norm" in name.lower() and name.endswith("weight")))
    return model


def tiny_batch(tokenizer, texts, labels=None):
    """A padded batch as the collator makes it."""
    encoded = tokenizer(
        texts, padding=True, return_tensors="pt",
        return_special_tokens_mask=True, return_offsets_mapping=True,
    )  # fmt: skip
    words = [[-1 if w is None else w for w in encoded.word_ids(i)] for i in range(len(texts))]
    return {
        "input_ids": encoded["input_ids"],
        "attention_mask": encoded["attention_mask"],
        "token_type_ids": encoded["token_type_ids"],
        "special_tokens_mask": encoded["special_tokens_mask"],
        "word_ids": torch.tensor(words),
        "offsets": encoded["offset_mapping"],
        "labels": torch.tensor(labels if labels is not None else [0] * len(texts)),
        "index": torch.arange(len(texts)),
        "text": list(texts),
    }
