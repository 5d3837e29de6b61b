"""Run by test_distributed in two processes: ``python -m tests.cli.distributed MODEL DATA``."""

import sys

from bertx.cli import main
from tests.callbacks.attributing import ON_THE_COMMAND_LINE
from tests.runs import arguments

TWO = ["--trainer.devices=2", "--trainer.strategy=ddp"]

if __name__ == "__main__":
    _, model, data = sys.argv
    sys.argv[1:] = []  # LightningCLI warns of arguments that it is not given
    sys.argv += [model, data]
    main(arguments("fit", model, data, *TWO, "--trainer.max_epochs=1"))
    last = "--ckpt_path=lightning_logs/version_0/checkpoints/last.ckpt"
    main(arguments("test", model, data, *TWO, last))
    attributions = ["--attributions.rows_per_shard=5", ON_THE_COMMAND_LINE]
    main(arguments("predict", model, data, *TWO, last, *attributions))
