"""Arithmetic of many processes, for docs/scale.md: bytes on the links, time of a step, memory of a sharded encoder.

    python benchmarks/scale_arithmetic.py

Nothing here is measured. The assumptions are the constants below and the rates in LINKS.
"""

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Shape:
    """An encoder of BERT's or XLM-RoBERTa-XL's kind with a head for `labels` classes."""

    layers: int
    hidden: int
    heads: int
    intermediate: int
    vocabulary: int
    positions: int
    token_types: int
    labels: int = 2

    @property
    def layer_parameters(self) -> int:
        """Four projections of the attention, two linear layers, two norms; biases included."""
        hidden, wide = self.hidden, self.intermediate
        return 4 * (hidden * hidden + hidden) + 2 * hidden * wide + wide + hidden + 4 * hidden

    @property
    def other_parameters(self) -> int:
        """The embeddings, one norm outside the layers, the pooler (or the head's first layer) and the classifier."""
        rows = self.vocabulary + self.positions + self.token_types
        return rows * self.hidden + 2 * self.hidden + (self.hidden + 1) * (self.hidden + self.labels)

    @property
    def parameters(self) -> int:
        return self.layers * self.layer_parameters + self.other_parameters


@dataclass(frozen=True)
class Link:
    name: str
    processes: int
    rate: float  # bytes a second in each direction, where the ring is slowest


BERT_BASE = Shape(12, 768, 12, 3072, vocabulary=30_522, positions=512, token_types=2)
XXL = Shape(48, 4096, 32, 16_384, vocabulary=250_880, positions=514, token_types=1)
MRPC_ROWS = 11_563  # of BERT's embedding: the tokens that occur in MRPC, as in pairft/speed/embedding.py

LAUNCHED, CAPTURED = 0.010, 0.0016  # s: a step of bert-base at batch 8 on one H200, estimated
LINKS = (
    Link("8 GPUs in a machine, NVLink at 450 GB/s", 8, 450e9),
    Link("8 GPUs in a machine, PCIe 4.0 x16 at 32 GB/s", 8, 32e9),
    Link("64 GPUs in 8 machines, InfiniBand at 400 Gb/s for each GPU", 64, 8 * 50e9),
    Link("64 GPUs in 8 machines, InfiniBand at 400 Gb/s for each machine", 64, 50e9),
    Link("64 GPUs in 8 machines, Ethernet at 100 Gb/s", 64, 12.5e9),
    Link("8 machines with one GPU each, Ethernet at 1 Gb/s", 8, 0.125e9),
)

MRPC_PAIRS, BATCH_SIZE = 3668, 8
GPU_BYTES = 80e9
STATE = 16  # bytes per parameter: weight, gradient and AdamW's two moments in float32
EXAMPLES, LENGTH = 8, 128  # of a micro-batch on each GPU
OPERATIONS = 400e12  # a second, of a GPU's large matmuls in half precision
NODE_RATE, NETWORK_RATE = 450e9, 50e9  # bytes a second for each GPU: NVLink, InfiniBand at 400 Gb/s


def trained(shape: Shape, rows: int) -> int:
    """Parameters that are trained, and so reduced, if only `rows` rows of the token embedding are."""
    return shape.parameters - (shape.vocabulary - rows) * shape.hidden


def all_reduce_bytes(parameters: int, processes: int) -> float:
    """What each process sends, and receives, when a ring sums float32 gradients: each process's share of the bucket
    goes round once to be summed, and once more to be known to all."""
    return 4 * parameters * 2 * (processes - 1) / processes


def times_one(processes: int, step: float, reduction: float) -> float:
    """The examples a second, relative to one process, if the reduction (s) follows the computation (s) of a step."""
    return processes * step / (step + reduction)


def accumulate_for(share: float, step: float, reduction: float) -> int:
    """The micro-batches in a step at which computing takes at least this share of the time."""
    wanted = reduction * share / (1 - share) / step
    return max(1, math.ceil(wanted - 1e-9))  # but for rounding


def traffic_table() -> str:
    parameters = trained(BERT_BASE, MRPC_ROWS)
    lines = [
        "| processes and link | sent per process and step, MB | reduction, ms | steps of 10 ms: times one GPU "
        "| steps of 1.6 ms: times one GPU | `--accumulate` for 90 %, 10 ms each |",
        "|---|---|---|---|---|---|",
    ]
    for link in LINKS:
        size = all_reduce_bytes(parameters, link.processes)
        seconds = size / link.rate
        gains = (f"{times_one(link.processes, step, seconds):.2g}" for step in (LAUNCHED, CAPTURED))
        micro_batches = accumulate_for(0.9, LAUNCHED, seconds)
        lines.append(
            f"| {link.name} | {size / 1e6:.0f} | {seconds * 1e3:,.1f} | {' | '.join(gains)} | {micro_batches:,} |"
        )
    whole, fewer = BERT_BASE.parameters / 1e6, parameters / 1e6
    note = f"bert-base on MRPC: {fewer:.1f} M of {whole:.1f} M parameters are trained, {4 * fewer:.0f} MB of gradients."
    return "\n".join([*lines, "", note, ""])


