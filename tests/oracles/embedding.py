"""The embedding metrics in slow loops: one sentence, one draw, one plain model call."""

import copy

import torch


def sentence(inputs, text):
    """The arguments of a plain call for one text, without padding."""
    length = int(inputs.attention_mask[text].sum())
    return {
        "input_ids": inputs.input_ids[text : text + 1, :length],
        "attention_mask": inputs.attention_mask[text : text + 1, :length],
    }


def logits_without(model, row, gone):
    """Logits (C,) of one text of which the embedding block's output is 0 at the positions gone."""

    def blank(_module, _args, output):
        output = output.clone()
        for t in gone:
            output[0, t] = 0
        return output

    handle = model.base_model.embeddings.register_forward_hook(blank)
    try:
        with torch.no_grad():
            return model(**row).logits[0]
    finally:
        handle.remove()


def infidelity(model, inputs, scores, target, removed):
    """Unscaled and scaled error of each text, [(float, float)], given the draws (B, S, U)."""
    values = []
    for text in range(len(inputs)):
        row = sentence(inputs, text)
        units = inputs.units[text].tolist()
        whole = float(logits_without(model, row, [])[target[text]])
        said, found = [], []
        for draw in removed[text].tolist():
            gone = [t for t, unit in enumerate(units) if unit >= 0 and draw[unit]]
            said.append(sum(float(scores[text, t]) for t in gone))
            found.append(whole - float(logits_without(model, row, gone)[target[text]]))
        power = sum(a * a for a in said)
        scale = sum(a * b for a, b in zip(said, found, strict=True)) / power if power else 0.0
        errors = [
            sum((factor * a - b) ** 2 for a, b in zip(said, found, strict=True)) / len(said)
            for factor in (1.0, scale)
        ]
        values.append(errors)
    return torch.tensor(values, dtype=torch.float64)


def shifted(model, ids, shifts):
    """Another model, with other word embeddings of the tokens ids (K,)."""
    other = copy.deepcopy(model)
    with torch.no_grad():
        other.get_input_embeddings().weight[ids] += shifts.to(other.dtype)
    return other


def probability(model, row, words, target):
    """p_c of one text whose word embeddings (t, D) are given; the rest as its ids say."""
    handle = model.get_input_embeddings().register_forward_hook(lambda *_: words[None])
    try:
        with torch.no_grad():
            logits = model(**row).logits[0]
    finally:
        handle.remove()
    return float(torch.exp(logits[target]) / torch.exp(logits).sum())


def importances(scores, units, mean):
    """Importance of each position of one text, None at those of no unit."""
    sums = [0.0] * (max(units) + 1)
    for score, unit in zip(scores, units, strict=False):
        if unit >= 0:
            sums[unit] += float(score)
    low, high = min(sums), max(sums)
    scaled = [0.5 if low == high else (s - low) / (high - low) for s in sums]
    tokens = [scaled[u] if u >= 0 else None for u in units]
    if mean is not None:
        known = [a for a in tokens if a is not None]
        now = sum(known) / len(known)
        if now > mean:
            tokens = [a if a is None else a * mean / now for a in tokens]
        else:
            tokens = [a if a is None else 1 - (1 - a) * (1 - mean) / (1 - now) for a in tokens]
    return tokens


def soft(model, row, units, kept, numbers, target):
    """Loss of p_c and its share of the loss without words, means over draws of one text.

    Args:
        kept: The chance of each position's elements to stay; None for always.
        numbers: Uniform numbers (S, t, D) that decide.
    """
    words = model.get_input_embeddings().weight[row["input_ids"][0]].detach()
    empty = words.clone()
    for t, unit in enumerate(units):
        if unit >= 0:
            empty[t] = 0
    whole = probability(model, row, words, target)
    most = whole - probability(model, row, empty, target)
    lost, shares = [], []
    for draw in numbers:
        faded = words.clone()
        for t, chance in enumerate(kept):
            for d in range(words.shape[1]):
                if chance is not None and float(draw[t, d]) >= chance:
                    faded[t, d] = 0
        loss = whole - probability(model, row, faded, target)
        lost.append(max(0.0, loss))
        shares.append(min(max(loss / most, 0.0), 1.0) if most > 0 else float("nan"))
    return sum(lost) / len(lost), sum(shares) / len(shares)
