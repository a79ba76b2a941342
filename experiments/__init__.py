"""One file per architecture, from top to bottom: data, model, training, evaluation, pictures."""
