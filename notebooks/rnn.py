# %% [markdown]
# # Recurrent networks and memory
#
# [![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/tracked-experiments/tracked-deep-learning-experiments/blob/main/notebooks/rnn.ipynb)
#
# A recurrent network reads a sequence step by step and keeps what it needs in its hidden state.
# Whether it remembers is easy to test: let it repeat what it has read some steps ago. You will
# learn
#
# - what a recurrent cell computes, and how far back gradients reach,
# - how RNN, LSTM and GRU differ, and why the simplest may win,
# - how sequences of different delays and lengths are trained in one batch,
# - how the same network predicts the next character of a text.
#
# The notebook runs in about a minute and a half on two CPU cores. It needs basic Python and a
# little PyTorch.

# %% [markdown]
# ## Setup
#
# The cell below works in Colab, in Jupyter and in a clone of the project: it fetches the project if
# it is not here, and installs the packages that are missing. All that follows happens in the
# project's folder.

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
import inspect

import mlflow
import torch
from IPython.display import display

from datasets.memory_tasks import echo
from experiments.rnn import MemoryTasks, RNNConfig
from experiments.rnn.network import VISIBLE
from experiments.rnn_text import NextCharacter, RNNTextConfig
from harness.figures import comparison
from harness.run_experiment import run_experiment
from harness.training.train import train
from models.recurrent import RecurrentNetwork, generate

# %% [markdown]
# An *experiment* has five methods, one for each of the next five sections; a *configuration* says
# with which settings. Change the settings below and run the notebook again: all numbers and figures
# follow. `RNNConfig?` shows what else can be set. A GPU is used if there is one.

# %%
experiment = MemoryTasks()
config = RNNConfig(task="echo", delay=4, cell="gru", hidden_size=64, seed=0)

# %% [markdown]
# ## 1 Data
#
# *Echo*: the target at step $t$ is the letter at step $t - 4$. Letters are random, so nothing can
# be guessed: the network must hold the last four letters in their order. Every epoch has new
# sequences. A dot is a blank; blanks are not scored, since they are too easy.

# %%
data = experiment.load_data(config)
inputs, targets, mask, delays = data.validation
print(f"inputs {tuple(inputs.shape)} {inputs.dtype}: sequences, steps")
for read, expected in zip(inputs[:3], targets[:3], strict=True):
    print("input ", VISIBLE.decode(read))
    print("target", VISIBLE.decode(expected), "\n")

# %%
print(inspect.getsource(echo))

# %% [markdown]
# ## 2 Model
#
# A recurrent cell computes a new state from the input and the state before. The simple RNN:
#
# $$h_t = \tanh(W x_t + U h_{t-1} + b).$$
#
# The GRU has gates between 0 and 1. Its update gate $z_t$ keeps a part of the old state, without
# any change, and its reset gate $r_t$ says how much of it the new candidate $\tilde h_t$ sees:
#
# $$h_t = z_t \odot h_{t-1} + (1 - z_t) \odot \tilde h_t, \qquad
# \tilde h_t = \tanh(W x_t + b + r_t \odot (U h_{t-1} + c)),$$
#
# with $z_t = \sigma(W_z x_t + b_z + U_z h_{t-1} + c_z)$, and $r_t$ likewise with weights of its own.
#
# The LSTM has, beside the hidden state, a cell state
# $c_t = f_t \odot c_{t-1} + i_t \odot \tilde c_t$ with gates of its own. All are layers of PyTorch.
# Around them is this: symbols in, the logits of a symbol at every step out.

# %%
print(inspect.getsource(RecurrentNetwork.forward))
network = experiment.build_model(config, data)
print(network.recurrence)
for name, parameter in network.named_parameters():
    print(f"{name:28} {tuple(parameter.shape)}")

# %% [markdown]
# The rows of each matrix are, in this order, reset gate, update gate and candidate, 64 each.

