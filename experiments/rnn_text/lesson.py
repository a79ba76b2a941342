"""A recurrent network that predicts the next character of a text.

The text, reduced to a to z and blanks or not, is in three thirds: the first for training, the
second for validation, the last for the test. Training is truncated backpropagation through time:
parallel streams of the text are read chunk by chunk, the state is carried from each chunk to the
next, and gradients end where a chunk begins.

    R. Williams, J. Peng, "An efficient gradient-based algorithm for on-line training of recurrent
    network trajectories", 1990

Letters: N characters, B streams, T steps of a chunk, S symbols (the blank and a to z: 27).
"""

import dataclasses
import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from datasets.corpus import Text, load_corpus
from datasets.errors import DataError
from datasets.generated import seeded_generator
from experiments.rnn.figures import memory, reach
from experiments.rnn.network import NUM_LAGS, gradient_norms, hidden_units, network_arguments
from experiments.rnn_text import baselines, figures
from experiments.rnn_text.bits import (
    baselines_of,
    headline,
    metrics_of,
    scope_of,
    tested_of,
    unit_of,
)
from experiments.rnn_text.config import RNNTextConfig
from experiments.rnn_text.dynamic_evaluation import dynamic_evaluation, online_evaluation
from experiments.rnn_text.mixture import TextMixture
from experiments.rnn_text.mixture import is_possible as mixture_is_possible
from experiments.rnn_text.stacking import stack
from experiments.rnn_text.streams import Chunk, Streams, TextSplits
from harness.errors import UserError
from harness.experiment import Evaluation, Experiment, NamedFigure, Trained
from harness.figures import training
from harness.training.history import History
from harness.training.metrics import StepOutput, fraction
from models.recurrent import RecurrentNetwork, generate

