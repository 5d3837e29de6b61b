import re

import torch

from bertx.data.sources import DEMO_FOLDER
from tests.data.demo_grammar import (
    BEST,
    DISLIKED,
    DOMAINS,
    LIKED,
    MAX_WORDS,
    MIN_WORDS,
    WORST,
    demo_splits,
    lines,
)

SPLITS = demo_splits()
ALL = [sentence for split in SPLITS.values() for sentence in split]
GOOD = {*BEST, *LIKED}.union(
    *(d.good for d in DOMAINS), *(a.good for d in DOMAINS for a in d.aspects)
)
BAD = {*WORST, *DISLIKED}.union(
    *(d.bad for d in DOMAINS), *(a.bad for d in DOMAINS for a in d.aspects)
)
DENIALS = {"not", "never", "hardly", "far from", "anything but", "by no means", "not at all"}
DENIED_ONLY = {"like", "love", "enjoy", "care for"}


def marked(sentence):
    return [sentence.text[start:end] for start, end in sentence.rationale]


def test_sizes_and_balance():
    assert {split: len(rows) for split, rows in SPLITS.items()} == {
        "train": 2000, "validation": 300, "test": 300,
    }  # fmt: skip
    for rows in SPLITS.values():
        assert sum(row.label for row in rows) * 2 == len(rows)
        assert {row.label for row in rows[:20]} == {0, 1}


def test_no_sentence_twice():
    assert len({sentence.text.lower() for sentence in ALL}) == len(ALL)


def test_form_of_the_sentences():
    for sentence in ALL:
        assert MIN_WORDS <= len(sentence.text.split()) <= MAX_WORDS, sentence
        assert re.fullmatch(r"[A-Z][A-Za-z ,;-]*\.", sentence.text), sentence
        assert "  " not in sentence.text
    assert max(len(sentence.text.split()) for sentence in ALL) >= 20


def test_articles_agree():
    for sentence in ALL:
        assert not re.search(r"\ba [aeiou]", sentence.text), sentence
        assert not re.search(r"\ban [^aeiou]", sentence.text), sentence


def test_verbs_agree():
    plurals = {noun for d in DOMAINS for a in d.aspects for noun in a.plurals}
    singulars = {noun for d in DOMAINS for a in d.aspects for noun in a.nouns}
    for sentence in ALL:
        for noun, verb in re.findall(r"the ([a-z -]+?) (is|are|was|were|seems)\b", sentence.text):
            assert not (noun in plurals and verb in ("is", "was", "seems")), sentence
            assert not (noun in singulars and verb in ("are", "were")), sentence


def test_rationale_cuts_whole_words_that_decide():
    for sentence in ALL:
        spans = sentence.rationale
        assert spans and list(spans) == sorted(spans)
        for start, end in spans:
            before, after = sentence.text[start - 1], sentence.text[end]
            assert not before.isalpha() and not after.isalpha()
        words = marked(sentence)
        assert {word.lower() for word in words} <= GOOD | BAD | DENIALS | DENIED_ONLY


def test_rationale_implies_the_label():
    """Read the rationale alone: a judgement, turned round by the negator before it."""
    for sentence in ALL:
        negated, verdicts = False, []
        for word in marked(sentence):
            if word in DENIALS:
                negated = True
                continue
            verdicts.append((word in GOOD | DENIED_ONLY) != negated)
            negated = False
        assert verdicts and set(verdicts) == {bool(sentence.label)}, sentence


def test_no_word_is_praise_and_blame():
    assert not GOOD & BAD
    assert len(GOOD) >= 30 and len(BAD) >= 30


def test_contrast_negation_and_intensifiers_are_common():
    for pattern in (r"\b(but|yet)\b", r"[Aa]lthough|[Tt]hough", r"\bnot\b|far from", r"\bvery\b"):
        share = sum(bool(re.search(pattern, sentence.text)) for sentence in ALL) / len(ALL)
        assert share > 0.1, pattern


def test_validation_uses_no_judgement_that_training_lacks():
    seen = {word for sentence in SPLITS["train"] for word in marked(sentence)}
    assert len(seen & (GOOD | BAD)) >= 60
    assert {word for sentence in SPLITS["validation"] for word in marked(sentence)} <= seen


def test_bag_of_words_is_not_enough():
    words = sorted({w for s in SPLITS["train"] for w in re.findall(r"\w+", s.text.lower())})
    column = {word: i for i, word in enumerate(words)}

    def features(rows):
        x = torch.zeros(len(rows), len(words))
        for i, row in enumerate(rows):
            known = [column[w] for w in re.findall(r"\w+", row.text.lower()) if w in column]
            x[i, known] = 1.0
        return x, torch.tensor([float(row.label) for row in rows])

    x, y = features(SPLITS["train"])
    model = torch.nn.Linear(len(words), 1)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.05, weight_decay=1e-4)
    for _ in range(150):
        optimizer.zero_grad()
        torch.nn.functional.binary_cross_entropy_with_logits(model(x)[:, 0], y).backward()
        optimizer.step()
    x, y = features(SPLITS["validation"])
    accuracy = ((model(x)[:, 0] > 0).float() == y).float().mean()
    assert 0.5 < accuracy < 0.85


def test_the_packaged_sentences_are_these():
    """In this process as in the one that wrote them."""
    for split, sentences in SPLITS.items():
        assert (DEMO_FOLDER / f"{split}.jsonl").read_text() == lines(sentences)
