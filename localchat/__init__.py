"""An offline chat assistant: one engine on this machine, reached from a terminal or a script.

    import localchat

    print(localchat.ask("Why is the sky blue?"))

See `localchat.library`. It is imported when it is first used: commands do without.
"""

from typing import TYPE_CHECKING

__version__ = "0.1.0"
__all__ = ["Chat", "Reply", "__version__", "ask", "chat"]

if TYPE_CHECKING:
    from localchat.library import Chat, Reply, ask, chat
else:

    def __getattr__(name: str) -> object:
        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from localchat import library

        return getattr(library, name)
