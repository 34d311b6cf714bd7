"""Callbacks that export when a training ends: `lightning` for Lightning, `transformers` for Hugging Face's Trainer."""