def breaks() -> str:
    """What breaks first, as a list in Markdown."""
    parameters = trained(BERT_BASE, MRPC_ROWS)
    reduction = {link.name: all_reduce_bytes(parameters, link.processes) / link.rate for link in LINKS}
    _, pcie, _, _, ethernet, slow = reduction.values()
    examples = 64 * BATCH_SIZE
    steps = math.ceil(MRPC_PAIRS / examples)
    launches = (LAUNCHED - CAPTURED) * 1e3
    checkpoint = 12 * BERT_BASE.parameters / 1e9  # weights and two moments
    most = GPU_BYTES / (STATE + 4) / 1e9
    return f"""\
1. **Ethernet.** At 1 Gb/s a step waits {slow:.1f} s for the others: eight machines are slower than one. At 100 Gb/s the
   reduction takes {ethernet / LAUNCHED:.0f} times as long as computing. Use `--accumulate` or fewer processes.
2. **PCIe without NVLink**, in the same way: {pcie / LAUNCHED:.0f} times as long as computing.
3. **The batch.** 64 GPUs × {BATCH_SIZE} are {examples} examples: an epoch of MRPC is {steps} steps.
4. **Kernel launches.** With NVLink they take {launches:.1f} of a step's 10 ms. Until computing takes as long, a larger
   batch costs nothing.
5. **The file system.** On a restart each process reads the checkpoint, 12 bytes per parameter: {checkpoint:.1f} GB for
   bert-base, {64 * checkpoint:.0f} GB for 64 processes.
6. **Memory.** Without `--shard full` each GPU holds {STATE} bytes per parameter, and 4 more while gradients are
   reduced: {most:.0f} B parameters fill {GPU_BYTES / 1e9:.0f} GB, without any activations.
7. **A failure stops all.** It costs the steps since the last checkpoint (`--save-every`) and a start-up.
"""


def activation_bytes(shape: Shape, examples: int, length: int) -> int:
    """Of all layers, in half precision with dropout, nothing recomputed: 34 bytes for each token and hidden unit, and 5
    for each attention probability (Korthikanti et al., 2022), which fused attention does not keep."""
    tokens = examples * length
    return shape.layers * (34 * tokens * shape.hidden + 5 * shape.heads * tokens * length)


def gathered_bytes(shape: Shape) -> int:
    """Of two layers, one computed and the next one under way: weights and gradients in half precision, and the
    gradients in float32 to be summed. Of the parameters outside the layers: weights and gradients in float32."""
    return (2 + 2 + 4) * 2 * shape.layer_parameters + (4 + 4) * shape.other_parameters


def shard_bytes(shape: Shape, processes: int) -> float:
    """What each process sends in a step of one micro-batch: layers' weights gathered in half precision for forward and
    backward, the others' in float32 for the forward pass (they are the embedding, nearly all), gradients reduced in
    float32."""
    sent = (2 + 2 + 4) * shape.layers * shape.layer_parameters + (4 + 4) * shape.other_parameters
    return sent * (processes - 1) / processes


def computing(shape: Shape) -> float:
    """Seconds of a step's forward and backward on each GPU."""
    return 6 * shape.layers * shape.layer_parameters * EXAMPLES * LENGTH / OPERATIONS


def shard_table() -> str:
    activations, gathered = activation_bytes(XXL, EXAMPLES, LENGTH), gathered_bytes(XXL)
    lines = [
        "| GPUs | state per GPU, GB | gathered, GB | activations, GB | together, GB | fits in 80 GB "
        "| sent per GPU and step, GB | s over NVLink | s over InfiniBand |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for processes in (1, 2, 4, 8, 64):
        state, sent = STATE * XXL.parameters / processes, shard_bytes(XXL, processes)
        held = 0 if processes == 1 else gathered
        total = state + held + activations
        cells = (f"{value / 1e9:.1f}" for value in (state, held, activations, total))
        seconds = f"{sent / NODE_RATE:.2f} | {sent / NETWORK_RATE:.1f}"
        fits = "yes" if total < GPU_BYTES else "no"
        lines.append(f"| {processes} | {' | '.join(cells)} | {fits} | {sent / 1e9:.1f} | {seconds} |")
    parameters = (
        f"{XXL.parameters / 1e9:.2f} B parameters: {XXL.layers} layers of {XXL.layer_parameters / 1e6:.0f} M and "
        f"{XXL.other_parameters / 1e9:.2f} B outside them, nearly all of these the embedding. Together "
        f"{STATE * XXL.parameters / 1e9:.0f} GB of state.\n\n"
        f"Computing a step, 6 operations for each token and parameter of the layers, takes {computing(XXL):.2f} s at "
        f"{OPERATIONS / 1e12:.0f} TFLOP/s. FSDP2 overlaps it with the transfers, which over NVLink take about as long."
    )
    return "\n".join([*lines, "", parameters, ""])


if __name__ == "__main__":
    print(traffic_table())
    print(breaks())
    print(shard_table())
