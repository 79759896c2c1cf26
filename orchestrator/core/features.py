"""Reads signals off a request's text: lengths, language, code, maths, creative, brand. No model, no I/O."""

from __future__ import annotations

import re
from collections.abc import Iterable

from orchestrator.core.types import Features, Request

# A word list is a weak signal by itself: each hit adds, and the sum saturates at 1.
_CODE = re.compile(
    r"```|\b(?:def|class|import|return|async|await|const|let|function|public static|SELECT|INSERT INTO|FROM|WHERE)\b"
    r"|\b(?:python|javascript|typescript|java|rust|golang|c\+\+|sql|regex|html|css|bash|kubernetes|docker|fastapi|django"
    r"|flask|react|postgres|redis|api|endpoint|server|microservice|refactor|debug|stack ?trace|unit tests?|algorithm"
    r"|codebase|function|compile|compiler)\b|[{};]\s*$|=>|::|\(\)",
    re.IGNORECASE | re.MULTILINE,
)
_BUILD = re.compile(
    r"\b(?:create|build|write|implement|develop|design|architect|generate|code|port|migrate|refactor|debug|fix)\b",
    re.IGNORECASE,
)
_MATHS = re.compile(
    r"\\(?:frac|sum|int|sqrt|mathbb)|\$[^$]{2,}\$|\b(?:prove|theorem|lemma|integral|derivative|equation|polynomial|matrix"
    r"|probability|eigenvalue|modulo|divisor|combinatori\w*|solve for|how many|per cent|percent)\b|\d\s*[-+*/^=]\s*\d",
    re.IGNORECASE,
)
_CREATIVE = re.compile(
    r"\b(?:poem|haiku|sonnet|lyrics|song|short story|story|novel|screenplay|fiction|fairy ?tale|limerick|metaphors?"
    r"|imaginative|creative(?:ly)?|brainstorm|slogans?|taglines?|jingle|roleplay|character arc)\b",
    re.IGNORECASE,
)
_BRAND = re.compile(
    r"\b(?:brand voice|brand|on-brand|tone of voice|press release|landing page|campaign|marketing copy|ad copy"
    r"|investor|keynote|ceo|customers?-facing|homepage|product launch|manifesto)\b",
    re.IGNORECASE,
)
_REASONING = re.compile(
    r"\b(?:step by step|analy[sz]e|compare|contrast|evaluate|trade-?offs?|explain why|why|justify|critique|assess"
    r"|strategy|diagnose|derive|argue|pros and cons|implications?|root cause|plan|in depth|detailed)\b",
    re.IGNORECASE,
)
_CONSTRAINT = re.compile(
    r"\b(?:must|should|exactly|at least|at most|no more than|without|only|ensure|include|avoid|format|between \d)\b"
    r"|^\s*(?:[-*•]|\d+[.)])\s",
    re.IGNORECASE | re.MULTILINE,
)
_STRUCTURED = re.compile(r"\b(?:json|yaml|csv|xml|table|schema|markdown)\b", re.IGNORECASE)
_SENTENCE_END = re.compile(r"[.!?。！？]+(?:\s|$)|\n{2,}")
_SIMPLE_ASK = re.compile(
    r"^\s*(?:hi|hello|hey|thanks?|summari[sz]e|translate|rephrase|fix the spelling)\b", re.IGNORECASE
)

