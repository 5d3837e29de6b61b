"""Perturbed probabilities and curves in slow loops: one sentence, one step, one plain model call.

Written from the definitions, without the engine: no padding, no merging, no dropped positions.
"""

from itertools import pairwise

import torch


def units_of(row, unit):
    """Tokens of each unit of one sentence, and the sentence's length: ([[position]], int)."""
    length = int(row["attention_mask"].sum())
    units, last = [], None
    for t in range(length):
        if row["special_tokens_mask"][t]:
            last = None
        elif unit == "word" and last == int(row["word_ids"][t]):
            units[-1].append(t)
        else:
            units.append([t])
            last = int(row["word_ids"][t])
    return units, length


def perturbed(model, row, gone, operator, mask_id, pad_id):
    """Class probabilities (C,) of one sentence, its tokens at the positions ``gone`` perturbed."""
    length = int(row["attention_mask"].sum())
    ids = row["input_ids"][:length].tolist()
    types = row["token_type_ids"][:length].tolist()
    attended = [1] * length
    named = {}
    if operator == "remove":
        ids = [i for t, i in enumerate(ids) if t not in gone]
        types = [i for t, i in enumerate(types) if t not in gone]
        attended = [1] * len(ids)
    elif operator == "mask":
        ids = [mask_id if t in gone else i for t, i in enumerate(ids)]
    elif operator == "pad":
        kind = model.config.model_type
        first = {"roberta": pad_id + 1, "xlm-roberta": pad_id + 1, "mpnet": 2}.get(kind, 0)
        named["position_ids"] = torch.arange(first, first + length)[None]
        ids = [pad_id if t in gone else i for t, i in enumerate(ids)]
    elif operator == "attention":
        attended = [0 if t in gone else 1 for t in range(length)]
    if operator == "zero":
        embeddings = model.get_input_embeddings().weight[ids].clone()
        for t in gone:
            embeddings[t] = 0
        named["inputs_embeds"] = embeddings[None]
    else:
        named["input_ids"] = torch.tensor([ids])
    if model.config.model_type != "distilbert":
        named["token_type_ids"] = torch.tensor([types])
    with torch.no_grad():
        logits = model(attention_mask=torch.tensor([attended]), **named).logits[0]
    return torch.exp(logits) / torch.exp(logits).sum()


def curve(model, row, scores, target, points, kind, operator, unit, mask_id, pad_id):
    """One sentence's deletion or insertion curve: K probabilities of the class ``target``."""
    units, _ = units_of(row, unit)
    sums = [sum(float(scores[t]) for t in unit) for unit in units]
    ranking = sorted(range(len(units)), key=lambda u: (-sums[u], u))
    values = []
    for k in range(points):
        fraction = k / (points - 1)
        count = min(max(round(fraction * len(units)), 1 if k else 0), len(units))
        top = ranking[:count]
        chosen = top if kind == "deletion" else [u for u in range(len(units)) if u not in top]
        gone = {t for u in chosen for t in units[u]}
        values.append(float(perturbed(model, row, gone, operator, mask_id, pad_id)[target]))
    return values


def trapezoid(values):
    """Area under equally spaced values on [0, 1]."""
    return sum((a + b) / 2 for a, b in pairwise(values)) / (len(values) - 1)
