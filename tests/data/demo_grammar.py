"""What wrote the packaged demonstration: a grammar of reviews that knows what decides each label.

``python -m tests.data.demo_grammar`` writes it anew.

The label of a sentence is the verdict of its main clause, or of the clause after "but": negation
turns a verdict round, and a concession ("although ...") says the opposite of it. So no word alone
decides a label, and the rationale of every sentence is known.
"""

import json
import re
import tomllib
from dataclasses import dataclass
from pathlib import Path
from random import Random

from bertx.data.sources import DEMO_FOLDER

SIZES = {"train": 2000, "validation": 300, "test": 300}
"""Sentences of each split, half of them of either label."""

SEED = 20210196
MIN_WORDS, MAX_WORDS = 5, 40

_ALWAYS_DENIED: tuple[str, ...] = (
    "[not]",
    "[hardly]",
    "[far from]",
    "[anything but]",
    "[by no means]",
)
_GOOD_DENIED = (*_ALWAYS_DENIED, "[not] very", "[not] particularly", "[never]")
_BAD_DENIED = ("[not at all]", "[far from]", "[anything but]", "[by no means]", "[never]")
_EXTREMES_STRESSED = ("", "", "", "truly", "really", "absolutely", "simply")
_STRESSED = ("", "", "", "very", "really", "truly", "extremely", "quite")


@dataclass(frozen=True)
class Aspect:
    """Things that are judged by the same words.

    Attributes:
        nouns: Singular nouns.
        plurals: Plural nouns.
        good: Gradable adjectives in praise of them (they go with "very" and "not at all").
        bad: Gradable adjectives against them.
        details: Neutral phrases that may follow the noun.
    """

    nouns: list[str]
    plurals: list[str]
    good: list[str]
    bad: list[str]
    details: list[str]


@dataclass(frozen=True)
class Domain:
    """What reviews are about.

    Attributes:
        aspects: What is judged, in parts.
        wholes: Singular nouns for the thing itself.
        good: Gradable adjectives in praise of it.
        bad: Gradable adjectives against it.
        past: Whether judgements are in the past tense only.
        openers: Neutral adverbials that may begin a sentence.
        facts: Neutral main clauses.
    """

    aspects: list[Aspect]
    wholes: list[str]
    good: list[str]
    bad: list[str]
    past: bool
    openers: list[str]
    facts: list[str]


_VOCABULARY = tomllib.loads(Path(__file__).with_name("demo_words.toml").read_text("utf-8"))
BEST, WORST = _VOCABULARY["best"], _VOCABULARY["worst"]
LIKED, DISLIKED = _VOCABULARY["liked"], _VOCABULARY["disliked"]
ANYWHERE = _VOCABULARY["anywhere"]
DOMAINS = [
    Domain(**{**domain, "aspects": [Aspect(**aspect) for aspect in domain["aspects"]]})
    for domain in _VOCABULARY["domains"]
]


@dataclass(frozen=True)
class DemoSentence:
    """A review of one sentence.

    Attributes:
        text: The sentence.
        label: 0 negative, 1 positive.
        rationale: Character spans (start, end) of the words that decide the label: the judgement
            of the deciding clause and its negator.
    """

    text: str
    label: int
    rationale: tuple[tuple[int, int], ...]


def demo_splits() -> dict[str, tuple[DemoSentence, ...]]:
    """The sentences of each split; no sentence occurs twice, in one split or in two."""
    random, seen = Random(SEED), set[str]()
    return {split: _draw(random, size, seen) for split, size in SIZES.items()}


def lines(sentences: tuple[DemoSentence, ...]) -> str:
    """The sentences as JSON lines."""
    return "".join(f"{json.dumps(vars(sentence))}\n" for sentence in sentences)


def _draw(random: Random, size: int, seen: set[str]) -> tuple[DemoSentence, ...]:
    sentences: list[DemoSentence] = []
    while len(sentences) < size:
        label = len(sentences) % 2
        sentence = _parse(_sentence(random, label), label)
        if sentence.text in seen or not MIN_WORDS <= len(sentence.text.split()) <= MAX_WORDS:
            continue
        seen.add(sentence.text)
        sentences.append(sentence)
    random.shuffle(sentences)
    return tuple(sentences)


def _parse(marked: str, label: int) -> DemoSentence:
    """Take the [brackets] off and keep their places."""
    spans, text = [], ""
    for number, piece in enumerate(re.split(r"[\[\]]", marked)):
        if number % 2:
            spans.append((len(text), len(text) + len(piece)))
        text += piece
    return DemoSentence(text, label, tuple(spans))


def _sentence(random: Random, label: int) -> str:
    """A sentence with its deciding words in [brackets]."""
    domain = random.choice(DOMAINS)
    past = domain.past or random.random() < 0.3
    shape = random.choice((_single, _single, _agreement, _contrast, _concession))
    body = shape(random, domain, label, past)
    frame = random.random()
    if frame < 0.25:
        body = f"{random.choice(domain.openers + ANYWHERE)}, {body}"
    elif frame < 0.6:
        joint = ";" if shape is _agreement or random.random() < 0.4 else ", and"
        body = f"{random.choice(domain.facts)}{joint} {body}"
    return f"{body[0].upper()}{body[1:]}."


def _single(random: Random, domain: Domain, label: int, past: bool) -> str:
    return _verdict(random, domain, label, past, random.choice(domain.aspects))


