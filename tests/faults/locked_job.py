"""`regime_w.runtime.job` as on machine HOST of a cluster whose shared file system keeps its file locks to each machine.

python tests/faults/locked_job.py HOST HEARTBEAT_SECONDS --stage x --lock OUTPUT -- COMMAND
"""

import fcntl
import platform
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent.parent))

from regime_w.runtime import job
from regime_w.runtime.errors import run

if __name__ == "__main__":
    host, heartbeat = sys.argv[1:3]
    del sys.argv[1:3]
    platform.node = lambda: host
    fcntl.flock = lambda *_: None
    job.HEARTBEAT_SECONDS = float(heartbeat)
    run(job.main)
