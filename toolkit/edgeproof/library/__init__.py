"""The functions under the command line: each takes plain arguments, returns a report and prints nothing.

`edgeproof` exports them by name. They live in this package because a module `edgeproof.verify` would hide the function
`edgeproof.verify`.
"""
