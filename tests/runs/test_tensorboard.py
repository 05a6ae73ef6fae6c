"""Event files, as TensorBoard reads them."""

import resource
import signal
import time

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from pairft.runs.tensorboard import EventFile, new_event_file


def test_points_after_the_step_a_run_resumes_from_are_replaced(tmp_path):
    """Though the earlier file ends within a point, and was started by a machine whose clock is an hour ahead."""
    events = new_event_file(tmp_path, "lr: 0.1\n", 0, resumed=False)
    for step in (10, 20, 30, 40):
        events.add_scalars({"loss": step / 10}, step)
    ahead = EventFile(tmp_path / f"events.out.tfevents.{int(time.time()) + 3600}.pairft")
    ahead.path.write_bytes(events.path.read_bytes()[:-5])
    events.path.unlink()
    (tmp_path / "events.out.tfevents.copy").touch()  # someone else's
    for first_step in (20, 20):  # twice within a second
        events = new_event_file(tmp_path, "lr: 0.1\n", first_step, resumed=True)
        events.add_scalars({"loss": first_step + 1}, first_step + 5)
    found = EventAccumulator(str(tmp_path)).Reload()
    assert [(point.step, point.value) for point in found.Scalars("loss")] == [(10, 1), (20, 2), (25, 21)]
    assert found.Tags()["tensors"] == ["config/text_summary", "custom_scalars__config__"]
    assert len(list(tmp_path.glob("*.pairft"))) == 3


def test_events_that_do_not_fit_on_the_disk_leave_no_part_of_themselves(tmp_path):
    """TensorBoard would read nothing after it. The limit of a file's size stands for a full disk."""
    events = EventFile(tmp_path / "events.out.tfevents.1.pairft")
    events.add_scalars({"loss": 1.0}, 1)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (events.path.stat().st_size + 100, limits[1]))
    try:
        with pytest.raises(OSError, match=events.path.name):
            events.add_scalars({f"loss_{n}": 2.0 for n in range(1000)}, 2)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    events.add_scalars({"loss": 3.0}, 3)
    found = EventAccumulator(str(tmp_path)).Reload()
    assert [(point.step, point.value) for point in found.Scalars("loss")] == [(1, 1), (3, 3)]
