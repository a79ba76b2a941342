"""Architectures as torch modules: tensors in, logits out; nothing but torch."""
