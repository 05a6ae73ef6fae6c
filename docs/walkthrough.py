# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # A walk through fine-tuning: one pair, one run, five faults
#
# This notebook follows one pair of sentences through one training step, with every number computed by hand. Then it
# trains a model and reads its mistakes. At the end it breaks the training in five ways, and you find out which is
# which.
#
# You need a little Python, and the first chapters of any course on fine-tuning. New words are explained where they
# first appear; the [glossary](glossary.md) ([en français](glossary.fr.md)) has all of them. Each link with a line
# number leads to the code of pairft that does the same thing in a real run.
#
# Everything runs on a CPU, without a network, in about three minutes. The text is kept in `docs/walkthrough.py`;
# `make walkthrough` executes it and writes `docs/walkthrough.ipynb`. Your numbers may differ from those shown in the
# last digits, because another processor adds in another order.

# %%
import csv
import json
import math
import os
import random
import shutil
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path

warnings.filterwarnings("ignore", message="IProgress not found")  # Jupyter's own progress bars are not needed
os.environ["HF_HUB_OFFLINE"] = "1"  # nothing here needs the network
ROOT = next(folder for folder in (Path.cwd(), *Path.cwd().parents) if (folder / "train.py").exists())

import matplotlib.pyplot as plt
import torch

# %% [markdown]
# # Part 1: one pair, one step
#
# The task: do two questions ask for the same thing? Here is a pair, and its right answer, the **label**.

# %%
first, second = "How old are you?", "What is your age?"
label_names = ["different", "same"]
label = 1  # the number of "same" in the list

# %% [markdown]
# ## From text to numbers
#
# A model computes with numbers. The **tokenizer** cuts the text into **tokens**, which are words or pieces of words,
# and looks each of them up in its vocabulary. The token's place there is its **token id**. Both sentences go into one
# list ([tokens.py, line 92](../pairft/data/tokens.py#L92 "def encode_sentences")).

# %%
from pairft.data.tokens import encode_sentences
from pairft.model import classifier

tokenizer, model_config = classifier.load_tokenizer("builtin")
encoded = encode_sentences([[first], [second]], tokenizer, max_length=128)
ids, segments = encoded["input_ids"][0], encoded["token_type_ids"][0]

print("token       id  segment")
for token, token_id, segment in zip(tokenizer.convert_ids_to_tokens(ids), ids, segments, strict=True):
    print(f"{token:8}{token_id:6}{segment:9}")

# %% [markdown]
# Three tokens are in neither sentence. `[CLS]` comes first; the model's answer will be read off at its place. `[SEP]`
# closes each sentence. These are **special tokens**. The **segment** says whether a token belongs to the first
# sentence (0) or to the second (1). This tokenizer writes everything in lower case.

# %% [markdown]
# ## Truncation
#
# A model accepts only so many tokens. A longer pair is cut: this is **truncation**. With room for 9 tokens, 4 of our
# 13 must go. Special tokens always stay, and the longer sentence is cut first; ours are equally long, so each loses
# two ([truncation.py, line 9](../pairft/data/truncation.py#L9 "def budgets")).

# %%
short = encode_sentences([[first], [second]], tokenizer, max_length=9)
print(" ".join(tokenizer.convert_ids_to_tokens(short["input_ids"][0])))
print("tokens cut off:", short["lost"][0])
assert short["lost"][0] == len(ids) - 9

# %% [markdown]
# ## A batch: padded or packed
#
# Training computes several pairs at once: a **batch**. Here is a second, longer pair to go with ours. A batch is a
# rectangle of numbers, so the shorter pair is filled up with `[PAD]` tokens: this is **padding**. In the model, each
# token takes up information from the others: this is **attention**. The **attention mask** has a 1 for each token and a
# 0 for padding, so that nothing is taken up from padding. The function that builds a batch is called **collate**
# ([batches.py, line 116](../pairft/data/batches.py#L116 "def collate(")).

# %%
from pairft.data.batches import collate_for

device = torch.device("cpu")
collate = collate_for(tokenizer, device)

other_first = "In which town does the new neighbour from across the street live?"
other_second = "How heavy is the new neighbour from across the street?"
both = encode_sentences([[first, other_first], [second, other_second]], tokenizer, max_length=128)
batch = collate({**both, "label": [1, 0]})

print("shape:", tuple(batch.input_ids.shape), " (pairs, tokens)")
print("our pair:      ", batch.input_ids[0].tolist())
print("attention mask:", batch.attention_mask[0].tolist())
padding = 1 - batch.num_tokens / batch.input_ids.numel()
print(f"{padding:.0%} of the batch is padding")

# %% [markdown]
# Computing with padding is wasted work. A **packed** batch has none: the tokens of all pairs stand in one row, and
# `cu_seqlens` (cumulative sequence lengths) says where each pair begins and ends
# ([packing.py, line 68](../pairft/speed/packing.py#L68 "def pack(")). Attention stays within each pair. pairft trains
# like this where it can, and gets the same numbers, as you will see once there is a model.

