"""Each check of a reply: what it catches, what it leaves alone, and that hostile text comes back."""

from __future__ import annotations

import pytest

from orchestrator.core.quality.judge import judge
from orchestrator.core.reading import answers
from orchestrator.core.types import FinishReason, Reply
from registry.schema import Usage
from tests.samples import request

PROSE = (
    "Start with a small bowl of flour and water. Keep it near a window for a day, then feed it again with the same "
    "amount of flour. After a week the dough smells sour and is full of air, and you can bake with it."
)
LOREM = "alpha beta gamma delta epsilon zeta eta theta iota kappa "


def signal(name: str, text: str, ask: str = "How do I start a sourdough?", **changes: object) -> float:
    reply = Reply(usage=Usage(), text=text, **changes)  # type: ignore[arg-type]
    return judge(request(ask), reply).signals[name]


@pytest.mark.parametrize(
    "text",
    [
        "I'm sorry, but I can't help with that.",
        "I cannot provide medical advice.",
        "Unfortunately, I'm unable to browse.",
        "Sorry, but I can't do that.",
        "As an AI language model, I have no opinion.",
        "Tut mir leid, dabei kann ich nicht helfen.",
        "Leider kann ich diese Frage nicht beantworten.",
        "Als KI habe ich keine Meinung.",
        "Je suis désolé, mais je ne peux pas répondre.",
        "En tant qu'IA, je n'ai pas d'avis.",
        "Lo siento, no puedo ayudar con eso.",
        "Como modelo de lenguaje, no tengo opiniones.",
        "Mi dispiace, ma non posso aiutarti.",
        "Sinto muito, mas não posso ajudar.",
        "Infelizmente, não posso responder.",
        "Het spijt me, maar ik kan je niet helpen.",
        "Helaas kan ik dat niet doen.",
    ],
)
def test_a_refusal_is_seen_in_seven_languages(text: str) -> None:
    assert signal("willing", text) == 0.2


@pytest.mark.parametrize(
    "text",
    [
        "I'm sorry to hear that. Do you want to talk about it?",
        "I'm sorry for the confusion: the answer is 4.",
        "Tut mir leid, das zu hören. Was ist passiert?",
        "The clerk said: I'm sorry, but I can't help with that.",
        "I can help with that.",
        "Ich kann dir helfen.",
        "Je peux répondre à cela.",
        "No puedo is Spanish for I cannot.",
    ],
)
def test_sympathy_and_quotes_are_no_refusals(text: str) -> None:
    assert signal("willing", text) == 1.0


def test_words_the_ask_itself_says_are_no_refusal() -> None:
    ask = "Correct the spelling: I'm sorry, but I cant help with that"
    assert signal("willing", "I'm sorry, but I can't help with that.", ask) == 1.0


@pytest.mark.parametrize(
    ("expected", "text"),
    [
        (1.0, PROSE),
        (0.1, PROSE.removesuffix("bake with it.") + "bake with the"),
        (0.1, PROSE.removesuffix("bake with it.") + "bake with it,"),
        (0.3, "Use this:\n```python\nprint(1)\n"),
        (1.0, "Use this:\n```python\nprint(1)\n```"),
        (1.0, "Dear Anna,\n\nThank you for the lovely evening, we enjoyed every bit of it.\n\nBest regards,"),
        (1.0, "The"),
        (1.0, "- flour\n- water\n- salt\n- yeast\n- an oven\n- a bowl\n- two hands\n- patience"),
    ],
)
def test_an_answer_that_breaks_off_is_seen(expected: float, text: str) -> None:
    assert signal("complete", text) == expected


@pytest.mark.parametrize(
    ("expected", "ask", "text"),
    [
        (1.0, "Answer in JSON.", '{"a": 1}'),
        (1.0, "Answer in JSON.", 'Here:\n```json\n{"a": 1}\n```'),
        (0.3, "Answer in JSON.", "The answer is a: 1"),
        (0.3, "Answer in JSON.", '{"a": 1'),
        (1.0, "List 3 fruits", "1. Apple\n2. Pear\n3. Plum"),
        (1.0, "List 3 fruits", "Apple, pear and plum."),
        (0.4, "List 3 fruits", "1. Apple\n2. Pear"),
        (0.6, "List 3 fruits", "- Apple\n- Pear\n- Plum\n- Fig"),
        (1.0, "In one word: capital of France?", "Paris."),
        (0.3, "In one word: capital of France?", "The capital of France is Paris."),
        (1.0, "In at most 10 words: why?", "Because it is so."),
        (0.4, "In at most 10 words: why?", LOREM * 3),
        (0.6, "In at most 10 words: why?", LOREM + "one two three four"),
        (0.4, "In one sentence: why?", "It is. It was. It will be. It may be."),
        (1.0, "Answer with only a number.", "42"),
        (0.3, "Answer with only a number.", "many"),
        (0.6, "Answer with only a number.", "I would say that it is about 42."),
        (1.0, "Is it wet? Yes or no?", "Yes, it is."),
        (0.4, "Is it wet? Yes or no?", "Water is a liquid."),
        (1.0, "Tell me about rivers.", "Rivers flow."),
    ],
)
def test_a_form_demanded_in_words_is_kept_or_not(expected: float, ask: str, text: str) -> None:
    assert signal("format", text, ask) == expected


@pytest.mark.parametrize(
    ("expected", "ask", "text"),
    [
        (1.0, "How do I bake the bread that you like?", PROSE),
        (0.3, "Wie ist das mit dem Brot und was muss ich für den Teig über Nacht?", PROSE),
        (0.3, "What is the meaning of this word for you?", "Это слово значит любовь и больше ничего не значит"),
        (1.0, "Wie sagt man das auf Englisch und was ist der Unterschied?", PROSE),
        (1.0, "Wie ist das mit dem Brot und was muss ich für den Teig?", "OK."),
        (1.0, "Paris Roma Berlin", PROSE),
    ],
)
def test_the_wrong_language_is_seen_where_both_are_sure(expected: float, ask: str, text: str) -> None:
    assert signal("language", text, ask) == expected


