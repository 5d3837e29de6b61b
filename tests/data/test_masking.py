"""Masked fine-tuning: which words of which rows of a training batch are [MASK]."""

import pickle
import sys
from collections import Counter

import pytest
import torch
from lightning.pytorch import LightningModule, Trainer
from scipy.stats import chisquare

from bertx.cli import main
from bertx.data import Collator, Masking, TextDataModule, TextDataset
from bertx.errors import InputError
from bertx.training import TextClassifier
from tests.data.conftest import MINILM
from tests.runs import arguments, save_data, save_model

TEXTS = [
    "the unbelievable film was really very good .",
    "good",
    "not [MASK] a dull [SEP] plot",
    "zzz and unbelievable , really awful food ! in the book",
] * 6
NINE = "the film was really very good and not dull"


def batch_of(tokenizer, texts, epoch=0, share=0.5, seed=0):
    data = TextDataset(texts, [0] * len(texts))
    return Masking(Collator(tokenizer), share, seed)([data[i, epoch] for i in range(len(texts))])


def words_of(batch, row):
    """The places of each word's tokens, found in a loop over the tokens."""
    words, before = [], None
    for place, word in enumerate(batch["word_ids"][row].tolist()):
        if batch["special_tokens_mask"][row, place]:
            before = None
            continue
        if word != before:
            words.append([])
        words[-1].append(place)
        before = word
    return words


def masked_words(tokenizer, **settings):
    """How many of the nine words of each of 40 texts are masked."""
    batch = batch_of(tokenizer, [NINE] * 40, **settings)
    return (batch["input_ids"] == tokenizer.mask_token_id).sum(1).tolist()


@pytest.mark.parametrize("seed", range(3))
def test_whole_words_are_masked_and_nothing_else_changes(tokenizer, seed):
    plain = Collator(tokenizer)([TextDataset(TEXTS, [0] * 24)[i] for i in range(24)])
    batch = batch_of(tokenizer, TEXTS, seed=seed)
    assert batch.keys() == plain.keys() and batch["text"] == TEXTS
    for field in batch.keys() - {"input_ids", "text"}:
        assert torch.equal(batch[field], plain[field]), field
    changed = batch["input_ids"] != plain["input_ids"]
    assert (batch["input_ids"][changed] == tokenizer.mask_token_id).all()
    assert not (changed & plain["special_tokens_mask"]).any()
    broken = 0
    for row in range(24):
        for word in words_of(plain, row):
            assert len(set(changed[row, word].tolist())) == 1
            broken += len(word) > 1 and int(changed[row, word[0]])
    assert broken, "no word of several pieces was masked"


def test_the_number_of_masked_words_is_uniform(tokenizer):
    """A rate that is uniform in 0..1 makes every number of n words as likely: 1 / (n + 1)."""
    found = Counter()
    for epoch in range(50):
        found.update(masked_words(tokenizer, epoch=epoch, share=1.0))
    counts = [found[number] for number in range(10)]
    assert sum(counts) == 2000
    assert chisquare(counts).pvalue > 0.001, counts