# %%
from pairft.speed.packing import pack

packed = pack(batch, first_position=0)
print("shape:", tuple(packed.input_ids.shape), " cu_seqlens:", packed.cu_seqlens.tolist())

# %% [markdown]
# ## Logits and probabilities
#
# A model is a chain of **layers**, and each layer computes with **weights**, the numbers that training changes. The
# model has two parts. The **encoder** was trained before, on a great deal of text. Layer by layer, it turns each token
# into a list of 384 numbers. The **head** is one new layer. It turns the list at `[CLS]`, after a small layer of BERT's
# own (the pooler), into one number for each class: the **logits**
# ([classifier.py, line 81](../pairft/model/classifier.py#L81 "def load_model")). The head starts with random weights,
# drawn from a **seed**: the number that random draws start from, so that you get the same ones
# ([train.py, line 78](../train.py#L78 "seed_everything(config.seed)")).
#
# `eval()` turns **dropout** off. In training, dropout sets some numbers to 0 at random, and we want to follow ours
# exactly.

# %%
torch.manual_seed(0)
model, _, new_weights = classifier.load_model("builtin", label_names)
model.eval()
print("new weights:", new_weights)
print(f"all weights: {sum(p.numel() for p in model.parameters()):,}")
print(f"layers: {model.config.num_hidden_layers}, numbers for each token: {model.config.hidden_size}")

one = collate({"input_ids": [ids], "token_type_ids": [segments], "label": [label]})
logits = model(**one.inputs()).logits
print("logits:", [round(value, 4) for value in logits[0].tolist()])

# %% [markdown]
# The **softmax** turns logits into probabilities: raise *e* to each of them, then divide by the sum. They are
# positive now and add up to 1.

# %%
powers = [math.exp(value) for value in logits[0].tolist()]
probabilities = [power / sum(powers) for power in powers]
print({name: round(value, 4) for name, value in zip(label_names, probabilities, strict=True)})

# %% [markdown]
# Both are near one half: the head is new and knows nothing. Does the other pair in a batch change the answer to ours?
# It must not, and thanks to the attention mask it doesn't: only the rounding of the last digits may differ. In the
# packed batch it doesn't, either.

# %%
from pairft.speed.packed_forward import PackedForward

in_batch = model(**batch.inputs()).logits[0]
packed_forward = PackedForward(model, jagged=False)
packed_forward.install(model)
in_packed = model(**packed.inputs()).logits[0]
packed_forward.remove(model)
for name, found in (("padded", in_batch), ("packed", in_packed)):
    print(f"largest difference, {name}: {(found - logits[0]).abs().max().item():.0e}")
    assert torch.allclose(found, logits[0], atol=1e-5)

# %% [markdown]
# ## The loss
#
# The **loss** measures how wrong the answer is. For classes it is the **cross entropy**: minus the natural logarithm
# of the probability of the right class. It is 0 for certainty and grows without limit as that probability goes to 0
# ([step.py, line 18](../pairft/training/step.py#L18 "def loss_of")).

# %%
from pairft.training.step import loss_of

by_hand = -math.log(probabilities[label])
loss = loss_of(logits, one.labels, "mean")
print(f"by hand {by_hand:.6f}, pairft {loss.item():.6f}")
assert math.isclose(by_hand, loss.item(), rel_tol=1e-5)

# %% [markdown]
# ## The gradient
#
# If one weight grew a little, would the loss rise or fall, and how fast? The answer for each weight is its
# **gradient**. `backward()` computes all of them in one **backward pass**, from the loss back through the model.
#
# For the head's bias (the number that it adds to each logit) there is a simple formula: the probability, minus 1 for
# the right class. (It is the derivative of the cross entropy of a softmax.) A step goes against the gradient, so it
# raises the right logit and lowers the other one, and the gradient is small if the answer is already good. The
# question above checks the formula without any calculus: make the bias a little larger, then a little smaller, and
# divide the change of the loss by that of the bias.

# %%
loss.backward()
formula = [probability - (number == label) for number, probability in enumerate(probabilities)]
print("by hand: ", [round(value, 6) for value in formula])
print("backward:", [round(value, 6) for value in model.classifier.bias.grad.tolist()])
assert torch.allclose(model.classifier.bias.grad, torch.tensor(formula), atol=1e-5)


def loss_with(shift):
    """The loss of our pair if the bias of its class were larger by `shift`."""
    with torch.no_grad():
        model.classifier.bias[label] += shift
        shifted = loss_of(model(**one.inputs()).logits, one.labels, "mean").item()
        model.classifier.bias[label] -= shift
    return shifted


