"""The machine: host facts, load, files written whole, secrets kept out of text, NVIDIA's management library."""
