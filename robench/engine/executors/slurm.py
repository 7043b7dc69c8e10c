"""A Slurm cluster: a job array by submitit, whose jobs each do some shards; what stops one costs what was in hand.

A job that is pre-empted or reaches its time limit puts itself back into the queue (submitit's checkpoint) and goes on
from the journals of its shards. Jobs that vanish otherwise are submitted again. They tell what they did by files beside
their logs in ``<run>/slurm``; of Slurm itself, only the queue is asked, since many clusters keep no accounts.
"""

from __future__ import annotations

import itertools
import math
import os
import re
import secrets
import shlex
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from multiprocessing import resource_tracker
from pathlib import Path
from typing import Any

from robench.engine.executors import HEARTBEAT_S
from robench.engine.executors.elsewhere import Losses, enter, environment_here, first_line, number, wants_gpu, work_on
from robench.engine.shard import Job, Shard, ShardResult, leave
from robench.engine.tasks import Options
from robench.errors import EnvironmentNotReady, RobenchError, UsageError
from robench.io.files import make_folder, read_json, write_json_atomic

FOLDER, AT_WORK = "slurm", "at-work.txt"
"""Where a run keeps logs, and the file there that names the jobs at work."""
_PROGRAMS = ("sbatch", "squeue", "scancel", "srun", "scontrol")
_AS_SBATCH = ("partition", "account", "qos", "constraint", "reservation", "gres", "nodelist", "exclude", "nice", "mem")
_JOBS_A_WORKER = 4
_MOST_JOBS = 1000
"""Slurm's own limit of an array, unless its MaxArraySize says otherwise."""
_TIME = "4:00:00"
_DELAY_S = 90.0
_REQUEUES = 1000
"""Time limits that a job may reach; no work is done twice, so there may be many."""
_POLL_S = 10.0
_SETTLE_S = 60.0
"""How long after a job left the queue its last files may come: what other machines write is seen late."""
_END_S = 90.0
_STOP, _STOP_S = "stop", 0.5


def check(options: Options) -> None:
    """Check that submitit and Slurm are installed, and what is said to them makes sense.

    Raises:
        UsageError, EnvironmentNotReady: If not.
    """
    _parameters(options)
    _submitit()


def run_slurm(job: Job, shards: Sequence[Shard]) -> Generator[ShardResult | None, None, None]:
    """Work on shards in a job array, ``job.options.workers`` jobs at once.

    Args:
        job: The run, on a file system that all nodes see.
        shards: In order.

    Yields:
        What was done, as it is done; None about every second.

    Raises:
        EnvironmentNotReady: If there is no Slurm, it refuses the jobs, or they are lost again and again.
        RobenchError: What `run_shard` raised.
    """
    array, losses = _Array(job), Losses(job.run)
    left = {shard.number: shard for shard in shards}
    ended_well = False
    try:
        array.submit(grouped(shards, job.options.workers))
        while left:
            yield None
            time.sleep(HEARTBEAT_S)
            for result in array.results(left):
                del left[result.shard]
                yield result
            again = []
            for shards_of_it, reason in array.lost(left):
                losses.over(shards_of_it[0], reason)
                again.append(shards_of_it)
            array.submit(again)
        ended_well = True
    finally:
        array.end(cancel=not ended_well)