slope = (loss_with(0.01) - loss_with(-0.01)) / 0.02
print(f"measured, for the bias of 'same': {slope:.4f}")
assert math.isclose(slope, formula[label], abs_tol=1e-3)

# %% [markdown]
# ## Clipping
#
# All gradients together are one long list. Its length in the sense of geometry (the root of the sum of the squares)
# is the **gradient norm**. If it is above 1, every gradient is divided by it, so that the norm becomes 1 and the
# direction stays. This is **clipping**, and it keeps one odd batch from throwing the weights away
# ([step.py, line 95](../pairft/training/step.py#L95 "clip_grad_norm_")).

# %%
gradients = {name: parameter.grad.clone() for name, parameter in model.named_parameters() if parameter.grad is not None}
norm = math.sqrt(sum(gradient.square().sum().item() for gradient in gradients.values()))
scale = min(1.0, 1.0 / (norm + 1e-6))  # torch adds the 1e-6, so as never to divide by 0
print(f"gradient norm {norm:.4f}, so every gradient is multiplied by {scale:.4f}")

# %% [markdown]
# ## AdamW
#
# The **optimizer** changes the weights. AdamW keeps two averages for each weight, its **moments**: *m* of the
# gradients and *v* of their squares. It moves the weight by the **learning rate** times *m* / √*v*, against the
# gradient. So it divides the gradient by its own usual size: every weight moves at a similar pace. **Weight decay**
# first pulls the weight a little towards 0
# ([optim.py, line 17](../pairft/training/optim.py#L17 "def build_optimizer")).
#
# Here is the first step, by hand, for the first of the 384 weights in the logit of "same". At each step, *m* keeps 0.9
# of itself and adds 0.1 of the gradient; *v* keeps 0.999 of itself and adds 0.001 of the gradient's square. Both start
# at 0, so they are too small at first; dividing by 1 - 0.9 and 1 - 0.999 corrects for that. The tiny `eps` prevents a
# division by 0.

# %%
lr, weight_decay, beta1, beta2, eps = 1e-4, 0.01, 0.9, 0.999, 1e-8
weight = model.classifier.weight[1, 0].item()
gradient = gradients["classifier.weight"][1, 0].item() * scale

m = (1 - beta1) * gradient
v = (1 - beta2) * gradient**2
m_corrected, v_corrected = m / (1 - beta1), v / (1 - beta2)
decayed = weight - lr * weight_decay * weight
new_weight = decayed - lr * m_corrected / (math.sqrt(v_corrected) + eps)
print(f"weight {weight:.8f}, gradient {gradient:.8f}, m {m:.3e}, v {v:.3e}")
print(f"new weight by hand {new_weight:.8f}")

# %% [markdown]
# Now pairft does the whole step with its own function, `update`: logits, loss, gradient, clipping, AdamW
# ([step.py, line 49](../pairft/training/step.py#L49 "def update(")). Two arguments do nothing here: the scaler is for
# numbers of 16 bits on a GPU, and `bad_steps` counts steps whose loss or gradient is infinite or not a number. The 1
# is the number of pairs in the step.

# %%
from pairft.training.optim import build_optimizer
from pairft.training.step import update

model.zero_grad()
optimizer = build_optimizer(model, weight_decay)
scaler, bad_steps = torch.amp.GradScaler("cpu", enabled=False), torch.zeros(())
loss_sum, grad_norm = update(
    model, optimizer, scaler, bad_steps, [one], 1, lr, device=device, amp_dtype=None, max_grad_norm=1.0
)
print(f"new weight by update {model.classifier.weight[1, 0].item():.8f}")
print(f"gradient norm by update {grad_norm.item():.4f}")
assert math.isclose(model.classifier.weight[1, 0].item(), new_weight, abs_tol=1e-7)

with torch.no_grad():
    after = loss_of(model(**one.inputs()).logits, one.labels, "mean")
print(f"loss of our pair: {loss.item():.4f} before the step, {after.item():.4f} after it")

# %% [markdown]
# That is all of training: this step, again and again, with other pairs. The loop that repeats it fits on two screens
# ([loop.py, line 45](../pairft/training/loop.py#L45 "def fit(")).
#
# ### Exercises
#
# 1. A model gives both classes the probability 1/2. What is its loss? And with four classes, 1/4 each?
# 2. A batch holds a pair of 12 tokens and one of 60. How much of the padded batch is padding?
# 3. At the first step, one weight has a gradient 1,000 times as large as another one's. How much further does AdamW
#    move it, weight decay aside?
#
# <details><summary>Answers</summary>
#
# 1. -ln(1/2) = 0.693, and -ln(1/4) = 1.386. Remember these: a loss that stays there means that nothing has been
#    learnt.
# 2. The rectangle has 2 × 60 = 120 places, 72 of them tokens. 48 of 120 are padding: 40 %.
# 3. No further. At the first step *m* / √*v*, corrected, is the gradient divided by its own size: +1 or -1. Both
#    weights move by the learning rate.
#
# </details>

