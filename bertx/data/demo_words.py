"""The vocabulary of the demonstration's grammar (see `bertx.data.demo`)."""

from dataclasses import dataclass


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

    nouns: tuple[str, ...]
    plurals: tuple[str, ...]
    good: tuple[str, ...]
    bad: tuple[str, ...]
    details: tuple[str, ...]


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

    aspects: tuple[Aspect, ...]
    wholes: tuple[str, ...]
    good: tuple[str, ...]
    bad: tuple[str, ...]
    past: bool
    openers: tuple[str, ...]
    facts: tuple[str, ...]


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


def _phrases(text: str) -> tuple[str, ...]:
    return tuple(phrase.strip() for phrase in text.split("/"))


BEST = _words("superb excellent wonderful fantastic brilliant outstanding terrific splendid")
"""Praise that is extreme already, for anything ("absolutely superb", never "very superb")."""

WORST = _words("awful terrible dreadful horrible appalling atrocious abysmal hopeless")
"""Blame that is extreme already, for anything."""

LIKED = _words("liked loved enjoyed adored")
DISLIKED = _words("hated disliked loathed detested")

ANYWHERE = _phrases(
    "all in all / in my opinion / looking back / in the end / on the whole / for the record / "
    "as I said before / to be honest"
)
"""Openers that fit every domain."""

FILMS = Domain(
    aspects=(
        Aspect(
            _words("plot story script screenplay storyline"),
            (),
            _words("gripping clever original moving touching engaging inventive captivating"),
            _words("dull predictable tedious shallow confusing contrived boring clumsy"),
            _phrases("of this film / in the second half / behind all the action"),
        ),
        Aspect(
            _words("acting cast"),
            _words("performances"),
            _words("convincing charming lively heartfelt believable"),
            _words("wooden stiff lifeless unconvincing bland"),
            _phrases("in this film / in the crowd scenes / on display here"),
        ),
        Aspect(
            _words("camerawork soundtrack editing scenery"),
            ("costumes", "special effects"),
            _words("stylish beautiful elegant atmospheric inventive"),
            _words("sloppy ugly amateurish dreary crude distracting"),
            _phrases("in this film / in the opening minutes / of the final hour"),
        ),
    ),
    wholes=_words("film movie comedy drama thriller"),
    good=_words("gripping engaging moving clever entertaining memorable charming"),
    bad=_words("dull predictable forgettable tedious boring shallow clumsy"),
    past=False,
    openers=_phrases(
        "from the first scene to the credits / even on a small screen / on a second viewing / "
        "in the extended version"
    ),
    facts=_phrases(
        "the film runs for about two hours / I saw it with my brother on Friday / "
        "it was shot in a small harbor town / the director also plays a minor role / "
        "we watched it at home with the neighbors / it opened in most cinemas last week / "
        "the action takes place over a single weekend / I bought my ticket at the door"
    ),
)

BOOKS = Domain(
    aspects=(
        Aspect(
            _words("plot story storyline ending"),
            ("opening chapters", "final chapters"),
            _words("gripping clever original moving touching engaging suspenseful thoughtful"),
            _words("dull predictable tedious shallow confusing contrived boring implausible"),
            _phrases("of this book / of the second volume"),
        ),
        Aspect(
            _words("prose writing dialogue narration"),
            ("descriptions",),
            _words("elegant vivid graceful witty lyrical crisp"),
            _words("clumsy wordy stilted awkward pompous lifeless"),
            _phrases("in this book / in the early chapters / on almost every page"),
        ),
        Aspect(
            _words("heroine narrator detective"),
            ("characters", "minor characters"),
            _words("likeable believable sympathetic charming memorable"),
            _words("annoying irritating implausible forgettable bland"),
            _phrases("in this book / of the first part"),
        ),
    ),
    wholes=_words("book novel mystery"),
    good=_words("gripping engaging moving thoughtful entertaining memorable rewarding"),
    bad=_words("dull predictable forgettable tedious boring shallow pretentious"),
    past=False,
    openers=_phrases(
        "on a second reading / after the first few chapters / from the first page to the last / "
        "in the paperback edition"
    ),
    facts=_phrases(
        "I read it on the train to work / a colleague had lent me her copy / "
        "it is set in a village by the sea / the author also writes for a newspaper / "
        "the book has almost four hundred pages / our reading group chose it in March / "
        "the second volume comes out next year / I borrowed it from the library"
    ),
)

FOOD = Domain(
    aspects=(
        Aspect(
            _words("soup curry stew sauce gravy"),
            (),
            _words("tasty flavorful fragrant hearty appetizing"),
            _words("bland watery greasy lukewarm tasteless"),
            _phrases("of the day / on the lunch menu / in the small bowl"),
        ),
        Aspect(
            _words("steak chicken lamb duck"),
            ("ribs", "meatballs"),
            _words("tender juicy succulent tasty flavorful"),
            _words("tough rubbery overcooked greasy tasteless"),
            _phrases("from the grill / on the dinner menu / that I ordered"),
        ),
        Aspect(
            ("bread", "apple pie", "chocolate cake"),
            _words("pancakes waffles rolls"),
            _words("fluffy moist tasty appetizing"),
            _words("stale soggy burnt tasteless unappetizing"),
            _phrases("from the oven / on the next table / that came with the coffee"),
        ),
    ),
    wholes=_words("meal dish"),
    good=_words("satisfying memorable tasty enjoyable"),
    bad=_words("bland disappointing forgettable unappetizing tasteless"),
    past=True,
    openers=_phrases(
        "at lunch on Sunday / at our table by the window / after a long walk along the river / "
        "on a rainy Tuesday evening / on our second visit"
    ),
    facts=_phrases(
        "we sat at a table by the window / the restaurant is opposite the station / "
        "I shared everything with a friend / we paid at the counter / "
        "the menu changes every month / it was a Tuesday evening in October / "
        "my parents had booked a table for six / the kitchen closes at ten"
    ),
)

SERVICE = Domain(
    aspects=(
        Aspect(
            _words("receptionist waiter waitress manager bartender porter"),
            _words("waiters cleaners"),
            _words("friendly polite attentive helpful courteous cheerful patient"),
            _words("rude careless unfriendly impatient grumpy unhelpful arrogant"),
            _phrases("on duty that night / at the front desk / from the late shift"),
        ),
        Aspect(
            ("service", "check-in", "room service", "shuttle service"),
            (),
            _words("prompt efficient smooth reliable professional"),
            _words("slow chaotic unreliable inefficient careless"),
            _phrases("at this hotel / during the holidays"),
        ),
        Aspect(
            ("lobby", "bathroom", "dining room", "bedroom"),
            ("rooms", "single rooms"),
            _words("clean comfortable cozy spacious tidy"),
            _words("dirty noisy cramped shabby smelly"),
            _phrases("on the ground floor / next to the elevator / facing the street"),
        ),
    ),
    wholes=_words("stay visit experience"),
    good=_words("pleasant relaxing enjoyable memorable delightful"),
    bad=_words("unpleasant stressful miserable frustrating disappointing"),
    past=True,
    openers=_phrases(
        "during our three nights there / on the day we arrived / on our last morning / "
        "from the moment we checked in / throughout the week"
    ),
    facts=_phrases(
        "we stayed there for three nights / the hotel is near the old bridge / "
        "I had called a day ahead / our train arrived shortly after noon / "
        "they keep a list of the guests at the desk / we came with two suitcases / "
        "the building used to be a school / my company had made the booking"
    ),
)

DOMAINS = (FILMS, BOOKS, FOOD, SERVICE)
