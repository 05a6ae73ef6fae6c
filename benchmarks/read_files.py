"""How fast is a large csv file read, and in how much memory?

    python benchmarks/read_files.py [--megabytes 1000] [--folder /tmp] [--json FILE]

Makes a csv file of pairs in which every field but the number is quoted, a tenth of them with a comma, a quote or a line
end. Reads it in a new process as a run does, from the digest to the rows in the cache, then once more from the cache.
Anonymous memory (RssAnon) is sampled; pages of the files themselves are not part of it.
"""

import argparse
import json
import os
import platform
import random
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
WORDS = ["the", "quick", "brown", "fox", "lazy", "dog", "how", "much", "is", "it", "größer", "naïve", "why", "where"]


def write_table(path: Path, megabytes: int) -> int:
    """Write about so many megabytes. Returns the number of rows. Blocks of 10,000 rows differ in their numbers only."""
    draw = random.Random(0)
    lines = []
    for number in range(10_000):
        sentences = [" ".join(draw.choices(WORDS, k=draw.randrange(5, 20))) for _ in range(2)]
        if number % 10 == 0:
            sentences[0] += draw.choice([", and then", ' said ""no""', "\nanother line"])
        lines.append(f',"{sentences[0]}","{sentences[1]}","{number % 2}"\n')
    rows = 0
    with path.open("w", encoding="utf-8", newline="") as file:
        file.write("idx,sentence1,sentence2,label\n")
        while file.tell() < megabytes * 1_000_000:
            file.write("".join(f"{rows + number}{line}" for number, line in enumerate(lines)))
            rows += len(lines)
    return rows


def anonymous() -> int:
    """This process's anonymous memory in bytes (Linux)."""
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("RssAnon"))


def read(path: Path) -> dict[str, float]:
    """Seconds and peak of anonymous memory above that of the imports."""
    import datasets  # noqa: F401  # outside what is timed
    import numpy  # noqa: F401
    from pyarrow import csv  # noqa: F401

    from pairft.data.files import read_files

    before, seen, done = anonymous(), [anonymous()], threading.Event()

    def watch() -> None:
        while not done.wait(0.01):
            seen.append(anonymous())

    watcher = threading.Thread(target=watch)
    watcher.start()
    begin = time.perf_counter()
    rows = read_files([path], ("sentence1", "sentence2"), "label")
    seconds = time.perf_counter() - begin
    done.set()
    watcher.join()
    return {"rows": len(rows), "seconds": seconds, "peak_megabytes": (max(seen) - before) / 1e6}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megabytes", type=int, default=1000)
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()))
    parser.add_argument("--json", type=Path)
    parser.add_argument("--read", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.read is not None:
        print(json.dumps(read(args.read)))
        return
    found = {"cores": os.cpu_count(), "python": platform.python_version(), "load_before": os.getloadavg()[0]}
    with tempfile.TemporaryDirectory(dir=args.folder) as folder:
        path = Path(folder) / "train.csv"
        rows = write_table(path, args.megabytes)
        found |= {"megabytes": path.stat().st_size / 1e6, "rows": rows}
        environment = {**os.environ, "HF_DATASETS_CACHE": f"{folder}/cache", "PYTHONPATH": str(ROOT)}
        for name in ("first", "cached"):
            command = [sys.executable, __file__, "--read", str(path)]
            result = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
            about = json.loads(result.stdout)
            assert about.pop("rows") == rows, result.stdout
            found[name] = {**about, "megabytes_per_second": found["megabytes"] / about["seconds"]}
            print(f"{name}: {found[name]['megabytes_per_second']:.0f} MB/s, {about['peak_megabytes']:.0f} MB at most")
    if args.json is not None:
        args.json.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