# %% [markdown]
# # Part 2: a run
#
# ## The data
#
# To learn, a model needs many pairs. We make them here from 24 topics with four wordings each. A "same" pair is two
# wordings of one topic. A "different" pair is two topics, or one topic asked about two people. The words of a pair
# alone don't give the answer away: "How long is Anna's way to work?" and "How far does Anna commute?" mean the same,
# and share only "How" and the name.
#
# Eight topics are kept for the **validation split**, on which the model is judged, and the others are the **training
# split**. So the model is asked about topics that it never trained on.

# %%
TOPICS = """
How old {is} {who}? | What is {whose} age? | What age {is} {who}? | How many years old {is} {who}?
How tall {is} {who}? | What is {whose} height? | What height {is} {who}? | How many centimetres tall {is} {who}?
How much {does} {who} weigh? | What is {whose} weight? | How heavy {is} {who}? | How many kilos {does} {who} weigh?
Where {does} {who} live? | What is {whose} address? | In which town {does} {who} live? | Where is {whose} home?
What is {whose} home country? | Where {is} {who} from? | Where {does} {who} come from? | What is {whose} nationality?
Where {does} {who} work? | Who is {whose} employer? | Which company {does} {who} work for? | Where is {whose} office?
What {does} {who} do for a living? | What is {whose} job? | What is {whose} profession? | What work {does} {who} do?
How much {does} {who} earn? | What is {whose} salary? | What {is} {who} paid? | How much money {does} {who} make?
When is {whose} birthday? | What is {whose} date of birth? | On which day {was} {who} born? | When {was} {who} born?
When {does} {who} get up? | What time {does} {who} wake up? |
    How early {does} {who} rise? | When {does} {who} start the day?
When {does} {who} go to bed? | What time {does} {who} fall asleep? |
    How late {does} {who} stay up? | When {does} {who} end the day?
What {does} {who} like to eat? | What is {whose} favourite dish? |
    Which food {does} {who} prefer? | What {does} {who} enjoy eating?
What {does} {who} like to drink? | What is {whose} favourite drink? |
    Which beverage {does} {who} prefer? | What {does} {who} enjoy drinking?
What {does} {who} like to read? | What is {whose} favourite book? |
    Which novel {does} {who} prefer? | What {does} {who} enjoy reading?
What music {does} {who} like? | What is {whose} favourite song? |
    Which band {does} {who} prefer? | What {does} {who} listen to?
Who {is} {who} married to? | What is the name of {whose} spouse? |
    Who is {whose} husband or wife? | Whom did {who} marry?
How {does} {who} get to work? | By what means {does} {who} commute? |
    How {does} {who} travel to work? | What takes {who} to the office?
How long is {whose} way to work? | How far {does} {who} commute? |
    What is the length of {whose} commute? | How far from home is {whose} office?
How many children {does} {who} have? | What is the number of {whose} children? |
    How large is {whose} family? | How many sons and daughters {does} {who} have?
How many languages {does} {who} speak? | How many languages can {who} talk in? |
    What number of languages {does} {who} know? | How many tongues {does} {who} master?
What is {whose} phone number? | How can I call {who}? |
    On which number can I reach {who}? | What do I dial to talk to {who}?
What is {whose} email address? | How can I write to {who}? |
    Where do I send mail for {who}? | Which address reaches {who} by email?
What car {does} {who} drive? | Which make is {whose} car? |
    What vehicle {does} {who} own? | What is the brand of {whose} car?
How fast can {who} run? | What is {whose} best time in a race? |
    How quick {is} {who} on foot? | At what speed {does} {who} run?
"""
VALIDATION_TOPICS = (0, 1, 2, 9, 10, 16, 17, 18)
NAMES = ("Anna", "the teacher", "my brother", "Mr Khan", "the new neighbour", "her boss", "Luis", "the mayor")
YOU = {"who": "you", "whose": "your", "is": "are", "does": "do", "was": "were"}
PEOPLE = [YOU, *({"who": name, "whose": f"{name}'s", "is": "is", "does": "does", "was": "was"} for name in NAMES)]


def draw_pairs(rng, topics, number):
    rows = []
    for count in range(number):
        same = count % 2 == 1
        place, person, person2 = rng.randrange(len(topics)), rng.choice(PEOPLE), None
        wording, wording2 = rng.sample(topics[place], 2)
        if not same and rng.random() < 0.2:  # the same topic, but another person
            person2 = rng.choice([other for other in PEOPLE if other is not person])
        elif not same:  # another topic: half of the time one of its neighbours in the list, which it is close to
            near = [other for other in range(len(topics)) if other != place and abs(other - place) <= 2]
            far = [other for other in range(len(topics)) if other != place]
            wording2 = rng.choice(topics[rng.choice(near if rng.random() < 0.5 else far)])
        rows.append((wording.format(**person), wording2.format(**(person2 or person)), label_names[same]))
    return rows


