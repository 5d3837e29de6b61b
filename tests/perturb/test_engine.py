from contextlib import nullcontext
from functools import partial

import pytest
import torch
from transformers import (
    AlbertConfig,
    AutoModelForSequenceClassification,
    CamembertConfig,
    DebertaV2Config,
    MPNetConfig,
    XLMRobertaConfig,
)

from bertx.errors import InputError
from bertx.models.inputs import Inputs
from bertx.perturb import Perturber
from bertx.perturb.engine import check_precision
from bertx.perturb.packing import close_up, distinct_rows
from tests.oracles.perturbation import perturbed, units_of
from tests.tiny import ARCHITECTURES, tiny_batch, tiny_model

TEXTS = ["unbelievable", "the film was really great!", "a book of unbelievable acting , but dull"]
OPERATORS = ("remove", "mask", "pad", "attention", "zero")
MASK, PAD, CLS, SEP = 4, 0, 2, 3


def engine(model, operator="mask", **settings):
    return Perturber(model, operator, mask_token_id=MASK, pad_token_id=PAD, **settings)


def random_kept(inputs, versions=6, seed=1):
    shape = (len(inputs), versions, int(inputs.unit_counts.max()))
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed)) < 0.5


def forwarded(model, work):
    """Keyword arguments of each forward pass during ``work``."""
    calls = []
    handle = model.register_forward_pre_hook(
        lambda _m, _args, named: calls.append(named), with_kwargs=True
    )
    try:
        work()
    finally:
        handle.remove()
    return calls


def sequences(calls):
    """The rows that were forwarded, without padding."""
    return [
        tuple(ids[mask.bool()].tolist())
        for call in calls
        for ids, mask in zip(call["input_ids"], call["attention_mask"], strict=True)
    ]


@pytest.fixture
def batch(tokenizer):
    batch = tiny_batch(tokenizer, TEXTS)
    batch["token_type_ids"] = (torch.arange(batch["input_ids"].shape[1]) > 4).long().repeat(3, 1)
    return batch


@pytest.fixture
def inputs(batch):
    return Inputs.from_batch(batch)


@pytest.mark.parametrize("operator", OPERATORS)
@pytest.mark.parametrize(
    ("kind", "unit"), [*((kind, "word") for kind in ARCHITECTURES), ("bert", "token")]
)
def test_a_loop_over_single_sentences_gives_the_same(kind, operator, unit, batch):
    model, inputs = tiny_model(kind), Inputs.from_batch(batch, unit)
    kept = random_kept(inputs)
    probabilities = engine(model, operator)(inputs, kept)
    for b in range(len(inputs)):
        row = {name: values[b] for name, values in batch.items()}
        units, _ = units_of(row, unit)
        for n in range(kept.shape[1]):
            gone = {t for u, tokens in enumerate(units) if not kept[b, n, u] for t in tokens}
            expected = perturbed(model, row, gone, operator, MASK, PAD)
            assert torch.allclose(probabilities[b, n], expected, rtol=0, atol=1e-12)


SIZES = {
    "vocab_size": 60, "hidden_size": 16, "num_hidden_layers": 3, "num_attention_heads": 2,
    "intermediate_size": 24, "max_position_embeddings": 64, "initializer_range": 0.3,
    "num_labels": 3, "pad_token_id": 0, "type_vocab_size": 2,
}  # fmt: skip
OTHERS = {
    "albert": lambda: AlbertConfig(**SIZES, embedding_size=8),
    "camembert": lambda: CamembertConfig(**SIZES),
    "xlm-roberta": lambda: XLMRobertaConfig(**SIZES),
    "deberta-v2": lambda: DebertaV2Config(**SIZES, relative_attention=True, pos_att_type=["p2c"]),
    "mpnet": lambda: MPNetConfig(**SIZES),
}


