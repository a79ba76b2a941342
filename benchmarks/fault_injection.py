"""Kill and double runs and studies at random moments; resume them, and see that nothing is lost.

    python -m benchmarks.fault_injection            ten tries of each kind
    python -m benchmarks.fault_injection --quick    one try of four kinds

Studies on Ray have a cluster of two cores on this machine; without Ray they are left out.
Each try has a folder and a tracking store of its own, and real processes. Moments are uniform over
the time that an undisturbed process takes, from its start to its exit; a seed repeats them, as far
as the machine does. A run that was resumed has to have the metrics of an undisturbed one, to the
last digit. Prints for each kind how many tries were made and how many held; the exit status is 1 if
one did not. The folders of those that did not are kept.
"""

import argparse
import contextlib
import importlib.util
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import optuna
import psutil
from mlflow.entities import Run
from mlflow.tracking import MlflowClient
from optuna.trial import TrialState
from tqdm import tqdm

from tuning.storage import open_storage

ROOT = Path(__file__).resolve().parent.parent
TIMEOUT_SECONDS = 600
TRAINING = [
    *["-m", "experiments.moe", "--num-epochs", "6", "--num-train", "1500", "--batch-size", "10"],
    *["--num-validation", "200", "--num-test", "200", "--restarts", "2", "--animation", "false"],
    *["--checkpoint-seconds", "0"],
]
SEEDS = [*TRAINING, "--seeds", "2"]
NUM_TRIALS = 6
STUDY = [
    *["-m", "tuning", "moe", "--study-name", "study", "--trials", str(NUM_TRIALS)],
    *["--workers", "2", "--finalists", "1", "--final-seeds", "2", "--set", "num_epochs=4"],
    *["num_train=800", "num_validation=200", "num_test=200", "restarts=2", "animation=false"],
]
ON_RAY = ["--backend", "ray"]  # the cluster of RAY_ADDRESS
NUM_KILLED, TRIALS_TO_KILL_IN = 20, 100
PROJECT = [
    *["-m", "mlflow", "run", str(ROOT), "-e", "moe", "--env-manager", "local"],
    *["-P", "num_epochs=3", "-P", "restarts=2", "-P", "animation=false"],
]
QUICK = "^run, (SIGTERM|SIGKILL|resumed.*)$|^study, SIGTERM$"
"""The kinds that --quick tries."""
CLOCKS = re.compile(r"seconds|samples_per_second|^system/")

History = dict[str, list[tuple[int, float]]]


@dataclass
class Place:
    """A folder with a tracking store, in which processes are started."""

    folder: Path
    processes: list[psutil.Process] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.uri = f"sqlite:///{self.folder}/mlflow.db"
        self.client = MlflowClient(self.uri)

    def start(self, *words: str, executable: str = sys.executable) -> "subprocess.Popen[bytes]":
        """Start Python, or another executable; what it prints goes to a file of its own."""
        environment = {k: v for k, v in os.environ.items() if not k.startswith("MLFLOW_")}
        environment |= {
            "MLFLOW_TRACKING_URI": self.uri,
            "PYTHONPATH": str(ROOT),
            "OMP_NUM_THREADS": "1",
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        }
        with (self.folder / f"output-{len(self.processes)}.txt").open("wb") as output:
            process = subprocess.Popen(
                [executable, *words],
                cwd=self.folder,
                env=environment,
                stdout=output,
                stderr=output,
            )
        self.processes.append(psutil.Process(process.pid))
        return process

    def output(self) -> str:
        """Return what the process that was started last has printed."""
        return (self.folder / f"output-{len(self.processes) - 1}.txt").read_text()

    def complete(self, *words: str, executable: str = sys.executable) -> None:
        """Run a process to its end, which has to be a success."""
        status = self.start(*words, executable=executable).wait(TIMEOUT_SECONDS)
        require(status == 0, f"status {status} of {' '.join(words)}:\n{self.output()}")

    def runs(self) -> list[Run]:
        """Return all runs."""
        experiments = [each.experiment_id for each in self.client.search_experiments()]
        return list(self.client.search_runs(experiments))

    def outermost(self) -> Run | None:
        """Return the newest run that is no child and can be resumed, or None."""
        for run in self.runs():
            artifacts = {file.path for file in self.client.list_artifacts(run.info.run_id)}
            if "mlflow.parentRunId" not in run.data.tags and "config.json" in artifacts:
                return run
        return None

    def statuses(self) -> set[str]:
        """Return the statuses that runs have."""
        return {run.info.status for run in self.runs()}

    def histories(self) -> dict[str, History]:
        """Return all metrics but clocks of the outermost run and its children, by seed."""
        top = self.outermost()
        require(top is not None, "there is no run")
        found = {}
        for run in self.runs():
            parent = run.data.tags.get("mlflow.parentRunId")
            if top is None or top.info.run_id not in (run.info.run_id, parent):
                continue
            names = [name for name in run.data.metrics if not CLOCKS.search(name)]
            name = f"seed {run.data.tags['seed']}" if parent else "outermost"
            found[name] = {
                name: sorted(
                    (metric.step, metric.value)
                    for metric in self.client.get_metric_history(run.info.run_id, name)
                )
                for name in names
            }
        return found

    def trials(self) -> list[optuna.trial.FrozenTrial]:
        """Return the trials of the study; none before it has begun."""
        path = self.folder / "optuna.journal"
        if not path.exists():
            return []
        storage = open_storage(str(path))
        if "study" not in optuna.get_all_study_names(storage):
            return []
        return optuna.load_study(study_name="study", storage=storage).get_trials()