def _agreement(random: Random, domain: Domain, label: int, past: bool) -> str:
    first, second = _two_verdicts(random, domain, label, label, past)
    return f"{first}, and {second}"


def _contrast(random: Random, domain: Domain, label: int, past: bool) -> str:
    before, after = _two_verdicts(random, domain, 1 - label, label, past)
    return f"{_unmarked(before)}, {random.choice(('but', 'but', 'yet'))} {after}"


def _concession(random: Random, domain: Domain, label: int, past: bool) -> str:
    conceded, main = _two_verdicts(random, domain, 1 - label, label, past)
    conceded = f"{random.choice(('although', 'even though', 'though'))} {_unmarked(conceded)}"
    return f"{main}, {conceded}" if random.random() < 0.5 else f"{conceded}, {main}"


def _two_verdicts(
    random: Random, domain: Domain, first: int, second: int, past: bool
) -> tuple[str, str]:
    """Verdicts on two different aspects, the first with the label ``first``."""
    one, other = random.sample(domain.aspects, 2)
    while True:
        before = _verdict(random, domain, first, past, one)
        after = _verdict(random, domain, second, past, other)
        if not _repetitive(before, after):
            return before, after


def _repetitive(before: str, after: str) -> bool:
    """Whether two verdicts begin alike ("it is ..., and it is ...") or share their judgement."""
    begin = before.split()[0]
    judgements = set(re.findall(r"\[(.*?)\]", before)) & set(re.findall(r"\[(.*?)\]", after))
    return bool(judgements) or (begin != "the" and after.startswith(f"{begin} "))


def _verdict(random: Random, domain: Domain, label: int, past: bool, aspect: Aspect) -> str:
    """A clause that praises (label 1) or blames (label 0)."""
    form = random.random()
    if form < 0.15:
        return _feeling(random, label, aspect)
    if form < 0.35:
        return _naming(random, domain, label, past)
    noun, plural = _noun(random, aspect)
    judgement = _judgement(random, domain, label, aspect)
    return f"the {noun} {_copula(random, plural, past, judgement)} {judgement}"


def _noun(random: Random, aspect: Aspect) -> tuple[str, bool]:
    """A noun, at times with a detail, and whether it is plural."""
    noun = random.choice(aspect.nouns + aspect.plurals)
    detail = f" {random.choice(aspect.details)}" if random.random() < 0.3 else ""
    return noun + detail, noun in aspect.plurals


def _copula(random: Random, plural: bool, past: bool, judgement: str) -> str:
    be = ("were" if plural else "was") if past else ("are" if plural else "is")
    # "seemed not very good" is no English.
    if judgement.startswith(("[not]", "[never]")) or random.random() < 0.75:
        return be
    return "seemed" if past else ("seem" if plural else "seems")


def _judgement(random: Random, domain: Domain, label: int, aspect: Aspect) -> str:
    """An adjective of that verdict, or a denied one of the opposite verdict."""
    extreme = random.random() < 0.25
    if random.random() < 0.6:
        words = (BEST if label else WORST) if extreme else (aspect.good if label else aspect.bad)
        stress = random.choice(_EXTREMES_STRESSED if extreme else _STRESSED)
        return f"{stress} [{random.choice(words)}]".lstrip()
    # "Not awful" praises nothing, so that only gradable blame is denied.
    words, denials = (aspect.bad, _BAD_DENIED) if label else (aspect.good, _GOOD_DENIED)
    if extreme and not label:
        words, denials = BEST, _ALWAYS_DENIED
    # One dinner or one night is no "never".
    denials = tuple(denial for denial in denials if not (domain.past and denial == "[never]"))
    return f"{random.choice(denials)} [{random.choice(words)}]"


def _naming(random: Random, domain: Domain, label: int, past: bool) -> str:
    """A clause such as "it is not a gripping film"."""
    be = "was" if past else "is"
    whole = random.choice(domain.wholes)
    if random.random() < 0.4:
        word = random.choice(domain.bad if label else domain.good)
        denial = random.choice(_ALWAYS_DENIED)
        return f"it {be} {denial} {_article(word)} [{word}] {whole}"
    extreme = random.random() < 0.25
    words = (BEST if label else WORST) if extreme else (domain.good if label else domain.bad)
    word = random.choice(words)
    stress = random.choice(("", "", "truly", "really") if extreme else ("", "", "very", "truly"))
    return f"it {be} {_article(stress or word)} {stress} [{word}] {whole}".replace("  ", " ")


def _feeling(random: Random, label: int, aspect: Aspect) -> str:
    """A clause such as "we did not enjoy the soup"."""
    noun, _ = _noun(random, aspect)
    who = random.choice(("I", "we", "my friends", "my sister", "most of us"))
    if label:
        return f"{who} [{random.choice(LIKED)}] the {noun}"
    if random.random() < 0.5:
        return f"{who} [{random.choice(DISLIKED)}] the {noun}"
    verb = random.choice(("like", "love", "enjoy", "care for"))
    return f"{who} did [not] [{verb}] the {noun}"


def _article(word: str) -> str:
    return "an" if word[0] in "aeiou" else "a"


def _unmarked(marked: str) -> str:
    return marked.replace("[", "").replace("]", "")


if __name__ == "__main__":
    for split, sentences in demo_splits().items():
        (DEMO_FOLDER / f"{split}.jsonl").write_text(lines(sentences))
