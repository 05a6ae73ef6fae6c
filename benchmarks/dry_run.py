"""What --dry-run estimates, and what the run then takes: python benchmarks/dry_run.py [flags of train.py]

Time counts from the line that names the run to the end, since --dry-run leaves out the start. Memory is the process's
largest resident size, disk the run directory with shared files counted once.
"""

import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from pairft.runs.estimate import duration, in_bytes  # noqa: E402

DEFAULT = ("--model", "builtin", "--data", "builtin")
UNITS = {"s": 1, "min": 60, "h": 3600, "MB": 10**6, "GB": 10**9}


def run(*flags: str) -> tuple[str, float, float, int]:
    """Standard output of train.py, its seconds in all and without the start, and its largest resident size in bytes."""
    began = started = time.perf_counter()
    command = [sys.executable, str(ROOT / "train.py"), *flags]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None and process.stdout is not None
    for line in process.stderr:
        if "from step 0" in line:
            started = time.perf_counter()
    output = process.stdout.read()
    _, status, used = os.wait4(process.pid, 0)
    assert status == 0, flags
    end = time.perf_counter()
    return output, end - began, end - started, used.ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def value(output: str, name: str) -> float:
    """A value of --dry-run's table, in seconds or bytes."""
    found = re.search(rf"^{name} +(.+?)  ", output, re.MULTILINE)
    assert found is not None, output
    words = found[1].split()
    return sum(float(number) * UNITS[unit] for number, unit in zip(words[::2], words[1::2], strict=True))


def main() -> None:
    flags = sys.argv[1:] or list(DEFAULT)
    with tempfile.TemporaryDirectory() as folder:
        where = ("--runs-dir", folder, "--run-name", "whole")
        output, whole, _, _ = run(*flags, *where, "--dry-run")
        print(output)
        _, _, seconds, memory = run(*flags, *where)
        files = [path.stat() for path in Path(folder).rglob("*") if path.is_file()]
        disk = sum({file.st_ino: file.st_size for file in files}.values())
    print(f"the dry run took {whole:.1f} s")
    print(f"{'':<8}{'estimate':>14}{'the run':>14}{'estimate / run':>16}")
    for name, found, text in (("time", seconds, duration), ("memory", memory, in_bytes), ("disk", disk, in_bytes)):
        guess = value(output, name)
        print(f"{name:<8}{text(guess):>14}{text(found):>14}{guess / found:>16.2f}")


if __name__ == "__main__":
    main()
