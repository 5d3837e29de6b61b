"""Where BERT-like architectures keep their parts, read off the modules themselves."""

from dataclasses import dataclass
from typing import Any

from torch import nn
from transformers import PreTrainedModel

from bertx.errors import InputError

ENCODERS = ("bert", "roberta", "xlm-roberta")
"""Model types whose layers `anatomy` can name."""


class UnsupportedArchitecture(InputError):
    """A method was asked to explain a model that it is not defined for."""

    def __init__(self, method: str, model: nn.Module, supported: str) -> None:
        kind = getattr(getattr(model, "config", None), "model_type", "unknown")
        super().__init__(
            f"{method} does not support {type(model).__name__} (model type {kind!r}); it supports "
            f"{supported}. Remove it from the methods, or use another model."
        )


@dataclass(frozen=True)
class Layer:
    """One encoder layer: attention and feed-forward block, each closed by residual + LayerNorm."""

    query: nn.Linear
    key: nn.Linear
    value: nn.Linear
    mix: nn.Linear
    mix_norm: nn.LayerNorm
    up: nn.Linear
    down: nn.Linear
    down_norm: nn.LayerNorm

    def modules(self) -> list[nn.Module]:
        """All parts."""
        return list(vars(self).values())


@dataclass(frozen=True)
class Anatomy:
    """A classifier that is an embedding block, L layers, and linear maps on the first token.

    Attributes:
        layers: The encoder layers, from the embeddings upwards.
        head: The linear maps from the first token's last state to the logits, upwards, with
            tanh between them.
    """

    layers: tuple[Layer, ...]
    head: tuple[nn.Linear, ...]

    def modules(self) -> list[nn.Module]:
        """All parts."""
        return [*self.head, *(part for layer in self.layers for part in layer.modules())]


def classifier_in(module: nn.Module) -> PreTrainedModel | None:
    """The Hugging Face sequence classifier inside a module, without any compiled shell."""
    models = [part for part in module.modules() if isinstance(part, PreTrainedModel)]
    named = [model for model in models if "SequenceClassification" in type(model).__name__]
    return next(iter(named or models), None)


def anatomy(model: PreTrainedModel, method: str) -> Anatomy:
    """Name the parts of a classifier.

    Args:
        model: A Hugging Face sequence classifier.
        method: The method that asks, for the error.

    Raises:
        UnsupportedArchitecture: If the model type is none of `ENCODERS`.
    """
    base: Any = model.base_model
    if model.config.model_type not in ENCODERS or base is model:
        raise UnsupportedArchitecture(method, model, ", ".join(ENCODERS))
    top: Any = model.classifier
    bert = model.config.model_type == "bert"
    head = (base.pooler.dense, top) if bert else (top.dense, top.out_proj)
    return Anatomy(tuple(_layer(block) for block in base.encoder.layer), head)


def embedding_block(model: PreTrainedModel, method: str) -> nn.Module:
    """The module whose output is the first hidden state (B, T, D).

    Raises:
        UnsupportedArchitecture: If the model has no such block.
    """
    block = getattr(model.base_model, "embeddings", None)
    if not isinstance(block, nn.Module):
        raise UnsupportedArchitecture(method, model, "models with an embedding block")
    return block


def _layer(block: Any) -> Layer:
    attention, mix = block.attention.self, block.attention.output
    return Layer(
        query=attention.query,
        key=attention.key,
        value=attention.value,
        mix=mix.dense,
        mix_norm=mix.LayerNorm,
        up=block.intermediate.dense,
        down=block.output.dense,
        down_norm=block.output.LayerNorm,
    )
