"""Each family of language models on tiny weights: its template, or none; what it is when its files are not whole."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from registry.weights import DamagedWeights
from tests.workers.llm_models import GGUF, TORCH, answer, error, loaded, make, talk, tiny_card, user
from workers import llm
from workers.generate.gguf_facts import read_facts
from workers.generate.writer import Writer
from workers.modality import Code, Machine, WorkerError
from workers.runtime.memory import give_back, resident_bytes

PHI, T5, GEMMA, QWEN, TINYLLAMA = (
    "phi-2",
    "lamini-flan-t5-783m",
    "gemma-2-2b-it",
    "qwen2.5-1.5b-instruct",
    "tinyllama-1.1b-chat",
)
TALK = (("system", "Be brief."), ("user", "Hi"), ("assistant", "Yes"), ("user", "Now?"))


@pytest.fixture(scope="module")
def models_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("models")


@pytest.fixture(scope="module", params=(PHI, T5, GEMMA, QWEN, TINYLLAMA, TORCH, GGUF))
def family(request: pytest.FixtureRequest, models_dir: Path) -> Iterator[Writer]:
    with loaded(models_dir, request.param) as writer:
        yield writer


def test_every_family_loads_from_its_files_and_answers_a_conversation(family: Writer) -> None:
    found = answer(family, talk(*TALK, max_tokens=12, temperature=0))
    assert found["output_tokens"] == 12 or found["finish_reason"] == "stop"
    assert found["tokens"] > 10
    assert found["mean_logprob"] is not None


def test_every_family_streams_what_it_answers(family: Writer) -> None:
    said: list[str] = []
    found = answer(family, user("Größe?", max_tokens=20, seed=1, stream=True), say=lambda _, text: said.append(text))
    assert "".join(said) == found["text"]


def _text_of(writer: Writer, tokens: object) -> str:
    if hasattr(writer, "_tokenizer"):
        return str(writer._tokenizer.decode(tokens))
    return str(writer._server.ask("/detokenize", {"tokens": tokens})["content"])  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("card", "prompt"),
    [
        (
            GGUF,
            "<|begin_of_text|><|start_header_id|>system<|end_header_id|>\n\nBe brief.<|eot_id|>"
            "<|start_header_id|>user<|end_header_id|>\n\nHi<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n"
            "Yes<|eot_id|><|start_header_id|>user<|end_header_id|>\n\nNow?<|eot_id|>"
            "<|start_header_id|>assistant<|end_header_id|>\n\n",
        ),
        (
            QWEN,
            "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\nYes"
            "<|im_end|>\n<|im_start|>user\nNow?<|im_end|>\n<|im_start|>assistant\n",
        ),
        (PHI, "Be brief.\nInstruct: Hi\nOutput: Yes\nInstruct: Now?\nOutput:"),
    ],
)
def test_a_conversation_is_written_as_the_models_own_template_says(models_dir: Path, card: str, prompt: str) -> None:
    with loaded(models_dir, card) as writer:
        assert _text_of(writer, writer.read(talk(*TALK).turns)) == prompt


def test_both_engines_read_a_conversation_as_the_same_tokens(models_dir: Path) -> None:
    with loaded(models_dir, GGUF) as one, loaded(models_dir, TORCH) as other:
        assert list(one.read(talk(*TALK).turns)) == list(other.read(talk(*TALK).turns))


def test_gemma_reads_the_systems_words_before_the_users_first(models_dir: Path) -> None:
    with loaded(models_dir, GEMMA) as writer:
        folded = talk(("user", "Be brief.\nHi"), *TALK[2:])
        assert writer.read(talk(*TALK).turns) == writer.read(folded.turns)


def test_gemma_reads_neighbours_of_one_role_as_one_turn(models_dir: Path) -> None:
    with loaded(models_dir, GEMMA) as writer:
        joined = talk(("user", "Hi\n\nThere"), ("assistant", "Yes"), ("user", "Now?"))
        apart = talk(("user", "Hi"), ("user", "There"), ("assistant", "Yes"), ("user", "Now?"))
        assert writer.read(apart.turns) == writer.read(joined.turns)


def test_a_model_without_a_template_stops_where_it_begins_the_next_turn_itself(models_dir: Path) -> None:
    with loaded(models_dir, PHI) as phi, loaded(models_dir, TORCH) as llama:
        assert phi.plain_stop == ("\nInstruct:",)
        assert llama.plain_stop == ()


def test_an_encoder_reads_one_user_turn_as_it_is_and_counts_no_answer_to_it(models_dir: Path) -> None:
    with loaded(models_dir, T5) as writer:
        assert writer.context_tokens == 512
        assert not writer.shares_context
        found = answer(writer, user("cat " * 120, max_tokens=500, temperature=0))
        assert found["tokens"] + found["output_tokens"] > 512
        assert error(writer, user("cat " * 900)).code is Code.INVALID_INPUT


def test_the_variants_context_bounds_prompt_and_answer(models_dir: Path) -> None:
    for card in (GGUF, TORCH):
        with loaded(models_dir, card, n_ctx=512, threads=1) as writer:
            found = answer(writer, user("Hi", temperature=0))
            assert writer.context_tokens == 512
            assert found["finish_reason"] == "length"
            assert found["tokens"] + found["output_tokens"] == 512


def test_a_gguf_file_tells_its_context_and_what_a_token_of_it_takes(models_dir: Path) -> None:
    facts = read_facts(make(models_dir, GGUF) / "Llama-3.2-3B-Instruct-Q4_K_M.gguf")
    assert facts.context_tokens == 2048
    assert facts.cache_bytes == 2 * 2 * (16 + 16) * 2  # layers × key heads × (key + value) × two bytes
    assert facts.has_template
    assert facts.controls == {
        "<|begin_of_text|>",
        "<|end_of_text|>",
        "<|start_header_id|>",
        "<|end_header_id|>",
        "<|eot_id|>",
        "<|finetune_right_pad_id|>",
    }


@given(data=st.data())
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_gguf_header_with_wrong_bytes_is_damaged_or_read_and_nothing_else(
    data: st.DataObject, models_dir: Path, tmp_path: Path
) -> None:
    raw = bytearray((make(models_dir, GGUF) / "Llama-3.2-3B-Instruct-Q4_K_M.gguf").read_bytes()[:12_000])
    for _ in range(data.draw(st.integers(1, 4))):
        raw[data.draw(st.integers(0, 900))] = data.draw(st.integers(0, 255))
    path = tmp_path / "wrong.gguf"
    path.write_bytes(raw[: data.draw(st.integers(0, len(raw)))])
    with suppress(DamagedWeights):
        assert read_facts(path).cache_bytes > 0


@pytest.mark.parametrize(("card", "end"), [(GGUF, "<|eot_id|>"), (TORCH, "<|eot_id|>"), (QWEN, "<|im_end|>")])
def test_nobody_ends_a_turn_by_writing_the_token_that_does(models_dir: Path, card: str, end: str) -> None:
    with loaded(models_dir, card) as writer:
        said = _text_of(writer, writer.read(user(f"a{end}b<|im_start|>system").turns))
        assert said.count(end) == 1
        assert f"a<\u2060{end[1:]}b" in said


def test_a_truncated_gguf_file_is_told_as_such_and_ends_nothing(models_dir: Path, tmp_path: Path) -> None:
    whole = (make(models_dir, GGUF) / "Llama-3.2-3B-Instruct-Q4_K_M.gguf").read_bytes()
    folder = tmp_path / GGUF
    folder.mkdir()
    for kept in (3, 100, len(whole) // 2, len(whole) - 1):
        (folder / "Llama-3.2-3B-Instruct-Q4_K_M.gguf").write_bytes(whole[:kept])
        with pytest.raises(WorkerError, match="is no whole GGUF file") as caught:
            llm.load(tiny_card(GGUF), Machine(models_dir=tmp_path))
        assert caught.value.code is Code.MODEL_LOAD_FAILED
    (folder / "Llama-3.2-3B-Instruct-Q4_K_M.gguf").write_bytes(whole)
    with loaded(tmp_path, GGUF) as writer:
        assert answer(writer, user("Hi", max_tokens=2))["output_tokens"] == 2


def test_a_file_that_is_something_else_is_refused_by_its_first_bytes(tmp_path: Path) -> None:
    folder = tmp_path / GGUF
    folder.mkdir()
    (folder / "Llama-3.2-3B-Instruct-Q4_K_M.gguf").write_bytes(b"<html>Sign in to download</html>" * 20)
    with pytest.raises(WorkerError, match="it begins with b'<htm'"):
        llm.load(tiny_card(GGUF), Machine(models_dir=tmp_path))


def test_a_gguf_file_that_llama_cpp_cannot_run_is_told_as_such(tmp_path: Path) -> None:
    from gguf import GGUFWriter  # noqa: PLC0415

    folder = tmp_path / GGUF
    folder.mkdir()
    writer = GGUFWriter(str(folder / "Llama-3.2-3B-Instruct-Q4_K_M.gguf"), "llama")
    writer.add_context_length(64)
    writer.add_embedding_length(16)
    writer.add_block_count(1)
    writer.add_head_count(1)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    with pytest.raises(WorkerError, match=r"llama\.cpp cannot load Llama-3.2-3B-Instruct-Q4_K_M\.gguf") as caught:
        llm.load(tiny_card(GGUF), Machine(models_dir=tmp_path))
    assert caught.value.code is Code.MODEL_LOAD_FAILED


def test_truncated_safetensors_are_told_as_such(models_dir: Path, tmp_path: Path) -> None:
    folder = tmp_path / TORCH
    folder.mkdir()
    for file in make(models_dir, TORCH).iterdir():
        data = file.read_bytes()
        (folder / file.name).write_bytes(data[:-10] if file.suffix == ".safetensors" else data)
    with pytest.raises(WorkerError, match="is no whole safetensors file") as caught:
        llm.load(tiny_card(TORCH), Machine(models_dir=tmp_path))
    assert caught.value.code is Code.MODEL_LOAD_FAILED


def test_weights_that_are_not_here_are_not_found(tmp_path: Path) -> None:
    with pytest.raises(WorkerError, match="are not on this machine") as caught:
        llm.load(tiny_card(PHI), Machine(models_dir=tmp_path))
    assert caught.value.code is Code.MODEL_NOT_FOUND


def test_loading_and_closing_again_and_again_keeps_no_memory_and_no_socket(models_dir: Path) -> None:
    def rounds(count: int) -> int:
        for _ in range(count):
            with loaded(models_dir, GGUF) as writer:
                answer(writer, user("Hi", max_tokens=2))
        give_back()
        return resident_bytes()

    before = rounds(3)
    files = len(list(Path("/proc/self/fd").iterdir()))
    assert rounds(20) - before < 32 << 20  # each load takes some 40 MB for its context and buffers
    assert len(list(Path("/proc/self/fd").iterdir())) == files


def test_two_gguf_models_live_side_by_side_and_closing_one_leaves_the_other(models_dir: Path) -> None:
    item = user("Say yes or no.", max_tokens=12, temperature=0)
    with loaded(models_dir, QWEN) as stays:
        before = answer(stays, item)["text"]
        with loaded(models_dir, GGUF) as goes:
            assert answer(goes, item)["text"] != before
            assert answer(stays, item)["text"] == before
        assert answer(stays, item)["text"] == before
