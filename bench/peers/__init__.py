"""
What a user would pick instead, each in an environment of its own below ``.bench/``.

Installed with plain pip, once. Each does the work of the engine: reads the same rows from the same PostgreSQL and sends
them to the same stub.
"""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from bench.processes import Failed, Took, run

_HOME = Path(".bench")
_HERE = Path(__file__).parent
_DRIVER = "psycopg2-binary==2.9.10"


@dataclass(frozen=True)
class Peer:
    """
    A peer.

    :param script: the file in this folder that runs it.
    :param packages: what pip installs for it.
    """

    name: str
    script: str
    packages: tuple[str, ...]

    @cached_property
    def python(self) -> Path:
        """
        The interpreter of its environment, made on the first use.

        :raises Failed: it cannot be installed.
        """
        home = _HOME / self.script
        python = home / "bin" / "python"
        packages = "\n".join((*self.packages, _DRIVER))
        stamp = home / "installed"
        if not stamp.exists() or stamp.read_text() != packages:
            try:
                subprocess.run([sys.executable, "-m", "venv", "--clear", home], check=True, capture_output=True)
                pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
                subprocess.run([*pip, *packages.split()], check=True, capture_output=True, text=True)
            except (OSError, subprocess.CalledProcessError) as error:
                words = str(getattr(error, "stderr", "") or error).strip().splitlines()
                raise Failed(words[-1] if words else "pip failed") from None
            stamp.write_text(packages)
        return python.absolute()

    def send(self, url: str, uri: str, rows: int, batch: int) -> Took:
        """
        Send ``rows`` rows, ``batch`` in a request.

        :raises Failed: it cannot be installed, or does not run.
        """
        script = _HERE / f"run_{self.script}.py"
        arguments = (f"--url={url}", f"--postgres={uri}", f"--rows={rows}", f"--batch={batch}")
        # They may not tell anybody that they were run.
        return run(
            [str(self.python), str(script), *arguments],
            DO_NOT_TRACK="1",
            RUNTIME__DLTHUB_TELEMETRY="false",
            PYTHONPATH=str(_HERE.parent.parent),
        )


DRT = Peer("drt-core 1.2.1", "drt", ("drt-core[postgres]==1.2.1",))
DLT = Peer("dlt 1.31.0", "dlt", ("dlt==1.31.0", "requests"))
SEGMENT = Peer("segment-analytics-python 2.4.0", "segment", ("segment-analytics-python==2.4.0",))
SLACK = Peer("slack_sdk 3.47.0", "slack", ("slack_sdk==3.47.0",))
STRIPE = Peer("stripe 16.1.0", "stripe", ("stripe==16.1.0",))
