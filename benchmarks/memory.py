"""Peak memory (RSS) of a fit with both callbacks against the same fit without them.

Each fit is a process of its own; they alternate, and the largest resident size of each is printed.

    python benchmarks/memory.py [any further arguments of `bertx fit`]
"""

import os
import statistics
import subprocess
import sys
import tempfile

BARE = ["--faithfulness.methods={}", "--heatmaps.methods={}"]
REPEAT = 3
LOGGER = "lightning.pytorch.loggers.CSVLogger"


def peak(arguments):
    """Largest resident size of one run in MiB."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "bertx.cli", "fit", "--config=demo.yaml"]
        logger = f"{{class_path: {LOGGER}, init_args: {{save_dir: {folder}}}}}"
        command += [f"--trainer.logger={logger}", *arguments]
        child = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        _, status, usage = os.wait4(child.pid, 0)
        if status:
            raise SystemExit(f"failed: {' '.join(command)}")
        return usage.ru_maxrss / 1024


def main():
    pairs = []
    for _ in range(REPEAT):
        pairs.append((peak(sys.argv[1:]), peak([*BARE, *sys.argv[1:]])))
        print(f"with {pairs[-1][0]:.0f} MiB, without {pairs[-1][1]:.0f} MiB", flush=True)
    ratios = [a / b for a, b in pairs]
    print(f"ratio: median {statistics.median(ratios):.3f}, largest {max(ratios):.3f}")


if __name__ == "__main__":
    main()
