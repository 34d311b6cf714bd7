"""The bundle: manifest, reader, golden cases, records of compiled engines, and the artifact that an engine loads."""
