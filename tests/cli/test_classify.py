"""`pennyroute classify`: which files it reads, what it keeps, how a run that was cut goes on."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from orchestrator.cli.classify_files import Journal, Result, Skipped, Source, files_of, read
from orchestrator.core.errors import InvalidInput
from tests.cli.conftest import Cli

ASKED = {"labels": ["code", "prose"], "model": "auto", "multi_label": False, "characters": 2_000}


def written(folder: Path, **files: str | bytes) -> Path:
    for name, content in files.items():
        path = folder / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return folder


def result(path: str, label: str = "code") -> Result:
    return Result(path=path, sha256="d" * 64, label=label, score=0.9, scores={"code": 0.9, "prose": 0.1}, model="m")


def test_a_folder_is_read_in_order_without_hidden_and_tool_folders(tmp_path: Path) -> None:
    written(tmp_path, b="b", a__z="z", a__y="y", **{".hidden": "h", "node_modules__x": "x", ".git__config": "c"})
    assert [str(file.relative_to(tmp_path)) for file in files_of([tmp_path])] == ["b", "a/y", "a/z"]


def test_a_file_named_twice_is_read_once(tmp_path: Path) -> None:
    written(tmp_path, a="a")
    assert list(files_of([tmp_path / "a", tmp_path, tmp_path / "a"])) == [tmp_path / "a"]


def test_a_path_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="nowhere is not there"):
        list(files_of([tmp_path / "nowhere"]))


def test_a_text_is_its_name_and_its_first_characters(tmp_path: Path) -> None:
    written(tmp_path, a="  héllo wörld")
    found = read(tmp_path / "a", 7)
    assert isinstance(found, Source)
    assert found.text == "a\n\nhéllo w"
    assert len(found.sha256) == 64


@pytest.mark.parametrize(("content", "why"), [(b"\x89PNG\x00\x01", "not a text"), (b"", "empty"), (b" \n ", "empty")])
def test_what_is_no_text_is_skipped_with_its_reason(tmp_path: Path, content: bytes, why: str) -> None:
    written(tmp_path, a=content)
    assert read(tmp_path / "a", 100) == Skipped(path=str(tmp_path / "a"), why=why)


def test_a_cut_run_goes_on_with_what_it_has(tmp_path: Path) -> None:
    first = Journal(tmp_path / "out.json", ASKED)
    first.resume()
    first.add([result("a"), Result(path="b", sha256="d" * 64, error="refused")])
    with (tmp_path / "out.json.part").open("a") as file:
        file.write('{"path": "c", "sha')  # killed while writing
    second = Journal(tmp_path / "out.json", ASKED)
    second.resume()
    assert list(second.done) == [("a", "d" * 64)]
    second.add([result("c")])
    third = Journal(tmp_path / "out.json", ASKED)
    third.resume()
    assert list(third.done) == [("a", "d" * 64), ("c", "d" * 64)]


def test_the_beginning_of_another_question_is_not_taken_for_this_one(tmp_path: Path) -> None:
    Journal(tmp_path / "out.json", ASKED).add([result("a")])
    with pytest.raises(InvalidInput, match="other labels or another model"):
        Journal(tmp_path / "out.json", ASKED | {"labels": ["a", "b"]}).resume()


def test_a_run_that_judged_nothing_stands_in_nobodys_way(tmp_path: Path) -> None:
    (tmp_path / "out.json.part").write_text(json.dumps({"asked": ASKED | {"model": "no-such-model"}}) + "\n")
    Journal(tmp_path / "out.json", ASKED).resume()
    assert not (tmp_path / "out.json.part").exists()


def test_the_whole_is_one_file_and_the_journal_goes(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "out.json", ASKED)
    journal.resume()
    found = [result("a"), result("b", "prose"), result("c")]
    journal.add(found)
    journal.finish(found, [Skipped(path="d", why="empty")])
    whole = json.loads((tmp_path / "out.json").read_text())
    assert (whole["labels"], whole["counts"]) == (["code", "prose"], {"code": 2, "prose": 1})
    assert whole["files"][1]["label"] == "prose"
    assert whole["skipped"] == [{"path": "d", "why": "empty"}]
    assert [file.name for file in tmp_path.iterdir()] == ["out.json"]


def test_one_label_is_too_few(cli: Cli, tmp_path: Path) -> None:
    told = cli("classify", "-i", str(tmp_path), "-l", "code")
    assert (told.exit_code, "fewer than two labels" in told.stderr) == (1, True)


def test_a_folder_without_texts_is_told(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    told = cli("classify", "-i", str(tmp_path / "empty"), "-l", "code,prose")
    assert (told.exit_code, "no text file was found" in told.stderr) == (1, True)


def test_files_are_classified_by_the_running_api_and_asked_once(house_cli: Cli, tmp_path: Path) -> None:
    written(
        tmp_path / "in",
        invoice="Your invoice of 40 dollars is due. Please pay by card or bank transfer.",
        crash="The program crashes with a null pointer exception when I click save.",
        picture=b"\x00\x01",
    )
    words = ("classify", "-i", str(tmp_path / "in"), "-l", "payment and money,software error")
    told = house_cli(*words, "-o", str(tmp_path / "out.json"), "--model", "minilm-l6-builtin")
    assert told.exit_code == 0, told.stderr
    whole = json.loads((tmp_path / "out.json").read_text())
    assert [Path(each["path"]).name for each in whole["files"]] == ["crash", "invoice"]
    assert [each["label"] for each in whole["files"]] == ["software error", "payment and money"]
    assert whole["skipped"][0]["why"] == "not a text"
    assert "2 classified, 0 failed, 1 skipped" in told.stdout


def test_a_model_that_cannot_classify_fails_the_command_and_leaves_no_beginning(house_cli: Cli, tmp_path: Path) -> None:
    written(tmp_path / "in", note="Some words.")
    words = ("classify", "-i", str(tmp_path / "in"), "-l", "a,b", "-o", str(tmp_path / "out.json"))
    told = house_cli(*words, "--model", "vader", "--json")
    assert (told.exit_code, json.loads(told.stdout)["failed"]) == (1, 1)
    assert house_cli(*words, "--model", "no-such-model").exit_code == 1
    assert house_cli(*words, "--model", "minilm-l6-builtin").exit_code == 0
