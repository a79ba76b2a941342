"""A recurrent network that predicts the next character of a text.

The text, a to z and blanks, is in three thirds: the first for training, the second for validation,
the last for the test. Training is truncated backpropagation through time: parallel streams of the
text are read chunk by chunk, the state is carried from each chunk to the next, and gradients end
where a chunk begins.

    R. Williams, J. Peng, "An efficient gradient-based algorithm for on-line training of recurrent
    network trajectories", 1990

Letters: N characters, B streams, T steps of a chunk, S = 27 symbols.
"""

import dataclasses
import math
from collections.abc import Iterator

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from datasets.characters import VOCABULARY_SIZE, Vocabulary
from datasets.corpus import load_corpus
from datasets.errors import DataError
from datasets.generated import seeded_generator
from experiments.rnn.figures import memory, reach
from experiments.rnn.network import NUM_LAGS, VISIBLE, build_network, gradient_norms, hidden_units
from experiments.rnn_text import baselines, figures
from experiments.rnn_text.config import RNNTextConfig
from experiments.rnn_text.dynamic_evaluation import dynamic_evaluation, online_logits
from experiments.rnn_text.streams import Chunk, Streams, Text, TextSplits
from harness.errors import UserError
from harness.evaluation import confusion_matrix
from harness.experiment import Evaluation, Experiment, NamedFigure, Trained
from harness.figures import training
from harness.training.metrics import StepOutput, fraction
from models.recurrent import RecurrentNetwork, generate