TEMPERATURES = (0.5, 0.8, 1.1)
PROMPT, NUM_GENERATED = "the ", 300
"""How generated texts begin in the lesson, and how many symbols are added."""
NUM_PROMPT = 12
"""Symbols of another text, those at its beginning, that generated ones begin with."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class TextEvaluation(Evaluation):
    """Metrics on the test third, and the predictions there."""

    test: Text
    predictions: Tensor
    """(N,) int64, the most probable characters."""
    generated: dict[float, str]
    """A text for each temperature."""
    trust: np.ndarray | None
    """(W, P): shares of the predictors that are mixed, over the text; None without numba."""


class NextCharacter(Experiment[RNNTextConfig]):
    """The bits per character of a recurrent network, beside n-gram models and compressors.

    On the documentation of Python, an LSTM of 384 units needs 1.785 bits (one seed), with n-grams
    as a part of the network 1.669, and a 16-gram model 1.630: from 129,000 characters, counting
    gains more. With dynamic evaluation the network needs 1.344, bz2 and xz 1.544 and 1.548 after
    the training third; 16-grams that are counted on need 1.309, PPMd 1.270. Many contexts, mixed by
    a gate that goes on learning, need 1.177, and 1.156 with the network among them.
    """

    config_class = RNNTextConfig

    # 1 Data: three contiguous thirds of a text.

    def load_data(self, config: RNNTextConfig) -> TextSplits:
        """Read the text: characters as integers (N,), for each split."""
        min_length = config.length + config.batch_size
        try:
            corpus = load_corpus(config.text, min_length, config.alphabet)
        except DataError as error:
            raise UserError(f"text={config.text or 'of Python'}: {error}") from None
        thirds = {"train": corpus.train, "validation": corpus.validation, "test": corpus.test}
        unit = f"{unit_of(config)}s"
        return TextSplits(
            name=corpus.name,
            train=corpus.train,
            validation=corpus.validation,
            load_test=lambda: corpus.test,
            fingerprints={split: corpus.fingerprint(text) for split, text in thirds.items()},
            counts={split: {unit: len(text.symbols)} for split, text in thirds.items()},
            skipped=corpus.skipped,
            vocabulary=corpus.vocabulary,
            dropped_share=corpus.dropped_share,
        )

    def example_arrays(self, split: Text) -> tuple[np.ndarray, np.ndarray]:
        """Return the characters, and those that follow them."""
        return split.symbols[:-1].numpy(), split.symbols[1:].numpy()

    # 2 Model: characters -> embedding -> recurrent layers -> logits of the next character. Hashed
    # n-grams add logits of their own: they learn by heart what recurrent layers are slow to learn.

    def build_model(self, config: RNNTextConfig, data: TextSplits) -> nn.Module:
        """Return a network over the symbols of the text."""
        return RecurrentNetwork(**self.network_arguments(config, data))

    def network_arguments(self, config: RNNTextConfig, data: TextSplits) -> dict[str, Any]:
        """Return the arguments of `RecurrentNetwork`."""
        size, rate = len(data.vocabulary), "embedding_dropout_rate"
        also: dict[str, Any] = {"longest_ngram": config.longest_ngram}
        if config.has_effect(rate):
            also[rate] = config.embedding_dropout_rate
        return network_arguments(config, num_symbols=size, horizon=config.length) | also

    # 3 Training: cross-entropy of the next character, chunk by chunk.

    def training_batches(self, config: RNNTextConfig, data: TextSplits, epoch: int) -> Streams:
        """Return the chunks of an epoch: equally many, but cut elsewhere in each."""
        symbols, length = data.train.symbols, config.length
        generator = seeded_generator(config.seed, "train", epoch)
        start = int(torch.randint(length, (), generator=generator))
        read = symbols[start : len(symbols) - length + start + 1]
        return Streams(read, config.batch_size, length, data.train.naming_bits)

    def validation_batches(self, config: RNNTextConfig, data: TextSplits) -> Streams:
        """Return the chunks of the validation third."""
        symbols, naming_bits = data.validation.symbols, data.validation.naming_bits
        return Streams(symbols, config.batch_size, config.length, naming_bits)

    def loss(self, config: RNNTextConfig, model: RecurrentNetwork, batch: Chunk) -> StepOutput:
        """Return the mean cross-entropy of a chunk, given the state after the chunk before."""
        inputs, targets, carry, naming_bits = batch
        logits, state = model(inputs, state=carry.state)  # (B, T, S)
        carry.keep(state)
        loss = F.cross_entropy(logits.flatten(0, 1), targets.flatten())
        metrics = {
            "loss": loss,
            "accuracy": fraction((logits.argmax(-1) == targets).flatten()),
            f"bits_per_{unit_of(config)}": loss / math.log(2) + naming_bits,
        }
        return StepOutput(loss, metrics, targets.numel())

    def select_model(
        self, config: RNNTextConfig, data: TextSplits, model: Any, history: History
    ) -> RecurrentNetwork:
        """Return the network, its logits and those of n-grams weighted on the validation third."""
        return stack(model, data.validation.symbols)

    # 4 Evaluation: the test third is read once, with fixed weights and with dynamic evaluation.

    def evaluate(self, config: RNNTextConfig, trained: Trained, test: Text) -> TextEvaluation:
        """Evaluate the network beside compressors of the same text; generate text."""
        network, vocabulary = trained.model, trained.data.vocabulary
        reading = online_evaluation(network, test.symbols)
        loss = reading.losses.mean().item()
        mixture = None
        if mixture_is_possible():
            mixture = TextMixture(trained.data.train, vocabulary, len(test.symbols))
        also = {"also": mixture.read} if mixture else {}
        dynamic_loss = dynamic_evaluation(network, test.symbols, **also).losses.mean().item()
        bits = {
            "": loss / math.log(2) + test.naming_bits,
            "dynamic_": dynamic_loss / math.log(2) + test.naming_bits,
            **baselines.bits_per_symbol(trained.data.train, test, vocabulary),
        }
        if mixture:
            bits["mixture_"] = mixture.bits + test.naming_bits
        metrics = {
            "test/loss": loss,
            "test/accuracy": fraction(reading.predictions == test.symbols).item(),
            **metrics_of(bits, config, test),
            "dropped_character_share": trained.data.dropped_share,
        }
        generator = seeded_generator(config.seed, "test")
        is_lesson = config.alphabet == "letters" and not config.text
        beginning = trained.data.train.symbols[:NUM_PROMPT].long()
        prompt = vocabulary.encode(PROMPT) if is_lesson else beginning
        temperatures = torch.tensor(TEMPERATURES)
        samples = generate(network, prompt, NUM_GENERATED, temperatures, generator)
        texts = [vocabulary.decode(torch.cat([prompt, row])) for row in samples]
        return TextEvaluation(
            metrics=metrics,
            headline=headline(config, trained.data, test, metrics),
            tables={"generated_text": {"temperature": TEMPERATURES, "text": texts}},
            test=test,
            predictions=reading.predictions,
            generated=dict(zip(TEMPERATURES, texts, strict=True)),
            trust=mixture.trust if mixture else None,
        )

    # 5 Figures: bits per character, confusions, generated text, and what is remembered.

    def figures(
        self, config: RNNTextConfig, trained: Trained, evaluation: TextEvaluation
    ) -> Iterator[NamedFigure]:
        """Draw what the network predicts and remembers."""
        symbols, history = evaluation.test.symbols.long(), trained.history
        names, unit = figures.names_of(trained.data.vocabulary), unit_of(config)
        yield "letters", figures.letters(symbols.numpy(), evaluation.predictions.numpy(), names)
        yield "generated_text", figures.generated_text(evaluation.generated)

        bits = figures.bits(
            curves=history.by_split(f"bits_per_{unit}"),
            steps_per_epoch=len(self.training_batches(config, trained.data, epoch=1)),
            baselines=baselines_of(evaluation.metrics, unit),
            best_epoch=history.best_epoch,
            tested=tested_of(evaluation.metrics, unit),
            unit=unit,
            scope=scope_of(config),
        )
        yield "bits", bits
        if evaluation.trust is not None:
            yield "trust", figures.trust(evaluation.trust, len(symbols), unit)

        steps = min(NUM_LAGS, len(symbols) - 1)
        windows = symbols.unfold(0, steps + 1, steps)[:64]  # (B, T + 1)
        yield "reach", reach(gradient_norms(trained, windows[:, :-1], windows[:, -1]))
        yield "memory", memory(*hidden_units(trained.model, symbols[None, :60], names=names))
        yield "curves", training.curves(**history.as_curves(), loss_unit=f"nats per {unit}")


EXPERIMENT = NextCharacter()
