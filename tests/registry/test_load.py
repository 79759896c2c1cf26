"""Reading card files: one registry with a hash, and errors that name file, card and field."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from registry.load import BadCard, UnknownModel, load, open_server_card
from registry.schema import Billing, Task, Tier
from tests.registry.cards import local

LOCAL = """
[[card]]
id = "small"
aliases = ["tiny"]
provider = "huggingface"
name = "Small"
tasks = ["generate"]
tier = "local"
roles = ["small_llm"]
queue = "llm"
billing = "none"
hub_id = "someone/small"
licence = "MIT"
"""

PAID = """
[[card]]
id = "big"
provider = "anthropic"
api_model = "big-1"
name = "Big"
tasks = ["generate"]
tier = "premium"
billing = "tokens"
licence = "proprietary"

[[card.prices]]
source = "https://example.com"
checked = 2026-11-20
input_usd = "3.00"
output_usd = "15.00"
"""


def folder_with(folder: Path, **files: str) -> Path:
    """A card folder with these files, named without their ending."""
    for name, text in files.items():
        (folder / f"{name}.toml").write_text(text, encoding="utf-8")
    return folder


def refusal(folder: Path, text: str) -> str:
    """The error that a folder with this one file `bad.toml` gives."""
    with pytest.raises(BadCard) as caught:
        load(folder_with(folder, bad=text))
    return str(caught.value)


def test_a_folder_of_card_files_becomes_one_registry(tmp_path: Path) -> None:
    registry = load(folder_with(tmp_path, a=LOCAL, b=PAID))
    assert list(registry.cards) == ["big", "small"]
    assert registry.get("big").prices[0].input_nanousd == 3_000_000_000
    assert registry.by_alias == {"tiny": "small"}


def test_a_model_is_found_by_id_alias_and_role(tmp_path: Path) -> None:
    registry = load(folder_with(tmp_path, a=LOCAL))
    assert registry.get("small") is registry.get("tiny") is registry.for_role("small_llm")


def test_an_unknown_model_is_told_with_the_nearest_names(tmp_path: Path) -> None:
    registry = load(folder_with(tmp_path, a=LOCAL, b=PAID))
    with pytest.raises(UnknownModel) as caught:
        registry.get("smal")
    assert str(caught.value) == "No model 'smal' in the registry; did you mean 'small'?"
    assert caught.value.nearest == ("small",)
    with pytest.raises(UnknownModel) as far:
        registry.get("zzzzzz")
    assert str(far.value) == "No model 'zzzzzz' in the registry; `pennyroute models list` shows all."


def test_models_for_a_task_come_from_the_lowest_tier_up(tmp_path: Path) -> None:
    registry = load(folder_with(tmp_path, a=LOCAL, b=PAID))
    assert [card.id for card in registry.for_task(Task.GENERATE)] == ["small", "big"]
    assert registry.for_task(Task.OCR) == ()


def test_the_version_does_not_depend_on_files_order_or_comments(tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    apart = load(folder_with(tmp_path / "one", a=LOCAL, b=PAID))
    together = load(folder_with(tmp_path / "two", all="# a comment\n" + PAID + LOCAL))
    assert apart.version == together.version
    assert len(apart.version) == 64
    assert apart.short == apart.version[:16]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('name = "Big"', 'name = "Bigger"'),
        ('input_usd = "3.00"', 'input_usd = "3.01"'),
        ("checked = 2026-11-20", "checked = 2026-11-21"),
        ('tasks = ["generate"]', 'tasks = ["generate", "classify"]'),
    ],
)
def test_the_version_changes_with_any_fact_of_a_card(tmp_path: Path, old: str, new: str) -> None:
    before = load(folder_with(tmp_path, b=PAID)).version
    assert load(folder_with(tmp_path, b=PAID.replace(old, new))).version != before


def test_another_way_to_write_the_same_price_keeps_the_version(tmp_path: Path) -> None:
    before = load(folder_with(tmp_path, b=PAID)).version
    assert load(folder_with(tmp_path, b=PAID.replace('"3.00"', '"3"'))).version == before


def test_the_version_is_the_same_in_another_process(tmp_path: Path) -> None:
    folder_with(tmp_path, b=PAID.replace("tier =", 'capabilities = ["tools", "vision", "code"]\ntier ='))
    script = f"from pathlib import Path; from registry import load; print(load(Path({str(tmp_path)!r})).version)"
    told = {
        subprocess.run(
            [sys.executable, "-c", script],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2", "3")
    }
    assert told == {load(tmp_path).version + "\n"}


def test_more_cards_make_a_new_registry_and_leave_the_old_one(tmp_path: Path) -> None:
    registry = load(folder_with(tmp_path, a=LOCAL))
    larger = registry.with_cards([open_server_card("ollama", "llama3.2:1b")])
    assert list(registry.cards) == ["small"]
    assert list(larger.cards) == ["ollama/llama3.2:1b", "small"]
    assert larger.version != registry.version


def test_the_card_of_an_open_server_is_local_and_free() -> None:
    card = open_server_card("ollama", "llama3.2:1b", context_tokens=4096)
    assert (card.id, card.provider, card.api_model) == ("ollama/llama3.2:1b", "ollama", "llama3.2:1b")
    assert (card.tier, card.billing, card.queue) == (Tier.LOCAL, Billing.NONE, None)
    assert card.context_tokens == 4096


def test_a_licence_restriction_leaves_out_what_is_not_listed_or_not_known(tmp_path: Path) -> None:
    unknown = LOCAL.replace('"small"', '"unknown"').replace('["tiny"]', "[]").replace('licence = "MIT"', "")
    unknown = unknown.replace('roles = ["small_llm"]', "")
    folder = folder_with(tmp_path, a=LOCAL, b=PAID, c=unknown)
    assert list(load(folder).cards) == ["big", "small", "unknown"]
    assert list(load(folder, licences={"MIT"}).cards) == ["small"]
    assert list(load(folder, licences=()).cards) == []


def test_a_file_that_is_not_toml_is_named(tmp_path: Path) -> None:
    assert refusal(tmp_path, "id = ").startswith("bad.toml: not TOML: Invalid value")


def test_a_file_with_another_table_is_refused(tmp_path: Path) -> None:
    assert refusal(tmp_path, "[model]\nid = 1\n") == ("bad.toml: a card file holds [[card]] tables only, found model")


def test_an_empty_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadCard) as caught:
        load(tmp_path)
    assert str(caught.value) == f"{tmp_path}: no card files (*.toml) there; point to a folder with cards"


def test_an_unknown_field_is_told_with_file_card_and_field(tmp_path: Path) -> None:
    assert refusal(tmp_path, LOCAL + 'colour = "red"\n') == (
        "bad.toml: card 'small': colour: Extra inputs are not permitted (got 'red')"
    )


def test_a_missing_field_is_told(tmp_path: Path) -> None:
    assert refusal(tmp_path, LOCAL.replace('name = "Small"\n', "")) == ("bad.toml: card 'small': name: Field required")


def test_a_card_without_id_is_told_by_its_number(tmp_path: Path) -> None:
    assert refusal(tmp_path, LOCAL.replace('id = "small"\n', "")) == ("bad.toml: card 'number 1': id: Field required")


def test_a_price_that_is_not_exact_is_told(tmp_path: Path) -> None:
    assert refusal(tmp_path, PAID.replace('"3.00"', "3.00")) == (
        "bad.toml: card 'big': prices.0: a price is a decimal string such as \"3.00\", got 3.0"
    )


def test_a_contradiction_is_told_of_the_card_as_a_whole(tmp_path: Path) -> None:
    assert refusal(tmp_path, LOCAL.replace('queue = "llm"\n', "")) == (
        "bad.toml: card 'small': as a whole: a local model needs either queue (our worker) or api_model "
        "(a local server), and not both"
    )


def test_two_cards_cannot_have_one_id(tmp_path: Path) -> None:
    assert refusal(tmp_path, LOCAL + LOCAL) == (
        "card 'small': id 'small' is already taken by another card; each must be unique"
    )


def test_two_cards_cannot_have_one_alias(tmp_path: Path) -> None:
    twin = LOCAL.replace('"small"', '"twin"').replace('roles = ["small_llm"]', "")
    assert refusal(tmp_path, LOCAL + twin) == (
        "card 'twin': alias 'tiny' is already taken by another card; each must be unique"
    )


def test_an_alias_cannot_be_the_id_of_another_card(tmp_path: Path) -> None:
    other = LOCAL.replace('"small"', '"tiny"').replace('["tiny"]', "[]").replace('roles = ["small_llm"]', "")
    assert refusal(tmp_path, LOCAL + other) == ("card 'small': alias 'tiny' is the id of another card; choose another")


def test_a_role_has_one_holder(tmp_path: Path) -> None:
    twin = LOCAL.replace('"small"', '"twin"').replace('["tiny"]', "[]")
    assert refusal(tmp_path, LOCAL + twin) == (
        "card 'twin': role 'small_llm' is already taken by another card; each must be unique"
    )


def test_a_fallback_that_is_no_card_is_refused(tmp_path: Path) -> None:
    assert refusal(tmp_path, LOCAL + 'fallback = "nobody"\n') == (
        "card 'small': fallback 'nobody' is no card; name one that exists"
    )


def test_an_added_card_cannot_take_an_id_that_is_there(tmp_path: Path) -> None:
    registry = load(folder_with(tmp_path, a=LOCAL))
    with pytest.raises(BadCard, match="id 'small' is already taken"):
        registry.with_cards([local(id="small")])
