"""Deterministic checks of a reply: each says how much of a promise is kept, 1 for kept or not made. Linear on any text.

Three values are measured on 9,684 labelled answers of five public sets: of 159 with a wrong sum 16% were adequate, of
761 stuck in a loop 14%, of 128 that end in the middle of a sentence 5%. The others are stated.
A check speaks only where it is sure; whatever it cannot read counts as kept.
"""

from __future__ import annotations

import json
import re
from collections import Counter

from orchestrator.core.quality import json_schema
from orchestrator.core.quality.code_check import code_kept
from orchestrator.core.quality.demands import STEM, Demands, spoken
from orchestrator.core.reading import answers, signals
from orchestrator.core.types import FinishReason, Reply, Request

REFUSED = 0.2
WRONG_SUM = 0.15
STUCK = 0.15
CUT_OFF = 0.1
_BROKEN = 0.3
_SLIPPED = 0.4
_BENT = 0.6  # a little off: accepted where nothing else speaks against it
_OPENING_CHARACTERS = 200
_REFUSAL = re.compile(
    r"\W*(?:unfortunately,? |sorry,? (?:but )?|i apologi[sz]e,? but )?(?:"
    # English
    r"i(?:['’]m| am) sorry\b(?!,? (?:to hear|to learn|for|about|you|that you|if))"
    r"|i(?:['’]m| am) (?:unable|not able)\b|i can(?:no|['’])t (?:help|assist|do|answer|provide|fulfil|comply)"
    r"|i (?:won['’]t|will not|must decline)\b|as an ai(?: language)? model|as a language model"
    r"|i do(?:n['’]t| not) have (?:the ability|access)"
    # German
    r"|(?:es )?tut mir (?:sehr )?leid\b(?!,? das zu hören)|leider kann ich"
    r"|als (?:ki|künstliche intelligenz|sprachmodell)\b"
    r"|ich (?:kann|darf) (?:dir|ihnen|das|diese|dabei|darauf)\b[^.\n]{0,60}\bnicht\b|ich bin nicht in der lage"
    # French
    r"|(?:je suis )?désolée?\b(?! (?:d['’]apprendre|pour))|(?:malheureusement,? )?je ne (?:peux pas|suis pas en mesure)"
    r"|en tant qu['’](?:ia\b|intelligence artificielle|assistant)|en tant que modèle"
    # Spanish
    r"|lo siento\b(?! mucho por)|(?:lamentablemente,? )?no puedo (?:ayudar|responder|proporcionar|hacer|cumplir|crear)"
    r"|como (?:modelo de lenguaje|inteligencia artificial|ia\b)"
    # Italian
    r"|mi dispiace\b(?! (?:sentire|per))|(?:purtroppo )?non posso (?:aiutar|rispondere|fornire|creare)"
    r"|come modello (?:linguistico|di linguaggio)|in quanto (?:ia\b|intelligenza artificiale|modello)"
    # Portuguese
    r"|(?:sinto muito|lamento|desculpe)\b(?! (?:por|saber))"
    r"|(?:infelizmente,? )?não posso (?:ajudar|responder|fornecer|criar)|como (?:um )?modelo de linguagem"
    # Dutch
    r"|het spijt me\b(?! (?:te horen|voor))|helaas kan ik|als (?:een )?(?:ai\b|taalmodel)"
    r"|ik kan (?:je|u|dat|deze|dit|hier)\b[^.\n]{0,60}\bniet\b"
    r")"
)
_REPEAT_WORDS = 8
_REPEAT_ENOUGH = 4
# A text that ends with one of these was going to say more.
_UNFINISHED = frozenset(
    "the a an and or of to with for from that which because is are was were if than by as und oder der die das ein eine"
    " mit für weil dass et ou le la les un une des de avec pour que y el los las con para porque e il gli con per che"
    " o os as um uma com en het een met voor dat".split()
)
_LEAST_TO_FINISH = 12  # words: shorter texts are titles, names, single words
_LEAST_SPOKEN = 12  # words: a language shows in no fewer
_LEAST_OFF_TOPIC = 40
_LEAST_ASKED = 4
_TOPIC_WORDS, _TOPIC_CHARACTERS = 200, 6_000
_YES_NO = re.compile(r"\b(?:yes|no|true|false|yep|nope|correct|incorrect)\b")
_LIST_NUMBER = re.compile(r"^[ \t]{0,3}(?:\*\*)?\d{1,3}[.)]", re.MULTILINE)
_LIST_MARK = re.compile(r"^(?:[-*•]|\d{1,3}[.)])[ \t]", re.MULTILINE)
_DIGIT = re.compile(r"\d")
_SENTENCE_END = re.compile(r"[.!?][\"'”)]*(?:\s|$)|[。！？]")
_FENCE = "```"


def answered(reply: Reply) -> float:
    return 1.0 if reply.tool_calls or (reply.text and not reply.text.isspace()) else 0.0


def complete(request: Request, reply: Reply, words: list[str]) -> float:
    """Cut by its length (milder where the caller set it), by an open code fence, or in the middle of a sentence."""
    if reply.finish_reason is FinishReason.LENGTH:
        return 0.8 if request.options.max_tokens else 0.4
    if reply.tool_calls or not words:
        return 1.0
    if (reply.text or "").count(_FENCE) % 2:
        return 0.5 * _BENT
    last = words[-1]
    open_end = last[-1] == "," or (last.islower() and last in _UNFINISHED)
    if open_end and len(words) >= _LEAST_TO_FINISH and not _signed_off(reply.text or ""):
        return CUT_OFF
    return 1.0


