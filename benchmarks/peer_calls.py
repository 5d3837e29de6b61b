"""How captum, interpreto, time_interpret and shap are asked what bertx is asked.

Functions take a `bench.Explained`, or its sentences, and give a work whose values have a row each.
Like
bertx's metrics these works start from token ids and scores. time_interpret counts padding in its
top k and returns the mean of a batch, so it gets one sentence and one bin at a time; captum gets
one sentence at a time, with all of its draws in one batch, which needs no padding.
"""

import torch

from bertx.metrics import removal_counts
from bertx.metrics.infidelity import removals
from bertx.metrics.sensitivity import word_noise
from bertx.models.anatomy import embedding_block
from bertx.perturb.embeddings import replaced
from bertx.trace import Trace


def interpreto_curve(explained, name, steps, batch_size):
    """A work that gives the curve and the area of ``Deletion`` or ``Insertion`` (B, steps + 2)."""
    from interpreto.attributions import metrics
    from interpreto.attributions.base import AttributionOutput, ModelTask
    from interpreto.commons import Granularity

    model, tokenizer = explained.sentences.bench.model, explained.sentences.bench.tokenizer
    given = [
        AttributionOutput(
            attributions=scores[inputs.units[0] >= 0][None],
            elements=tokenizer.convert_ids_to_tokens(inputs.input_ids[inputs.units >= 0].tolist()),
            model_inputs_to_explain=tokenizer.pad(
                {"input_ids": inputs.input_ids, "attention_mask": inputs.attention_mask},
                return_tensors="pt",
            ),
            targets=torch.tensor([target]),
            model_task=ModelTask.CLASSIFICATION,
            granularity=Granularity.TOKEN,
        )
        for inputs, scores, target in explained.alone()
    ]
    metric = getattr(metrics, name)(model, tokenizer, batch_size=batch_size, n_perturbations=steps)

    def work():
        _, curves = metric(given)
        rows = torch.full((len(given), steps + 2), torch.nan)
        for row, (curve,) in zip(rows, curves, strict=True):
            row[: len(curve)] = curve.detach()
            row[-1] = torch.trapezoid(row[: len(curve)]) / (len(curve) - 1)
        return rows

    return work


def tint_bins(explained, name, ratios):
    """A work that gives ``comprehensiveness`` or ``sufficiency`` of each bin (B, J).

    It drops the int(T k) tokens of T with the largest scores or, for sufficiency, the
    int(T (1 - k)) with the smallest. [CLS] and [SEP] get scores that are dropped last, and k is
    half a token above bertx's number, so that both drop the same tokens.
    """
    from tint import metrics

    model, written = explained.sentences.bench.model, explained.sentences.inputs.mask_token_id
    drops_largest = name == "comprehensiveness"
    spared = -torch.inf if drops_largest else torch.inf
    asked = []
    for inputs, scores, target in explained.alone():
        tokens = inputs.attention_mask.sum().item()
        tops = removal_counts(inputs.unit_counts, torch.tensor(ratios, dtype=torch.float64))[0]
        dropped = tops if drops_largest else inputs.unit_counts - tops
        shares = ((dropped + 0.5) / tokens).tolist()
        kept = scores.masked_fill(inputs.units[0] < 0, spared)[None]
        asked += [(inputs, kept, target, share if drops_largest else 1 - share) for share in shares]

    def forward(ids):  # adding its noise of 0 has made floats of them
        ids = ids.round().long()
        return model(input_ids=ids, attention_mask=torch.ones_like(ids)).logits

    def work():
        found = [
            getattr(metrics, name)(
                forward, inputs.input_ids, scores, baselines=written, target=target, topk=k
            )
            for inputs, scores, target, k in asked
        ]
        return torch.tensor(found).view(-1, len(ratios))

    return work


def captum_integrated(explained, steps):
    """A work that gives integrated gradients from [MASK] to the word embeddings (B, T)."""
    from captum.attr import LayerIntegratedGradients

    sentences = explained.sentences
    model, written = sentences.bench.model, sentences.inputs.mask_token_id
    method = LayerIntegratedGradients(
        lambda ids, mask: model(input_ids=ids, attention_mask=mask).logits,
        model.get_input_embeddings(),
    )

    def value(inputs, target):
        masked = inputs.input_ids.masked_fill(inputs.units >= 0, written)
        settings = {"target": target, "n_steps": steps, "method": "gausslegendre"}
        mask = inputs.attention_mask
        given = method.attribute(inputs.input_ids, masked, additional_forward_args=mask, **settings)
        return given.sum(-1)[0].detach().masked_fill(inputs.units[0] < 0, torch.nan)

    def work():
        found = torch.full(sentences.inputs.units.shape, torch.nan)
        for row, (inputs, _, target) in zip(found, explained.alone(), strict=True):
            row[: inputs.units.shape[1]] = value(inputs, target)
        return found

    return work