PLACE = Path(tempfile.mkdtemp(prefix="walkthrough-"))
(PLACE / "questions").mkdir()
topics = [line.split(" | ") for line in TOPICS.replace("|\n    ", "| ").strip().splitlines()]
kept = [topics[place] for place in VALIDATION_TOPICS]
rng = random.Random(0)
for name, some, number in (("train", [t for t in topics if t not in kept], 640), ("validation", kept, 240)):
    with (PLACE / "questions" / f"{name}.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("question1", "question2", "verdict"))
        writer.writerows(draw_pairs(rng, some, number))
print((PLACE / "questions" / "train.csv").read_text(encoding="utf-8")[:400])

# %% [markdown]
# ## Accuracy before training
#
# **Accuracy** is the share of right answers. Before you look at any score, ask what you would get for nothing. Half
# of our pairs are "same", so always giving the same answer, the **majority class**, gives 50 %. What does our model
# with its new head get?

# %%
from pairft.config import Config
from pairft.data import tokens
from pairft.data.pairs import load_pairs
from pairft.training import evaluation

config = Config(
    model="builtin",
    task="custom",
    data=str(PLACE / "questions"),
    text_columns=("question1", "question2"),
    label_column="verdict",
)
splits = tokens.tokenise(load_pairs(config), tokenizer, max_length=128)


def fresh_model():
    torch.manual_seed(0)
    return classifier.load_model("builtin", label_names)[0]


def accuracy_of(model, collate):
    output = evaluation.predict(model, splits["validation"], collate, device, amp_dtype=None)
    return float((output.predictions() == output.labels).mean())


labels = list(splits["validation"]["label"])
majority = max(labels.count(0), labels.count(1)) / len(labels)
before = accuracy_of(fresh_model(), collate)
print(f"majority class {majority:.1%}, new head {before:.1%}")

# %% [markdown]
# No better than a coin. The encoder knows English, but nobody has told the head what the question is.
#
# ## Train
#
# This is the command that you would type, for two epochs. An **epoch** is one pass over the training split; 640 pairs
# in batches of 16 are 40 **steps**. Every 20 steps the model is scored on the validation split, and the one with the
# best score so far is kept in the folder `best`. To save time, the lower half of the encoder (its table of tokens, and
# 3 of 6 layers) is **frozen**: its weights stay as they are. The folder `questions` is a temporary one here; for pairs
# of your own, give theirs.
#
# The table has two scores. Beside the accuracy it shows **F1** of the class "same". Of the pairs that the model calls
# "same", a share really is: the **precision**. Of the pairs that really are "same", it finds a share: the **recall**.
# F1 is 2 × precision × recall / (precision + recall), so it is high only if both are.

# %%
FLAGS = (
    "--model builtin --task custom --data questions --text-columns question1,question2 --label-column verdict "
    "--batch-size 16 --lr 3e-4 --freeze embeddings,layers.0-2 --save-every never"
).split()


def train(*flags):
    command = [sys.executable, str(ROOT / "train.py"), *FLAGS, *flags]
    done = subprocess.run(command, cwd=PLACE, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


flags = "--epochs 2 --eval-every 20 --log-every 5 --run-name first".split()
print("python train.py", *FLAGS, *flags, "\n")
print("\n".join(train(*flags)))

# %% [markdown]
# ## The curve
#
# Everything that a run measures is in its folder, one JSON object a line, in `metrics.jsonl`
# ([log.py, line 81](../pairft/runs/log.py#L81 "def write_training")). Read it and draw it.

# %%
lines = [json.loads(line) for line in (PLACE / "runs" / "first" / "metrics.jsonl").read_text().splitlines()]


def column(split, key):
    chosen = [line for line in lines if line["split"] == split]
    return [line["step"] for line in chosen], [line[key] for line in chosen]


figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3), layout="constrained")
left.plot(*column("train", "loss"), label="training")
left.plot(*column("validation", "loss"), "o-", label="validation")
left.axhline(math.log(2), color="grey", linestyle=":", label="chance: ln 2")
left.set(xlabel="step", ylabel="loss", title="Loss")
left.legend()
right.plot(*column("validation", "accuracy"), "o-", color="tab:orange")
right.axhline(0.5, color="grey", linestyle=":")
right.set(xlabel="step", ylabel="accuracy", title="Accuracy on the validation split", ylim=(0.4, 1))
plt.show()

# %% [markdown]
# The loss stays at chance for a while, then falls: the head first has to find out what it is asked. The training loss
# jumps about, because each of its points is the mean of only 5 batches. If it ends below the validation loss, the model
# fits the topics that it trained on better than new ones. If the validation loss rises while the training loss goes on
# falling, that is **overfitting**. So the score that counts is the one on the validation split.
#
# ## Read ten mistakes
#
# A number says how often the model is wrong. The sentences say how. Here are the ten wrong answers that it was surest
# of.

