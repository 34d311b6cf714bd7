"""From streams to predictions: pipeline, supervision, delivery, events, and collection of results."""