TEMPERATURES = (0.5, 0.8, 1.1)
PROMPT, NUM_GENERATED = "the ", 300
"""How generated texts begin, and how many characters are added."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class TextEvaluation(Evaluation):
    """Metrics on the test third, and the predictions there."""

    test: Text
    predictions: Tensor
    """(N,) int64, the most probable characters."""
    generated: dict[float, str]
    """A text for each temperature."""


class NextCharacter(Experiment[RNNTextConfig]):
    """The bits per character of a recurrent network, beside n-gram models and compressors.

    On the documentation of Python, an LSTM of 384 units needs 1.849 bits and a 5-gram model 1.787:
    from 129,000 characters, counting gains more. With dynamic evaluation it needs 1.544, the 5-gram
    model 1.694, xz after the training third 1.548 (one seed), and PPMd with long contexts 1.270.
    """

    config_class = RNNTextConfig

    # 1 Data: three contiguous thirds of a text.

    def load_data(self, config: RNNTextConfig) -> TextSplits:
        """Read the text: characters as integers (N,), for each split."""
        min_length = max(config.length + config.batch_size, baselines.NGRAM_ORDER)
        try:
            corpus = load_corpus(config.text, min_length)
        except DataError as error:
            raise UserError(f"text={config.text or 'of Python'}: {error}") from None
        return TextSplits(
            name="text",
            train=Text(corpus.train),
            validation=Text(corpus.validation),
            load_test=lambda: Text(corpus.test),
            dropped_share=corpus.dropped_share,
        )

    def example_arrays(self, split: Text) -> tuple[np.ndarray, np.ndarray]:
        """Return the characters, and those that follow them."""
        return split.symbols[:-1].numpy(), split.symbols[1:].numpy()

    # 2 Model: characters -> embedding -> recurrent layers -> logits of the next character.

    def build_model(self, config: RNNTextConfig, data: object) -> nn.Module:
        """Return a network."""
        return build_network(config, horizon=config.length)

    # 3 Training: cross-entropy of the next character, chunk by chunk.

    def training_batches(self, config: RNNTextConfig, data: TextSplits, epoch: int) -> Streams:
        """Return the chunks of an epoch: equally many, but cut elsewhere in each."""
        symbols, length = data.train.symbols, config.length
        generator = seeded_generator(config.seed, "train", epoch)
        start = int(torch.randint(length, (), generator=generator))
        return Streams(
            symbols[start : len(symbols) - length + start + 1], config.batch_size, length
        )

    def validation_batches(self, config: RNNTextConfig, data: TextSplits) -> Streams:
        """Return the chunks of the validation third."""
        return Streams(data.validation.symbols, config.batch_size, config.length)

    def loss(self, config: RNNTextConfig, model: RecurrentNetwork, batch: Chunk) -> StepOutput:
        """Return the mean cross-entropy of a chunk, given the state after the chunk before."""
        inputs, targets, carry = batch
        logits, state = model(inputs, state=carry.state)  # (B, T, S)
        carry.keep(state)
        loss = F.cross_entropy(logits.flatten(0, 1), targets.flatten())
        metrics = {
            "loss": loss,
            "accuracy": fraction((logits.argmax(-1) == targets).flatten()),
            "bits_per_character": loss / math.log(2),
        }
        return StepOutput(loss, metrics, targets.numel())

    # 4 Evaluation: the test third is read once, with fixed weights and with dynamic evaluation.

    def evaluate(self, config: RNNTextConfig, trained: Trained, test: Text) -> TextEvaluation:
        """Evaluate the network beside compressors of the same characters; generate text."""
        network, targets = trained.model, test.symbols.long()
        logits = online_logits(network, test.symbols)
        loss, predictions = F.cross_entropy(logits, targets).item(), logits.argmax(-1)
        dynamic_loss = F.cross_entropy(dynamic_evaluation(network, test.symbols), targets).item()
        compressors = baselines.bits_per_character(trained.data.train.symbols, test.symbols)
        metrics = {
            "test/loss": loss,
            "test/accuracy": fraction(predictions == targets).item(),
            "test/bits_per_character": loss / math.log(2),
            "test/dynamic_bits_per_character": dynamic_loss / math.log(2),
            **{f"test/{name}": bits for name, bits in compressors.items()},
            "dropped_character_share": trained.data.dropped_share,
        }
        headline = (
            f"{config.cell} with {config.num_layers} x {config.hidden_size} units: "
            f"{metrics['test/bits_per_character']:.3f} bits per character on the test third, "
            f"{metrics['test/dynamic_bits_per_character']:.3f} with dynamic evaluation; "
            f"{baselines.NGRAM_ORDER}-gram {metrics['test/ngram_bits_per_character']:.3f} and "
            f"{metrics['test/dynamic_ngram_bits_per_character']:.3f}, "
            f"xz {metrics['test/xz_bits_per_character']:.3f}. "
            f"Of the text's characters {100 * trained.data.dropped_share:.1f} % were dropped."
        )
        generator = seeded_generator(config.seed, "test")
        prompt, temperatures = Vocabulary().encode(PROMPT), torch.tensor(TEMPERATURES)
        samples = generate(network, prompt, NUM_GENERATED, temperatures, generator)
        texts = [PROMPT + Vocabulary().decode(row) for row in samples]
        return TextEvaluation(
            metrics=metrics,
            headline=headline,
            tables={"generated_text": {"temperature": TEMPERATURES, "text": texts}},
            test=test,
            predictions=predictions,
            generated=dict(zip(TEMPERATURES, texts, strict=True)),
        )

    # 5 Figures: bits per character, confusions, generated text, and what is remembered.

    def figures(
        self, config: RNNTextConfig, trained: Trained, evaluation: TextEvaluation
    ) -> Iterator[NamedFigure]:
        """Draw what the network predicts and remembers."""
        symbols, history, metrics = evaluation.test.symbols, trained.history, evaluation.metrics
        confusion = confusion_matrix(
            symbols.numpy(), evaluation.predictions.numpy(), VOCABULARY_SIZE
        )
        yield "letters", figures.letters(confusion, VISIBLE.symbols)
        yield "generated_text", figures.generated_text(evaluation.generated)

        ngram = f"{baselines.NGRAM_ORDER}-gram"
        bits = figures.bits(
            curves=history.by_split("bits_per_character"),
            steps_per_epoch=len(self.training_batches(config, trained.data, epoch=1)),
            baselines={
                ngram: metrics["test/ngram_bits_per_character"],
                f"{ngram}, dynamic": metrics["test/dynamic_ngram_bits_per_character"],
                "xz": metrics["test/xz_bits_per_character"],
                "xz after training third": metrics["test/xz_after_training_bits_per_character"],
            },
            best_epoch=history.best_epoch,
            tested={
                "test": metrics["test/bits_per_character"],
                "test, dynamic": metrics["test/dynamic_bits_per_character"],
            },
        )
        yield "bits", bits

        steps = min(NUM_LAGS, len(symbols) - 1)
        windows = symbols.long().unfold(0, steps + 1, steps)[:64]  # (B, T + 1)
        yield "reach", reach(gradient_norms(trained, windows[:, :-1], windows[:, -1]))
        yield "memory", memory(*hidden_units(trained.model, symbols[None, :60].long()))
        yield "curves", training.curves(**history.as_curves(), loss_unit="nats per character")


EXPERIMENT = NextCharacter()
