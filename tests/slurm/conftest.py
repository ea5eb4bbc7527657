"""A real SLURM on this machine's loopback, with 64 pretended CPUs and 8 GPUs (links to /dev/null), for one session.

apt-get install -y --no-install-recommends slurmctld slurmd slurm-client munge     # Debian, Ubuntu; needs root
"""

import os
import re
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

import psutil
import pytest

from regime_w.runtime.job import die_with_parent

ETC = Path("/etc/slurm")
CONFS = ("slurm.conf", "gres.conf")
TOOLS = ("slurmctld", "slurmd", "munged", "sbatch", "srun", "squeue", "scancel", "sinfo")
GPUS = 8
PREFIX = "regime-w-slurm-"

SLURM_CONF = """
ClusterName=regimew
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ctld_port}
SlurmdPort={slurmd_port}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
# jobs that were put back into the queue wait for as long as a credential is valid
AuthInfo=socket={folder}/munge/munge.socket,cred_expire=5
CredType=cred/munge
CryptoType=crypto/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
# memory is limited by sampling it: a limit of the kernel would need cgroups
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=task=1
JobAcctGatherParams=OverMemoryKill
AccountingStorageType=accounting_storage/none
MailProg=/bin/true
# on the loopback address only
CommunicationParameters=NoInAddrAny,NoCtldInAddrAny
MpiDefault=none
SwitchType=switch/none
# squeue must still know an ended job when Snakemake asks
MinJobAge=3600
SchedulerType=sched/backfill
SchedulerParameters=batch_sched_delay=0,sched_interval=5,bf_interval=5
KillWait=5
ReturnToService=2
JobRequeue=0
# a small machine pretends to be a GPU node
SlurmdParameters=config_overrides
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
GresTypes=gpu
NodeName=gpu01 NodeHostname={host} NodeAddr=127.0.0.1 CPUs=64 Sockets=2 CoresPerSocket=32 ThreadsPerCore=1 \
RealMemory=2048000 Gres=gpu:h100:8 State=UNKNOWN
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
PartitionName=gpu Nodes=gpu01 Default=YES MaxTime=7-0 State=UP
PartitionName=cpu Nodes=gpu01 MaxTime=7-0 State=UP
# takes the GPUs of jobs in the others
PartitionName=urgent Nodes=gpu01 PriorityTier=2 MaxTime=7-0 State=UP
"""
GRES_CONF = """
AutoDetect=off
NodeName=gpu01 Name=gpu Type=h100 File={folder}/dev/nvidia[0-7]
"""


