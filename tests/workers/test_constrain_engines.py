"""Random weights on both engines, held to schemas: whatever they write fits and ends."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
import transformers

from tests.data.schemas.models import MODELS as ANSWERS
from tests.data.schemas.random_schemas import Schema, schemas
from tests.tiny.llm import MODELS
from tests.workers.constrained import Write, at_random, fault, llama_cpp, transformers_model
from workers.constrain import Constraint, compile_schema
from workers.modality import Code, WorkerError

pytestmark = pytest.mark.slow

COUNT, SEED, MOST_REFUSED = 60, 11, 3  # five in a hundred
ENGINES = ("llama.cpp", "transformers, byte tokens", "transformers, word pieces")


@pytest.fixture(scope="module")
def drawn() -> list[Constraint]:
    """The constraints of random schemas; so few may be refused."""
    kept = [found for found in map(compiled, schemas(COUNT, SEED)) if found is not None]
    assert len(kept) >= COUNT - MOST_REFUSED
    return kept


def compiled(schema: Schema) -> Constraint | None:
    try:
        return compile_schema(schema, 700)
    except WorkerError:
        return None


@pytest.fixture(scope="module", params=ENGINES)
def engine(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Write]]:
    folder = tmp_path_factory.mktemp("tiny")
    cards = {"transformers, byte tokens": "llama-3.2-1b-instruct", "transformers, word pieces": "tinyllama-1.1b-chat"}
    name = request.param
    opened = llama_cpp(folder) if name == "llama.cpp" else transformers_model(folder, cards[name])
    with opened as write:
        yield name, write


def test_random_schemas_are_fit_by_whatever_random_weights_write(
    engine: tuple[str, Write], drawn: list[Constraint]
) -> None:
    name, write = engine
    for number, constraint in enumerate(drawn if name == "llama.cpp" else drawn[:8]):
        text, finish, tokens = write(constraint, number, (1.0, 1.1, 1.2)[number % 3])
        assert fault(constraint, text, finish, tokens) is None, (constraint.schema, text)


def test_random_schemas_are_fit_by_random_bytes(drawn: list[Constraint]) -> None:
    for number, constraint in enumerate(drawn):
        text, finish, tokens = at_random(constraint, number)
        assert fault(constraint, text, finish, tokens) is None, (constraint.schema, text)


@pytest.mark.parametrize("name", ANSWERS)
def test_pydantic_models_read_what_both_engines_write(engine: tuple[str, Write], name: str) -> None:
    model = ANSWERS[name]
    constraint = compile_schema(model.model_json_schema(), 900)
    text, finish, tokens = engine[1](constraint, 5, 1.1)
    assert fault(constraint, text, finish, tokens) is None, text
    assert model.model_validate(constraint.parse(text)).model_dump()


def test_rows_of_a_batch_are_held_to_the_schema_each_on_its_own(tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("rows")
    MODELS["llama-3.2-1b-instruct"](folder)
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    constraint = compile_schema({"type": "array", "items": {"type": "integer"}, "minItems": 1}, 80)
    prompt = tokenizer(["One", "Two", "Three"], return_tensors="pt", padding=True)
    torch.manual_seed(3)
    rows = model.generate(
        **prompt,
        max_new_tokens=80,
        do_sample=True,
        pad_token_id=tokenizer.eos_token_id,
        logits_processor=[constraint.processor(tokenizer)],
    )
    texts = tokenizer.batch_decode(rows[:, prompt["input_ids"].shape[1] :], skip_special_tokens=True)
    assert len(set(texts)) == 3
    assert all(isinstance(constraint.parse(text), list) for text in texts)


def test_a_tokenizer_that_cannot_be_followed_is_refused(tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("t5")
    MODELS["lamini-flan-t5-783m"](folder)
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    with pytest.raises(WorkerError, match="this model's tokenizer") as refused:
        compile_schema({"type": "null"}, 20).processor(tokenizer)
    assert refused.value.code is Code.INVALID_CONFIG
