"""Slurm: a real one of one node, made here in a temporary folder where its programs are installed."""

from __future__ import annotations

import contextlib
import getpass
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from cluster_harness import PATIENCE_S, World, cells_done, wait_for

from robench.engine.evaluate import evaluate
from robench.engine.executors import slurm as executor
from robench.errors import EnvironmentNotReady, NotComparable

DAEMONS = ("munged", "slurmctld", "slurmd")
CONFIGURATION = """
ClusterName=toy
SlurmctldHost={host}(127.0.0.1)
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={root}/munge.sock,cred_expire=5
CredType=cred/munge
CommunicationParameters=NoInAddrAny,NoCtldInAddrAny
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
StateSaveLocation={root}/state
SlurmdSpoolDir={root}/spool
SlurmctldPidFile={root}/slurmctld.pid
SlurmdPidFile={root}/slurmd.pid
SlurmctldLogFile={root}/slurmctld.log
SlurmdLogFile={root}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerParameters=bf_interval=1,sched_min_interval=0,sched_interval=1,batch_sched_delay=0
KillWait=2
ReturnToService=2
NodeName={host} NodeAddr=127.0.0.1 CPUs=2 State=UNKNOWN
PartitionName=test Nodes={host} Default=YES MaxTime=INFINITE State=UP
"""


def program(name: str) -> str | None:
    """Return where a daemon is; those of an administrator are often not on the PATH of others."""
    return shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin:/usr/local/sbin")


def free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


def slurm(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60).stdout.strip()


def running() -> list[str]:
    return slurm("squeue", "--noheader", "--array", "--states=RUNNING", "--format=%i").split()


def worker_of_job(world: World, number: int) -> int:
    """Return the process that works on a job of an array."""
    (found,) = (
        pid
        for pid, words in world.processes().items()
        if words.startswith(sys.executable)
        and "submitit.core._submit" in words
        and f"SLURM_ARRAY_TASK_ID={number}\0".encode() in Path(f"/proc/{pid}/environ").read_bytes()
    )
    return found


@pytest.fixture(scope="module")
def cluster(world: World, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """One node of two cores, on the loopback interface; skipped where there is no Slurm."""
    missing = [name for name in DAEMONS if program(name) is None]
    missing += [name for name in executor._PROGRAMS if shutil.which(name) is None]
    if missing:
        pytest.skip(f"no Slurm here: {', '.join(missing)} not installed (apt-get install slurm-wlm munge)")
    root = tmp_path_factory.mktemp("slurm")
    (root / "munge.key").write_bytes(os.urandom(128))
    (root / "munge.key").chmod(0o400)
    for name in ("state", "spool"):
        (root / name).mkdir()
    host = socket.gethostname().split(".")[0]
    text = CONFIGURATION.format(host=host, user=getpass.getuser(), root=root, ports=free_ports(2))
    (root / "slurm.conf").write_text(text)
    files = {"key-file": "munge.key", "socket": "munge.sock", "pid-file": "munged.pid", "log-file": "munged.log"}
    munge = [f"--{option}={root / name}" for option, name in {**files, "seed-file": "munged.seed"}.items()]
    commands = [["munged", "--foreground", "--force", *munge], ["slurmctld", "-D", "-i"], ["slurmd", "-D"]]
    daemons = []
    with pytest.MonkeyPatch.context() as patch, open(root / "daemons.log", "wb") as log:
        patch.setenv("SLURM_CONF", str(root / "slurm.conf"))
        # Pressed for time: what a controller of thousands of jobs is asked seldom, this one is asked often.
        patch.setattr(executor, "_POLL_S", 0.5)
        patch.setattr(executor, "_SETTLE_S", 3.0)
        try:
            for name, *arguments in commands:
                daemons.append(subprocess.Popen([program(name), *arguments], stdout=log, stderr=log))
                wait_for((root / "munge.sock").exists)
            deadline = time.monotonic() + 30
            while (state := slurm("sinfo", "--noheader", "--format=%T")) != "idle":
                if time.monotonic() > deadline:
                    said = (root / "daemons.log").read_text(errors="replace")[-2000:]
                    pytest.skip(f"Slurm does not start here (node {state or 'unknown'}): {said}")
                time.sleep(0.2)
            yield root
        finally:
            slurm("scancel", "--full", "--signal=KILL", "--partition=test")
            for daemon in reversed(daemons):
                daemon.terminate()
                try:
                    daemon.wait(20)
                except subprocess.TimeoutExpired:
                    daemon.kill()
                    daemon.wait()
    wait_for(lambda: not world.processes())


ASK = {"partition": "test", "time": "10"}
WORDS = ["--executor", "slurm", "--partition", "test", "--cluster", "time=10"]


@pytest.mark.slow
def test_preempted_and_lost_jobs_go_on(world: World, cluster: Path) -> None:
    out, errors = world.options("jobs").out, []

    def disturb() -> None:
        try:
            wait_for(lambda: sum(n > 0 for n in cells_done(out).values()) == 2)
            # As Slurm does before a pre-emption; submitit puts the job back into the queue.
            slurm("scancel", "--signal=TERM", sorted(running())[0])
            time.sleep(0.3)
            slurm("scancel", "--signal=USR2", sorted(running())[0])
            # As where the memory is full, or a node fails.
            os.kill(worker_of_job(world, 1), signal.SIGKILL)
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=disturb)
    thread.start()
    result = evaluate(world.options("jobs", executor="slurm", cluster=ASK))
    thread.join()
    assert not errors, errors
    assert result.made == 15
    world.assert_same("jobs")
    events = [json.loads(line) for line in (result.folder / "events.jsonl").read_text().splitlines()]
    assert [event["event"] for event in events].count("worker_lost") == 1
    assert "model_lost" not in [event["event"] for event in events], "the model never sees what Slurm signals"
    logs = "".join(path.read_text() for path in (result.folder / "slurm").glob("*_log.*"))
    assert logs.count("Requeued job") == 1
    made = sum(event["made"] for event in events if event["event"] == "shard")
    assert made < 15, "the cells of the jobs that were stopped were not made again"
    assert not (result.folder / "slurm" / "at-work.txt").exists()


