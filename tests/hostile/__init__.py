"""Hostile inputs on every surface: the library, the commands, the server and edgeproof-run."""