# %%
import pairft

with (PLACE / "questions" / "validation.csv").open(encoding="utf-8", newline="") as file:
    rows = list(csv.DictReader(file))
answers = pairft.load(PLACE / "runs" / "first" / "best").predict([(row["question1"], row["question2"]) for row in rows])
wrong = [
    (max(chances), row, answer)
    for row, answer, chances in zip(rows, answers.labels, answers.probabilities.tolist(), strict=True)
    if answer != row["verdict"]
]
print(f"{len(wrong)} of {len(rows)} answers are wrong\n")
for sure, row, answer in sorted(wrong, key=lambda found: -found[0])[:10]:
    print(f"{answer} ({sure:.2f}), but {row['verdict']}: {row['question1']}  |  {row['question2']}")

# %% [markdown]
# Look for what they have in common before you change anything. Do they share words and mean different things? Is it
# the person that differs? Is it one topic, with words that the training topics never needed?
#
# <details><summary>What we see</summary>
#
# The wrong "same" are questions of one form ("When does …?", "How …?") about two things. The wrong "different" are
# mostly about the way to work: no training topic has the word "commute". None of the ten is one question about two
# people.
#
# </details>
#
# ## Is it luck?
#
# The seed decides the head's first weights, the order of the pairs and dropout. None of these is better or worse, so
# a score that depends on them depends on luck. Train with five seeds, 48 steps each, and look at the spread. The
# column `sd` is the **standard deviation**: how far single scores typically lie from their mean. The **95 %
# interval** says where the mean of very many seeds would be; computed like this, it is right in 95 of 100 such
# experiments ([seeds.py, line 113](../pairft/runs/seeds.py#L113 "def spread(")).

# %%
printed = train("--max-steps", "48", "--eval-every", "never", "--seeds", "1,2,3,4,5", "--run-name", "seeds")
print("\n".join(line for line in printed if line.startswith(("model", "last"))))

summary = json.loads((PLACE / "runs" / "seeds" / "summary.json").read_text(encoding="utf-8"))
scores = [run["last"]["validation"]["accuracy"] for run in summary["runs"].values()]
low, high = summary["last"]["accuracy"]["interval"]
figure, axes = plt.subplots(figsize=(7, 1.6), layout="constrained")
axes.plot(scores, [0] * len(scores), "o")
axes.plot([low, high], [-0.5, -0.5], linewidth=3, label="95 % interval of the mean")
axes.set(xlabel="accuracy, one dot for each seed", yticks=[], ylim=(-1.4, 0.5))
axes.legend(loc="lower left")
plt.show()
print(f"best minus worst seed: {100 * (max(scores) - min(scores)):.1f} points")

# %% [markdown]
# The five runs differ by nothing but the seed. So an improvement smaller than this spread, seen in one run, is no
# evidence of anything. Our runs are short and their data few; look at the spread of your own.
#
# ### Exercises
#
# 1. You change the learning rate, train once, and gain two points. Is the new learning rate better?
# 2. In a data set 90 % of the pairs are "different". A model reaches an accuracy of 91 %. Is that good?
# 3. Why does the score on the validation split decide which model is kept in `best`, and not the training loss?
#
# <details><summary>Answers</summary>
#
# 1. You can't know. Compare the two points with the spread of the seeds above. Train both settings with the same five
#    seeds, and compare seed by seed.
# 2. Hardly: the majority class alone gets 90 %. Look at **F1** of the rare class, which is 0 for a model that never
#    finds it.
# 3. The training loss goes on falling while the model learns its training pairs by heart. Only pairs that it hasn't
#    trained on tell whether it has learnt something that holds for them, too.
#
# </details>

# %% [markdown]
# # Part 3: break it
#
# Here is the loop once more, written out so that we can damage it. A step has 16 pairs in two **micro-batches** of 8:
# the gradients of both are added up before the weights change. This is **accumulation**, for when a batch doesn't fit
# into memory. Each micro-batch adds up the losses of its pairs and divides the sum by 16, so that both together give
# the mean over all 16 pairs. The learning rate rises from 0 during the first 8 steps (**warmup**), then falls to 0 at
# the end.
#
# One accident happens in every run: once, after 48 steps, the gradients are 1,000 times too large, as if a batch had
# been damaged. Real runs have such spikes, though mostly smaller ones.
#
# The argument `fault` says what is wrong with the run.

# %%
from pairft.data.order import epoch_order
from pairft.training import layers
from pairft.training.optim import lr_at

STEPS, SPIKE = 80, 48
FAULTS = (
    "none",
    "no clipping",
    "accumulation without division",
    "labels swapped",
    "ten times the learning rate",
    "padding seen by attention",
)


