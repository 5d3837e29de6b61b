"""The parts of BERT-like classifiers: layers, linear maps, LayerNorms, head and embeddings."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from operator import attrgetter
from typing import Any, Literal
from weakref import ReferenceType, ref

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.activations import ACT2FN

from bertx.errors import InputError
from bertx.models.activations import Elementwise, unseen_activations

_FUSED = (nn.RNNBase, nn.RNNCellBase, nn.MultiheadAttention)
"""Modules that compute activations and their products inside a single function of torch."""


class UnsupportedArchitecture(InputError):
    """A method is not defined for a model.

    Attributes:
        supported: The models that the method supports.
    """

    def __init__(self, method: str, model: nn.Module, supported: str) -> None:
        self.supported = supported
        kind = getattr(getattr(model, "config", None), "model_type", "unknown")
        super().__init__(
            f"{method} does not support {type(model).__name__} (model type {kind!r}); it supports "
            f"{supported}. Remove it from the methods, or use another model."
        )


@dataclass(frozen=True)
class Layer:
    """One encoder layer: attention and feed-forward block, each followed by residual + LayerNorm.

    Attributes:
        query, key, value: Maps of the states to queries, keys and values.
        mix: Map of the attended values, after which the residual is added.
        mix_norm: LayerNorm after attention.
        up, down: Maps of the feed-forward block, before and after the activation.
        down_norm: LayerNorm after the feed-forward block.
        call: Number of the call of its modules, counted from 0; not 0 only if layers share modules.
    """

    query: nn.Linear
    key: nn.Linear
    value: nn.Linear
    mix: nn.Linear
    mix_norm: nn.LayerNorm
    up: nn.Linear
    activation: Elementwise
    down: nn.Linear
    down_norm: nn.LayerNorm
    call: int = 0


@dataclass(frozen=True)
class GatedLayer:
    """One layer of ModernBERT: x + block(LayerNorm(x)) for each block, with a gated feed-forward.

    Attributes:
        attend_norm: LayerNorm before attention; None in the first layer.
        fused: Map to queries, keys and values, each a third of its outputs.
        mix: Map of the attended values.
        up_norm: LayerNorm before the feed-forward block.
        up: Map to the activated and the gating inputs, each half of its outputs.
        down: Map of the gated activations.
    """

    attend_norm: nn.LayerNorm | None
    fused: nn.Linear
    mix: nn.Linear
    up_norm: nn.LayerNorm
    up: nn.Linear
    activation: Elementwise
    down: nn.Linear


@dataclass(frozen=True)
class HeadStep:
    """A linear map of the head, with the activation and LayerNorm after it, if there are any."""

    linear: nn.Linear
    activation: Elementwise | None = None
    norm: nn.LayerNorm | None = None


@dataclass(frozen=True)
class Anatomy:
    """A classifier: an embedding block, L layers, and a head on one vector of the last layer.

    Attributes:
        layers: The encoder layers, from the embeddings upwards.
        head: The steps of the head, up to the logits.
        projection: Map from the embedding block to the width of the layers, if there is one.
        last_norm: LayerNorm after the last layer, if there is one.
    """

    layers: tuple[Layer | GatedLayer, ...]
    head: tuple[HeadStep, ...]
    projection: nn.Linear | None = None
    last_norm: nn.LayerNorm | None = None

    def modules(self) -> list[nn.Module]:
        """Return all linear maps and LayerNorms; shared ones once for each layer."""
        steps = [self, *self.layers, *self.head]
        parts = [part for step in steps for part in vars(step).values()]
        return [part for part in parts if isinstance(part, (nn.Linear, nn.LayerNorm))]


@dataclass(frozen=True)
class Part:
    """A group of weights of a model: its head, a layer or its embeddings.

    Attributes:
        name: ``classifier``, ``layer 1`` for the one above the embeddings (``layers 1, 2`` where
            layers share their weights), or ``embeddings``.
        parameters: The weights.
        layers: Numbers of the layers, from 1; empty for head and embeddings.
    """

    name: str
    parameters: tuple[nn.Parameter, ...]
    layers: tuple[int, ...] = ()


def embedding_block(model: PreTrainedModel, method: str) -> nn.Module:
    """Return the module whose output is the first hidden state (B, T, D).

    It is the block ``embeddings``, or the word embeddings if the model has no such block.

    Raises:
        UnsupportedArchitecture: If the model has neither, or is an encoder-decoder.
    """
    block = getattr(model.base_model, "embeddings", None)
    if isinstance(block, nn.Module):
        return block
    if getattr(model.config, "is_encoder_decoder", False):
        raise UnsupportedArchitecture(method, model, "models that are only an encoder or decoder")
    try:
        return model.get_input_embeddings()
    except (AttributeError, NotImplementedError) as error:
        raise UnsupportedArchitecture(method, model, "models with word embeddings") from error


def check_differentiable(model: PreTrainedModel, method: str) -> None:
    """Refuse models without complete gradients.

    Raises:
        UnsupportedArchitecture: If a layer is one of torch's quantized layers, or a weight was
            created in inference mode.
    """
    quantized = any(".quantized." in type(part).__module__ for part in model.modules())
    if quantized or any(parameter.is_inference() for parameter in model.parameters()):
        supported = "models with gradients: no quantized layers, no weights made in inference mode"
        raise UnsupportedArchitecture(method, model, supported)


def check_activations_seen(model: PreTrainedModel, method: str) -> None:
    """Refuse models with activations that `bertx.models.activations.watching` does not intercept.

    Raises:
        UnsupportedArchitecture: If the model creates an activation anew in every forward, or has a
            module that computes activations and products in a single function.
    """
    if hidden := unseen_activations(model):
        supported = f"models with {' and '.join(hidden)} gelu, relu, silu or tanh"
        raise UnsupportedArchitecture(method, model, supported)
    fused = {type(part).__name__ for part in model.modules() if isinstance(part, _FUSED)}
    if fused:
        named = " and ".join(sorted(fused))
        supported = f"models without torch's {named}, whose activations cannot be intercepted"
        raise UnsupportedArchitecture(method, model, supported)


def readout(model: PreTrainedModel, method: str) -> Literal["first", "mean"]:
    """Return whether the head reads the first token of the last layer or the mean of all tokens.

    Raises:
        UnsupportedArchitecture: If the model type is not one of `ENCODERS`, or the model is not a
            text classifier.
    """
    named = (parent.__name__ for parent in type(model).__mro__)
    if model.config.model_type not in ENCODERS or not any(
        name.endswith("ForSequenceClassification") for name in named
    ):
        supported = f"sequence classifiers of the types {', '.join(ENCODERS)}"
        raise UnsupportedArchitecture(method, model, supported)
    return "mean" if getattr(model.config, "classifier_pooling", "cls") == "mean" else "first"


def anatomy(model: PreTrainedModel, method: str) -> Anatomy:
    """Return the parts of a classifier.

    Args:
        model: A Hugging Face sequence classifier.
        method: The method that needs the parts, for the error.

    Raises:
        UnsupportedArchitecture: If the model type is not one of `ENCODERS`, if it is a decoder, or
            if a part is wrapped, quantized or replaced.
    """
    readout(model, method)
    for setting in ("is_decoder", "add_cross_attention", "chunk_size_feed_forward"):
        if getattr(model.config, setting, False):
            raise UnsupportedArchitecture(method, model, f"encoders without {setting}")
    if getattr(model.config, "conv_kernel_size", 0) > 0:
        raise UnsupportedArchitecture(method, model, "DeBERTa with conv_kernel_size 0")
    supported = (
        "models whose linear maps and LayerNorms, including the head's, are plain ones of "
        "transformers, not wrapped or replaced"
    )
    try:
        parts = ENCODERS[model.config.model_type](model)
    except AttributeError as error:
        raise UnsupportedArchitecture(method, model, supported) from error
    if not all(map(_is_plain, _named_parts(parts))):
        raise UnsupportedArchitecture(method, model, supported)
    return parts


def weight_parts(model: PreTrainedModel, method: str = "Model randomization") -> tuple[Part, ...]:
    """Return all weights of a classifier, from the top down: head, each layer, embeddings.

    The head is everything above the last layer. The embeddings are everything below the first, with
    a map to the width of the layers and tables of relative positions.

    Args:
        model: A Hugging Face sequence classifier.
        method: The method that needs the weights, for the error.

    Raises:
        UnsupportedArchitecture: If the model has no `anatomy`.
    """
    named = anatomy(model, method)
    blocks: dict[nn.Module, list[int]] = {}
    for number, layer in enumerate(named.layers, 1):
        blocks.setdefault(_block(model, layer), []).append(number)
    steps = [part for step in named.head for part in vars(step).values()]
    above = [part for part in (*steps, named.last_norm) if isinstance(part, nn.Module)]
    below = set(model.base_model.parameters())
    head = [weight for part in above for weight in part.parameters()]
    head += [weight for weight in model.parameters() if weight not in below]
    layers = [
        Part(f"layer{'s' * (len(numbers) > 1)} {', '.join(map(str, numbers))}",
             tuple(block.parameters()), tuple(numbers))
        for block, numbers in blocks.items()
    ]  # fmt: skip
    assigned = {*head, *(weight for part in layers for weight in part.parameters)}
    rest = tuple(weight for weight in model.parameters() if weight not in assigned)
    top = Part("classifier", tuple(dict.fromkeys(head)))
    return (top, *reversed(layers), Part("embeddings", rest))


def _block(model: nn.Module, layer: Layer | GatedLayer) -> nn.Module:
    """Return the innermost module that holds all parts of a layer."""
    maps = {part for part in vars(layer).values() if isinstance(part, (nn.Linear, nn.LayerNorm))}
    return [module for module in model.modules() if maps <= set(module.modules())][-1]


def custom_code(model: nn.Module) -> tuple[ReferenceType[Any], ...]:
    """Return the forwards of all modules whose class or forward is not of transformers or torch."""
    forwards = []
    for module in model.modules():
        override = vars(module).get("forward")
        forward = getattr(type(module), "forward", type(module)) if override is None else override
        if override is not None or not all(map(_shipped, (type(module), forward))):
            forwards.append(ref(getattr(forward, "__func__", forward)))
    return tuple(forwards)


def _named_parts(whole: Anatomy) -> list[object]:
    steps = [whole, *whole.layers, *whole.head]
    parts = [part for step in steps for part in vars(step).items()]
    other = ("activation", "call", "layers", "head")
    return [part for name, part in parts if name not in other and part is not None]


def _is_plain(part: object) -> bool:
    plain = (nn.Linear.forward, nn.LayerNorm.forward)
    if not isinstance(part, (nn.Linear, nn.LayerNorm)) or type(part).forward not in plain:
        return False
    return isinstance(part.weight, Tensor) and part.weight.is_floating_point()


def _shipped(code: object) -> bool:
    return str(getattr(code, "__module__", "")).split(".")[0] in ("transformers", "torch")


_LAYER = "query key value mix mix_norm up activation down down_norm".split()
_BERT = (
    "attention.self.query attention.self.key attention.self.value attention.output.dense "
    "attention.output.LayerNorm intermediate.dense intermediate.intermediate_act_fn output.dense "
    "output.LayerNorm"
)
_DEBERTA = (
    _BERT.replace("query", "query_proj").replace("key", "key_proj").replace("value", "value_proj")
)
_MPNET = (
    "attention.attn.q attention.attn.k attention.attn.v attention.attn.o attention.LayerNorm "
    "intermediate.dense intermediate.intermediate_act_fn output.dense output.LayerNorm"
)
_DISTILBERT = (
    "attention.q_lin attention.k_lin attention.v_lin attention.out_lin sa_layer_norm ffn.lin1 "
    "ffn.activation ffn.lin2 output_layer_norm"
)
_ALBERT = (
    "attention.query attention.key attention.value attention.dense attention.LayerNorm ffn "
    "activation ffn_output full_layer_layer_norm"
)


def _layer(block: Any, paths: str, call: int = 0) -> Layer:
    parts = {
        name: attrgetter(path)(block) for name, path in zip(_LAYER, paths.split(), strict=True)
    }
    return Layer(**parts, call=call)


def _layers(blocks: Any, paths: str) -> tuple[Layer, ...]:
    return tuple(_layer(block, paths) for block in blocks)


def _bert(model: Any) -> Anatomy:
    base = model.base_model
    head = (HeadStep(base.pooler.dense, base.pooler.activation), HeadStep(model.classifier))
    return Anatomy(_layers(base.encoder.layer, _BERT), head)


def _roberta(model: Any, paths: str = _BERT) -> Anatomy:
    head = (HeadStep(model.classifier.dense, torch.tanh), HeadStep(model.classifier.out_proj))
    return Anatomy(_layers(model.base_model.encoder.layer, paths), head)


def _electra(model: Any) -> Anatomy:
    base, top = model.base_model, model.classifier
    head = (HeadStep(top.dense, top.activation), HeadStep(top.out_proj))
    projection = getattr(base, "embeddings_project", None)  # only if the widths differ
    return Anatomy(_layers(base.encoder.layer, _BERT), head, projection)


def _deberta(model: Any) -> Anatomy:
    activation = ACT2FN[model.config.pooler_hidden_act]
    head = (HeadStep(model.pooler.dense, activation), HeadStep(model.classifier))
    return Anatomy(_layers(model.base_model.encoder.layer, _DEBERTA), head)


def _distilbert(model: Any) -> Anatomy:
    head = (HeadStep(model.pre_classifier, torch.relu), HeadStep(model.classifier))
    return Anatomy(_layers(model.base_model.transformer.layer, _DISTILBERT), head)


def _albert(model: Any) -> Anatomy:
    base, config = model.base_model, model.config
    depth, groups = config.num_hidden_layers, config.num_hidden_groups
    chosen = [int(i / (depth / groups)) for i in range(depth)]  # as the model rounds it
    layers = [
        _layer(block, _ALBERT, chosen[:i].count(group))
        for i, group in enumerate(chosen)
        for block in base.encoder.albert_layer_groups[group].albert_layers
    ]
    head = (HeadStep(base.pooler, base.pooler_activation), HeadStep(model.classifier))
    return Anatomy(tuple(layers), head, base.encoder.embedding_hidden_mapping_in)


def _modernbert_layer(block: Any) -> GatedLayer:
    before = block.attn_norm
    return GatedLayer(
        attend_norm=None if isinstance(before, nn.Identity) else before,
        fused=block.attn.Wqkv,
        mix=block.attn.Wo,
        up_norm=block.mlp_norm,
        up=block.mlp.Wi,
        activation=block.mlp.act,
        down=block.mlp.Wo,
    )


def _modernbert(model: Any) -> Anatomy:
    base, top = model.base_model, model.head
    head = (HeadStep(top.dense, top.act, top.norm), HeadStep(model.classifier))
    layers = tuple(map(_modernbert_layer, base.layers))
    return Anatomy(layers, head, last_norm=base.final_norm)


ENCODERS: dict[str, Callable[[Any], Anatomy]] = {
    "bert": _bert, "roberta": _roberta, "xlm-roberta": _roberta, "electra": _electra,
    "camembert": _roberta, "data2vec-text": _roberta, "ernie": _bert,
    "distilbert": _distilbert, "albert": _albert, "mpnet": partial(_roberta, paths=_MPNET),
    "deberta-v2": _deberta, "modernbert": _modernbert,
}  # fmt: skip
"""Functions that return the parts of each supported model type."""