class Fault(Exception):  # noqa: N818  # it is what was looked for
    """Something did not hold."""


def require(holds: bool, otherwise: str) -> None:
    """Raise a Fault with the reason unless something holds."""
    if not holds:
        raise Fault(otherwise)


@dataclass(frozen=True)
class Reference:
    """What an undisturbed process takes, and the metrics that it logs."""

    seconds: float
    histories: dict[str, History]


@dataclass
class Try:
    """One try of a kind: where, with which references, and at which moment."""

    place: Place
    references: dict[str, Reference]
    fraction: float
    """Of the time that an undisturbed process takes."""
    rng: random.Random

    def wait(self, command: str, process: "subprocess.Popen[bytes]") -> list[psutil.Process]:
        """Wait for the moment, or the end of the process; return all its descendants."""
        moment = self.fraction * self.references[command].seconds
        try:
            process.wait(timeout=moment)
        except subprocess.TimeoutExpired:
            return psutil.Process(process.pid).children(recursive=True)
        return []

    def compare(self, command: str) -> None:
        """Require that the run has finished with the metrics of the undisturbed one."""
        histories, expected = self.place.histories(), self.references[command].histories
        require(self.place.statuses() == {"FINISHED"}, f"statuses {self.place.statuses()}")
        require(histories.keys() == expected.keys(), f"runs {histories.keys()}")
        for run, metrics in expected.items():
            for name in metrics.keys() | histories[run].keys():
                here, there = histories[run].get(name), metrics.get(name)
                require(here == there, f"{run}: {name} is {here}, and undisturbed {there}")


def clear(place: Place) -> None:
    """Let the doctor fix what it finds; nothing may be left for a second time."""
    place.complete("-m", "experiments.doctor", "--fix")
    place.complete("-m", "experiments.doctor")
    require("Nothing to fix." in place.output(), place.output())
    require("RUNNING" not in place.statuses(), "a run says RUNNING")
    partial_files = [str(path) for path in place.folder.rglob("*.partial")]
    require(not partial_files, f"left behind: {partial_files}")


def require_gone(processes: Sequence[psutil.Process], timeout_seconds: float = 30) -> None:
    """Require that processes end by themselves."""
    _, alive = psutil.wait_procs(processes, timeout=timeout_seconds)
    require(not alive, f"still there: {alive}")


def resume(place: Place, words: Sequence[str]) -> None:
    """Resume the run, or begin anew where none had begun."""
    run = place.outermost()
    if run is None:
        for early in place.runs():  # opened, and not recorded yet: nothing was computed
            place.client.delete_run(early.info.run_id)
        place.complete(*words)
    elif run.info.status != "FINISHED":
        place.complete("-m", words[1], "--resume", run.info.run_id)


def asked_to_end(attempt: Try, command: str, words: Sequence[str], number: int, times: int) -> None:
    """Send SIGINT or SIGTERM: the run ends KILLED, with the signal's status; it is resumed."""
    place, process = attempt.place, attempt.place.start(*words)
    children = attempt.wait(command, process)
    for _ in range(times):
        process.send_signal(number)
        time.sleep(attempt.rng.uniform(0, 0.5) if times > 1 else 0)
    status, text = process.wait(TIMEOUT_SECONDS), place.output()
    require_gone(children)
    if status in (0, -number) and place.statuses() == {"FINISHED"}:  # it came too late
        attempt.compare(command)
        return
    early = -number if not place.runs() else None  # before anything was imported
    require(status in (128 + number, early), f"status {status}:\n{text}")
    require(place.statuses() <= {"KILLED", "FINISHED"}, f"statuses {place.statuses()}")
    require("Traceback" not in text or status == early, text)
    if "To resume it:" in text:
        line = text[text.index("To resume it:") :].splitlines()[1]
        place.complete("-c", f"exec env {line}", executable="/bin/sh")
    else:
        resume(place, words)
    attempt.compare(command)
    clear(place)


