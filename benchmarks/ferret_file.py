"""bertx beside what benchmarks/peer_ferret.py wrote down of ferret-xai."""

import json
from math import isnan

import torch
from bench import Explained, Sentences
from clock import turns
from peer_bins import FerretComprehensiveness, FerretSufficiency

from bertx.metrics import Ranking
from bertx.metrics.tau import LeaveOneOutTau
from bertx.perturb.search import Search


class FerretFile:
    """Times, ids, scores and values of ferret.

    Attributes:
        seconds: Seconds a sentence of each metric, for all methods together.
        forward: Seconds a sentence of a plain batched forward in ferret's process.
        texts: The sentences.
        methods: Names of the methods.
    """

    def __init__(self, path):
        with open(path, encoding="utf-8") as file:
            found = json.load(file)
        self.seconds, self.forward = found["seconds"], found["forward"]
        self.texts, self.methods = found["texts"], found["methods"]
        self.metrics = {
            "comprehensiveness": FerretComprehensiveness(found["thresholds"]),
            "sufficiency": FerretSufficiency(found["thresholds"]),
            "tau": LeaveOneOutTau(),
        }

    def explained(self, bench):
        """ferret's scores of ferret's ids, for each method."""
        inputs = bench.inputs_of_ids([text["ids"] for text in self.texts])
        target = torch.tensor([text["target"] for text in self.texts])
        sentences = Sentences(bench, inputs, target, "remove")
        for number in range(len(self.methods)):
            scores = torch.zeros(inputs.input_ids.shape)
            for row, text in zip(scores, self.texts, strict=True):
                row[: len(text["ids"])] = torch.tensor(text["explanations"][number]["scores"])
            yield Explained(sentences, scores, None)

    def ask(self, bench, repeat):
        """bertx on all methods and metrics at once.

        Returns:
            Seconds a sentence in each round, and a line for each metric about its values.
        """
        explained = list(self.explained(bench))
        work = explained[0].sentences.measure(explained, self.metrics)
        (times,), (values,) = turns([work], repeat)
        lines = [self.agreement(name, explained, own) for name, own in values.items()]
        return [seconds / len(self.texts) for seconds in times], lines

    def agreement(self, name, explained, values):
        """Where ferret forwarded the ids that bertx forwarded: how far values (M, B, J) differ."""
        differences = []
        for number, own in enumerate(explained):
            engine, trace = own.sentences.recorded()
            search = Search(engine, trace.inputs, trace.target)
            kept = self.metrics[name].kept(Ranking(trace, own.scores, search))
            for row, text in enumerate(self.texts):
                theirs = text["explanations"][number]["metrics"][name]
                forwarded = {tuple(ids) for ids in theirs["forwarded"]}
                if forwarded == left(own.sentences.inputs, row, kept[row]):
                    differences.append(abs(theirs["value"] - values[number, row, -1].item()))
        known = [difference for difference in differences if not isnan(difference)]
        found = f"values differ by {max(known):.1e} at most" if known else "no value to compare"
        return f"{name}: same ids in {len(differences)} of {values[..., 0].numel()}; {found}"


def left(inputs, row, kept):
    """The distinct sequences of ids that stay of a text (N, U), without special tokens."""
    ids = inputs.input_ids[row][inputs.units[row] >= 0]
    return {tuple(ids[version[: len(ids)]].tolist()) for version in kept}
