"""Open the directory of a run: create it, or restore the newest checkpoint of an existing one."""

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy
import torch

from pairft import disk, effects, flags
from pairft.config import Config, to_yaml, values
from pairft.data import batches, pairs
from pairft.data.pairs import Pairs
from pairft.data.streaming import Stream
from pairft.errors import UserError
from pairft.output import say
from pairft.runs import checkpoint, directory, restore, track
from pairft.runs.log import RunLog
from pairft.runs.manifest import check_same, manifest
from pairft.runs.measures import Measures
from pairft.runs.ranks import check_same_everywhere
from pairft.runs.seeds import Group
from pairft.training import device, distributed
from pairft.training.learner import Learner
from pairft.training.loop import Schedule
from pairft.training.state import TrainState

if TYPE_CHECKING:
    from datasets import Dataset
    from transformers import PreTrainedTokenizerFast


@dataclass(frozen=True)
class Sources:
    """The data and the base model that a run learns from."""

    pairs: Pairs
    tokenizer: "PreTrainedTokenizerFast"
    tokens: dict[str, "Dataset"]  # by split
    max_length: int  # tokens per pair
    model_fingerprint: dict[str, str]  # sha256 of the base model's weights and of the token ids
    stream: Stream | None  # the training split with --streaming: tokens["train"] is only its first rows
    notes: Sequence[str]  # lines for the user, or "": new weights, how labels were understood, effects of padding

    @property
    def lengths(self) -> numpy.ndarray | None:
        """The tokens of each training example, int32 [examples]; None if they aren't known."""
        return None if self.stream else batches.lengths_of(self.tokens["train"])

    @property
    def num_examples(self) -> int | None:
        """In an epoch; None if it isn't known."""
        return self.stream.num_examples if self.stream else len(self.tokens["train"])

    def check_enough(self, processes: int) -> None:
        """Raise UserError if there is not an example for each process, as far as that is known."""
        number, first = self.num_examples, len(self.tokens["train"])
        if number is None and self.stream is not None and first < self.stream.files.block_size:
            number = first  # text files aren't counted, but these end within the first block
        if number is not None and number < processes:
            raise UserError(
                f"{processes} processes have only {number} training examples, and each needs one: start fewer"
            )


def open_directory(
    stack: contextlib.ExitStack,
    config: Config,
    run_dir: Path | None,
    argv: Sequence[str],
    state: TrainState,
    schedule: Schedule,
    sources: Sources,
    group: Group | None,
) -> tuple[Path, str, list[str]]:
    """Create the run directory, locked until the stack is closed, or restore the newest checkpoint of an existing one
    into `state`. Returns the directory, where training starts, in words, and a warning if versions have changed.

    Of several processes, the first one does it, and the others read the checkpoint that it has found. Raises UserError
    if the data, the model or the directory of one of them is another one.
    """
    columns = (*sources.pairs.text_columns, sources.pairs.label_column)
    fingerprints = {name: pairs.fingerprint(split, columns) for name, split in sources.pairs.splits.items()}
    if sources.stream is not None:
        fingerprints["train"] = sources.stream.fingerprint
    if sources.pairs.folded is not None:  # the same for all folds: it says whether the data has changed between them
        more = () if config.group_column is None or config.group_column in columns else (config.group_column,)
        fingerprints["train"] = pairs.fingerprint(sources.pairs.folded, (*columns, *more))
        del fingerprints["validation"]
    sources.check_enough(distributed.world_size())
    opened = None
    with distributed.together():
        if distributed.is_main():
            opened = create_or_restore(stack, config, run_dir, argv, state, schedule, sources, fingerprints, group)
    found = distributed.from_main(None if opened is None else (*opened, state.step, state.best, state.lost_best))
    assert found is not None
    run_dir, start, warning, step, best, lost_best = found
    check_same_everywhere({**fingerprints, **sources.model_fingerprint}, run_dir)
    if step > 0 and not distributed.is_main():
        restore.load(checkpoint.folder_of(run_dir / "checkpoints", step), state)
    if step > 0 and state.sharded:
        restore.load_shards(checkpoint.folder_of(run_dir / "checkpoints", step), state)
    state.best, state.lost_best = best, lost_best
    return run_dir, start, warning


