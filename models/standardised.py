"""A model of standardised features, as a model of the features themselves."""

from torch import Tensor, nn


class StandardisedInput(nn.Module):
    """Subtracts a mean from each feature, divides by a standard deviation, and asks a model.

    Args:
        model: of standardised features (B, D).
        mean, std: (D,) float32, of the training samples.

    """

    mean: Tensor
    std: Tensor

    def __init__(self, model: nn.Module, mean: Tensor, std: Tensor):
        super().__init__()
        self.model = model
        self.register_buffer("mean", mean)
        self.register_buffer("std", std)

    def forward(self, x: Tensor) -> Tensor:
        """Map features (B, D) float32 to what the model returns."""
        outputs: Tensor = self.model((x - self.mean) / self.std)
        return outputs