@pytest.mark.parametrize(
    ("expected", "ask", "text"),
    [
        (1.0, "How much is it?", "3 boxes of 12 make 3 * 12 = 36 eggs."),
        (0.15, "How much is it?", "3 boxes of 12 make 3 * 12 = 35 eggs."),
        (1.0, "How much is it?", "100 / 3 = 33.33 each, so 100/3 = 33.3."),
        (1.0, "How much is it?", "Let x = 3 and y = 5, then f(x) = 8."),
        (1.0, "How much is it?", "a + 3 * 4 = 20, so a = 8"),
        (1.0, "How much is it?", "20% of 50 + 3 = 13"),
        (1.0, "How much is it?", "2 + 3 * 4 = 2 + 12 = 14"),
        (1.0, "How much is it?", "300,000 * 5 = 1.5 million"),
        (1.0, "How much is it?", "7 / 2 = 3 remainder 1"),
        (0.15, "How much is it?", r"So \(12 \times 12 = 143\)"),
        (1.0, "What is 2+2?", "4"),
        (0.15, "What is 2+2?", "5"),
        (1.0, "What is 2+2?", "Four."),
        (0.15, "What is 17 * 23?", "392"),
        (1.0, "What is 17 * 23?", "17 * 23 is 391."),
    ],
)
def test_arithmetic_is_done_again(expected: float, ask: str, text: str) -> None:
    assert signal("arithmetic", text, ask) == expected


def test_sums_are_told_one_by_one_in_order() -> None:
    assert answers.rechecked("2 + 2 = 4, 3 * 3 = 8 and 10 / 4 = 2.5; x = 4") == [True, False, True]


@pytest.mark.parametrize(
    ("expected", "code"),
    [
        (1.0, "```python\ndef f(x):\n    return x + 1\n```"),
        (0.4, "```python\ndef f(x)\n    return x + 1\n```"),
        (0.4, "```python\nprint 'hello'\n```"),
        (1.0, "```python\n>>> f(1)\n2\n```"),
        (1.0, "```python\n!pip install numpy\nimport numpy\n```"),
        (1.0, "```python\n    x = 1\n    y = '\\d'\n```"),
        (1.0, "```js\nconst f = (x) => { return `${x}(`; } // ( \n```"),
        (0.4, "```js\nconst f = (x) => { return x;\n```"),
        (0.4, "```c\nint main( { return 0; ]\n```"),
        (1.0, "```bash\ncase $x in a) echo;; esac\n```"),
        (1.0, "```\nanything ( goes\n```"),
        (1.0, "```json\n{...}\n```"),
        (1.0, "```python\n" + "(" * 5_000 + "\n```"),
        (1.0, "```python\nx = 1\n```\nand wrongly:\n```python\nx =\n```"),
    ],
)
def test_code_must_parse(expected: float, code: str) -> None:
    assert signal("code", f"Here it is:\n{code}\nThat is all.") == expected


def test_a_long_reply_about_something_else_is_seen() -> None:
    ask = "Why does photosynthesis slow down in green leaves during winter months?"
    assert signal("on_topic", PROSE + " " + PROSE, ask) == 0.4
    assert signal("on_topic", PROSE + " This is how leaves work. " + PROSE, ask) == 1.0
    assert signal("on_topic", "Because.", ask) == 1.0
    assert signal("on_topic", PROSE + " " + PROSE, "Translate this into French, would you, about winter months?") == 1.0
    assert signal("on_topic", PROSE + " " + PROSE, "Write a story for children, about clouds and mountains.") == 1.0


def test_a_chorus_of_three_is_no_loop_and_one_of_four_is() -> None:
    line = "row row row your boat gently down the stream "
    assert signal("fresh", line * 3) == 1.0
    assert signal("fresh", line * 4) == 0.15


PIECES = (
    *(
        "1",
        "1+",
        "1 + ",
        "1=",
        "1+1=",
        "1,",
        "(",
        "[",
        '"',
        "'",
        "`",
        "```",
        "```\n",
        "```python\n(",
        "```js\n/*",
        "\n",
    ),
    *(
        "\n\n- ",
        "1. a\n",
        "A.\n",
        "\nA) x",
        "a ",
        "the ",
        " ",
        "\t",
        '"answer": ',
        "answer is ",
        "\\boxed{",
        "####",
        "/*",
    ),
    *('\\"', "\\", "$", "<<1+1=", "\\times ", "-", "1 x ", "(1/", "i'm sorry ", "ich kann dir ", "answer json ", "é"),
    *("what is the a ", "at most ", "中", "(A) ", "\x00", "de la ", "list 3 "),
)


@pytest.mark.parametrize("piece", PIECES)
def test_hostile_text_comes_back_graded(piece: str) -> None:
    """Each is 100,000 characters: what took quadratic time would not come back."""
    text = (piece * 100_000)[:100_000]
    for ask, said in ((text, "It is 5."), ("How many are 3 and 4?", text), (text, text), ("A?\nA. x\nB. y", text)):
        assert 0 <= judge(request(ask), Reply(usage=Usage(), text=said)).value <= 1


def test_what_the_provider_calls_a_cut_or_a_refusal_is_one() -> None:
    assert signal("complete", "Four and", finish_reason=FinishReason.LENGTH) == 0.4
    assert signal("willing", "Four.", finish_reason=FinishReason.REFUSAL) == 0.2
