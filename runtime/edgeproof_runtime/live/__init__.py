"""Streams to predictions: pipeline, supervision, delivery, events, and what is collected on the way."""
