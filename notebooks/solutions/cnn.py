# %% [markdown]
# # Convolutional networks: solutions
#
# One solution for each exercise of the [notebook](../cnn.ipynb); others may be as good.

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
import dataclasses

import numpy as np
import torch
from IPython.display import display

from datasets.augmentation import to_float
from experiments.cnn import CatsAndDogs, CNNConfig
from experiments.cnn.figures import overlaid, photographs, to_hwc
from harness.training.train import train
from models.inspection.convolutional import activations, class_activation_maps

experiment = CatsAndDogs()
config = CNNConfig(
    data="synthetic",
    image_size=64,
    width=20,
    num_stages=3,
    num_epochs=16,
    ema_decay=0.95,
    crop_min_area=0.6,
)
data = experiment.load_data(config)

# %% [markdown]
# ## 5 Find the mislabelled photographs
#
# This one first: the other exercises use its network. Swap 20 labels, train, and sort the training
# photographs by their loss. A network that has learned the rule, and has not yet memorised the
# photographs, is surprised by those that break it.

# %%
images, labels = data.train.images, data.train.labels
swapped = torch.randperm(len(labels), generator=torch.Generator().manual_seed(0))[:20]
noisy = labels.clone()
noisy[swapped] = 1 - noisy[swapped]
mislabelled = dataclasses.replace(data, train=data.train._replace(labels=noisy))
trained = train(experiment, config, data=mislabelled)
model = trained.model
print(f"validation accuracy {trained.history.best['val/accuracy']:.3f}")

probabilities = torch.from_numpy(experiment.predict(model, data.train))
losses = -probabilities.gather(1, noisy[:, None]).squeeze(1).log()
suspicious = losses.argsort(descending=True)[:20]
found = sum(index in swapped for index in suspicious)
print(f"{found} of the 20 photographs with the largest loss are mislabelled")
captions = [f"labelled {data.classes[noisy[index]]}" for index in suspicious[:6]]
display(photographs(to_hwc(images[suspicious[:6]]), captions, "The largest losses"))
assert found >= 8

# %% [markdown]
# ## 1 Count the weights
#
# Two convolutions of $3 \times 3$ from 20 to 20 channels (16 in the notebook), without a bias, and after each a batch
# norm with a scale and a shift for each channel.

# %%
block = model.stages[1]
channels = config.width
by_hand = 2 * (3 * 3 * channels * channels + 2 * channels)
counted = sum(parameter.numel() for parameter in block.parameters())
outputs = activations(model, to_float(images[:1]), {"in": model.stages[0], "out": block})
sizes = [tuple(output[0].shape) for output in outputs.values()]
dense = int(np.prod(sizes[0]) * np.prod(sizes[1]))
print(
    f"by hand {by_hand:,}, counted {counted:,}; fully connected {sizes[0]} to {sizes[1]}: {dense:,}"
)
assert by_hand == counted

# %% [markdown]
# ## 2 The receptive field
#
# A $3 \times 3$ convolution adds two steps of its input, and a step is as many pixels as all
# strides before have made it. By hand: $3$ after the stem, then $+4+8$, $+8+16$, $+16+32$ for the
# two convolutions of each stage.

# %%
canvas = torch.rand(1, 3, 256, 256, requires_grad=True)
last = model.stages(model.normalize(canvas))  # (1, 64, 16, 16)
last[0, :, 8, 8].sum().backward()
touched = canvas.grad[0].abs().sum(0).nonzero()  # (pixels, 2)
height, width = (touched.max(0).values - touched.min(0).values + 1).tolist()
print(f"one pixel of the last stage depends on {height} x {width} pixels")
assert (height, width) == (3 + 12 + 24 + 48,) * 2

# %% [markdown]
# That is more than the 64 of a photograph: each pixel of the last stage may depend on all of it,
# though mostly on the middle of its receptive field.

# %% [markdown]
# ## 3 Move the animal
#
# The stem has a stride of 2, so a shift by 8 pixels is one by 4 in its maps: the same numbers in
# another place. That is *equivariance*. (The border differs: pixels that leave on one side enter on
# the other.)