def killed(attempt: Try, command: str, words: Sequence[str], times: int = 1) -> None:
    """Send SIGKILL, also to what resumes it: the doctor closes the run, and it is resumed."""
    place, now = attempt.place, words
    for _ in range(times):
        process = place.start(*now)
        children = attempt.wait(command, process)
        process.kill()
        process.wait()
        require_gone(children)
        run = place.outermost()
        if run is not None:
            now = ["-m", words[1], "--resume", run.info.run_id]
            if run.info.status == "FINISHED":
                break
        attempt.fraction = attempt.rng.random()
    clear(place)
    resume(place, words)
    attempt.compare(command)
    clear(place)


def doubled(attempt: Try) -> None:
    """Resume one run twice at once: one process does, and the other is refused."""
    place, process = attempt.place, attempt.place.start(*TRAINING)
    attempt.wait("run", process)
    process.kill()
    process.wait()
    run = place.outermost()
    if run is None or run.info.status == "FINISHED":
        resume(place, TRAINING)
        attempt.compare("run")
        return
    words = ["-m", "experiments.moe", "--resume", run.info.run_id]
    both = []
    for _ in range(2):
        both.append(place.start(*words))
        time.sleep(attempt.rng.uniform(0, 1))
    statuses = [process.wait(TIMEOUT_SECONDS) for process in both]
    require(sorted(statuses) == [0, 2], f"statuses {statuses}:\n{place.output()}")
    attempt.compare("run")
    clear(place)


def project_killed(attempt: Try, number: int) -> None:
    """End `mlflow run`: its run does not say RUNNING for ever."""
    place, process = attempt.place, attempt.place.start(*PROJECT)
    children = attempt.wait("mlflow", process)
    process.send_signal(number)
    process.wait(TIMEOUT_SECONDS)
    # A child that has not asked to be told of its parent's end yet goes on to its own.
    require_gone(children, TIMEOUT_SECONDS)
    clear(place)
    require(place.statuses() <= {"KILLED", "FAILED", "FINISHED"}, f"statuses {place.statuses()}")


def study_interrupted(
    attempt: Try, numbers: Sequence[int], command: str = "study", words: Sequence[str] = STUDY
) -> None:
    """Send signals to a study, and resume it: no complete trial is lost or repeated."""
    place, process = attempt.place, attempt.place.start(*words)
    children = [*attempt.wait(command, process), *workers(process)]
    for number in numbers:
        process.send_signal(number)
        time.sleep(attempt.rng.uniform(0, 2) if len(numbers) > 1 else 0)
    status, text = process.wait(TIMEOUT_SECONDS), place.output()
    allowed = {0, *(128 + n for n in numbers), *(-n for n in numbers)}
    require(status in allowed, f"status {status}:\n{text}")
    require("Traceback" not in text or status < 0, text)
    require_gone(children)
    if signal.SIGKILL not in numbers:
        require("RUNNING" not in place.statuses(), "a run says RUNNING")
    end_study(attempt, words)


def end_study(attempt: Try, words: Sequence[str] = STUDY, num_trials: int = NUM_TRIALS) -> None:
    """Resume a study, and require that it ends as if nothing had happened."""
    place = attempt.place
    before = place.trials()
    place.complete(*words, *(["--resume"] if study_exists(place) else []))
    after = place.trials()
    for trial in before:
        if trial.state == TrialState.COMPLETE:
            require(after[trial.number] == trial, f"trial {trial.number} has changed")
    again = {number for trial in after for number in trial.user_attrs.get("tried_as", [])}
    counted = [trial for trial in after if trial.number not in again]
    require(all(trial.state.is_finished() for trial in counted), "a trial has not ended")
    require(len(counted) == num_trials, f"{len(counted)} trials")
    parent = place.outermost()
    require(parent is not None and parent.info.status == "FINISHED", "the study has not finished")
    champion = place.client.get_model_version_by_alias("moe", "champion")
    require(champion.status == "READY", "no champion")
    clear(place)


