"""The text of `python -m pairft.explain` in English: a heading and lines for each section. Each line of a text is
wrapped on its own; {table} stands for the lines of a table."""

TEXT = {
    "thousands": ",",
    "and": " and ",
    "title": "One pair through one training step",
    "intro": """\
Model: {model} ({weights}). Label: '{label}'{default}, of {classes}.
Dropout is off, so that all can be recomputed. On the right: the line of code.""",
    "default": " (see --label)",
    "new": "new head, seed {seed}",
    "kept": "with its own head",
    "text": "Text",
    "text.lines": """\
A  {first}
B  {second}""",
    "tokens": "Tokens",
    "tokens.lines": """\
The tokenizer makes {count} tokens of A and B (vocabulary: {vocabulary}). The model sees only their ids.
{table}""",
    "segments": "The segment (token_type_ids) tells sentence A (0) from sentence B (1).",
    "no segments": "This model has no segments (token_type_ids); only the separator tells A from B.",
    "token": "token",
    "id": "id",
    "segment": "segment",
    "special": "Special tokens",
    "special.lines": "The tokenizer adds {special}. They count, but are never cut.{unknown}",
    "unknown": " {unk} stands for what the vocabulary lacks ({number} here).",
    "truncation": "Truncation",
    "truncation.lines": """\
{count} of {whole} tokens are left (--max-length {limit}). From the end of the longer sentence first, {number} are \
cut: {cut}""",
    "fits.lines": "None needed: {count} tokens of at most {limit}.",
    "trial": "--max-length {trial} would cut: {cut}",
    "padded": "A padded batch",
    "padded.lines": """\
In a batch with the pair {companion}, the shorter of the two is padded with {pad} (id {pad_id}). The attention mask is \
0 there: no token looks at padding.
{table}""",
    "ids of": "ids {number}",
    "mask of": "mask {number}",
    "packed": "The same batch, packed",
    "packed.lines": """\
Both pairs in one row. Positions start again with each pair; cu_seqlens {cu_seqlens} says where each begins and ends, \
so that none sees the other.
{table}
{slots} slots instead of {padded_slots}: {saved} ({share} %) saved.""",
    "logits": "Logits and probabilities",
    "logits.lines": """\
Logits are any real numbers. Softmax: exp(logit − largest), divided by the sum, {total}
(To subtract the largest changes no probability, and no exp is too large for a number.)
{table}""",
    "logit": "logit",
    "probability": "divided",
    "loss": "Loss",
    "loss.lines": """\
Cross entropy: −ln(probability of '{label}') = −ln({probability}) = {loss}
torch: {torch_loss}, difference {difference}""",
    "gradient": "Gradient of one weight",
    "gradient.lines": """\
w = {name} = {weight} multiplies {read}, a value that the head reads, in the logit of '{label}'. No other \
weight of this logit has a larger gradient.
By hand: (probability − 1) × value = ({probability} − 1) × {read} = {by_hand}
By backward(): {gradient}, difference {difference}
By finite difference (w a little greater, then a little smaller): {slope}""",
    "clipping": "Gradient clipping",
    "clipping.lines": """\
The gradient of all {weights} weights has the norm {norm}; --max-grad-norm is {limit}.
Each gradient is multiplied by min(1, {limit} / norm) = {factor}; norm afterwards: {after}
For w: g = {clipped}, by hand {by_hand}, difference {difference}""",
    "adamw": "AdamW",
    "adamw.lines": """\
First moment:  m = {beta1} × 0 + {rest1} × g = {m}, torch {torch_m}, difference {m_difference}
Second moment: v = {beta2} × 0 + {rest2} × g² = {v}, torch {torch_v}, difference {v_difference}
Bias correction: m' = m / (1 − {beta1}^1) = {m_corrected}, v' = v / (1 − {beta2}^1) = {v_corrected}
Learning rate: lr = {lr}. Decoupled weight decay: w × (1 − lr × {decay}) = {decayed}
New weight: this − lr × m' / (√v' + {eps}) = {new}
optimizer.step(): {torch_new}, difference {difference} (float32 neighbours are {spacing} apart)""",
    "after": "After the step",
    "after.lines": """\
Loss: {loss} → {loss_after}. Probability of '{label}': {probability} → {probability_after}.
At step 1, m' / √v' = ±1: w moves by lr, whatever the size of g. Later, lr falls to 0.""",
}