def willing(reply: Reply, ask: str) -> float:
    """Refusals in seven languages, where they open the reply; not where the ask itself says those words."""
    if reply.finish_reason is FinishReason.REFUSAL:
        return REFUSED
    found = _REFUSAL.match((reply.text or "")[:_OPENING_CHARACTERS].lower())
    if found and found[0].strip(" \"'“*") not in ask.lower():
        return REFUSED
    return 1.0


def valid(request: Request, reply: Reply) -> float:
    """The schema asked for is kept: 1, parses but does not validate: 0.3, does not parse: 0."""
    if request.options.schema is None or reply.tool_calls:
        return 1.0
    try:
        value = json.loads(reply.text or "")
    except (ValueError, RecursionError):
        return 0.0
    return 1.0 if json_schema.fits(request.options.schema, value) else _BROKEN


def shaped(demands: Demands, text: str, words: list[str]) -> float:
    """The form that the ask's words demand."""
    kept = 1.0
    if demands.json:
        kept = min(kept, _is_json(text))
    if demands.items:
        kept = min(kept, _lists(text, demands.items))
    if demands.one_word and len(words) > 1:
        kept = min(kept, _BENT if len(words) <= 3 else _BROKEN)
    if demands.most_words and len(words) > 1.1 * demands.most_words + 2:
        kept = min(kept, _BENT if len(words) <= 1.5 * demands.most_words else _SLIPPED)
    if demands.sentences:
        ends = len(_SENTENCE_END.findall(text))
        kept = min(kept, _SLIPPED if ends > 2 * demands.sentences + 1 else 1.0)
    if demands.number:
        kept = min(kept, _BROKEN if not _DIGIT.search(text) else _BENT if len(words) > 6 else 1.0)
    if demands.yes_no and not _YES_NO.search(text[:_OPENING_CHARACTERS].lower()):
        kept = min(kept, _SLIPPED)
    return kept


def fresh(words: list[str]) -> float:
    """A text that says the same eight words again and again is a model stuck in a loop."""
    if len(words) < _REPEAT_WORDS + _REPEAT_ENOUGH - 1:
        return 1.0
    often = {word for word, count in Counter(words).items() if count >= _REPEAT_ENOUGH}
    if len(often) < 2 or b"\1" * _REPEAT_WORDS not in bytes(map(often.__contains__, words)):
        return 1.0
    windows = Counter(zip(*(words[start:] for start in range(_REPEAT_WORDS)), strict=False))
    stuck = any(count >= _REPEAT_ENOUGH and len(set(window)) > 1 for window, count in windows.items())
    return STUCK if stuck else 1.0


def same_language(demands: Demands, text: str, words: list[str]) -> float:
    """Only where both are sure, and the ask names no language."""
    if demands.language is None or _FENCE in text or (len(words) < _LEAST_SPOKEN and text.isascii()):
        return 1.0
    found = spoken(text, words)
    return _BROKEN if found is not None and found != demands.language else 1.0


def arithmetic(demands: Demands, text: str) -> tuple[float, list[bool]]:
    """Whether every sum held that the text states, and the bare sum that the ask is; and each of them."""
    held = answers.rechecked(text) if "=" in text else []
    if demands.total is not None and (stated := answers.numbers(text[-400:])):
        held.append(any(answers.states(f"{number:.15g}", demands.total) for number in stated))
    return (1.0 if all(held) else WRONG_SUM), held


def sound_code(text: str) -> float:
    return code_kept(text) if _FENCE in text else 1.0


def on_topic(demands: Demands, text: str, words: list[str]) -> float:
    """A long reply that shares no longer word's beginning with a question of four or more ignores it. Not so a story,
    a translation, or an answer in symbols."""
    if not demands.question or demands.closed or demands.any_language:
        return 1.0
    if len(words) < _LEAST_OFF_TOPIC or len(demands.topic) < _LEAST_ASKED:
        return 1.0
    if any(word[:STEM].lower() in demands.topic for word in words[:_TOPIC_WORDS]):
        return 1.0
    said = (word[:STEM] for word in signals.WORD.findall(text[:_TOPIC_CHARACTERS].lower()))
    return _SLIPPED if demands.topic.isdisjoint(said) else 1.0


def _signed_off(text: str) -> bool:
    """ "Best regards," is an end."""
    return len(text.rstrip().rpartition("\n")[2].split()) <= 3


def _is_json(text: str) -> float:
    body = text.strip()
    if _FENCE in body:
        body = body.split(_FENCE, 2)[1].removeprefix("json")
    try:
        json.loads(body)
    except (ValueError, RecursionError):
        return _BROKEN
    return 1.0


def _lists(text: str, asked: int) -> float:
    """Marked items, counted; a list without marks cannot be counted for sure."""
    found = len(_LIST_NUMBER.findall(text)) or len(_LIST_MARK.findall(text))
    if not found or found == asked:
        return 1.0
    return _SLIPPED if found < asked else _BENT