# %% [markdown]
# ## 3 Training
#
# `train` is the one training loop of the project: seed, device, optimiser, schedule, and the best
# epoch by validation. The loss of a batch is the experiment's own, the mean cross-entropy of the
# symbols that are scored. The gradient goes backwards through all steps.

# %%
print(inspect.getsource(MemoryTasks.loss))

# %%
trained = train(experiment, config, data=data)
for epoch, accuracy in enumerate(trained.history.column("val/accuracy"), start=1):
    print(f"epoch {epoch}: validation accuracy {accuracy:.4f}")

# %% [markdown]
# ## 4 Evaluation
#
# The test split is read here. Its sequences have 15 to 25 steps, those of training 15; the last
# number is for sequences sixteen times as long: an echo has no end.

# %%
evaluation = experiment.evaluate(config, trained, trained.data.test)
print(evaluation.headline)

# %% [markdown]
# ## 5 Figures
#
# `figures` draws the training, the predictions, and what is remembered.

# %%
figures = dict(experiment.figures(config, trained, evaluation))
print(", ".join(figures))

# %%
display(figures["predictions"])

# %% [markdown]
# **The memory.** The hidden units over the steps of one sequence, from -1 to 1, with what is read
# and what is predicted. No unit stands for a letter: the last four are spread over all units.

# %%
display(figures["memory"])

# %% [markdown]
# **How far back gradients reach.** The norm of the derivative of the loss at the last step with
# respect to the input some steps before, on a logarithmic axis. Of the untrained network it decays
# evenly, by a constant factor for each step: *vanishing gradients*. Of the trained one it is
# largest for the letter of four steps ago, which is the one to be repeated.

# %%
display(figures["reach"])

# %%
display(figures["curves"])

# %% [markdown]
# ## RNN, LSTM and GRU
#
# The same task with a delay of 8, which is harder: eight letters are $8 \log_2 26 = 38$ bits.

# %%
longer = config.replace(delay=8, num_epochs=4)
accuracies = {}
for cell in ("rnn", "lstm", "gru"):
    history = train(experiment, longer.replace(cell=cell)).history
    accuracies[cell] = [history.column("val/accuracy")]
display(comparison.curves(accuracies, "validation accuracy"))

# %% [markdown]
# In these four epochs the simple RNN wins by far. A likely reason: an echo shifts its whole memory
# by one place at every step, which one matrix can do, and $U$ starts as an orthogonal matrix, which
# preserves the norm of the state. Gates are made to keep a state *unchanged*. Where something is to
# be held for long, they are of use: see the notebook on [sequence
# classification](seq_classification.ipynb).

# %% [markdown]
# ## Variable delays
#
# Now each sequence has a delay of its own, from 0 to 8. The network is told which: the delay is a
# one-hot input at every step, beside the letter.

# %%
print(inspect.getsource(RecurrentNetwork.encode))
variable = config.replace(
    task="variable_echo", max_delay=8, hidden_size=128, weight_decay=0.0, batch_size=64
)
adaptive = train(experiment, variable)
adaptive_evaluation = experiment.evaluate(variable, adaptive, adaptive.data.test)
print(adaptive_evaluation.headline)
adaptive_figures = dict(experiment.figures(variable, adaptive, adaptive_evaluation))
display(adaptive_figures["accuracy_by_delay"])

# %% [markdown]
# Long delays are learned last. A simple RNN of 256 units that is trained for 30 epochs reaches
# 1.0000 on all of them together: [Results](../docs/results.md#memory-tasks) has the command.

# %% [markdown]
# ## Variable lengths
#
# A batch is a rectangle, so shorter sequences are padded, with blanks at their end. The mask says
# which steps are scored (`^`). Padding comes after the end, so a network that reads from left to
# right has given its answers before it meets any.

# %%
padded = experiment.load_data(config.replace(min_length=6)).validation
for read, expected, scored in zip(*(part[:4] for part in padded[:3]), strict=True):
    print("input ", VISIBLE.decode(read))
    print("target", VISIBLE.decode(expected))
    print("mask  ", "".join("^" if is_scored else " " for is_scored in scored), "\n")

