"""Postgres and Redis of one machine: start, stop, come back, survive violence, refuse damaged data."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
import redis

from orchestrator.adapters.embedded import launch
from orchestrator.adapters.embedded.data_folder import DataFolder
from orchestrator.adapters.embedded.errors import DataCorrupt, PortInUse
from orchestrator.adapters.embedded.postgres import EmbeddedPostgres
from orchestrator.adapters.embedded.redis import EmbeddedRedis
from orchestrator.adapters.embedded.servers import ServerUrls, embedded_servers
from orchestrator.adapters.embedded.supervisor import Supervisor

SERVE = """
import sys
from pathlib import Path
from orchestrator.adapters.embedded.servers import embedded_servers
with embedded_servers(Path(sys.argv[1])) as urls:
    print(urls.database_url, urls.redis_url, flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[DataFolder]:
    with DataFolder.open(tmp_path / "data") as folder:
        yield folder


def write_note(urls: ServerUrls, text: str) -> None:
    with psycopg.connect(urls.database_url) as connection:
        connection.execute("create table note as select %s::text as text", (text,))
    with redis.Redis.from_url(urls.redis_url) as client:
        client.set("note", text)


def read_notes(urls: ServerUrls) -> tuple[str, str]:
    with psycopg.connect(urls.database_url) as connection:
        row = connection.execute("select text from note").fetchone()
    with redis.Redis.from_url(urls.redis_url, decode_responses=True) as client:
        value = client.get("note")
    assert row is not None
    return str(row[0]), str(value)


def running_on(path: Path) -> list[str]:
    """Command lines of living processes that mention the folder (this one excepted)."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and entry.name != str(os.getpid()):
            try:
                words = (entry / "cmdline").read_bytes().decode(errors="replace")
            except OSError:
                continue
            if str(path) in words:
                found.append(words)
    return found


def test_a_second_start_keeps_data_ports_and_passwords(tmp_path: Path) -> None:
    with embedded_servers(tmp_path / "data") as first:
        write_note(first, "kept")
    assert running_on(tmp_path) == []
    with embedded_servers(tmp_path / "data") as second:
        assert read_notes(second) == ("kept", "kept")
        assert second == first


def test_the_servers_are_what_a_ledger_needs(tmp_path: Path) -> None:
    with embedded_servers(tmp_path / "data") as urls:
        with psycopg.connect(urls.database_url) as connection:
            for name in ("fsync", "synchronous_commit", "full_page_writes"):
                assert connection.execute("select current_setting(%s)", (name,)).fetchone() == ("on",)
            connection.execute("create extension vector")
            near = connection.execute("select '[1,2]'::vector(2) <-> '[1,5]'").fetchone()
            assert near == (3.0,)
        with redis.Redis.from_url(urls.redis_url, decode_responses=True) as client:
            wanted = {"maxmemory-policy": "noeviction", "appendonly": "yes", "appendfsync": "everysec"}
            assert {name: client.config_get(name)[name] for name in wanted} == wanted


def test_neither_server_lets_a_stranger_in(tmp_path: Path) -> None:
    with embedded_servers(tmp_path / "data") as urls:
        postgres_port = urls.database_url.split(":")[-1]
        with pytest.raises(psycopg.OperationalError, match="no password supplied"):
            psycopg.connect(f"postgresql://postgres@127.0.0.1:{postgres_port}")
        redis_port = urls.redis_url.split(":")[-1]
        with (
            redis.Redis.from_url(f"redis://127.0.0.1:{redis_port}") as client,
            pytest.raises(redis.AuthenticationError),
        ):
            client.ping()


def test_a_postgres_killed_with_kill_9_is_restarted_and_keeps_what_was_committed(folder: DataFolder) -> None:
    postgres = EmbeddedPostgres(folder)
    postgres.prepare()
    with Supervisor(logs=folder.logs, run=folder.run) as supervisor:
        supervisor.start(postgres.process())
        with psycopg.connect(postgres.url) as connection:
            connection.execute("create table note as select 'committed'::text as text")
        before = supervisor.pid("postgres")
        assert before is not None
        os.kill(before, signal.SIGKILL)
        wait_for_other_pid(supervisor, "postgres", before)
        postgres.wait_ready()
        with psycopg.connect(postgres.url) as connection:
            assert connection.execute("select text from note").fetchone() == ("committed",)


def wait_for_other_pid(supervisor: Supervisor, name: str, before: int) -> None:
    while supervisor.pid(name) in (None, before):
        supervisor.check()


def test_kill_9_of_the_supervisor_leaves_nothing_running_and_the_next_start_works(tmp_path: Path) -> None:
    holder = subprocess.Popen(
        [sys.executable, "-c", SERVE, str(tmp_path / "data")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    with holder:
        assert holder.stdout is not None
        database_url, redis_url = holder.stdout.readline().split()
        urls = ServerUrls(database_url=database_url, redis_url=redis_url)
        write_note(urls, "survives")
        assert any("postgres" in line for line in running_on(tmp_path))
        holder.kill()
    # Opening the folder waits for the guard, which gives the lock back when all is gone.
    DataFolder.open(tmp_path / "data").close()
    assert running_on(tmp_path) == []
    with embedded_servers(tmp_path / "data") as again:
        assert read_notes(again) == ("survives", "survives")


def test_a_remembered_port_that_was_taken_meanwhile_is_replaced(folder: DataFolder) -> None:
    first = EmbeddedPostgres(folder)
    first.prepare()
    with socket.socket() as thief:
        thief.bind(("127.0.0.1", first.port))
        thief.listen()
        second = EmbeddedPostgres(folder)
        second.prepare()
        assert second.port != first.port
    assert second.port < 32768


def test_an_asked_port_in_use_is_refused_with_its_number_and_flag(folder: DataFolder) -> None:
    with socket.socket() as thief:
        thief.bind(("127.0.0.1", 0))
        thief.listen()
        port = thief.getsockname()[1]
        with pytest.raises(PortInUse, match=rf"Port {port} on 127\.0\.0\.1 .* --postgres-port"):
            EmbeddedPostgres(folder, port=port).prepare()
        with pytest.raises(PortInUse, match=rf"Port {port} on 127\.0\.0\.1 .* --redis-port"):
            EmbeddedRedis(folder, port=port).prepare()


@pytest.fixture
def cluster(folder: DataFolder) -> Path:
    EmbeddedPostgres(folder).prepare()
    return folder.postgres / "data"


def test_a_cluster_without_its_version_file_is_refused(folder: DataFolder, cluster: Path) -> None:
    (cluster / "PG_VERSION").unlink()
    with pytest.raises(DataCorrupt, match="is damaged: PG_VERSION is missing"):
        EmbeddedPostgres(folder).prepare()


def test_a_cluster_of_another_postgres_is_refused(folder: DataFolder, cluster: Path) -> None:
    (cluster / "PG_VERSION").write_text("13\n")
    with pytest.raises(DataCorrupt, match="was written by Postgres '13', and this version runs 18 and 16"):
        EmbeddedPostgres(folder).prepare()


def test_a_half_made_cluster_is_never_used(folder: DataFolder) -> None:
    partial = folder.postgres / "initdb-partial"
    partial.mkdir()
    (partial / "PG_VERSION").write_text("18\n")
    EmbeddedPostgres(folder).prepare()
    assert not partial.exists()
    assert (folder.postgres / "data" / "global" / "pg_control").exists()


def test_a_pid_file_that_names_a_stranger_does_not_stop_the_start(folder: DataFolder, cluster: Path) -> None:
    (cluster / "postmaster.pid").write_text(f"{os.getpid()}\n{cluster}\n")
    EmbeddedPostgres(folder).prepare()
    assert not (cluster / "postmaster.pid").exists()


def test_redis_7_data_is_not_silently_ignored_by_an_older_server(folder: DataFolder) -> None:
    (folder.redis / "appendonlydir").mkdir()
    server = shutil.which("redis-server")
    if server is not None:
        pytest.skip("the redis-server on PATH may be new enough for this data")
    with pytest.raises(DataCorrupt, match=r"was written by Redis 7 or newer, and .* is 6\.2"):
        EmbeddedRedis(folder).prepare()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has to become somebody else")
@pytest.mark.parametrize("namespaces", [True, False])
def test_root_runs_postgres_as_somebody_else_even_without_user_namespaces(
    folder: DataFolder, namespaces: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    if not namespaces:
        # The same launcher with its namespace call refused, as a container's seccomp filter refuses it.
        denied = tmp_path / "launch_denied.py"
        text = Path(launch.__file__).read_text()
        assert '_call("unshare", CLONE_NEWUSER)' in text
        denied.write_text(text.replace('_call("unshare", CLONE_NEWUSER)', 'raise PermissionError("denied")'))
        monkeypatch.setattr("orchestrator.adapters.embedded.process.LAUNCHER", denied)
    postgres = EmbeddedPostgres(folder)
    postgres.prepare()
    with Supervisor(logs=folder.logs, run=folder.run) as supervisor:
        supervisor.start(postgres.process())
        owner = (folder.postgres / "data").stat().st_uid
        uid = Path(f"/proc/{supervisor.pid('postgres')}").stat().st_uid
        assert (owner == 0) is namespaces
        assert (uid == 0) is namespaces
        with psycopg.connect(postgres.url) as connection:
            assert connection.execute("select 1").fetchone() == (1,)
