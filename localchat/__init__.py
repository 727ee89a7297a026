"""An offline chat assistant: one engine on this machine, reached from a terminal or a script."""

__version__ = "0.1.0"
