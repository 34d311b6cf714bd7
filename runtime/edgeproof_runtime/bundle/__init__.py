"""The bundle: manifest, reader, golden cases, compiled engines' records, and what an engine loads."""