@pytest.mark.slow
def test_a_stopped_command_ends_its_jobs_and_the_next_ends_those_of_a_killed_one(
    world: World, cluster: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = world.options("stopped").out
    monkeypatch.setenv("TOY_MS", "600")

    def stop(number: signal.Signals) -> tuple[int, str]:
        before = sum(cells_done(out).values())
        head = world.start("stopped", *WORDS)
        try:
            wait_for(lambda: head.poll() is not None or (running() and sum(cells_done(out).values()) > before))
            head.send_signal(number)
            said = head.communicate(timeout=PATIENCE_S)[1]
        finally:
            head.kill()
        return head.returncode, said

    code, said = stop(signal.SIGINT)
    assert code == 130, said
    assert slurm("squeue", "--noheader") == "", "no job is left"
    assert not list(out.glob("*/slurm/at-work.txt"))

    assert stop(signal.SIGKILL)[0] == -signal.SIGKILL
    assert running(), "nobody could end them"
    monkeypatch.setenv("TOY_MS", "0")
    assert evaluate(world.options("stopped")).made > 0, "on this machine alone"
    world.assert_same("stopped")
    assert evaluate(world.options("stopped", executor="slurm", cluster=ASK)).made == 0, "nothing is left to submit"
    assert slurm("squeue", "--noheader") == ""


@pytest.mark.slow
def test_errors_of_jobs_arrive_as_themselves(world: World, cluster: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(EnvironmentNotReady, match=r"Slurm refused the jobs; got .*partition") as refused:
        evaluate(world.options("refused", executor="slurm", cluster={"partition": "nowhere"}))
    assert "--partition" in refused.value.hint
    assert not (world.run("refused") / "slurm" / "at-work.txt").exists()

    # The head sees one checkpoint, the jobs another.
    sha = world.state / "sha"
    sha.write_text("c0ffee" * 10)
    monkeypatch.setenv("TOY_SHA", str(sha))
    submit = executor._Array.submit

    def change(array: executor._Array, groups: list) -> None:
        sha.write_text("beef" * 16)
        submit(array, groups)

    monkeypatch.setattr(executor._Array, "submit", change)
    with pytest.raises(NotComparable, match="checkpoint_sha256 differs") as raised:
        evaluate(world.options("errors", executor="slurm", cluster=ASK, limit=1))
    assert type(raised.value) is NotComparable
    assert slurm("squeue", "--noheader") == ""


def test_jobs_that_cannot_be_cancelled_from_here_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    executor.end_former(tmp_path)
    note = tmp_path / "slurm" / "at-work.txt"
    note.parent.mkdir()
    note.write_text("robench-12345678\n")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(EnvironmentNotReady, match="scancel --name robench-12345678 where Slurm is"):
        executor.end_former(tmp_path)
    assert note.is_file()


def says(folder: Path, name: str, script: str) -> Callable[[], str]:
    (folder / name).write_text(f"#!/bin/sh\necho {name} $* >> {folder}/log\n{script}\n")
    (folder / name).chmod(0o755)
    return (folder / "log").read_text


def test_former_jobs_are_cancelled_and_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    note = tmp_path / "slurm" / "at-work.txt"
    note.parent.mkdir()
    note.write_text("robench-12345678\n")
    # Two looks at the queue find the job, the third does not.
    says(tmp_path, "squeue", f'[ "$(/bin/grep -c squeue {tmp_path}/log)" -gt 2 ] || echo 7_0')
    log = says(tmp_path, "scancel", "exit 0")
    monkeypatch.setenv("PATH", str(tmp_path))
    executor.end_former(tmp_path)
    assert not note.exists()
    lines = log().splitlines()
    assert [line.split()[0] for line in lines] == ["squeue", "scancel"] * 2 + ["squeue"]
    assert (tmp_path / "slurm" / "robench-12345678" / "stop").exists(), "those that run end by themselves"
    assert all("--name robench-12345678" in line for line in lines)
