"""Model cards: what a registered version is, in Markdown, written from its tags."""

import json
from collections.abc import Mapping

from harness.fingerprints import DataSet
from harness.tracking.models import ENSEMBLE
from harness.training.metrics import decimal
from harness.wording import code_block


def card(tags: Mapping[str, str], name: str, data: DataSet) -> str:
    """Return the model card, in Markdown, of a version that has these tags.

    Args:
        tags: as `tuning.registry.versions` and `tuning.registry.by_hand` set them.
        name: of the registered model.
        data: what the model was trained on.

    """
    by_seed = json.loads(tags["metric_by_seed"])
    values = json.loads(tags["configuration"])
    several = f"mean ± standard deviation over seeds {', '.join(by_seed)}"
    over = several if len(by_seed) > 1 else f"of one seed, {', '.join(by_seed)},"
    members = tags.get(ENSEMBLE, "").split()
    unseen = " that the search had not seen" if "study_name" in tags else ""
    origin = f"Study `{tags.get('study_name', '')}` ({tags.get('search', 'no search')})"
    tested = {name: value for name, value in tags.items() if name.startswith("test/")}
    lines = [
        # No title: the list of versions shows the first line.
        f"{tags['metric']} {score(tags)} of an ensemble of {len(members)} networks, whose "
        "probabilities are averaged."
        if members
        else f"{tags['metric']} {score(tags)}, {over}{unseen}. "
        f"This model is that of seed {values['seed']}.",
        "",
        "## Promotion",
        "",
        tags.get("promotion_history", "Not decided yet.").strip(),
        "",
        "## Test split",
        "",
        *(
            [f"Read {tags['tested']}.", "", "| metric | value |", "|---|---|"]
            + [f"| {name} | {decimal(float(value))} |" for name, value in sorted(tested.items())]
            if tested
            else ["Not read: only a champion is evaluated on it."]
        ),
        "",
        "## Where it comes from",
        "",
        f"- {origin if 'study_name' in tags else 'Registered by hand'}, run `{tags['run_id']}`",
        *([f"- Members, by their runs: {', '.join(f'`{m}`' for m in members)}"] if members else []),
        f"- Commit `{tags['git_commit']}`"
        + (" with changes that were not committed" if tags["git_dirty"] == "True" else ""),
        f"- Trained on {data}, on {tags['device']}",
        f"- Fingerprints of the data, by seed: `{tags['data_fingerprint']}`",
        "- The same again, of these members:" if members else "- The same training again:",
        "",
        code_block(tags["command"]),
        "",
        "## Use",
        "",
        f"    python -m experiments.predict models:/{name}@champion INPUT...",
        f"    mlflow models serve -m models:/{name}@champion --env-manager local",
        f'    mlflow.pytorch.load_model("models:/{name}@champion")',
        "",
        "The last two need torch and MLflow, and none of this project's code. The model's "
        "signature gives the shape of its input; its outputs are logits.",
        "",
        "## Configuration of the first member" if members else "## Configuration",
        "",
        "| parameter | value |",
        "|---|---|",
        *(f"| {name} | {value} |" for name, value in values.items() if name != "resume"),
    ]
    return "\n".join(lines) + "\n"


def score(tags: Mapping[str, str]) -> str:
    """Return mean and standard deviation, rounded; of one seed, its value."""
    mean, deviation = float(tags["metric_mean"]), float(tags["metric_std"])
    if len(json.loads(tags["metric_by_seed"])) == 1:
        return decimal(mean)
    return f"{decimal(mean)} ± {decimal(deviation, beside=mean)}"