# %% [markdown]
# The loss is the sum over the scored steps, divided by their number, *not* the mean over all steps:
# otherwise a batch with more padding would count less. (See `loss` above.)

# %% [markdown]
# ## Next character
#
# The same network, with an LSTM, reads a text and predicts each next character: a language model.
# The text is Python's documentation, reduced to a to z and blanks, in three thirds. Training is
# *truncated* backpropagation through time: the state is carried from chunk to chunk, gradients end
# at the beginning of a chunk.

# %%
language_model = NextCharacter()
text_config = RNNTextConfig(
    hidden_size=128, longest_ngram=0, num_epochs=5, dropout_rate=0.0, seed=0
)

# %%
print(inspect.getsource(NextCharacter.loss))
reader = train(language_model, text_config)
reading = language_model.evaluate(text_config, reader, reader.data.test)
print(reading.headline)

# %% [markdown]
# Bits per character are the cross-entropy to base 2: chance is $\log_2 27 = 4.75$. So small a
# network, trained for seconds, is behind compressors and n-grams. With *dynamic evaluation* it goes
# on learning while it reads. Now let it write: the *temperature* divides the logits, so that a low
# one prefers what is probable.

# %%
vocabulary = reader.data.vocabulary
prompt, temperatures = vocabulary.encode("the "), torch.tensor([0.3, 0.7, 1.1])
samples = generate(reader.model, prompt, 80, temperatures, torch.Generator().manual_seed(0))
for temperature, sample in zip(temperatures.tolist(), samples, strict=True):
    print(f"{temperature:.1f}  the {vocabulary.decode(sample)}")

# %% [markdown]
# ## Track the run
#
# `train` writes nothing. `run_experiment` trains in the same way and logs the configuration, the
# metrics of every epoch, the figures and the model to MLflow. The numbers are the same, since the
# seed is.

# %%
run = run_experiment(experiment, config)
print("tracked:  ", run.metrics["test/loss"])
print("untracked:", evaluation.metrics["test/loss"])
assert run.metrics["test/loss"] == evaluation.metrics["test/loss"]

# %% [markdown]
# Find the run here, or in the MLflow UI: type `make ui` (or `mlflow ui`) in a terminal in the
# project's folder, open http://localhost:5000, choose *Model training*, then the experiment `rnn`.
# In a shell, `python -m experiments.rnn` does the same as the cell above.

# %%
runs = mlflow.search_runs(experiment_names=["rnn"], max_results=5)
columns = ["params.cell", "params.delay", "metrics.test/accuracy", "metrics.test/sequence_accuracy"]
display(runs[columns].round(4))

# %% [markdown]
# ## Exercises
#
# From easy to open. [Solutions](solutions/rnn.ipynb) are in `notebooks/solutions`.
#
# 1. **A step by hand.** Compute one step of the GRU from its weights, and compare with PyTorch.
#    *Teaches what the gates do.*
# 2. **Lengthen the delay until it breaks.** Train with delays of 2, 4, 6, ... and draw the
#    accuracy. *Teaches capacity.*
# 3. **Hide a unit.** Set one hidden unit to zero before the output layer. How much accuracy does
#    each unit cost? *Teaches distributed representations.*
# 4. **A wrong initialisation.** Train the simple RNN with `initialisation="default"`. What changes,
#    and what does the figure `reach` show? *Teaches vanishing gradients.*
# 5. **Longer than in training.** Why does an echo work at sixteen times the length? What would have
#    to be different about the task for that to fail? *Teaches generalisation over length.*
# 6. **Score the blanks as well.** Which accuracy would a network reach that always answers with a
#    blank: on the echo, and on `task="copy"` over 200 blanks? *Teaches to distrust a flattering
#    metric.*
# 7. **Open.** Let the language model read a text of your own (`text="novel.txt"`). How many bits
#    per character do more units, more epochs, and dropout gain? *Teaches the trade of size against
#    data.*
