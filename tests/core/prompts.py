"""Prompts as users write them, each with the class a user would expect; no prompt is taken from a data set."""

from __future__ import annotations

from orchestrator.core.types import Complexity

_S, _M, _H = Complexity.SIMPLE, Complexity.MEDIUM, Complexity.HIGH
_C, _B = Complexity.CREATIVE, Complexity.PREMIUM_BRAND

ARTICLE = (
    "The council analysed three strategies for the harbour and compared their trade-offs in depth. "
    "Critics argue that the campaign, led by the CEO of the port and its investors, told a story rather than a plan. "
    "A function of the server code returned 12 + 4 errors, they said; why, nobody could explain step by step. "
) * 12

PYTHON = """```python
def mean(values):
    total = 0
    for value in values:
        total += value
    return total / len(values)
```"""

EXPECTED: tuple[tuple[str, Complexity], ...] = (
    # greetings, facts, chores
    ("Hi!", _S),
    ("hello there", _S),
    ("Thanks, that was helpful!", _S),
    ("What is 2+2?", _S),
    ("What is the capital of France?", _S),
    ("Who is the CEO of Microsoft?", _S),
    ("What does API stand for?", _S),
    ("Where can I return the class tickets I bought from you?", _S),
    ("Let me know where the rust on my car comes from.", _S),
    ("In which year was the song Yesterday released?", _S),
    ("How many days are there in a leap year?", _S),
    ("My appointment is on 2026-11-20, call me at 555-1234.", _S),
    ("Why is the sky blue?", _S),
    ("Write an email to my landlord: the heating is broken.", _S),
    # plain asks on material
    ("Summarize this text: The Nile is a river in Africa. It is long.", _S),
    (f"Summarize this text: {ARTICLE}", _S),
    (f"Could you please summarise the following article?\n\n{ARTICLE}", _S),
    ("Translate into German: Write a poem about the server that compiles our Python code.", _S),
    ("Fix the spelling: Teh investers like our brand campain.", _S),
    # thought
    ("Compare renting and buying a flat and discuss the trade-offs.", _M),
    ("What are the pros and cons of remote work, and what would you recommend to a team of ten?", _M),
    ("Fix this regex: ^[a-z]+$ should also match digits", _M),
    ("A baker sells 48 loaves on Monday and half as many on Tuesday. How many loaves is that in total?", _M),
    ("Prove that there are infinitely many primes.", _M),
    (f"Who was against it, according to this report?\n\n{ARTICLE * 4}", _M),
    # work
    ("Create a FastAPI server", _H),
    ("Hi, could you please create a FastAPI server with JWT authentication?", _H),
    ("Write a Python function that merges two sorted lists.", _H),
    ("Write a Python script that prints a haiku.", _H),
    (f"Find the bug and refactor this:\n{PYTHON}", _H),
    ("SELECT name FROM users WHERE id = 1; is slow in Postgres. Rewrite the query and add an index.", _H),
    ("Analyze in depth the implications of a carbon tax, compare it with quotas and justify a recommendation.", _H),
    # creative and brand
    ("Write a haiku about rain.", _C),
    ("Tell me a bedtime story about a fox.", _C),
    ("Brainstorm ten slogans for a coffee brand.", _C),
    ("Write the press release for our product launch.", _B),
    ("Draft the keynote for our shareholders in our brand voice.", _B),
    # other languages
    ("Was ist die Hauptstadt von Frankreich?", _S),
    (f"Fasse diesen Text zusammen: {ARTICLE}", _S),
    ("Erstelle einen FastAPI-Server mit Postgres.", _H),
    ("Schreibe ein Gedicht über den Herbst.", _C),
    ("Écris un poème sur la mer.", _C),
    ("Escribe una función en Python que ordene una lista.", _H),
    ("请写一首关于秋天的诗。", _C),
    ("请总结这段文字：尼罗河是一条很长的河。", _S),
)
