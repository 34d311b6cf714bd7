"""Parsers of foreign files, tried in a child process first: native code may crash, hang or exhaust the memory."""