def study_exists(place: Place) -> bool:
    """Return whether the study has been created."""
    path = place.folder / "optuna.journal"
    return path.exists() and "study" in optuna.get_all_study_names(open_storage(str(path)))


def study_loses_a_process(attempt: Try, wanted: str) -> None:
    """Kill the fork server of a study, or a worker: the study goes on."""
    place, process = attempt.place, attempt.place.start(*STUDY)
    children = attempt.wait("study", process)
    servers = [child for child in children if is_forked(child) and child.ppid() == process.pid]
    for child in (servers if wanted == "server" else workers(process))[:1]:
        child.kill()
    status = process.wait(TIMEOUT_SECONDS)
    require(status == 0, f"status {status}:\n{place.output()}")
    end_study(attempt)


def study_loses_workers(attempt: Try, words: Sequence[str]) -> None:
    """Kill many workers of a study, one after the other: the study goes on."""
    words = [*words, "--trials", str(TRIALS_TO_KILL_IN)]
    place, process = attempt.place, attempt.place.start(*words)
    killed: set[psutil.Process] = set()
    while len(killed) < NUM_KILLED and process.poll() is None:
        time.sleep(attempt.rng.uniform(0, 0.8))
        if len(place.trials()) and (alive := workers(process)):
            victim = attempt.rng.choice(alive)
            victim.kill()
            killed.add(victim)
    status = process.wait(TIMEOUT_SECONDS)
    require(len(killed) == NUM_KILLED, f"it ended after {len(killed)} workers had been killed")
    require(status == 0, f"status {status}:\n{place.output()}")
    end_study(attempt, words, TRIALS_TO_KILL_IN)


def is_forked(process: psutil.Process) -> bool:
    """Return whether this is a fork server, or forked from one."""
    return "multiprocessing.forkserver" in " ".join(process.cmdline())


def workers(process: "subprocess.Popen[bytes]") -> list[psutil.Process]:
    """Return the workers of a command: forked from its server, or actors of the Ray cluster."""
    found = []
    for child in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            forked = is_forked(child) and child.parent() not in (None, psutil.Process(process.pid))
            if forked or " ".join(child.cmdline()).startswith("ray::Actor"):
                found.append(child)
    return found


def study_doubled(attempt: Try) -> None:
    """Join a study by a second process, and kill the first: the study is ended once."""
    place, process = attempt.place, attempt.place.start(*STUDY)
    attempt.wait("study", process)
    if not study_exists(place):
        process.wait(TIMEOUT_SECONDS)
        end_study(attempt)
        return
    second = place.start(*STUDY, "--resume")
    time.sleep(attempt.rng.uniform(0, 10))
    process.kill()
    process.wait()
    status = second.wait(TIMEOUT_SECONDS)
    require(status in (0, 2), f"status {status}:\n{place.output()}")
    end_study(attempt)


KINDS: dict[str, Callable[[Try], None]] = {
    "run, SIGINT": partial(
        asked_to_end, command="run", words=TRAINING, number=signal.SIGINT, times=1
    ),
    "run, SIGTERM": partial(
        asked_to_end, command="run", words=TRAINING, number=signal.SIGTERM, times=1
    ),
    "run, SIGINT several times": partial(
        asked_to_end, command="run", words=TRAINING, number=signal.SIGINT, times=3
    ),
    "run, SIGTERM several times": partial(
        asked_to_end, command="run", words=TRAINING, number=signal.SIGTERM, times=3
    ),
    "run, SIGKILL": partial(killed, command="run", words=TRAINING),
    "run, SIGKILL, and its resumption": partial(killed, command="run", words=TRAINING, times=3),
    "run, resumed twice at once": doubled,
    "two seeds, SIGTERM": partial(
        asked_to_end, command="two", words=SEEDS, number=signal.SIGTERM, times=1
    ),
    "two seeds, SIGKILL": partial(killed, command="two", words=SEEDS),
    "mlflow run, SIGTERM": partial(project_killed, number=signal.SIGTERM),
    "mlflow run, SIGKILL": partial(project_killed, number=signal.SIGKILL),
    "study, SIGINT": partial(study_interrupted, numbers=[signal.SIGINT]),
    "study, SIGINT twice": partial(study_interrupted, numbers=[signal.SIGINT, signal.SIGINT]),
    "study, SIGTERM": partial(study_interrupted, numbers=[signal.SIGTERM]),
    "study, SIGKILL": partial(study_interrupted, numbers=[signal.SIGKILL]),
    "study, fork server killed": partial(study_loses_a_process, wanted="server"),
    "study, worker killed": partial(study_loses_a_process, wanted="worker"),
    "study, 20 workers killed": partial(study_loses_workers, words=STUDY),
    "study, doubled and killed": study_doubled,
    "ray study, SIGTERM": partial(
        study_interrupted, numbers=[signal.SIGTERM], command="ray", words=[*STUDY, *ON_RAY]
    ),
    "ray study, SIGKILL": partial(
        study_interrupted, numbers=[signal.SIGKILL], command="ray", words=[*STUDY, *ON_RAY]
    ),
    "ray study, 20 workers killed": partial(study_loses_workers, words=[*STUDY, *ON_RAY]),
}