def grouped(shards: Sequence[Shard], workers: int) -> list[list[Shard]]:
    """Share shards out among jobs: neighbours together, several jobs a worker so that all end at about one time."""
    jobs = min(len(shards), workers * _JOBS_A_WORKER, _MOST_JOBS)
    bounds = [len(shards) * job // jobs for job in range(jobs + 1)] if jobs else []
    return [list(shards[start:stop]) for start, stop in itertools.pairwise(bounds)]


@dataclass(frozen=True)
class Work:
    """What a job of the array does; submitit pickles it.

    Attributes:
        job: The run.
        shards: One after the other, with the model kept open.
        results: Folder that gets a file for each shard done.
        folder: Where the command was started.
    """

    job: Job
    shards: Sequence[Shard]
    results: Path
    folder: str

    def __call__(self) -> RobenchError | None:
        """Do the shards; return what went wrong, since submitit keeps of an exception only its text."""
        _shield_children()
        _end_when_told(self.results / _STOP)
        try:
            enter(self.folder, self.job.run)
            for shard in self.shards:
                write_json_atomic(self.results / f"{shard.number}.json", asdict(work_on(self.job, shard)))
        except RobenchError as error:
            return error
        finally:
            leave()
        return None

    def checkpoint(self) -> Any:
        """Return what the job does when it comes back from the queue: the same, from the journals."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self)


def _shield_children() -> None:
    """Keep from the model's process what Slurm signals to every process of a job before it stops it.

    Only submitit, here, knows what to do then; the model would die, as if the sample in its hands had killed it.
    Processes inherit what is blocked in the thread that starts them, so another thread takes the signals here.
    """
    threading.Thread(target=threading.Event().wait, name="signals", daemon=True).start()
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1, signal.SIGUSR2})
    resource_tracker.ensure_running()  # which unblocks SIGTERM once it has started
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})


def _end_when_told(stop: Path) -> None:
    """End this process soon after a file appears.

    A job that is cancelled would else hold out to the last: SIGTERM also comes before a pre-emption.
    """

    def watch() -> None:
        while not stop.exists():
            time.sleep(_STOP_S)
        os._exit(1)

    threading.Thread(target=watch, name="stop-watch", daemon=True).start()


class _Array:
    """The jobs of one command, all by one name that no other command has."""

    def __init__(self, job: Job) -> None:
        submitit = _submitit()
        self._job, self.name = job, f"robench-{secrets.token_hex(4)}"
        self._folder = make_folder(job.run / FOLDER)
        self._results = make_folder(self._folder / self.name)
        self._running: list[tuple[Any, list[Shard]]] = []
        self._gone: dict[str, float] = {}
        self._looked_at = -math.inf
        self._read: set[int] = set()
        self._executor = submitit.SlurmExecutor(folder=self._folder, max_num_timeout=_REQUEUES)
        options = job.options
        threads = int(number(options.cluster, "cpus", 1))
        exports = [f"export {name}={shlex.quote(value)}" for name, value in environment_here(threads).items()]
        # A step does not inherit the cores of its job since Slurm 22.05.
        exports.append('export SRUN_CPUS_PER_TASK="${SLURM_CPUS_PER_TASK:-1}"')
        self._executor.update_parameters(
            job_name=self.name,
            array_parallelism=options.workers,
            cpus_per_task=threads,
            signal_delay_s=int(number(options.cluster, "signal-delay", _DELAY_S)),
            setup=exports,
            wckey=None,
            **_parameters(options),
        )

    def submit(self, groups: Sequence[list[Shard]]) -> None:
        """Put jobs into the queue.

        Raises:
            EnvironmentNotReady: If Slurm refuses them.
        """
        if not groups:
            return
        # First the name: who is killed between the two has left a way to find the jobs.
        (self._folder / AT_WORK).write_text(self.name + "\n")
        here = os.getcwd()
        try:
            with self._executor.batch():
                jobs = [self._executor.submit(Work(self._job, tuple(shards), self._results, here)) for shards in groups]
        except Exception as error:  # submitit raises errors of several kinds, none of them for this alone
            if not self._running:
                (self._folder / AT_WORK).unlink()
            raise EnvironmentNotReady(
                "Slurm refused the jobs", got=_refusal(str(error)), hint="sinfo; then --partition, --cluster NAME=VALUE"
            ) from error
        self._running += zip(jobs, groups, strict=True)
        self._looked_at = time.monotonic()

    def results(self, left: Iterable[int]) -> list[ShardResult]:
        """Return what was done since the last look."""
        names = {name.removesuffix(".json") for name in os.listdir(self._results)}
        new = [shard for shard in left if str(shard) in names]
        return [ShardResult(**read_json(self._results / f"{shard}.json")) for shard in new]

    def lost(self, left: Mapping[int, Shard]) -> Iterator[tuple[list[Shard], str]]:
        """Yield what the jobs had left to do that ended without doing it, and why.

        Raises:
            RobenchError: What one of them returned.
        """
        now = time.monotonic()
        if now - self._looked_at < _POLL_S or (queue := _queue(self.name)) is None:
            return
        self._looked_at = now
        for entry in list(self._running):
            submitted, shards = entry
            undone = [shard for shard in shards if shard.number in left]
            if not undone:
                self._running.remove(entry)
            elif submitted.job_id in queue:
                self._gone.pop(submitted.job_id, None)
            elif (reason := _outcome(submitted)) is not None:
                self._running.remove(entry)
                yield undone, reason
            elif now - self._gone.setdefault(submitted.job_id, now) > _SETTLE_S:
                self._running.remove(entry)
                yield undone, f"job {submitted.job_id} ended without a word; its logs are in {self._folder}"

    def end(self, *, cancel: bool) -> None:
        """Forget the jobs, or cancel them first."""
        note = self._folder / AT_WORK
        if note.is_file() and (not cancel or _cancelled(self._results)):
            note.unlink()


def end_former(run: Path) -> None:
    """Cancel the jobs of a command that was killed on a run, and wait until they have let go of it.

    Raises:
        EnvironmentNotReady: If they cannot be cancelled from here.
    """
    note = run / FOLDER / AT_WORK
    if not note.is_file():
        return
    name = note.read_text().strip()
    if not (shutil.which("scancel") and shutil.which("squeue") and _cancelled(note.parent / name)):
        raise EnvironmentNotReady(
            f"Jobs of a former command may still work on {run}",
            got=f"no way to cancel the jobs named {name} from here",
            hint=f"scancel --name {name} where Slurm is; then remove {note}",
        )
    note.unlink()


def _cancelled(results: Path) -> bool:
    """Cancel the jobs that write their results into a folder; return True when they are gone."""
    name, deadline = results.name, time.monotonic() + _END_S
    (make_folder(results) / _STOP).touch()
    while (queue := _queue(name)) is None or queue:
        if time.monotonic() > deadline:
            return False
        _slurm("scancel", "--quiet", "--name", name)
        time.sleep(_STOP_S)
    return True


def _queue(name: str) -> set[str] | None:
    """Return the ids of the jobs of a name that wait or run; None if Slurm does not answer."""
    said = _slurm("squeue", "--noheader", "--array", "--format=%i", "--name", name)
    return None if said is None else set(said.split())


def _slurm(*command: str) -> str | None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None


def _outcome(submitted: Any) -> str | None:
    """Return why a job that left the queue did not do its work; None if it does not say (yet).

    Raises:
        RobenchError: What it returned.
    """
    if not submitted.paths.result_pickle.is_file():
        return None
    error = submitted.exception()
    if error is None:
        returned = submitted.result()
        if isinstance(returned, RobenchError):
            raise returned
        return None  # done, and its files are on their way
    if "UncompletedJobError" in str(error):
        return str(error)
    raise error


def _parameters(options: Options) -> dict[str, Any]:
    """Return what submitit is told of a user's options."""
    cluster = options.cluster
    number(cluster, "cpus", 1)
    number(cluster, "signal-delay", _DELAY_S)
    told: dict[str, Any] = {"time": _minutes(cluster.get("time", _TIME))}
    told["additional_parameters"] = {name: cluster[name] for name in _AS_SBATCH if name in cluster}
    gpus = cluster.get("gpus", "1" if wants_gpu(options) and "gres" not in cluster else "0")
    if not re.fullmatch(r"([\w.-]+:)?\d+", gpus):
        raise UsageError("The cluster's option 'gpus' is not understood", got=f"'{gpus}'", expected="N or TYPE:N")
    if gpus != "0":
        told["gpus_per_node"] = gpus
    return told


def _minutes(text: str) -> int:
    """Read a time limit as Slurm writes it: minutes, M:S, H:M:S, D-H, D-H:M or D-H:M:S.

    Raises:
        UsageError: If it is none of these.
    """
    days, dash, rest = text.rpartition("-")
    parts = rest.split(":")
    if not all(part.isdecimal() for part in parts) or len(parts) > 3 or (dash and not days.isdecimal()):
        raise UsageError(
            "The cluster's option 'time' is not understood", got=f"'{text}'", expected="minutes, H:MM:SS or D-HH:MM:SS"
        )
    values = [int(part) for part in parts]
    if dash:
        hours, minutes, seconds = [*values, 0, 0][:3]
    elif len(values) == 3:
        hours, minutes, seconds = values
    else:
        hours, (minutes, seconds) = 0, [*values, 0][:2]
    return max(1, int(days or 0) * 1440 + hours * 60 + minutes + math.ceil(seconds / 60))


def _refusal(text: str) -> str:
    """Return the line in which sbatch says why."""
    found = [line for line in text.splitlines() if "error:" in line]
    return first_line(found[0] if found else text)


def _submitit() -> Any:
    """Import submitit.

    Raises:
        EnvironmentNotReady: If it or Slurm is not installed.
    """
    try:
        import submitit
    except ImportError as error:
        raise EnvironmentNotReady(
            "The executor 'slurm' needs submitit", got=str(error), hint="pip install 'robench[slurm]'"
        ) from error
    missing = [name for name in _PROGRAMS if shutil.which(name) is None]
    if missing:
        raise EnvironmentNotReady(
            "This machine cannot submit jobs to Slurm",
            got=f"no {', '.join(missing)}",
            hint="run the command on a login node of the cluster",
        )
    return submitit
