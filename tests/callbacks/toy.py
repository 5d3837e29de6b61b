"""A project that is not bertx: its own module, its own data, its own plain batches."""

import lightning.pytorch as L
import torch
from lightning.pytorch.loggers import CSVLogger
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader

from tests.tiny import tiny_batch, tiny_model, tiny_tokenizer

TEXTS = [
    "the film was not very good",
    "dull",
    "a superb movie , unbelievable acting !",
    "the plot is awful and the acting was bad",
    "never bad",
    "it was in the book",
    "great food but dull",
    "really awful",
]
DATA = [
    (f"{text} {extra}", i % 3) for extra in ("", "!", "and good") for i, text in enumerate(TEXTS)
]


class ForeignModule(L.LightningModule):
    """Holds a classifier under a name of its own."""

    def __init__(self, kind="bert", compiled=False, tokenizer=True):
        super().__init__()
        net = tiny_model(kind, dtype=torch.float32).train()
        self.net = torch.compile(net, backend="eager") if compiled else net
        if tokenizer:
            self.tokenizer = tiny_tokenizer()

    def loss(self, batch):
        logits = self.net(batch["input_ids"], attention_mask=batch["attention_mask"]).logits
        return cross_entropy(logits, batch["labels"])

    def training_step(self, batch, _):
        return self.loss(batch)

    def validation_step(self, batch, _):
        self.log("val/loss", self.loss(batch), batch_size=len(batch["labels"]))

    def test_step(self, batch, _):
        self.log("test/loss", self.loss(batch), batch_size=len(batch["labels"]))

    def configure_optimizers(self):
        return torch.optim.AdamW(self.parameters(), 1e-3)


class Plain:
    """Collates to what every Hugging Face project has; `extra` names what else to keep."""

    def __init__(self, extra=()):
        self.keep = {"input_ids", "attention_mask", "labels", *extra}
        self.tokenizer = tiny_tokenizer()

    def __call__(self, items):
        texts, labels = zip(*items, strict=True)
        batch = tiny_batch(self.tokenizer, list(texts), list(labels))
        return {k: v for k, v in batch.items() if k in self.keep}


def loader(batch_size=6, data=DATA, extra=(), **kwargs):
    return DataLoader(data, batch_size=batch_size, collate_fn=Plain(extra), **kwargs)


def trainer(folder, callbacks=(), **kwargs):
    return L.Trainer(
        **{
            "accelerator": "cpu",
            "devices": 1,
            "max_epochs": 1,
            "logger": CSVLogger(folder, name="", version=0),
            "enable_progress_bar": False,
            "enable_model_summary": False,
            "enable_checkpointing": False,
            "log_every_n_steps": 1,
            "num_sanity_val_steps": 2,
        }
        | kwargs,
        callbacks=list(callbacks),
    )