class Cluster:
    """The daemons of one machine, in a folder of their own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.daemons: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, *command: str) -> None:
        # Jobs inherit slurmd's environment in part: the tests' Python first.
        env = os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
        with open(self.folder / f"{command[0]}.out", "ab") as out:
            self.daemons[command[0]] = subprocess.Popen(
                command,
                stdout=out,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                env=env,
                preexec_fn=die_with_parent,
            )

    def wait_for(self, true: Callable[[], bool]) -> None:
        if not self._comes(true, 300):
            self._fail()

    def _fail(self) -> NoReturn:
        tails = {path.name: path.read_text(errors="replace")[-1500:] for path in self.folder.glob("*.out")}
        statuses = {name: daemon.poll() for name, daemon in self.daemons.items()}
        pytest.fail(f"SLURM does not do what was waited for; exit statuses: {statuses}; {tails}")

    def _comes(self, true: Callable[[], bool], seconds: float) -> bool:
        """Whether it becomes true in time, with all daemons alive."""
        end = time.monotonic() + seconds
        while not true():
            if time.monotonic() > end or any(daemon.poll() is not None for daemon in self.daemons.values()):
                return False
            time.sleep(0.3)
        return True

    def start_node(self, *options: str) -> None:
        self.start("slurmd", "-D", "-N", "gpu01", *options)

    def reboot_node(self) -> None:
        """Kill all processes of the node's jobs and its daemon at once, then start that as a reboot does, up to three
        times as an init system would: once in many runs it came to nothing and said nothing."""
        before = _node_start()
        jobs = [process for process in psutil.process_iter(["name"]) if process.info["name"] == "slurmstepd"]
        jobs += [child for process in jobs for child in process.children(recursive=True)]
        self.daemons["slurmd"].kill()
        for process in jobs:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        for _ in range(3):
            self.daemons["slurmd"].wait()
            self.start_node("-b")
            if self._comes(lambda: _node_start() != before, 60):
                return
            print(f"slurmd did not come back (exit status {self.daemons['slurmd'].poll()})")
            self.daemons["slurmd"].kill()
        self._fail()

    def stop(self) -> None:
        for daemon in reversed(self.daemons.values()):
            daemon.terminate()
            try:
                daemon.wait(20)
            except subprocess.TimeoutExpired:
                daemon.kill()
                daemon.wait()


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """munged, slurmctld and slurmd, with an idle node."""
    missing = [name for name in TOOLS if not shutil.which(name)]
    if missing:
        pytest.skip(f"SLURM is not installed (no {missing[0]}): apt-get install slurmctld slurmd slurm-client munge")
    if os.geteuid():
        pytest.skip("starting SLURM needs root")
    for link in (ETC / name for name in CONFS):
        if link.is_symlink() and not _owner_lives(link.resolve().parent):
            link.unlink()  # left by a session of ours that was killed
        if os.path.lexists(link):
            pytest.skip(f"{link} exists: this machine's own SLURM is left alone")
    folder = Path(tempfile.mkdtemp(prefix=PREFIX))
    folder.chmod(0o755)  # munge clients must reach the socket
    (folder / "owner").write_text(str(os.getpid()))
    cluster = Cluster(folder)
    linked: list[Path] = []
    try:
        _render(folder)
        for name in CONFS:
            # A SLURM_CONF of our own is not enough: the inner srun is started without SLURM_ variables.
            (ETC / name).symlink_to(folder / name)
            linked.append(ETC / name)
        munge = folder / "munge"
        options = {
            "key-file": "key",
            "socket": "munge.socket",
            "pid-file": "pid",
            "log-file": "log",
            "seed-file": "seed",
        }
        cluster.start("munged", "--foreground", *(f"--{key}={munge / name}" for key, name in options.items()))
        cluster.wait_for(lambda: (munge / "munge.socket").exists())
        cluster.start("slurmctld", "-D")
        cluster.start_node()
        cluster.wait_for(lambda: _output("sinfo", "-h", "-p", "gpu", "-o", "%T").startswith("idle"))
        yield cluster
        subprocess.run(["scancel", "--user=root"], check=False, timeout=60)
        cluster.wait_for(lambda: not _output("squeue", "-h"))
    finally:
        cluster.stop()
        for link in linked:
            link.unlink()
        shutil.rmtree(folder, ignore_errors=True)


def _owner_lives(folder: Path) -> bool:
    """Whether a linked configuration is another's, or that of a running session of ours."""
    if not folder.name.startswith(PREFIX):
        return True
    try:
        return psutil.pid_exists(int((folder / "owner").read_text()))
    except (OSError, ValueError):
        return False


def _render(folder: Path) -> None:
    for name in ("munge", "state", "spool", "dev"):
        (folder / name).mkdir()
    for index in range(GPUS):
        (folder / "dev" / f"nvidia{index}").symlink_to("/dev/null")
    (folder / "munge" / "key").write_bytes(secrets.token_bytes(128))
    (folder / "munge" / "key").chmod(0o400)
    host = socket.gethostname().split(".")[0]
    ports = {"ctld_port": _free_port(), "slurmd_port": _free_port()}
    (folder / "slurm.conf").write_text(SLURM_CONF.format(folder=folder, host=host, **ports))
    (folder / "gres.conf").write_text(GRES_CONF.format(folder=folder))


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _node_start() -> str:
    """When the node's daemon was started that SLURM heard of last."""
    shown = _output("scontrol", "show", "node", "gpu01")
    found = re.search(r"SlurmdStartTime=(\S+)", shown)
    assert found, shown
    return found[1]


def _output(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, timeout=60).stdout.strip()