def undisturbed(place: Place, words: Sequence[str]) -> Reference:
    """Run a command that nobody disturbs."""
    began = time.monotonic()
    place.complete(*words)
    seconds = time.monotonic() - began
    return Reference(seconds, place.histories())


@contextlib.contextmanager
def ray_cluster() -> Iterator[None]:
    """Start a cluster of Ray's on this machine, which RAY_ADDRESS names."""
    from ray.cluster_utils import Cluster

    head = {"num_cpus": 2, "include_dashboard": False}
    made = Cluster(initialize_head=True, head_node_args=head)
    os.environ["RAY_ADDRESS"] = made.address
    try:
        yield
    finally:
        made.shutdown()


def main(tries: int, seed: int, only: str) -> int:
    """Try the kinds with a cluster, if one of them needs it; return the exit status."""
    chosen = {name: kind for name, kind in KINDS.items() if re.search(only, name)}
    on_ray = {name for name in chosen if name.startswith("ray")}
    if on_ray and importlib.util.find_spec("ray") is None:
        print("Ray is not installed: its studies are left out")
        chosen = {name: kind for name, kind in chosen.items() if name not in on_ray}
        on_ray = set()
    with ray_cluster() if on_ray else contextlib.nullcontext():
        return try_all(chosen, tries, seed)


def try_all(chosen: dict[str, Callable[[Try], None]], tries: int, seed: int) -> int:
    """Try every kind so many times, and print the table; return the exit status."""
    folder = Path(tempfile.mkdtemp(prefix="fault-injection-"))
    references: dict[str, Reference] = {}
    faults: list[str] = []
    commands = {"run": TRAINING, "two": SEEDS, "mlflow": PROJECT, "study": STUDY}
    commands["ray"] = [*STUDY, *ON_RAY]
    commands = {k: v for k, v in commands.items() if any(name.startswith(k) for name in chosen)}
    empty = folder / "mlflow.db"
    MlflowClient(f"sqlite:///{empty}").search_experiments()  # made once, which takes seconds

    def new_place(name: str) -> Place:
        path = folder / re.sub(r"\W+", "-", name)
        path.mkdir()
        shutil.copy(empty, path)
        return Place(path)

    width = max(map(len, chosen))
    print(f"{'kind':<{width}}  tried  held", flush=True)
    with tqdm(total=len(commands) + tries * len(chosen), unit="try", disable=None) as bar:
        for name, words in commands.items():
            references[name] = undisturbed(new_place(f"undisturbed {name}"), words)
            bar.update()
        for name, kind in chosen.items():
            held = 0
            for number in range(tries):
                rng = random.Random(f"{seed} {name} {number}")
                fraction = (number + rng.random()) / tries  # spread over the whole time
                place = new_place(f"{name} {number}")
                try:
                    kind(Try(place, references, fraction, rng))
                except (Fault, subprocess.TimeoutExpired) as fault:
                    where = f"at {fraction:.3f} of the time, in {place.folder}"
                    faults.append(f"{name}, {where}:\n{fault}")
                    tqdm.write(faults[-1])
                else:
                    held += 1
                    shutil.rmtree(place.folder)
                bar.update()
            print(f"{name:<{width}}  {tries:>5}  {held:>4}", flush=True)
    if not faults:
        shutil.rmtree(folder)
    return 1 if faults else 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--quick", action="store_true", help="one try of four kinds")
    parser.add_argument("--tries", type=int, default=10, help="tries of each kind")
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    parser.add_argument("--only", default="", help="regular expression of the kinds to try")
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.tries, arguments.only = 1, QUICK
    sys.exit(main(arguments.tries, arguments.seed, arguments.only))
