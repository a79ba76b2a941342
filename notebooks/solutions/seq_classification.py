# %% [markdown]
# # Sequence classification: solutions
#
# One solution for each exercise of the [notebook](../seq_classification.ipynb); others may be as
# good. They use the level `normal` (30 to 40 steps), to be fast.

# %%
import importlib.metadata
import importlib.util
import os
import subprocess
import sys
import tomllib
from pathlib import Path

REPOSITORY = os.environ.get(
    "REPOSITORY", "https://github.com/tracked-experiments/tracked-deep-learning-experiments"
)
here, spec = Path.cwd(), importlib.util.find_spec("harness")
found = [folder for folder in (here, *here.parents) if (folder / "harness/experiment.py").is_file()]
if found:  # in a clone, or below it
    project = found[0]
elif spec and spec.origin:  # installed from a clone
    project = Path(spec.origin).parents[1]
else:
    project = here / Path(REPOSITORY).stem
    subprocess.run(["git", "clone", "--quiet", "--depth", "1", REPOSITORY, project], check=True)

needed = tomllib.loads((project / "pyproject.toml").read_text())["project"]["dependencies"]
packages = {each.name.lower().replace("_", "-") for each in importlib.metadata.distributions()}
missing = [each for each in needed if each.split("==")[0] not in packages]
if missing:
    subprocess.run([sys.executable, "-m", "pip", "install", "--quiet", *missing], check=True)

os.chdir(project)
sys.path.insert(0, str(project))

# %%
import torch
from IPython.display import display

from datasets.sequence_tasks import TemporalOrder
from experiments.seq_classification import SequenceClassification, SequenceConfig
from experiments.seq_classification.lesson import predict
from harness.figures import comparison
from harness.training.train import train

experiment = SequenceClassification()
config = SequenceConfig(level="normal", num_epochs=8)
data = experiment.load_data(config)
labels = data.validation.labels

# %% [markdown]
# ## 1 Guess
#
# Who knows the second mark guesses between two classes. Who knows which marks there were, but not
# their order, is right for XX and YY, and guesses between XY and YX: 0.5 and 0.75 on average, a
# little more where one class is more frequent by chance. A learning curve that stays at
# 0.5 or at 0.75 for a while says which of the two has been learned.

# %%
second = labels % 2  # 0 is X, 1 is Y; the classes are XX, XY, YX, YY
marks = labels // 2 + second  # how many of them are Y
for name, known in (("the second mark", second), ("the marks", marks)):
    # The best guess is the most frequent class among those that look the same.
    right = sum(labels[known == value].bincount().max().item() for value in known.unique())
    print(f"who knows {name} has an accuracy of {right / len(labels):.3f}")

# %% [markdown]
# ## 2 Three marks
#
# Each mark doubles the number of classes: there are 8.

# %%
three = SequenceConfig(level="easy", num_marks=3, num_epochs=10)
result = train(experiment, three)
print("classes", *result.data.classes)
print(f"GRU of {three.width} units: validation accuracy {result.history.best['val/accuracy']:.3f}")
assert len(result.data.classes) == 8
assert result.history.best["val/accuracy"] > 0.9

# %% [markdown]
# ## 3 Break it
#
# The state fades, slowly. How far beyond the gaps of training it lasts differs from network to
# network and from class to class. Nothing in training asked for more.

# %%
trained = train(experiment, config, data=data)
print(f"validation accuracy {trained.history.best['val/accuracy']:.3f}")
model, classes = trained.model, trained.data.classes
for first, second in classes:
    for gap in range(10, 1000, 10):
        text = "Babc" + first + ("abcd" * 250)[:gap] + second + "abcdE"
        symbols = torch.tensor([[data.symbols.index(letter) for letter in text]])
        with torch.inference_mode():
            answer = classes[model(symbols, torch.tensor([len(text)])).argmax()]
        if answer != first + second:
            print(f"{first}{second}: correct up to a gap of {gap - 10}, then taken for {answer}")
            break
    else:
        print(f"{first}{second}: correct up to a gap of {gap}, the longest that was tried")

# %% [markdown]
# ## 4 Other pooling
#
# With `last` everything must survive in the state until the end. The others let a feature speak
# where it occurs; a mean dilutes it over all steps. One seed each: small differences may be chance.

# %%
accuracies = {}
for pooling in ("last", "mean", "max", "attention"):
    history = train(experiment, config.replace(pooling=pooling), data=data).history
    accuracies[pooling] = [history.column("val/accuracy")]
display(comparison.curves(accuracies, "validation accuracy"))

# %% [markdown]
# ## 5 Near-sighted
#
# Three convolutions of 5 steps see $1 + 3 \cdot 4 = 13$ steps, six to each side. The marks of the
# level `normal` are 15 or more apart, so they never meet in them. But the first mark is at most
# five steps from the beginning: a feature sees the mark *and* the B, and so knows that it is the
# first. On the level `moderate` the first mark is farther from the B, and the trick fails.

# %%
near = config.replace(
    encoder="fcn", pooling="max", num_layers=3, match_parameters=5_000, learning_rate=3e-3
)
near_sighted = train(experiment, near, data=data)
encoder = near_sighted.model.encoder
channels = torch.rand(1, 41, 8, requires_grad=True)
encoder(channels, torch.tensor([41]))[0, 20].sum().backward()
seen = channels.grad[0].abs().sum(-1).nonzero().flatten() - 20
print(f"a feature sees the steps {seen.min()} to {seen.max()} around it: {len(seen)}")
assert len(seen) == 13

farther = TemporalOrder(2, "moderate").generate(500, 0, "test")
correct = predict(near_sighted.model, farther).argmax(-1) == farther.labels
print(f"level normal:   accuracy {near_sighted.history.best['val/accuracy']:.3f}")
print(f"level moderate: accuracy {correct.float().mean():.3f}")
assert near_sighted.history.best["val/accuracy"] > 0.95 > correct.float().mean() + 0.1

# %% [markdown]
# ## 6 The adding problem
#
# The target is the sum of two numbers that are uniform in [0, 1): its mean is 1 and its variance
# $2 \cdot \frac{1}{12} = \frac{1}{6}$, which is the mean squared error of the constant prediction
# 1.

# %%
adding = SequenceConfig(
    task="adding", length=20, width=32, num_train=2_000, num_epochs=6, batch_size=50
)
adder = train(experiment, adding)
sums = adder.data.validation.labels
print(f"always 1: {(sums - 1).square().mean():.4f}")
print(f"GRU:      {adder.history.best['val/loss']:.4f}")
assert adder.history.best["val/loss"] < 0.1

# %% [markdown]
# ## 7 A rule of your own
#
# `docs/brackets.csv` has such a rule: a sequence is of class `balanced` if its brackets are. A
# beginning: two encoders, and few epochs. Few examples favour the encoder whose structure fits the
# rule.

# %%
for encoder in ("lstm", "fcn"):
    rule = SequenceConfig(
        data="docs/brackets.csv", encoder=encoder, width=32, num_epochs=10, weight_decay=0.1
    )
    best = train(experiment, rule).history.best
    print(
        f"{encoder}: validation accuracy {best['val/accuracy']:.3f} after {rule.num_epochs} epochs"
    )
