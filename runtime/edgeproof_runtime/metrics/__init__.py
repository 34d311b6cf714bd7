"""Metrics and their intervals: accuracy, AUROC, multi-label metrics, parity, latency percentiles, gates."""
