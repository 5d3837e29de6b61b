"""Judge the judges: how well each faithfulness metric ranks methods where the truth is known.

    bertx fit --config demo.yaml
    python benchmarks/judges.py --model RUN/hf --dataset demo

    bertx fit --config sst2.yaml --data.path DIR/sst2 --data.shortcut.word WORD \\
        --data.shortcut.label negative --data.shortcut.share 0.5
    python benchmarks/judges.py --model RUN/hf --dataset sst2 --path DIR/sst2 --shortcut WORD \\
        --label negative

The truth is the grammar of the demo data, which says what words decide a label, or a planted word
that alone decides it: methods rank by their mean AUPRC of finding these words, or by how often the
word comes first. Each metric, under each operator, ranks them by its own mean. The table says how
far the two rankings agree: Kendall's tau-b and its 95 % interval over examples, drawn again 2,000
times; once for all methods and once for those whose scores have a sign. Only texts count that have
such words and whose class the model gets right, since for others the words are not its reason. Take
a WORD that is one token: a word's score is the sum of its tokens', and where scores have no sign
that of three is likely to be large. Limits of normalized metrics are searched greedily, and
max-sensitivity tries four moves; what else is measured has bertx's defaults.
"""

import argparse

import numpy as np
import torch
from texts import spread
from transformers import AutoModelForSequenceClassification

from bertx.attribution import (
    CPLRP,
    LRP,
    AttentionRollout,
    AttnLRP,
    DecompX,
    GenericAttention,
    GradientSensitivity,
    GradientXInput,
    IntegratedGradients,
    KernelShap,
    LayerwiseAttentionTracing,
    Occlusion,
)
from bertx.data import Shortcut, TextDataModule
from bertx.evaluation import Text, judge
from bertx.metrics import (
    Comprehensiveness,
    DeletionCurve,
    FaithfulnessMetric,
    InsertionCurve,
    PrecisionAtK,
    RationaleAUPRC,
    Sufficiency,
)
from bertx.metrics.aopc import LogOdds
from bertx.metrics.infidelity import Infidelity
from bertx.metrics.normalized import NormalizedComprehensiveness, NormalizedSufficiency
from bertx.metrics.ranking import kendall
from bertx.metrics.sensitivity import MaxSensitivity
from bertx.metrics.soft import SoftComprehensiveness, SoftSufficiency
from bertx.metrics.tau import LeaveOneOutTau
from bertx.models.pretrained import load_tokenizer

TRUTH = "truth"
METHODS = {
    "AttnLRP": AttnLRP(),
    "CPLRP": CPLRP(),
    "DecompX": DecompX(),
    "IntegratedGradients": IntegratedGradients(),
    "KernelShap": KernelShap(samples=100),
    "Occlusion": Occlusion(),
    "GradientXInput": GradientXInput(),
    "GenericAttention": GenericAttention(),
    "GradientSensitivity": GradientSensitivity(),
    "LRP": LRP(),
    "AttentionRollout": AttentionRollout(),
    "LayerwiseAttentionTracing": LayerwiseAttentionTracing(),
}
METRICS = {
    "deletion AUC": DeletionCurve(),
    "insertion AUC": InsertionCurve(),
    "comprehensiveness": Comprehensiveness(),
    "sufficiency": Sufficiency(),
    "log-odds": LogOdds(),
    "normalized comprehensiveness": NormalizedComprehensiveness(beam=1),
    "normalized sufficiency": NormalizedSufficiency(beam=1),
    "leave-one-out τ": LeaveOneOutTau(),
    "infidelity": Infidelity(),
    "max-sensitivity": MaxSensitivity(samples=4),
    "soft comprehensiveness": SoftComprehensiveness(),
    "soft sufficiency": SoftSufficiency(),
}
DRAWS = 2000


def read(options):
    """The texts whose rationale is known, evenly from the split."""
    shortcut = Shortcut(options.shortcut, options.label) if options.shortcut else None
    data = TextDataModule(
        options.model, dataset=options.dataset, path=options.path, shortcut=shortcut
    )
    data.setup({"validation": "validate", "test": "test"}[options.split])
    split = data.dataset_of(options.split)
    texts = [
        Text(text, label, rationale)
        for text, label, rationale in zip(
            split.texts, split.labels, split.rationales or [()] * len(split), strict=True
        )
        if rationale and (shortcut is None or options.label in (str(label), data.labels[label]))
    ]
    return spread(texts, options.limit or len(texts))