def blind(batch):
    """The batch without its mask: attention sees the padding, too."""
    return batch._replace(attention_mask=torch.ones_like(batch.attention_mask))


def swapped(batch, share, rng):
    """The batch with a share of its labels swapped."""
    wrong = torch.tensor([int(rng.random() < share) for _ in batch.labels])
    return batch._replace(labels=(batch.labels + wrong) % 2)


def run(fault):
    model, rng, dataset = fresh_model().train(), random.Random(0), splits["train"]
    layers.freeze(model, ("embeddings", "layers.0-2"))
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = build_optimizer(model, weight_decay=0.01)
    peak = 3e-3 if fault == "ten times the learning rate" else 3e-4
    most = math.inf if fault == "no clipping" else 1.0
    divisor = 8 if fault == "accumulation without division" else 16
    order = torch.cat([epoch_order(len(dataset), seed=0, epoch=epoch) for epoch in range(2)]).tolist()
    losses, norms = [], []
    for step in range(STEPS):
        losses.append(0.0)
        for start in (16 * step, 16 * step + 8):  # two micro-batches
            batch = collate(dataset[order[start : start + 8]])
            if fault == "padding seen by attention":
                batch = blind(batch)
            if fault == "labels swapped":
                batch = swapped(batch, 0.2, rng)
            loss = loss_of(model(**batch.inputs()).logits, batch.labels, "sum") / divisor
            loss.backward()
            losses[-1] += loss.item()
        if step == SPIKE:  # the accident
            for parameter in trained:
                parameter.grad *= 1000
        norms.append(torch.nn.utils.clip_grad_norm_(trained, most).item())
        for group in optimizer.param_groups:
            group["lr"] = lr_at(step, STEPS, peak, warmup=8)
        optimizer.step()
        optimizer.zero_grad()
    return model, losses, norms


def chance_of_same(model, examples, prepare):
    """The probability of "same" for the first of some tokenised examples."""
    with torch.no_grad():
        logits = model(**prepare(collate({**examples, "label": [0] * len(examples["input_ids"])})).inputs()).logits
    return logits.softmax(1)[0, 1].item()


runs = {}
for fault in FAULTS:
    model, losses, norms = run(fault)
    prepare = blind if fault == "padding seen by attention" else lambda batch: batch
    accuracy = accuracy_of(model, lambda examples, prepare=prepare: prepare(collate(examples)))
    alone = chance_of_same(model, {"input_ids": [ids], "token_type_ids": [segments]}, prepare)
    beside = chance_of_same(model, {name: both[name] for name in ("input_ids", "token_type_ids")}, prepare)
    runs[fault] = {"losses": losses, "norms": norms, "accuracy": accuracy, "alone": alone, "beside": beside}

# %% [markdown]
# ## Which curve is which?
#
# Each curve is the loss that its loop would log, as the mean over 8 steps. One run is undamaged. The others have one
# fault each:
#
# - **no clipping**,
# - **accumulation without division**: each micro-batch takes the mean over its own 8 pairs, and the two means are
#   added,
# - **labels swapped**, 20 % of them,
# - **ten times the learning rate**,
# - **padding seen by attention**: the mask is left out.
#
# Write down your guess for A to F before you read on. Some curves look alike; where you can't decide, write down what
# you would look at next.

# %%
shuffled = random.Random(3).sample(FAULTS, len(FAULTS))


def smooth(losses, width=8):
    return [sum(losses[start : start + width]) / width for start in range(0, len(losses), width)]


figure, axes = plt.subplots(2, 3, figsize=(9, 4.6), sharex=True, sharey=True, layout="constrained")
for letter, fault, place in zip("ABCDEF", shuffled, axes.flat, strict=True):
    place.plot(range(8, STEPS + 1, 8), smooth(runs[fault]["losses"]))
    place.axhline(math.log(2), color="grey", linestyle=":")
    place.axvline(SPIKE, color="grey", linewidth=0.5)
    place.set(title=letter, ylim=(0, 1.6))
figure.supxlabel("step (thin line: the accident; dotted line: ln 2, the loss of a coin)", fontsize="small")
plt.show()

# %% [markdown]
# ## The answer
#
# The columns: the loss that the loop logs, over the first and the last 8 steps; the accuracy on validation; and the
# probability of "same" for our first pair, alone and in a batch with the longer pair.

# %%
print(f"{'':33}first loss  last loss  accuracy   alone  in batch")
for letter, fault in zip("ABCDEF", shuffled, strict=True):
    found = runs[fault]
    curve = smooth(found["losses"])
    pair = f"{found['alone']:8.4f}{found['beside']:10.4f}"
    print(f"{letter}  {fault:30}{curve[0]:10.3f}{curve[-1]:11.3f}{found['accuracy']:10.1%}{pair}")