def shap_values(sentences, name, evaluations, tree):
    """A work that gives what ``Partition`` or ``Permutation`` says of the tokens (B, T).

    shap writes [MASK] into the text and calls what tokenizes it and runs the model, in batches.

    Args:
        sentences: The sentences, of whole words.
        name: The explainer.
        evaluations: Texts that it may ask for, for each sentence.
        tree: Whether only neighbours form coalitions, shap's default for text.
    """
    import shap

    bench = sentences.bench
    masker = shap.maskers.Text(bench.tokenizer, mask_token="[MASK]", collapse_mask_token=False)
    if not tree:
        masker.clustering = None

    def probabilities(texts):
        encoded = bench.tokenizer(list(texts), padding=True, return_tensors="pt")
        with torch.inference_mode():
            return bench.model(**encoded).logits.softmax(-1).numpy()

    explainer = getattr(shap.explainers, f"{name}Explainer")(probabilities, masker)

    def work():
        values = explainer(bench.texts, max_evals=evaluations, silent=True).values
        found = torch.full(sentences.inputs.units.shape, torch.nan)
        for row, own, target in zip(found, values, sentences.target.tolist(), strict=True):
            row[: len(own)] = torch.tensor(own[:, target])
        return found.masked_fill(sentences.inputs.units < 0, torch.nan)

    return work


def captum_infidelity(explained, samples, share):
    """A work that gives ``infidelity`` with ``normalize`` (B, 1), for bertx's draws.

    On the output of the embedding block, where removed tokens are 0: the perturbation that is
    multiplied by the attribution is bertx's 0 or 1, captum's convention for methods that multiply
    by the input. A token's score stands in the first of its D numbers, zeros in the others.
    """
    from captum.metrics import infidelity

    model = explained.sentences.bench.model
    block = embedding_block(model, "infidelity")
    asked = []
    for inputs, scores, target in explained.alone():
        removed = removals(inputs, samples, share)[0]
        gone = removed[:, inputs.units[0].clamp(min=0)] & (inputs.units >= 0)
        states = Trace(model, inputs, None, explained.method.needs).embeddings
        attribution = torch.zeros_like(states)
        attribution[0, :, 0] = scores
        asked.append((inputs, states, attribution, target, gone[..., None].float()))

    def value(inputs, states, attribution, target, gone):
        def forward(given):
            ids = inputs.input_ids.expand(len(given), -1)
            with replaced(block, given):
                return model(input_ids=ids, attention_mask=torch.ones_like(ids)).logits

        def perturb(given):
            return gone.expand_as(given), given * (1 - gone)

        settings = {"n_perturb_samples": samples, "normalize": True, "target": target}
        return infidelity(forward, perturb, states, attribution, **settings)

    return lambda: torch.stack([value(*question) for question in asked])


def captum_sensitivity(explained, samples, radius):
    """A work that gives ``sensitivity_max`` (B, 1) of gradient x input, for bertx's draws.

    captum explains by its own ``LayerGradientXActivation`` at the output of the embedding block;
    word embeddings move, and the scores of special tokens are not looked at.
    """
    from captum.attr import LayerGradientXActivation
    from captum.metrics import sensitivity_max

    model = explained.sentences.bench.model
    table = model.get_input_embeddings()
    size = table.weight.detach().square().mean().sqrt()

    def forward(words):
        ones = torch.ones(words.shape[:2], dtype=torch.long)
        return model(inputs_embeds=words, attention_mask=ones).logits

    method = LayerGradientXActivation(forward, embedding_block(model, "sensitivity_max"))
    asked = []
    for inputs, _, target in explained.alone():
        ids, width = inputs.input_ids[0], table.weight.shape[1]
        noise = torch.stack([word_noise(ids, width, 0, draw) for draw in range(samples)])
        asked.append((table(inputs.input_ids).detach(), inputs.units[0] >= 0, target, noise))

    def value(words, ranked, target, noise):
        def explain(given, target):
            with torch.enable_grad():
                return (method.attribute(given, target=target).sum(-1)[:, ranked],)

        def perturb(given, radius):
            return given + radius * size * noise

        settings = {"n_perturb_samples": samples, "perturb_radius": radius, "target": target}
        return sensitivity_max(explain, words, perturb, **settings)

    return lambda: torch.stack([value(*question) for question in asked])
