# %% [markdown]
# # Mixture of experts
#
# [![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/tracked-experiments/tracked-deep-learning-experiments/blob/main/notebooks/moe.ipynb)
#
# One straight line cannot separate the inside of a circle from its outside. Several can, if a
# gating network decides which of them counts where. You will learn
#
# - how a gate and its experts are trained together, and how the experts specialise,
# - why mixing *probabilities* and mixing *logits* give different decision boundaries,
# - what *hard routing* costs, and what it shows about the experts.
#
# The notebook runs in about one minute on two CPU cores. It needs basic Python and a little
# PyTorch.

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

import matplotlib.pyplot as plt
import mlflow
import numpy as np
import torch
from IPython.display import display
from PIL import Image

from datasets.toy_datasets import toy_dataset
from experiments.moe import MixtureOfLinearExperts, MoEConfig
from harness.figures.style import CLASSES
from harness.run_experiment import run_experiment
from harness.training.train import train
from models.moe import GatingNetwork, Mixture

# %% [markdown]
# An *experiment* has five methods, one for each of the next five sections; a *configuration* says
# with which settings. Change the settings below and run the notebook again: all numbers and figures
# follow. `MoEConfig?` shows what else can be set. A GPU is used if there is one.

# %%
experiment = MixtureOfLinearExperts()
config = MoEConfig(num_experts=2, mixing="probabilities", seed=0)

# %% [markdown]
# ## 1 Data
#
# Points in the plane, from two Gaussians. A point is of class 1 if it lies outside a circle, dashed
# below: the classes are known exactly, so a perfect classifier has an accuracy of 1. There are
# three independent splits; the test split is drawn only when it is first read.

# %%
data = experiment.load_data(config)
points, labels = data.train
print(f"{len(points):,} training points, {labels.mean():.3f} of class 1")
figure, axes = plt.subplots(figsize=(6, 4), layout="constrained")
for label, marker in ((0, "o"), (1, "s")):
    x, y = points[:1000][labels[:1000] == label].T
    axes.scatter(x, y, s=9, marker=marker, color=CLASSES[label], label=f"class {label}")
x, y = np.meshgrid(*np.linspace(points.amin(0), points.amax(0), 300).T)
truth = toy_dataset(config.data).label(torch.from_numpy(np.stack([x, y], axis=-1)))
axes.contour(x, y, truth, [0.5], colors="black", linestyles="--")
axes.set(title="1,000 training points", xlabel="$x_1$", ylabel="$x_2$", aspect="equal")
axes.legend(loc="upper center", ncols=2, frameon=False)
plt.show()

# %% [markdown]
# ## 2 Model
#
# Each expert $k$ is a linear classifier with the logit $f_k(x) = w_k \cdot x + b_k$; a logit is
# $\log \frac{P}{1 - P}$, and the sigmoid $\sigma$ takes it back to the probability $P$. The gate is a
# softmax over $K$ scores of the same point, $g(x) = \mathrm{softmax}(V x + c)$. With mixed
# *probabilities* the output is
#
# $$P(1 \mid x) = \sum_{k=1}^{K} g_k(x)\, \sigma(f_k(x)),$$
#
# and with mixed *logits* $P(1 \mid x) = \sigma\left(\sum_k g_k(x) f_k(x)\right)$. Here is the
# method that combines the experts. It works with logarithms, in which small probabilities neither
# underflow nor cancel.

# %%
print(inspect.getsource(Mixture.combine))
print(inspect.getsource(Mixture.log_likelihood))

# %% [markdown]
# `S` in the comments is a *stack*: gradient descent on a mixture ends in poor local optima from
# some initialisations, so 16 of them (`restarts`) are trained in one computation, and the best by
# validation is kept. One mixture alone has few parameters:

# %%
one = experiment.build_stack(config, data, ())
for name, parameter in one.named_parameters():
    print(f"{name:28} {tuple(parameter.shape)}")
print(sum(parameter.numel() for parameter in one.parameters()), "parameters")

# %% [markdown]
# ## 3 Training
#
# `train` is the one training loop of the project: seed, device, optimiser, schedule, and the best
# epoch by validation. The loss of a batch is the experiment's own. It is the cross-entropy of the
# mixture, and in the last epochs a smooth count of its errors; the gate and the experts are trained
# by the same gradient.

# %%
print(inspect.getsource(MixtureOfLinearExperts.loss))

# %%
trained = train(experiment, config, data=data)
best = trained.history.best
print(f"best epoch {trained.history.best_epoch}: validation accuracy {best['val/accuracy']:.4f}")
print(f"loss {best['val/loss']:.4f} nats, entropy of the gate {best['val/gate_entropy']:.4f} nats")

# %% [markdown]
# The entropy of the gate is 0 where one expert has all the weight, and $\log 2 = 0.69$ nats where
# two share it equally.

# %% [markdown]
# ## 4 Evaluation
#
# The test split is read here, after everything was chosen. The same call trains two baselines on
# the same data: logistic regression, and a multilayer perceptron (MLP) with about as many weights.
# The MLP is better: its hidden units bend the boundary freely. The gain of the mixture is that one
# can read who decides where, and that it can leave experts out (*sparse routing* below).

# %%
evaluation = experiment.evaluate(config, trained, trained.data.test)
print(evaluation.headline)

# %% [markdown]
# ## 5 Figures
#
# `figures` draws whatever is of interest about the model, one figure after the other.