def table(verdicts, texts, metric, operator):
    """Values of the texts that the model gets right (M, N), larger being better."""
    names = list(verdicts.signed)
    values = np.full((len(names), len(texts)), np.nan)
    for value in verdicts.values:
        right = value.target == texts[value.example].label
        if right and value.metric == metric and value.operator in (operator, ""):
            sign = 1 if value.higher_is_better else -1
            values[names.index(value.method), value.example] = sign * value.value
    return values


def means(values, counts):
    """Mean of each method (R, M) if example n is there ``counts`` (R, N) times."""
    known = np.isfinite(values)
    with np.errstate(invalid="ignore"):
        return counts @ np.where(known, values, 0).T / (counts @ known.T)


def agreement(values, truth, methods, seed=0):
    """Kendall's tau-b of two rankings of some methods, and the ends of its interval."""
    count = truth.shape[1]
    rng = np.random.default_rng(seed)
    counts = np.vstack([np.ones(count), rng.multinomial(count, np.ones(count) / count, DRAWS)])
    found, true = (torch.tensor(means(own[methods], counts)) for own in (values, truth))
    tau = kendall(found, true, torch.ones_like(true, dtype=torch.bool)).numpy()
    return tau[0], *np.nanquantile(tau[1:], [0.025, 0.975])


def cell(values, truth, methods):
    tau, low, high = agreement(values, truth, methods)
    return f"{tau:.2f} [{low:.2f}, {high:.2f}]"


def print_truth(verdicts, truth, name):
    print(f"\n| method | signed | {name} |\n|---|---|---|")
    rows = zip(np.nanmean(truth, 1), verdicts.signed.items(), strict=True)
    for mean, (method, signed) in sorted(rows, reverse=True):
        print(f"| {method} | {'yes' if signed else ''} | {mean:.3f} |")


def print_judges(verdicts, texts, truth, operators):
    everyone = np.ones(len(verdicts.signed), dtype=bool)
    signed = np.array(list(verdicts.signed.values()))
    print("\n| metric | operator | τ with the truth, all methods | signed methods |")
    print("|---|---|---|---|")
    for name, metric in METRICS.items():
        deletes = type(metric).kept is not FaithfulnessMetric.kept
        for operator in operators if deletes else operators[:1]:
            values = table(verdicts, texts, name, operator)
            taus = [cell(values, truth, methods) for methods in (everyone, signed)]
            print(f"| {name} | {operator if deletes else ''} | {taus[0]} | {taus[1]} |")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--model", required=True, help="a folder with a fine-tuned classifier")
    parser.add_argument("--dataset", help="demo, or what says the columns of --path")
    parser.add_argument("--path", help="a folder of local files")
    parser.add_argument("--shortcut", help="the word that was planted into the training texts")
    parser.add_argument("--label", help="the class that it stands for")
    parser.add_argument("--split", choices=("validation", "test"), default="validation")
    parser.add_argument("--operators", nargs="+", default=["mask", "remove"])
    parser.add_argument("--limit", type=int, help="number of texts")
    options = parser.parse_args()
    texts = read(options)
    model = AutoModelForSequenceClassification.from_pretrained(options.model).eval()
    truth = PrecisionAtK(1) if options.shortcut else RationaleAUPRC()
    verdicts = judge(
        model,
        load_tokenizer(options.model),
        texts,
        METHODS,
        {TRUTH: truth, **METRICS},
        options.operators,
        ceiling_examples=0,
    )
    true = table(verdicts, texts, TRUTH, options.operators[0])
    used = np.isfinite(true).any(0).sum()
    print(f"{len(texts)} texts, {used} of them used")
    if not used:
        raise SystemExit("the model gets no text with a known reason right: nothing to judge by")
    print_truth(verdicts, true, truth.columns[-1])
    print_judges(verdicts, texts, true, options.operators)


if __name__ == "__main__":
    main()
