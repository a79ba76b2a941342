# %% [markdown]
# # Convolutional networks
#
# [![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/tracked-experiments/tracked-deep-learning-experiments/blob/main/notebooks/cnn.ipynb)
#
# A network learns from a few hundred photographs to tell cats from dogs. You will learn
#
# - how a residual convolutional network is built, stage by stage,
# - why a network that sees few photographs has to see each of them differently every time,
# - how to look inside: filters, activations, class activation maps (Grad-CAM), and features.
#
# The notebook runs in one to two minutes on two CPU cores. It needs basic Python and a little
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

import mlflow
import torch
from IPython.display import display

from datasets.augmentation import to_float
from experiments.cnn import CatsAndDogs, CNNConfig
from experiments.cnn.figures import explained, photographs, to_hwc
from harness.run_experiment import run_experiment
from harness.training.train import train
from models.cnn import ImageClassifier, ResidualBlock, ResidualCNN
from models.inspection.convolutional import activations, class_activation_maps, grad_cam

# %% [markdown]
# An *experiment* has five methods, one for each of the next five sections; a *configuration* says
# with which settings. Change the settings below and run the notebook again: all numbers and figures
# follow. `CNNConfig?` shows what else can be set. A GPU is used if there is one.
#
# The photographs here are synthetic, which need no network: drawings of cats and dogs in random
# poses, colours and rooms. Take `data="download"` for the real ones (68 MB), with `image_size=112,
# width=32, num_epochs=75` and the other settings left at their defaults.

# %%
experiment = CatsAndDogs()
config = CNNConfig(
    data="synthetic",
    image_size=64,
    width=16,
    num_stages=3,
    num_epochs=20,
    seed=0,
    # So short a training needs less regularisation than the default of 75 epochs.
    ema_decay=0.95,  # a moving average of the weights is evaluated: how slowly it follows
    crop_min_area=0.6,  # a random crop keeps at least so much of a photograph
)

# %% [markdown]
# ## 1 Data
#
# Photographs are decoded once and kept as integers from 0 to 255. Validation chooses the epoch; the
# test split is read after everything was chosen.

# %%
data = experiment.load_data(config)
images, labels = data.train.images, data.train.labels
print(f"images {tuple(images.shape)} {images.dtype}: photographs, colours, height, width")
print("photographs of each class by split:", data.counts)
captions = [data.classes[label] for label in labels[::140]]
display(photographs(to_hwc(images[::140]), captions, "Training photographs"))

# %% [markdown]
# ## 2 Model
#
# A convolution computes each output pixel from a small neighbourhood, with the same weights
# everywhere:
#
# $$y_{o,i,j} = \sum_{c} \sum_{u,v \in \{-1,0,1\}} w_{o,c,u,v}\, x_{c,i+u,j+v}.$$
#
# There is no bias here: a batch norm follows each convolution, with a scale and a shift for each
# channel.
#
# A *residual block* adds its input to what two convolutions make of it,
# $y = \mathrm{relu}(s(x) + F(x))$. The shortcut $s$ is the identity, or an average pool and a
# $1 \times 1$ convolution where the size changes. Gradients pass through the shortcut undiminished,
# so deep stacks of blocks can be trained.

# %%
print(inspect.getsource(ResidualBlock))

# %% [markdown]
# The network is a stem and three *stages*. Each halves height and width, while the number of
# channels grows: less *where*, more *what*. The mean over the last stage's pixels is classified by
# a linear layer.

# %%
print(inspect.getsource(ResidualCNN.__init__))
print(inspect.getsource(ImageClassifier.features))

# %%
network = experiment.build_model(config, data)
stages = dict(network.stages.named_children())
for name, output in activations(network, to_float(images[:1]), stages).items():
    weights = sum(parameter.numel() for parameter in stages[name].parameters())
    print(f"{name}  channels, height, width {tuple(output.shape[1:])!s:14} {weights:7,} weights")

# %% [markdown]
# ## 3 Training
#
# The network would memorise so few photographs. It therefore never sees one twice: every batch
# holds *views*, which are cropped, rotated, flipped and recoloured at random. They start small,
# which is fast, and grow from epoch to epoch.

# %%
views, targets, *_ = next(iter(experiment.training_batches(config, data, config.num_epochs)))
captions = [data.classes[label] for label in targets[:6].argmax(-1)]
display(photographs(to_hwc((255 * views[:6]).byte()), captions, "Views of a training batch"))

# %% [markdown]
# `train` is the one training loop of the project: seed, device, optimiser, schedule, and the best
# epoch by validation. The loss of a batch is the experiment's own: cross-entropy, with labels
# smoothed in training.

# %%
print(inspect.getsource(CatsAndDogs.loss))

# %%
trained = train(experiment, config, data=data)
best = trained.history.best
print(f"best epoch {trained.history.best_epoch}: validation accuracy {best['val/accuracy']:.3f}")

