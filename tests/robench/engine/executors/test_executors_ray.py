"""Ray: real clusters on the loopback interface. Nodes die, commands are stopped; the rows are those of one process."""

from __future__ import annotations

import contextlib
import json
import os
import pickle
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from subprocess import PIPE

import pytest
from cluster_harness import PATIENCE_S, World, cells_done, wait_for

from robench.engine.evaluate import evaluate
from robench.engine.executors import executor
from robench.engine.executors.elsewhere import Losses
from robench.engine.protocol import Identity
from robench.engine.shard import Job, Shard
from robench.engine.tasks import Options
from robench.errors import EnvironmentNotReady
from robench.io.files import read_json

NODES, DRIVER = (Path(__file__).with_name(name) for name in ("ray_nodes.py", "ray_driver.py"))
LOOPBACK = ("0100007F", "0000000000000000FFFF00000100007F", "00000000000000000000000001000000")


@pytest.fixture(scope="module")
def environment() -> Mapping[str, str]:
    # The same token for the cluster and the commands; Ray would else make one and keep it in the user's home.
    ray = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": os.urandom(16).hex(), "RAY_USAGE_STATS_ENABLED": "0"}
    return ray | {"TOY_MS": "300", "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0", "RAY_worker_niceness": "0"}


class Nodes:
    """Two nodes of one core each, in a program of their own."""

    def __init__(self) -> None:
        self._program = subprocess.Popen([sys.executable, NODES], stdin=PIPE, stdout=PIPE, text=True)
        self.address = self._said()

    def kill_one(self) -> None:
        """Kill the second node as a power cut would."""
        assert self._program.stdin is not None
        self._program.stdin.write("kill\n")
        self._program.stdin.flush()
        assert self._said() == "killed"

    def _said(self) -> str:
        assert self._program.stdout is not None
        return self._program.stdout.readline().strip()

    def end(self) -> None:
        """End both."""
        self._program.communicate(timeout=PATIENCE_S)


@pytest.fixture(scope="module")
def nodes(world: World) -> Iterator[Nodes]:
    found = Nodes()
    yield found
    found.end()
    wait_for(lambda: not world.processes())  # a cluster leaves nothing behind


def listening(pids: Iterator[int]) -> set[str]:
    """Return the addresses that processes listen at, as the kernel writes them."""
    sockets = set()
    for pid in pids:
        with contextlib.suppress(OSError):
            for file in Path(f"/proc/{pid}/fd").iterdir():
                with contextlib.suppress(OSError):
                    sockets.add(os.readlink(file))
    tables = [Path("/proc/net/tcp"), Path("/proc/net/tcp6")]
    lines = [line.split() for table in tables for line in table.read_text().splitlines()[1:]]
    return {words[1].split(":")[0] for words in lines if words[3] == "0A" and f"socket:[{words[9]}]" in sockets}


@pytest.mark.slow
def test_a_node_dies_and_the_rows_are_the_same(world: World, nodes: Nodes) -> None:
    before = world.opened()
    hold = world.state / "hold"
    hold.touch()  # both workers stop in the middle of a shard, however slow the machine is
    head = world.start("node", "--executor", "ray", "--ray-address", nodes.address)
    out = world.options("node").out
    try:
        # A core each: one worker on each node, both in the middle of a shard.
        wait_for(lambda: head.poll() is not None or sum(n > 0 for n in cells_done(out).values()) == 2)
        nodes.kill_one()
        hold.unlink()
        said = head.communicate(timeout=PATIENCE_S)[1]
    finally:
        hold.unlink(missing_ok=True)
        head.kill()
    assert head.returncode == 0, said
    world.assert_same("node")
    events = [json.loads(line) for line in (world.run("node") / "events.jsonl").read_text().splitlines()]
    assert [event["event"] for event in events].count("worker_lost") == 1
    assert "dead" in (world.run("node") / "ray.log").read_text(), "what Ray says of it is kept, and not in the results"
    assert read_json(world.run("node") / "run.json")["device"]["masker"] == "cpu", "told by the workers, not the head"
    done = [event for event in events if event["event"] == "shard"]
    assert sorted(event["shard"] for event in done) == [0, 1, 2]
    # By the head, which asks who the run is, by two workers, and perhaps by one instead of the one that was lost.
    assert world.opened() - before <= 4, "a worker keeps the model open from shard to shard"


