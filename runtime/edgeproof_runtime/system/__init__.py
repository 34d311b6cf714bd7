"""The machine: host facts, host load, atomic file writes, redaction, NVIDIA's management library."""