@pytest.mark.parametrize("size, share", [(8, 0.5), (5, 0.5), (1, 0.5), (6, 0.25), (3, 1.0)])
def test_the_share_of_rows(tokenizer, size, share):
    """A chosen row keeps all of its 50 words once in 51 times, so that many epochs show them."""
    texts = [" ".join(["film"] * 50)] * size
    numbers, rows = Counter(), Counter()
    for epoch in range(300):
        ids = batch_of(tokenizer, texts, epoch, share)["input_ids"]
        masked = (ids == tokenizer.mask_token_id).any(1)
        numbers[int(masked.sum())] += 1
        rows.update(masked.nonzero()[:, 0].tolist())
    floor, ceil = int(size * share), -int(-size * share // 1)
    assert max(numbers) == ceil
    assert sum(n for number, n in numbers.items() if number >= floor) > 200
    expected = 300 * share * 50 / 51
    spread = 4 * (300 * share * (1 - share) + 6) ** 0.5
    assert all(abs(rows[row] - expected) < spread for row in range(size)), rows


def test_draws_depend_on_seed_epoch_and_row_alone(tokenizer):
    first = batch_of(tokenizer, TEXTS, share=1.0)["input_ids"]
    assert torch.equal(first, batch_of(tokenizer, TEXTS, share=1.0)["input_ids"])
    assert not torch.equal(first, batch_of(tokenizer, TEXTS, share=1.0, epoch=1)["input_ids"])
    assert not torch.equal(first, batch_of(tokenizer, TEXTS, share=1.0, seed=1)["input_ids"])
    assert len(set(masked_words(tokenizer, share=1.0))) > 5
    data = TextDataset(TEXTS, [0] * 24)
    torch.manual_seed(7)
    state = torch.get_rng_state()
    alone = Masking(Collator(tokenizer), 1.0)([data[3, 0]])["input_ids"]
    assert torch.equal(alone[0], first[3, : alone.shape[1]])
    assert torch.equal(state, torch.get_rng_state())


def test_a_text_without_a_word_left_is_no_trouble(tokenizer):
    batch = batch_of(tokenizer, ["[SEP] [MASK]", "[CLS]"], share=1.0)
    plain = Collator(tokenizer)([TextDataset(["[SEP] [MASK]", "[CLS]"], [0, 0])[i] for i in (0, 1)])
    assert torch.equal(batch["input_ids"], plain["input_ids"])


def test_byte_level_pieces(roberta):
    batch = batch_of(roberta, ["the film is unbelievable and naïve"] * 20, share=1.0)
    masked = batch["input_ids"] == roberta.mask_token_id
    assert masked.any() and not masked.all(1).any()
    for row in range(20):
        words = words_of(batch, row)
        assert len(words) == 6
        assert all(len(set(masked[row, word].tolist())) == 1 for word in words)


def test_tokenizer_without_a_mask(roberta):
    unmasked = pickle.loads(pickle.dumps(roberta))
    unmasked.mask_token = None
    with pytest.raises(InputError, match=r"expected a mask token.*`masking`"):
        Masking(Collator(unmasked))


@pytest.mark.parametrize("share", [-0.1, 1.5, float("nan")])
def test_share_out_of_range(share):
    with pytest.raises(InputError, match=rf"`masking`: expected .* 0 to 1, .* {share}"):
        TextDataModule(MINILM, dataset="demo", masking=share)


# Through the data module


def demo(**settings):
    data = TextDataModule(MINILM, dataset="demo", train_examples=50, batch_size=8, **settings)
    data.setup("fit")
    return data


def epochs(data, number=2):
    loader = data.train_dataloader()
    for epoch in range(number):
        loader.sampler.set_epoch(epoch)
        yield list(loader)


def test_training_batches_are_those_without_masking_but_for_the_masks(minilm):
    plain, masked = (next(epochs(demo(masking=share))) for share in (0.0, 0.5))
    for ours, theirs in zip(masked, plain, strict=True):
        assert ours["text"] == theirs["text"]
        changed = ours["input_ids"] != theirs["input_ids"]
        assert (ours["input_ids"][changed] == minilm.mask_token_id).all()
        assert changed.any(1).sum() <= len(changed) / 2 and torch.equal(
            ours["rationale"], theirs["rationale"]
        )
    assert any((batch["input_ids"] == minilm.mask_token_id).any() for batch in masked)


def test_the_number_of_workers_changes_nothing():
    alone, together = (list(epochs(demo(masking=0.5, num_workers=n))) for n in (0, 2))
    ids = [[batch["input_ids"] for batch in epoch] for epoch in alone]
    for ours, theirs in zip(ids, together, strict=True):
        for one, other in zip(ours, theirs, strict=True):
            assert torch.equal(one, other["input_ids"])


def test_evaluation_is_not_masked(minilm):
    data = demo(masking=1.0)
    data.setup("test")
    data.setup("predict")
    for loader in (data.val_dataloader(), data.test_dataloader(), data.predict_dataloader()):
        assert not any((batch["input_ids"] == minilm.mask_token_id).any() for batch in loader)


class Witness(LightningModule):
    """Keeps the token ids of every training batch by the row of its text."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))
        self.seen = []

    def training_step(self, batch, _):
        self.seen += zip(batch["index"].tolist(), batch["input_ids"].tolist(), strict=True)
        return self.weight

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 0.1)


@pytest.mark.parametrize("num_workers", [0, 1])
def test_epochs_of_a_trainer_differ(tmp_path, minilm, num_workers):
    trainer = Trainer(
        accelerator="cpu", max_epochs=2, default_root_dir=tmp_path, logger=False,
        limit_val_batches=0, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False,
    )  # fmt: skip
    witness = Witness()
    trainer.fit(witness, demo(masking=1.0, num_workers=num_workers))

    def masks(rows):
        return {row: [i == minilm.mask_token_id for i in ids if i] for row, ids in rows}

    first, second = masks(witness.seen[:50]), masks(witness.seen[50:])
    assert len(first) == len(second) == 50
    assert sum(first[row] != second[row] for row in first) > 40


def test_from_the_command_line(tmp_path, monkeypatch, tokenizer):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["bertx"])
    seen = {"training_step": 0, "validation_step": 0}
    for step in seen:
        real = getattr(TextClassifier, step)

        def noting(self, batch, batch_idx, real=real, step=step):
            seen[step] += int((batch["input_ids"] == tokenizer.mask_token_id).sum())
            return real(self, batch, batch_idx)

        monkeypatch.setattr(TextClassifier, step, noting)
    model, data = save_model(tmp_path / "model"), save_data(tmp_path / "data")
    main(arguments("fit", model, data, "--data.masking=0.5", "--trainer.max_epochs=1"))
    assert seen["training_step"] > 10 and seen["validation_step"] == 0
