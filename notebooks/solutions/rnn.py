# %% [markdown]
# # Recurrent networks and memory: solutions
#
# One solution for each exercise of the [notebook](../rnn.ipynb); others may be as good. Trainings
# are shorter than in the notebook, to be fast.

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
import numpy as np
import torch
from IPython.display import display

from datasets.characters import BLANK
from datasets.memory_tasks import Copy
from experiments.rnn import MemoryTasks, RNNConfig
from experiments.rnn.figures import reach
from experiments.rnn.network import gradient_norms
from experiments.rnn_text import NextCharacter, RNNTextConfig
from harness.figures import comparison
from harness.training.train import train

experiment = MemoryTasks()
config = RNNConfig(delay=4, num_epochs=4, num_validation=200)
data = experiment.load_data(config)
trained = train(experiment, config, data=data)
network, (inputs, targets, mask, _) = trained.model, data.validation
print(f"validation accuracy {trained.history.best['val/accuracy']:.4f}")

# %% [markdown]
# ## 1 A step by hand
#
# PyTorch stacks the rows of the reset gate, the update gate and the candidate.

# %%
layer, hidden_size = network.recurrence, config.hidden_size
x = network.encode(inputs[:1])[0]  # (T, 27), one-hot
h = torch.zeros(hidden_size)
with torch.no_grad():
    for t in range(3):
        from_input = (layer.weight_ih_l0 @ x[t] + layer.bias_ih_l0).split(hidden_size)
        from_state = (layer.weight_hh_l0 @ h + layer.bias_hh_l0).split(hidden_size)
        reset = torch.sigmoid(from_input[0] + from_state[0])
        update = torch.sigmoid(from_input[1] + from_state[1])
        candidate = torch.tanh(from_input[2] + reset * from_state[2])
        h = update * h + (1 - update) * candidate
    expected, _ = layer(x[None, :3])
print(f"largest difference after three steps: {(h - expected[0, -1]).abs().max():.0e}")
assert torch.allclose(h, expected[0, -1], atol=1e-5)

# %% [markdown]
# ## 2 Lengthen the delay until it breaks
#
# In the same number of steps, longer delays are learned less and less.

# %%
by_delay = {}
for delay in (2, 5, 8):
    history = train(experiment, config.replace(delay=delay, num_train=4_000)).history
    by_delay[f"delay {delay}"] = [history.column("val/accuracy")]
display(comparison.curves(by_delay, "validation accuracy"))
assert by_delay["delay 2"][0][-1] > by_delay["delay 8"][0][-1] + 0.2

# %% [markdown]
# ## 3 Hide a unit
#
# No unit is indispensable: each letter is spread over many of them.

# %%
costs = []
with torch.inference_mode():
    hidden, _ = network.recurrence(network.encode(inputs))  # (B, T, H)
    everything = (network.decode(hidden).argmax(-1) == targets)[mask].float().mean()
    for unit in range(hidden_size):
        without = hidden.clone()
        without[:, :, unit] = 0
        correct = (network.decode(without).argmax(-1) == targets)[mask].float().mean()
        costs.append((everything - correct).item())
print(f"accuracy lost without one unit: {np.mean(costs):.4f} on average, at most {max(costs):.4f}")
assert max(costs) < 0.2

# %% [markdown]
# ## 4 A wrong initialisation
#
# PyTorch's default draws small recurrent weights, which shrink the state and the gradient at every
# step. An orthogonal matrix preserves the norm. `reach` shows it before training.

# %%
simple = config.replace(cell="rnn", delay=8, num_train=6_400)
norms, accuracies = {}, {}
for initialisation in ("default", "orthogonal"):
    result = train(experiment, simple.replace(initialisation=initialisation))
    norms[initialisation] = gradient_norms(result, inputs, inputs[:, 0])["untrained"]
    accuracies[initialisation] = result.history.best["val/accuracy"]
    shrunk = norms[initialisation][8] / norms[initialisation][0]
    print(f"{initialisation:10} accuracy {accuracies[initialisation]:.3f}")
    print(f"{'':10} untrained gradient at lag 8, relative to that at lag 0: {shrunk:.4f}")
assert accuracies["orthogonal"] > accuracies["default"]
display(reach(gradient_norms(result, inputs, inputs[:, 0]), simple.delay))

# %% [markdown]
# ## 5 Longer than in training
#
# An echo is the same at every step: shift the memory by one, add the new letter, forget the oldest.
# The network needs no counter and no larger memory for longer sequences, so one step that is right
# can be repeated for ever. If all had to be repeated at the *end*, the memory would have to grow
# with the length: that is the task `copy`, which fails beyond the length of training.

# %%
evaluation = experiment.evaluate(config, trained, data.test)
for factor, predictions in evaluation.by_factor.items():
    print(f"{factor:2} times the length: accuracy {predictions.accuracy:.4f}")
assert evaluation.by_factor[16].accuracy > 0.95

# %% [markdown]
# ## 6 Score the blanks as well
#
# A network that always answers with a blank has learned nothing. If blanks counted, it would look
# good.

# %%
copy = Copy(blank_length=200).generate(100, 0, "test")
for name, answers in (("echo", targets), ("copy", copy.targets)):
    blanks = (answers == BLANK).float().mean().item()
    print(f"{name}: accuracy {blanks:.3f} with blanks, 0.000 without")
assert blanks > 0.95

# %% [markdown]
# ## 7 Size against data
#
# A beginning: twice as many units. Go on with more units and more epochs until validation no longer
# improves, then add dropout.

# %%
text = RNNTextConfig(hidden_size=32, longest_ngram=0, num_epochs=2, dropout_rate=0.0)
for hidden_size in (32, 64):
    best = train(NextCharacter(), text.replace(hidden_size=hidden_size)).history.best
    print(f"{hidden_size} units: {best['val/bits_per_character']:.3f} bits per character")
