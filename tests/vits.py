"""The smallest classifier of transformers, with its processor."""

from __future__ import annotations

from typing import Any

__all__ = ["tiny_vit"]


def tiny_vit(transformers: Any) -> tuple[Any, Any]:
    """Return a ViT of the classes cat and dog at 32 px with random weights, and its image processor."""
    config = transformers.ViTConfig(
        hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=64, image_size=32, patch_size=8,
        id2label={0: "cat", 1: "dog"}, label2id={"cat": 0, "dog": 1},
    )  # fmt: skip
    processor = transformers.ViTImageProcessor(size={"height": 32, "width": 32})
    return transformers.ViTForImageClassification(config), processor
