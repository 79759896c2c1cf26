"""The words and shapes that stand for code, maths, creative work, brand and reasoning. Data only; weighs nothing.

A stated prior in seven languages, not a fit: chosen by reading prompts, to be replaced by what labels teach.
No pattern may take more than linear time on any text: each runs on whatever a caller sends.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass

_I = re.IGNORECASE


@dataclass(frozen=True, slots=True)
class Lexicon:
    """Single words, looked up, and phrases, searched for; all in lower case."""

    words: frozenset[str]
    phrases: tuple[str, ...] = ()

    def count(self, words: Collection[str], text: str) -> int:
        """Hits in a lower-case text and its words."""
        return sum(map(self.words.__contains__, words)) + sum(map(text.count, self.phrases))


def _lexicon(words: str, *phrases: str) -> Lexicon:
    return Lexicon(frozenset(words.split()), phrases)


WORD = re.compile(r"[^\W_]+")

# Names that only mean software …
TECH_NAMES = _lexicon(
    "python javascript typescript nodejs golang php kotlin sql regex regexp html css bash powershell kubernetes docker"
    " dockerfile terraform fastapi django flask nextjs vue postgres postgresql mysql sqlite redis kafka"
    " graphql api apis"
    " endpoint endpoints microservice microservices backend frontend pytest codebase compiler async asyncio websocket"
    " websockets oauth oauth2 jwt segfault recursion",
    *("c++", "c#", "node.js", "next.js", "spring boot", "json schema", "stack trace", "unit test", "ci/cd"),
    *("linked list", "binary tree", "search tree", "pull request"),
)
# … and words that mean it only beside another one.
TECH_WORDS = _lexicon(
    "server servers function functions class classes script scripts code program algorithm algorithms java"
    " rust react debug"
    " bug refactor compile deploy database query schema library app method variable loop crud cli"
    " funktion programm fonction función função funzione"
)
# Written code, by its shape. Case counts: "from" and "where" are English, "SELECT … FROM" is not.
CODE_SHAPES = re.compile(
    r"```|^[ \t]*(?:async )?def \w+ ?\(|^[ \t]*class \w+ ?[:({]|^[ \t]*(?:import \w[\w.]*;?$|from [\w.]+ import )"
    r"|^[ \t]*#include\b|\b(?:const|let|var) \w+ ?=|\bfunction ?\w* ?\(|\b(?:fn|func) \w+ ?\(|\bpublic static\b"
    r"|\bSELECT\b|\bINSERT INTO\b|\bCREATE TABLE\b|=>|\w::\w|\w\(\)|[{};][ \t]*$|</\w+>|[a-z](?:Error|Exception)\b"
    r"|^Traceback \(most",
    re.MULTILINE,
)
# No text without one of these holds a shape of code: looking for them first takes a twentieth of the time.
CODE_HINTS = (
    *("=", "{", "}", ";", "()", "::", "</", "```", "def ", "class ", "import ", "#include", "function", "fn ", "func "),
    *("public static", "SELECT", "INSERT INTO", "CREATE TABLE", "Error", "Exception", "Traceback"),
)
MAKING = _lexicon(
    "create build write implement develop design architect generate code port migrate refactor rewrite debug"
    " fix optimise"
    " optimize draft compose craft make invent brainstorm continue polish imagine add"
    " schreib schreibe erstelle baue programmiere entwickle dichte entwirf écris crée développe rédige"
    " escribe crea desarrolla redacta inventa scrivi sviluppa escreva crie desenvolva schrijf maak bouw",
    *("come up with", "give me", "tell me", "set up"),
    *("写", "创建", "编写", "作成", "書いて", "작성", "써줘", "напиши", "создай"),
)
# Words of proofs count twice; sums and "how many" once.
HARD_MATHS = _lexicon(
    "prove proof theorem lemma integral integrals derivative derivatives polynomial polynomials matrix"
    " matrices eigenvalue"
    " eigenvalues modulo divisor divisors combinatorics combinatorial probability converge converges beweise démontre"
    " demuestra",
    *("differential equation", "\\frac", "\\sum", "\\int", "\\sqrt"),
)
EASY_MATHS = _lexicon("equation equations solve percent percentage average ratio", "how many", "how much", "sum of")
ARITHMETIC = re.compile(r"\$[^$\n]{2,80}\$|\d ?[+*^=×÷] ?\d|\d [-/] \d|\d ?%")
HOW_MANY = ("how many", "how much", "wie viel", "combien", "cuánto", "cuánta", "多少")
QUANTITY_WORDS = frozenset("half twice double triple third quarter each times".split())
CREATIVE = _lexicon(
    "poem poems poetry haiku haikus sonnet sonnets lyrics song songs story stories novel screenplay fiction fairytale"
    " limerick limericks metaphor metaphors imaginative creative creatively brainstorm slogan slogans tagline taglines"
    " jingle jingles roleplay bedtime gedicht gedichte märchen kurzgeschichte poème poèmes conte poema poemas"
    " cuento poesia"
    " racconto conto",
    *("fairy tale", "character arc", "诗", "故事", "俳句", "物語", "стих", "сказк"),
)
NOT_CREATIVE = ("user story", "user stories")
STRONG_BRAND = _lexicon(
    "keynote manifesto pressemitteilung",
    *("brand voice", "on-brand", "tone of voice", "press release", "marketing copy", "ad copy", "product launch"),
    *("brand story", "mission statement", "communiqué de presse", "nota de prensa"),
)
WEAK_BRAND = _lexicon(
    "brand campaign investor investors ceo homepage shareholder shareholders launch", "landing page", "customer-facing"
)
REASONING = _lexicon(
    "analyze analyse analysis compare contrast evaluate tradeoff tradeoffs why justify critique assess"
    " strategy diagnose"
    " derive argue advantages disadvantages implication implications plan detailed recommend recommendation"
    " analysiere vergleiche warum begründe comparez pourquoi analiza compara analizza confronta perché",
    *(
        "step by step",
        "trade-off",
        "pros and cons",
        "root cause",
        "in depth",
        "por qué",
        "为什么",
        "分析",
        "比较",
        "なぜ",
    ),
)
CONSTRAINT = _lexicon(
    "must should exactly without only ensure include avoid format", "at least", "at most", "more than"
)
LIST_ITEM = re.compile(r"^[ \t]*(?:[-*•]|\d{1,3}[.)])[ \t]", re.MULTILINE)
STRUCTURED = _lexicon("json yaml csv xml table schema markdown")
SENTENCE_END = re.compile(r"[.!?](?:\s|$)|[。！？]|\n\n")
# Words before the ask that say nothing of it: "Hi, could you please …".
PREAMBLE = re.compile(
    r"(?:hi|hello|hey|hallo|bonjour|hola|ciao|thanks?(?: you)?|please|kindly|can you|could you|would you"
    r"|bitte|s'il te plaît|por favor|per favore|请|請)(?:\s+(?:there|everyone))?(?:(?![\w'])|(?<=[请請]))[\s,.!¡¿]*",
    _I,
)
# Words that point at something: in a short ask without anything before it, at nothing.
POINTING = frozenset(
    "it this that these those them something anything stuff thing things better nicer same again other more"
    " das dies diese dieses etwas besser ça cela celui mieux eso esto algo mejor"
    " questo quello meglio isso isto melhor".split()
)
# What any model does on any text: here the material is long and the ask is easy.
PLAIN_ASK = re.compile(
    r"(?:summari[sz]e|give (?:me )?a (?:short |brief )?summary|tl;?dr|translate|rephrase|paraphrase|proofread|shorten"
    r"|reword|(?:fix|correct|check) (?:the |my )?(?:spelling|grammar|typos)|fasse|übersetze?|korrigiere|résume[rz]?"
    r"|tradui[st]|corrige|resume|resumir|traduce|traducir|resuma|traduza|riassumi|traduci|vat|vertaal)(?!\w)"
    r"|总结|翻译|要約|翻訳|요약|번역|переведи|кратко",
    _I,
)
SCRIPTS = (
    ("ja", re.compile(r"[\u3040-\u30ff]")),  # before Chinese: Japanese also uses its characters
    ("zh", re.compile(r"[\u4e00-\u9fff]")),
    ("ko", re.compile(r"[\uac00-\ud7af]")),
    ("ru", re.compile(r"[\u0400-\u04ff]")),
    ("ar", re.compile(r"[\u0600-\u06ff]")),
    ("he", re.compile(r"[\u0590-\u05ff]")),
    ("hi", re.compile(r"[\u0900-\u097f]")),
    ("el", re.compile(r"[\u0370-\u03ff]")),
    ("th", re.compile(r"[\u0e00-\u0e7f]")),
)
STOPWORDS = {
    "en": frozenset("the of and to in is that for it with as on are this what how you be a write".split()),
    "de": frozenset("der die das und ist nicht ein eine mit für auf wie was ich sie den einen über schreibe".split()),
    "fr": frozenset("le la les des et est une un pour que dans qui sur pas comment avec ce écris moi".split()),
    "es": frozenset("el la los las de y es una un para que en con por como qué del se escribe sobre".split()),
    "it": frozenset("il lo gli che di e un una per non con come sono della cosa scrivi su".split()),
    "pt": frozenset("o os as de e um uma para que em com não como do da se escreva sobre".split()),
    "nl": frozenset("de het een en van is dat niet voor met op hoe wat ik zijn schrijf over".split()),
}