# %%
figures = dict(experiment.figures(config, trained, evaluation))
print(", ".join(figures))

# %% [markdown]
# **The decision boundary.** Each expert contributes a straight segment. The true boundary is the
# circle.

# %%
display(figures["decision_surface"])

# %% [markdown]
# **Experts and hard routing.** Shaded: the region in which an expert has the largest gate
# probability; its line is thick there. With *hard routing* only that expert decides. Little
# changes: each expert is good where it is responsible, and need not be good elsewhere. This is
# specialisation.

# %%
display(figures["experts"])

# %% [markdown]
# **The gate.** Two linear scores are equal along a straight line, so the regions of two experts
# meet in one. The gate is soft: around that line both experts count.

# %%
display(figures["gate"])

# %% [markdown]
# **Training.** The grey curves are the other restarts: several of them end in a poorer optimum. The
# entropy falls while the experts divide the plane between them.

# %%
display(figures["curves"])

# %% [markdown]
# **Learning.** The boundary after some epochs of training, from left to right.

# %%
frames = figures["learning"].frames
shown = [np.asarray(frames[index]) for index in (0, len(frames) // 3, -1)]
display(Image.fromarray(np.concatenate(shown, axis=1)))

# %% [markdown]
# ## Soft against hard routing
#
# Now the same with mixed *logits*. The boundary is where $\sum_k g_k(x) f_k(x) = 0$. The weights
# $g_k$ vary from point to point, so the boundary bends, and the accuracy rises. But look at hard
# routing.

# %%
mixed_logits = config.replace(mixing="logits", animation=False)
bent = train(experiment, mixed_logits, data=data)
bent_evaluation = experiment.evaluate(mixed_logits, bent, bent.data.test)
for name in ("test/accuracy", "test/hard_routing_accuracy"):
    before, after = evaluation.metrics[name], bent_evaluation.metrics[name]
    print(f"{name:27} probabilities {before:.4f}   logits {after:.4f}")
bent_figures = dict(experiment.figures(mixed_logits, bent, bent_evaluation))
display(bent_figures["decision_surface"])

# %%
display(bent_figures["experts"])

# %% [markdown]
# With mixed logits the two linear functions are useful only as a sum: neither expert classifies a
# region by itself, so one cannot read off who decides. With mixed probabilities each expert must
# predict the class by itself wherever it has weight. Which is better depends on what the mixture is
# for.
#
# **Sparse routing.** With `top_k=1` only one expert is evaluated for each point, as in large
# language models. What is saved there is computation; what has to be prevented is that few experts
# get all the points. The gate's method shows how: a bias rises for experts that are chosen too
# rarely.

# %%
print(inspect.getsource(GatingNetwork.forward))

# %%
sparse = config.replace(num_experts=4, top_k=1, animation=False)
routed = train(experiment, sparse, data=data)
with torch.inference_mode():
    chosen = routed.model.mix(routed.data.validation.points).chosen
shares = chosen.float().mean(-1)
print("share of the points by expert:", [f"{share:.2f}" for share in shares.tolist()])
print(f"validation accuracy {routed.history.best['val/accuracy']:.4f}")

# %% [markdown]
# ## Track the run
#
# `train` writes nothing. `run_experiment` trains in the same way and logs the configuration, the
# metrics of every epoch, the figures and the model to MLflow. The numbers are the same, since the
# seed is.

# %%
run = run_experiment(experiment, config)
print("tracked:  ", run.metrics["test/accuracy"])
print("untracked:", evaluation.metrics["test/accuracy"])
assert run.metrics["test/accuracy"] == evaluation.metrics["test/accuracy"]

# %% [markdown]
# Find the run here, or in the MLflow UI: type `make ui` (or `mlflow ui`) in a terminal in the
# project's folder, open http://localhost:5000, choose *Model training*, then the experiment `moe`.
# In a shell, `python -m experiments.moe` does the same as the cell above.

# %%
runs = mlflow.search_runs(experiment_names=["moe"], max_results=5)
columns = ["params.num_experts", "params.mixing", "metrics.test/accuracy"]
display(runs[columns].round(4))

# %% [markdown]
# ## Exercises
#
# From easy to open. [Solutions](solutions/moe.ipynb) are in `notebooks/solutions`.
#
# 1. **Add a third expert**, with mixed probabilities. How much does the accuracy rise, and what
#    does the boundary look like? *Teaches what an expert contributes.*
# 2. **Plot who decides.** Take the trained model's `mix`, and count the test points of each class
#    for which each expert has the largest gate probability. *Teaches to read a mixture.*
# 3. **Why do two mixed probabilities stop near 0.95?** No setting exceeds 0.952. Find the best boundary of two straight
#    segments without training a network: which accuracy has it? *Teaches what a hypothesis class
#    can express.*
# 4. **One initialisation.** Train with `restarts=1` and several seeds. How often is the result as
#    good as that of 16 restarts? *Teaches local optima.*
# 5. **Turn the balancing off**: `top_k=1`, four experts, `bias_update_rate=0`. Which share of the
#    points does each expert get? *Teaches load balancing.*
# 6. **A gate with a hidden layer** (`gate_hidden=16`). Two experts now exceed 0.952, the
#    best of two straight segments. Why can they?
#    *Teaches that the gate is part of what a mixture can express.*
# 7. **Open.** Choose another data set (`data="moons"`, `"spirals"`, `"checkerboard"`). How many
#    experts does it need, and how would you decide that without the test split? *Teaches model
#    selection.*