# %%
image = to_float(data.validation.images[:1])
stem = {"stem": model.stages[0]}
before = activations(model, image, stem)["stem"]
after = activations(model, image.roll(8, dims=-1), stem)["stem"]
difference = (after.roll(-4, dims=-1) - before)[..., 1:-6].abs().max().item()
print(f"largest difference inside: {difference:.0e}; largest activation {before.max():.1f}")
assert difference < 1e-4

# %% [markdown]
# ## 4 Cover the evidence
#
# Where the probability falls most, the evidence was. This test needs no gradient and no assumption
# about the network, but one prediction for each place. It need not agree with Grad-CAM, which is an
# estimate to first order, and here of $4 \times 4$ pixels.

# %%
side, step = 16, 4
starts = range(0, config.image_size - side + 1, step)
covered = image.repeat(len(starts) ** 2, 1, 1, 1)
for number, (top, left) in enumerate((top, left) for top in starts for left in starts):
    covered[number, :, top : top + side, left : left + side] = 0.5
with torch.inference_mode():
    whole = model(image).softmax(-1)[0]
    label = whole.argmax()
    falls = whole[label] - model(covered).softmax(-1)[:, label]
occlusion = falls.clamp(min=0).reshape(len(starts), len(starts)).numpy()
gradient = class_activation_maps(model, image, model.stages[-1], len(data.classes))[0, label]
photo = to_hwc(data.validation.images[:1])[0]
relative = occlusion / max(occlusion.max(), 1e-9)
shown = np.stack([photo, overlaid(photo, relative), overlaid(photo, gradient.numpy())])
captions = [
    f"{data.classes[label]}, probability {whole[label]:.2f}",
    f"covered: it falls\nby up to {occlusion.max():.2f}",
    "Grad-CAM",
]
display(photographs(shown, captions, "Two ways to ask where the evidence is"))

# %% [markdown]
# ## 6 Without augmentation
#
# At 32 pixels, to be fast. Without augmentation the network soon knows every training photograph,
# and can learn no more from them: what is missing on validation is *overfitting*. With augmentation
# both accuracies stay together, and rise more slowly.

# %%
small = config.replace(image_size=32, num_epochs=8)
nothing = {
    "initial_resolution": 1.0,
    "final_resolution": 1.0,
    "flip_probability": 0.0,
    "crop_min_area": 1.0,
    "crop_max_aspect_ratio": 1.0,
    "rotation_degrees": 0.0,
    "color_jitter": 0.0,
    "label_smoothing": 0.0,
}
gaps = {}
for name, changes in (("with", {}), ("without", nothing)):
    last_epoch = train(experiment, small.replace(**changes)).history.rows[-1]
    gaps[name] = last_epoch["train/accuracy"] - last_epoch["val/accuracy"]
    print(
        f"{name} augmentation: training accuracy {last_epoch['train/accuracy']:.3f}, "
        f"validation {last_epoch['val/accuracy']:.3f}"
    )
assert gaps["without"] > gaps["with"]

# %% [markdown]
# In as few epochs as these, the accuracy on validation is lower *with* augmentation: it is a
# regularisation, which pays where training is long. The same with more epochs (a minute each;
# training and validation accuracy):
#
# | epochs | with augmentation | without |
# |---|---|---|
# | 8 | 0.64, 0.65 | 1.00, 0.83 |
# | 30 | 0.94, 0.88 | 1.00, 0.90 |
# | 60 | 0.97, 0.90 | 1.00, 0.89 |
#
# With augmentation, validation gains from every further epoch; without, little is left to learn. That
# it is ahead after 60 epochs is within the standard error of 200 photographs, 0.02.

# %% [markdown]
# ## 7 Comparing experiments
#
# No code: with 200 validation photographs the standard error at 0.96 is 0.014, so a gain of one
# point is within chance. Train every variant with several seeds (`train_with_seeds`), compare the
# means, and look at the test split once, at the end. More channels (`width=20` or `32`) are a good
# first try.