@pytest.mark.parametrize("kind", OTHERS)
def test_hiding_from_attention_is_exact_also_with_relative_positions(kind, inputs):
    model = AutoModelForSequenceClassification.from_config(OTHERS[kind]()).double().eval()
    kept = random_kept(inputs)
    probabilities = engine(model, "attention")(inputs, kept)
    for n in range(kept.shape[1]):
        stays = kept[:, n].gather(1, inputs.units.clamp(min=0)) | (inputs.units < 0)
        mask = inputs.attention_mask * stays
        with torch.no_grad():
            expected = model(input_ids=inputs.input_ids, attention_mask=mask, **(
                {} if kind == "mpnet" else {"token_type_ids": inputs.token_type_ids}
            )).logits.softmax(-1)  # fmt: skip
        assert torch.allclose(probabilities[:, n], expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("dtype, atol", [(torch.float64, 1e-12), (torch.float32, 1e-5)])
@pytest.mark.parametrize("operator", OPERATORS)
def test_company_padding_and_order_do_not_matter(operator, dtype, atol, inputs):
    run = engine(tiny_model(dtype=dtype), operator)
    kept, order = random_kept(inputs), torch.tensor([2, 0, 1])
    together = run(inputs, kept)
    assert together.dtype == dtype
    shuffled = run(inputs.rows(order), kept[order])
    assert torch.allclose(shuffled, together[order], rtol=0, atol=atol)
    for b in range(len(inputs)):
        alone = run(inputs.rows(slice(b, b + 1)), kept[b : b + 1])
        assert torch.allclose(alone[0], together[b], rtol=0, atol=atol)


def test_left_padding_is_left_out(bert, inputs):
    def shifted(field, fill):
        return torch.nn.functional.pad(field, (3, 0), value=fill)

    left = Inputs(
        shifted(inputs.input_ids, PAD), shifted(inputs.attention_mask, 0),
        shifted(inputs.units, -1), shifted(inputs.token_type_ids, 0),
    )  # fmt: skip
    kept = random_kept(inputs)
    for operator in OPERATORS:
        run = engine(bert, operator)
        assert torch.equal(run(left, kept), run(inputs, kept))


def test_only_the_chosen_positions_change(bert, tokenizer):
    inputs = Inputs.from_batch(tiny_batch(tokenizer, ["the unbelievable plot"]), "token")
    ids = tokenizer.convert_tokens_to_ids(["the", "un", "##believ", "##able", "plot"])
    kept = torch.tensor([[[True, False, True, True, True]]])  # without "un"
    calls = forwarded(bert, lambda: engine(bert)(inputs, kept))
    assert sequences(calls) == [(CLS, ids[0], MASK, *ids[2:], SEP)]
    calls = forwarded(bert, lambda: engine(bert, "remove")(inputs, kept))
    assert sequences(calls) == [(CLS, ids[0], *ids[2:], SEP)]


def test_special_tokens_always_stay(bert, inputs):
    nothing = torch.zeros(3, 1, int(inputs.unit_counts.max()), dtype=torch.bool)
    calls = forwarded(bert, lambda: engine(bert, "remove")(inputs, nothing))
    assert all(row == (CLS, SEP) for row in sequences(calls))
    calls = forwarded(bert, lambda: engine(bert)(inputs, nothing))
    assert all(row[0] == CLS and row[-1] == SEP for row in sequences(calls))
    assert all(set(row[1:-1]) == {MASK} for row in sequences(calls))


@pytest.mark.parametrize("operator", OPERATORS)
def test_equal_sequences_are_forwarded_once(operator, bert, inputs):
    run, kept = engine(bert, operator), random_kept(inputs, versions=40)
    twice = inputs.rows(torch.tensor([0, 1, 2, 1]))
    kept = torch.cat([kept, kept[1:2].flip(1)])
    calls = forwarded(bert, lambda: run(twice, kept))
    own = [(b, tuple(kept[b, n, :units].tolist()))
           for b, units in enumerate(inputs.unit_counts.tolist()) for n in range(40)]  # fmt: skip
    rows = sum(len(call["input_ids"]) for call in calls)
    assert rows == run.work.distinct <= len(set(own))
    assert run.work.requested == 160
    if operator in ("remove", "mask"):  # what is forwarded says it all
        seen = [
            tuple(map(tuple, (ids[m.bool()].tolist(), types[m.bool()].tolist())))
            for call in calls
            for ids, types, m in zip(
                call["input_ids"], call["token_type_ids"], call["attention_mask"], strict=True
            )
        ]
        assert len(seen) == len(set(seen))
    cells = sum(call["input_ids"].numel() for call in calls)
    tokens = sum(int(call["attention_mask"].sum()) for call in calls)
    assert (run.work.tokens, run.work.padding) == (tokens, cells - tokens)
    assert run.work.batches == len(calls)


def test_fully_zeroed_texts_of_one_length_are_one_sequence(bert, tokenizer):
    inputs = Inputs.from_batch(tiny_batch(tokenizer, ["the film was great", "a book is bad"]))
    run = engine(bert, "zero")
    run(inputs, torch.zeros(2, 3, 4, dtype=torch.bool))
    assert run.work.distinct == 1


def test_the_budget_is_kept_and_changes_nothing(bert, inputs):
    kept = random_kept(inputs, versions=30)
    expected = engine(bert, "remove")(inputs, kept)
    for budget in (1, 8, 25, 100):
        run = engine(bert, "remove", token_budget=budget)
        calls = forwarded(bert, lambda run=run: run(inputs, kept))
        shapes = [call["input_ids"].shape for call in calls]
        assert all(rows == 1 or rows * longest <= budget for rows, longest in shapes)
        assert torch.allclose(run(inputs, kept), expected, rtol=0, atol=1e-12)


def test_the_model_is_left_as_it_was(bert, inputs):
    bert.train()
    bert.bert.encoder.layer[1].eval()  # a flag of its own
    before = [(name, module.training) for name, module in bert.named_modules()]
    kept = random_kept(inputs)
    expected = engine(tiny_model(), "zero")(inputs, kept)
    state = torch.random.get_rng_state()
    assert torch.equal(engine(bert, "zero")(inputs, kept), expected)  # and dropout was off
    assert torch.equal(torch.random.get_rng_state(), state)

    def fail(*_):
        raise RuntimeError("in the middle")

    handle = bert.classifier.register_forward_hook(fail)
    with pytest.raises(RuntimeError, match="in the middle"):
        engine(bert, "zero")(inputs, kept)
    handle.remove()
    assert [(name, module.training) for name, module in bert.named_modules()] == before
    assert not any(module._forward_hooks for module in bert.modules())
    assert all(p.grad is None and not p.is_inference() for p in bert.parameters())


@pytest.mark.parametrize("mode", [torch.inference_mode, torch.no_grad, torch.enable_grad])
def test_any_gradient_mode_gives_ordinary_tensors(mode, bert, batch):
    kept_of = random_kept
    with mode():
        batch = {k: v.clone() if torch.is_tensor(v) else v for k, v in batch.items()}
        inputs = Inputs.from_batch(batch)
        probabilities = engine(bert)(inputs, kept_of(inputs))
    assert not probabilities.is_inference() and not probabilities.requires_grad
    probabilities += 1  # would raise for an inference tensor


def test_autocast_is_kept_and_weights_keep_their_gradients(inputs):
    model, kept = tiny_model(dtype=torch.float32), random_kept(inputs)
    seen = []
    handle = model.bert.encoder.layer[0].output.dense.register_forward_hook(
        lambda _m, _a, output: seen.append(output.dtype)
    )
    with torch.autocast("cpu", torch.bfloat16):
        probabilities = engine(model)(inputs, kept)
        handle.remove()
        model(**inputs.arguments(model)).logits.sum().backward()
    assert set(seen) == {torch.bfloat16}
    assert probabilities.dtype == torch.float32
    assert torch.allclose(probabilities.sum(-1), torch.ones(()), atol=1e-6)
    used = [p for name, p in model.named_parameters() if "dense.weight" in name]
    assert all(p.grad is not None for p in used)


@pytest.mark.parametrize("operator", ["remove", "zero"])
def test_a_compiled_model_runs_as_it_is_without_compiling_every_shape(operator, inputs):
    compiled = []

    def backend(graph, _example):
        compiled.append(graph)
        return graph.forward

    torch.compiler.reset()  # of what tests before have compiled, there is a limit
    kept = random_kept(inputs)
    expected = engine(tiny_model(), operator)(inputs, kept)
    model = tiny_model()
    model.compile(backend=backend)
    with torch.inference_mode():
        model(**inputs.arguments(model))
    before = len(compiled)
    probabilities = engine(model, operator, token_budget=16)(inputs, kept)
    assert torch.allclose(probabilities, expected, rtol=0, atol=1e-12)
    assert 0 < before == len(compiled)


def test_nan_comes_through(bert, inputs):
    bert.classifier.bias.data.fill_(torch.nan)
    assert engine(bert)(inputs, random_kept(inputs)).isnan().all()


def test_rows_with_equal_sums_are_still_told_apart(monkeypatch):
    monkeypatch.setattr(torch, "randint", lambda *args, **_: torch.ones(3, dtype=torch.long))
    rows = torch.tensor([[1, 2, 3], [3, 2, 1], [1, 2, 3]])
    first, which = distinct_rows(rows)
    assert torch.equal(rows[first][which], rows)
    assert len(first) == 2


def test_closing_up():
    tokens, present = torch.tensor([[[5, 6, 7], [1, 2, 3]]]), torch.tensor([[False, True, True]])
    assert close_up(tokens, present, torch.tensor([9, 0])).tolist() == [[[6, 7, 9], [2, 3, 0]]]


def test_what_cannot_work_is_refused(bert):
    with pytest.raises(InputError, match="mask token"):
        Perturber(bert, "mask", mask_token_id=None, pad_token_id=PAD)
    Perturber(bert, "remove", mask_token_id=None, pad_token_id=PAD)
    with pytest.raises(InputError, match="remove, mask, pad, attention, zero"):
        engine(bert, "delete")
    with pytest.raises(InputError, match="token_budget"):
        engine(bert, token_budget=0)


def test_a_compiled_model_predicts_the_same_in_few_shapes(batch, monkeypatch):
    model, inputs = tiny_model(), Inputs.from_batch(batch)
    kept = random_kept(inputs, 9)
    plain = engine(model, "attention")
    expected = plain(inputs, kept)
    torch.compiler.reset()
    quick = partial(torch.compile, backend="aot_eager")  # the kernels are not ours to test
    monkeypatch.setattr(torch, "compile", quick)
    compiled = engine(model, "attention", token_budget=64, compiled=True)
    assert torch.allclose(compiled(inputs, kept), expected, rtol=0, atol=1e-10)
    assert compiled.work.padding > plain.work.padding
    assert compiled.work.tokens == plain.work.tokens
    monkeypatch.setattr(torch, "compile", lambda model, **_: model)
    shaped = engine(model, "attention", token_budget=64, compiled=True)
    calls = forwarded(model, lambda: shaped(inputs, kept))
    calls += forwarded(model, lambda: shaped(inputs.rows(slice(1)), kept[:1, :1]))
    assert len(calls) > 2 and {call["input_ids"].shape for call in calls} == {(4, 16)}


def test_a_hooked_operator_is_not_compiled():
    with pytest.raises(InputError, match="'zero' sets a hook"):
        engine(tiny_model(), "zero", compiled=True)


@pytest.fixture
def calculating(monkeypatch):
    """A processor that calculates in bfloat16; here it may be emulated."""
    monkeypatch.setattr("bertx.perturb.engine._supports_bf16", lambda device: True)


def products(model):
    """The precisions of the outputs of all linear layers."""
    result = set()
    for module in model.modules():
        if isinstance(module, torch.nn.Linear):
            module.register_forward_hook(lambda _m, _args, output: result.add(output.dtype))
    return result


def test_bfloat16_is_close_and_only_for_perturbed_texts(calculating, inputs):
    model = tiny_model(dtype=torch.float32)
    kept = random_kept(inputs)
    expected = engine(model)(inputs, kept)
    result = products(model)
    answers = engine(model, precision="bf16")(inputs, kept)
    assert result == {torch.bfloat16} and answers.dtype == torch.float32
    assert 0 < (answers - expected).abs().max() < 0.02
    assert (answers.sum(-1) - 1).abs().max() < 1e-6
    result.clear()
    assert torch.equal(engine(model)(inputs, kept), expected) and result == {torch.float32}


@pytest.mark.parametrize(("avx512", "amx"), [(False, False), (True, False), (False, True)])
def test_devices_that_calculate_in_bfloat16(monkeypatch, avx512, amx):
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: avx512)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: amx)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: (
        amx or including_emulation))  # fmt: skip
    for device in ("cpu", "cuda", "mps"):
        able = {"cpu": avx512 or amx, "cuda": amx, "mps": False}[device]
        with nullcontext() if able else pytest.raises(InputError, match=f"this {device} does not"):
            check_precision("bf16", torch.device(device))
        check_precision(None, torch.device(device))


def test_bfloat16_that_is_emulated_is_refused(monkeypatch):
    monkeypatch.setattr("bertx.perturb.engine._supports_bf16", lambda device: False)
    with pytest.raises(InputError, match="this cpu does not calculate in bfloat16"):
        engine(tiny_model(), precision="bf16")
    with pytest.raises(InputError, match="precision 'fp8': expected bf16, or null"):
        engine(tiny_model(), precision="fp8")


def test_a_version_without_tokens_is_refused(bert, tokenizer):
    batch = tiny_batch(tokenizer, ["dull"])
    inputs = Inputs.from_batch({**batch, "special_tokens_mask": batch["input_ids"] * 0}, "token")
    kept = torch.zeros(1, 2, int(inputs.unit_counts.max()), dtype=torch.bool)
    with pytest.raises(InputError, match="'remove' leaves no token of a text"):
        Perturber(bert, "remove", mask_token_id=4, pad_token_id=0)(inputs, kept)