_SCRIPTS = (
    ("zh", re.compile(r"[\u4e00-\u9fff]")),
    ("ja", re.compile(r"[\u3040-\u30ff]")),
    ("ko", re.compile(r"[\uac00-\ud7af]")),
    ("ru", re.compile(r"[\u0400-\u04ff]")),
    ("ar", re.compile(r"[\u0600-\u06ff]")),
    ("he", re.compile(r"[\u0590-\u05ff]")),
    ("hi", re.compile(r"[\u0900-\u097f]")),
    ("el", re.compile(r"[\u0370-\u03ff]")),
    ("th", re.compile(r"[\u0e00-\u0e7f]")),
)
_STOPWORDS = {
    "en": frozenset(
        [
            "the",
            "of",
            "and",
            "to",
            "in",
            "is",
            "that",
            "for",
            "it",
            "with",
            "as",
            "on",
            "are",
            "this",
            "what",
            "how",
            "you",
            "be",
        ]
    ),
    "de": frozenset(
        [
            "der",
            "die",
            "das",
            "und",
            "ist",
            "nicht",
            "ein",
            "eine",
            "mit",
            "für",
            "auf",
            "wie",
            "was",
            "ich",
            "sie",
            "den",
        ]
    ),
    "fr": frozenset(
        [
            "le",
            "la",
            "les",
            "des",
            "et",
            "est",
            "une",
            "pour",
            "que",
            "dans",
            "qui",
            "sur",
            "pas",
            "comment",
            "avec",
            "ce",
        ]
    ),
    "es": frozenset(
        [
            "el",
            "la",
            "los",
            "las",
            "de",
            "y",
            "es",
            "una",
            "para",
            "que",
            "en",
            "con",
            "por",
            "como",
            "qué",
            "del",
            "se",
        ]
    ),
    "it": frozenset(
        ["il", "lo", "gli", "che", "di", "e", "un", "una", "per", "non", "con", "come", "sono", "della", "cosa"]
    ),
    "pt": frozenset(
        ["o", "os", "as", "de", "e", "um", "uma", "para", "que", "em", "com", "não", "como", "do", "da", "se"]
    ),
    "nl": frozenset(
        ["de", "het", "een", "en", "van", "is", "dat", "niet", "voor", "met", "op", "hoe", "wat", "ik", "zijn"]
    ),
}
_LANGUAGE_SAMPLE_CHARACTERS = 2_000
_SIGNAL_SAMPLE_CHARACTERS = 20_000


def read(request: Request) -> Features:
    """Features of the request's last user turn, and of the whole conversation where that matters."""
    ask, whole = ask_of(request), sum(len(text) for text in _texts(request))
    sample = ask[:_SIGNAL_SAMPLE_CHARACTERS]
    return Features(
        tokens=whole // 4 + 4 * max(1, len(request.messages)),
        characters=whole,
        sentences=max(1, len(_SENTENCE_END.findall(sample))),
        constraints=len(_CONSTRAINT.findall(sample)),
        turns=sum(message.role == "user" for message in request.messages) or 1,
        code=_code(sample),
        maths=_saturate(_MATHS, sample, 3),
        creative=_saturate(_CREATIVE, sample, 2),
        brand=_saturate(_BRAND, sample, 2),
        reasoning=_saturate(_REASONING, sample, 3),
        question="?" in sample[-400:],
        plain_ask=bool(_SIMPLE_ASK.match(ask)),
        structured=request.options.schema is not None or bool(_STRUCTURED.search(sample)),
        tools=bool(request.options.tools),
        images=len(request.media) + sum(len(message.images) for message in request.messages),
        language=language(ask),
    )


def language(text: str) -> str:
    """BCP-47 primary tag by script, then by common words; `und` when nothing speaks for one."""
    sample = text[:_LANGUAGE_SAMPLE_CHARACTERS]
    for tag, script in _SCRIPTS:
        if len(script.findall(sample)) * 5 > len(sample):
            return tag
    words = re.findall(r"[^\W\d_]+", sample.lower())
    if not words:
        return "und"
    hits = {tag: sum(word in common for word in words) for tag, common in _STOPWORDS.items()}
    best = max(hits, key=lambda tag: hits[tag])
    return best if hits[best] else "und"


def ask_of(request: Request) -> str:
    """The text that is judged: the last user turn, or the task's own text."""
    for message in reversed(request.messages):
        if message.role == "user":
            return message.content
    return request.query or (request.texts[0] if request.texts else "")


def _texts(request: Request) -> Iterable[str]:
    yield from (message.content for message in request.messages)
    yield from request.texts


def _code(sample: str) -> float:
    hits = len(_CODE.findall(sample))
    if hits and _BUILD.search(sample):
        hits += 1  # "create a FastAPI server" asks for code; "what is an API?" only mentions it
    return min(1.0, hits / 3)


def _saturate(pattern: re.Pattern[str], sample: str, enough: int) -> float:
    return min(1.0, len(pattern.findall(sample)) / enough)