@pytest.mark.slow
def test_errors_arrive_as_themselves_and_closing_ends_the_work(world: World, nodes: Nodes, tmp_path: Path) -> None:
    options = world.options("errors", executor="ray", cluster={"ray-address": nodes.address}, workers=1)
    run = evaluate(replace(options, executor="local", cluster={}, limit=1)).folder
    stored = read_json(run / "run.json")
    identity = Identity(
        *(stored[name] for name in ("model", "adapter_version", "checkpoint_sha256", "cset_id", "protocol"))
    )

    @contextlib.contextmanager
    def driven(job: Job, shard: Shard) -> Iterator[str]:
        pickled = tmp_path / f"{shard.number}.pickle"
        pickled.write_bytes(pickle.dumps((job, shard)))
        with subprocess.Popen([sys.executable, DRIVER, pickled], stdin=PIPE, stdout=PIPE, text=True) as driver:
            assert driver.stdout is not None
            yield driver.stdout.readline()
            assert driver.poll() is None

    options = replace(options, limit=1)
    with driven(Job(replace(options, masker="none"), run, identity), Shard(7, ((0, 5),))) as said:
        assert said.startswith(f"NotComparable {run} is another run: its protocol.masker")
        assert said.endswith("Try: robench evaluate, which makes a run of its own for it\n")
    with driven(Job(options, run, identity), Shard(8, ((0, 5),))) as said:
        assert said == "stopped\n"
        wait_for(lambda: not [words for words in world.processes().values() if "spawn_main" in words])


@pytest.mark.slow
def test_a_cluster_of_this_machine_listens_to_nobody_else_and_ends_with_the_command(world: World) -> None:
    before = set(world.processes())
    hold = world.state / "hold"
    hold.touch()  # it cannot end before it is stopped
    head = world.start("own", "--executor", "ray")
    out = world.options("own").out
    try:
        wait_for(lambda: head.poll() is not None or cells_done(out))
        found = listening(pid for pid in world.processes() if pid not in before)
        assert found, "Ray listens to itself"
        assert found <= set(LOOPBACK)
        head.send_signal(signal.SIGINT)
        said = head.communicate(timeout=PATIENCE_S)[1]
    finally:
        hold.unlink()
        head.kill()
    assert head.returncode == 130, said
    assert "resume with" in said
    wait_for(lambda: set(world.processes()) <= before)
    evaluate(world.options("own"))
    world.assert_same("own")


def test_an_address_without_a_cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import ray

    def refuse(**_: object) -> None:
        raise ConnectionError("\nno raylet here\nand much more")

    def connect(address: str) -> None:
        options = Options("toy", executor="ray", cluster={"ray-address": address})
        job = Job(options, tmp_path, Identity("toy", "1", "0", "0", {}))
        next(executor("ray")(job, [Shard(0, ((0, 5),))]))

    monkeypatch.setattr(ray, "init", refuse)
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    with pytest.raises(EnvironmentNotReady, match=r"no Ray cluster at auto; got no raylet here\. Try: ray start"):
        connect("auto")
    with pytest.raises(EnvironmentNotReady, match=r"no Ray cluster at 127\.0\.0\.1:1; got .*Connection refused"):
        connect("127.0.0.1:1")


def test_losses_end_a_run_only_where_no_headway_is_made(tmp_path: Path) -> None:
    losses, shard = Losses(tmp_path), Shard(3, ((0, 5),))
    (tmp_path / "rows").mkdir()
    journal = tmp_path / "rows" / "part-0003.wip.jsonl"
    for cell in range(10):
        journal.write_text("x\n" * (cell + 1))
        losses.over(shard, "a spot instance went")
    for _ in range(2):
        losses.over(shard, "no memory")
    with pytest.raises(EnvironmentNotReady, match="again and again over shard 3; got no memory"):
        losses.over(shard, "\nno memory\nof yours")
