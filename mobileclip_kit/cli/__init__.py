"""The command line: one file a command; each parses its flags, calls one function and prints.

Commands are imported only when they are called, so that ``mckit --help`` needs neither torch nor faiss.
"""

from mobileclip_kit.cli.entry import main, mckit

__all__ = ["main", "mckit"]