def create_or_restore(
    stack: contextlib.ExitStack,
    config: Config,
    run_dir: Path | None,
    argv: Sequence[str],
    state: TrainState,
    schedule: Schedule,
    sources: Sources,
    data_fingerprint: dict[str, str],
    group: Group | None,
) -> tuple[Path, str, list[str]]:
    """What `open_directory` returns. `data_fingerprint`: by split."""
    started = run_dir or (group and group.earlier)
    changed = ""
    if started:
        same = sources.model_fingerprint
        if run_dir is None and config.fold is not None:  # another fold has other tokens in each split
            same = {what: digest for what, digest in same.items() if what != "tokens"}
        changed = check_same(started, data_fingerprint, same, torch.get_num_threads())
    warning = [changed] if changed else []
    runs_left = group.left if group else 1
    if run_dir is None:
        runs = group.directory if group else disk.expanded(config.runs_dir)
        disk.check_space(runs, checkpoint.bytes_needed(state, runs_left))
        made = manifest(argv, data_fingerprint, sources.model_fingerprint, torch.get_num_threads())
        run_dir = directory.create(config, made, runs)
        stack.callback(disk.lock(run_dir).release)
        return run_dir, "from step 0", warning
    found = restore.restore(run_dir, state)
    start = f"from step {state.step}" + ("" if found else ", there is no complete checkpoint")
    if state.step > schedule.total_steps:
        raise UserError(f"{run_dir} is at step {state.step} already: --max-steps or --epochs should not end before it")
    disk.check_space(run_dir, checkpoint.bytes_needed(state, runs_left), held=disk.size_of(run_dir))
    disk.write_text(run_dir / "config.yaml", to_yaml(config))  # a resume may have changed some settings
    return run_dir, start, warning


def open_log(
    config: Config,
    run_dir: Path,
    resumed: bool,
    learner: Learner,
    sources: Sources,
    schedule: Schedule,
    group: Group | None,
) -> RunLog:
    """The log of a run. With --track, starts or resumes the run there; raises UserError if the tracker refuses."""
    state, tracker = learner.state, None
    with distributed.together():
        if config.track is not None and distributed.is_main() and not config.dry_run:
            tracker = track.start(config.track, run_dir, values(config), group is not None, resumed)
    measures = Measures(learner, batches.lengths_of(sources.tokens["train"]))
    steps = schedule.total_steps, sources.num_examples, to_yaml(config), state.step, state.num_lines, resumed
    return RunLog(run_dir, *steps, measures, tracker, distributed.is_main())


def announce(
    config: Config,
    run_dir: Path,
    argv: Sequence[str],
    learner: Learner,
    sources: Sources,
    schedule: Schedule,
    start: str,
    changed: Sequence[str],
) -> None:
    """Say what will be trained, and what a user should know before. `start`, `changed`: from `open_directory`."""
    processes = distributed.world_size()
    where = str(learner.device) if processes == 1 else f"{processes} processes, {learner.device}"
    how = f"{schedule.total_steps} steps on {where}, {learner.layout}, lr {config.lr:.2g}"
    number = "streamed" if sources.stream else str(sources.num_examples)
    say(f"{run_dir}: {number} pairs, {how}, {start}")
    here = learner.device.type, schedule.total_steps
    unused = effects.without_effect_here(flags.read_flags(argv), config, *here)
    streamed = sources.stream.about() if sources.stream else ""
    for line in (streamed, *sources.notes, *changed, *unused, *device.caveats(config, learner.device)):
        if line:
            say(line)