ratio = max(runs["none"]["norms"]) / max(norm for step, norm in enumerate(runs["none"]["norms"]) if step != SPIKE)
print(f"\nAt the accident the gradient norm was {ratio:.0f} times the largest norm of any other step.")

# %% [markdown]
# **The undamaged run** starts at ln 2 and ends well below it. The accident hardly shows: clipping made it a step like
# any other. (The last line compares it with the largest of the other norms, not with its own norm before the accident:
# hence less than 1,000 times.)
#
# **No clipping.** Up to the accident, the curve is almost that of the undamaged run: AdamW divides by √*v* and hardly
# cares how long the gradient is. Then *m* and *v* fill up with gradients 1,000 times too large. *m* forgets a tenth
# of that per step, so the next ten steps all go where that one batch pointed. When they have gone far enough, the
# loss rises above ln 2. *v* forgets a thousandth per step, so from then on every step is far too small, and the run
# stands still. Without the accident this fault would hardly show at all. That is why it is easily forgotten.
#
# **Accumulation without division.** The curve starts near 1.39, twice ln 2: the number of micro-batches is a factor
# in the loss. Clipping and AdamW hide it from the weights, so the accuracy may be as good as before. It is the logged
# loss that is wrong, and so is every comparison with another batch size. With plain gradient descent, which moves a
# weight by the learning rate times its gradient, every step would be twice as long, too.
#
# **Labels swapped.** The loss stays near ln 2: a fifth of the answers contradict the others, and in so short a run
# next to nothing is learnt. A longer run would learn something, but even a perfect model can't get below -(0.8 ln 0.8
# + 0.2 ln 0.2) = 0.50 on such labels, except by learning them by heart. The validation labels are right, so the
# accuracy there is the honest number.
#
# **Ten times the learning rate.** Each step throws away more than it has learnt, so the loss never leaves ln 2. An
# accuracy of exactly 50 % is what you get if all pairs get the same answer. Its curve looks like that of the swapped
# labels. To tell them apart, change one thing: with a tenth of the learning rate, this run is the undamaged one, which
# learns. The run with the swapped labels has that learning rate already.
#
# **Padding seen by attention.** The run learns, only more slowly. It stays near ln 2 for longer than the undamaged
# one, as a run on harder data might, then the loss falls. No jump, a fair accuracy: **nothing in the curve says that
# something is wrong, and that is why this fault is dangerous.** Look at the last two columns. In the other runs our
# pair gets the same probability alone and in a batch. Here it depends on how long its neighbour is.
#
# ## A fault that no curve shows
#
# Ten pairs come as two micro-batches of 8 and 2. If each takes the mean of its own losses, and you then take the mean
# of the two means, a pair in the small one counts four times as much as one in the large one. pairft divides each sum
# by all 10 ([step.py, line 86](../pairft/training/step.py#L86 "share = loss / num_examples")), and gets the gradient
# of the whole batch.

# %%
model = fresh_model().eval()


def gradient_of(parts, divisors):
    """The gradient of the head's weights, for the pairs of some micro-batches."""
    model.zero_grad()
    for part, divisor in zip(parts, divisors, strict=True):
        batch = collate(splits["train"][part])
        (loss_of(model(**batch.inputs()).logits, batch.labels, "sum") / divisor).backward()
    return model.classifier.weight.grad.clone()


pairs = list(range(10))
whole = gradient_of([pairs], [10])
summed = gradient_of([pairs[:8], pairs[8:]], [10, 10])
of_means = gradient_of([pairs[:8], pairs[8:]], [2 * 8, 2 * 2])
summed_error, means_error = ((found - whole).norm() / whole.norm() for found in (summed, of_means))
print(f"each sum divided by 10: {summed_error:.0e} away from the gradient of the whole batch")
print(f"the mean of two means:  {means_error:.0%} away from it")
assert summed_error < 1e-4

# %% [markdown]
# ### Exercises
#
# 1. A colleague trains a classifier with three classes. The loss starts at 4.39. What do you ask?
# 2. Which of the five faults would you find by the validation accuracy alone?
# 3. How could a program find by itself that the mask is left out?
#
# <details><summary>Answers</summary>
#
# 1. With three classes, a model that knows nothing has a loss of ln 3 = 1.10. 4.39 is four times that. Ask whether
#    four micro-batches make a step, and who divides.
# 2. Three of them end at the majority class, so you would find that something is wrong, but not what. The other two
#    change the accuracy by less than the luck of a seed does (part 2): you would find nothing.
# 3. Compute a few pairs alone and in one batch, and compare the logits. pairft does so before every training
#    ([padding.py, line 18](../pairft/model/padding.py#L18 "def checked_collate")).
#
# </details>
#
# You have seen every number of a step, and five ways to get them wrong. Next: `python train.py` on [your own
# data](data.md), and [how pairft is built](design.md).

# %%
shutil.rmtree(PLACE)