# %% [markdown]
# ## 4 Evaluation
#
# The test split is read here. *Flip test-time augmentation* averages the probabilities for a
# photograph and its mirror image. The ROC area is the probability that a random dog gets a higher
# score than a random cat.

# %%
evaluation = experiment.evaluate(config, trained, trained.data.test)
print(evaluation.headline)

# %% [markdown]
# With $n$ test photographs and accuracy $p$, the standard error of the accuracy is
# $\sqrt{p(1-p)/n}$. Differences of that size may be chance.

# %%
accuracy, count = evaluation.metrics["test/accuracy"], len(trained.data.test.labels)
print(f"{accuracy:.3f} with a standard error of {(accuracy * (1 - accuracy) / count) ** 0.5:.3f}")

# %% [markdown]
# ## 5 Figures
#
# `figures` draws the training, the predictions, and the inside of the network.

# %%
figures = dict(experiment.figures(config, trained, evaluation))
print(", ".join(figures))

# %% [markdown]
# **Training.** The training loss is measured on augmented views, which are harder than whole
# photographs; so it can lie above the validation loss.

# %%
display(figures["curves"])

# %% [markdown]
# **Errors.** Which class is taken for which. `figures["misclassified"]` shows the photographs that
# the network gets wrong: look for what they have in common.

# %%
display(figures["confusion"])

# %% [markdown]
# ## Looking inside
#
# **Filters.** The $3 \times 3$ weights of the first layer as small images. In a network that was
# trained for long on many photographs, some respond to a colour, others to an edge. After 20 epochs
# on 800 drawings they look much like noise still; the activations below show what they do.

# %%
display(figures["filters"])

# %% [markdown]
# **Activations.** What each stage makes of one photograph: the first ones show edges and areas of
# colour in place, the last ones are coarse maps of where something was found.

# %%
display(figures["activations_correct"])

# %% [markdown]
# **Class activation maps.** Grad-CAM weights each channel $A_k$ of the last stage by the mean
# gradient of the class's logit $z_c$ with respect to it, and keeps what is positive:
#
# $$\alpha_k = \frac{1}{HW} \sum_{i,j} \frac{\partial z_c}{\partial A_{k,i,j}}, \qquad M = \mathrm{relu}\left(\sum_k \alpha_k A_k\right).$$

# %%
print(inspect.getsource(grad_cam))

# %% [markdown]
# Beside each photograph: the evidence for the predicted class, and for the other one. The maps have
# only $4 \times 4$ pixels, those of the last stage, drawn smoothly between them, so they show a
# region and no outline.

# %%
display(figures["gradcam"])

# %% [markdown]
# **Features.** The numbers that the linear layer classifies, for all test photographs, projected to
# their first two principal components. A good network has already separated the classes here.

# %%
display(figures["features"])

# %% [markdown]
# **One photograph of your choice.** Change the number.

# %%
number = 3
photo = data.test.images[number : number + 1]  # (1, 3, S, S) uint8
image = to_float(photo)  # in [0, 1]
with torch.inference_mode():
    probabilities = trained.model(image).softmax(-1)[0]
maps = class_activation_maps(trained.model, image, trained.model.stages[-1], len(data.classes))[0]
display(explained(to_hwc(photo)[0], maps.numpy(), probabilities.numpy(), data.classes))

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
# project's folder, open http://localhost:5000, choose *Model training*, then the experiment `cnn`.
# In a shell, `python -m experiments.cnn` with the same parameters does the same as the cell above.

# %%
runs = mlflow.search_runs(experiment_names=["cnn"], max_results=5)
columns = ["params.image_size", "params.width", "params.num_epochs", "metrics.test/accuracy"]
display(runs[columns].round(4))

# %% [markdown]
# ## Exercises
#
# From easy to open. [Solutions](solutions/cnn.ipynb) are in `notebooks/solutions`.
#
# 1. **Count the weights** of the first residual block by hand, and compare with PyTorch. How many
#    would a fully connected layer between the same two sizes have? *Teaches why weights are
#    shared.*
# 2. **The receptive field.** How many pixels of the image can one pixel of the last stage depend
#    on? Measure it with a gradient. *Teaches what depth and stride are for.*
# 3. **Move the animal.** Shift a photograph by a few pixels and compare the maps of the first stage
#    before and after. *Teaches translation equivariance.*
# 4. **Cover the evidence.** Grey out a square of 16 pixels at every place, in turn, of a photograph
#    of which the network is *not* sure (`figures["least_confident"]`), and draw how the probability
#    changes. Does it agree with Grad-CAM? *Teaches to test an explanation.*
# 5. **Find the mislabelled photographs.** Give 20 training photographs the wrong label, train, and
#    sort them by their loss. How many of the 20 are among the first 20? *Teaches what a loss says
#    about data.*
# 6. **Without augmentation.** Turn all of it off. What happens to training and validation accuracy,
#    in a short training and in a long one? *Teaches overfitting.*
# 7. **Open.** Reach 0.98 on validation with no more than 20 epochs. Which change helped most, and
#    how sure are you, given the standard error? *Teaches to compare experiments.*
