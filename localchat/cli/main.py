"""The `localchat` command: finds the command, runs it, and turns errors into sentences."""

from __future__ import annotations

import contextlib
import os
import sys


def main() -> None:
    """Entry point. Ends the process with the documented exit code."""
    try:
        code = run(sys.argv[1:])
    except KeyboardInterrupt:  # while importing, before `run` could catch it
        code = 130
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError, AttributeError):  # closed, or never open
            stream.flush()
    # Taking the interpreter apart would only add 15 ms to every command.
    os._exit(code)


def run(arguments: list[str]) -> int:
    """Runs one command line and returns its exit code; a traceback appears only with --debug."""
    from localchat.cli import output

    output.prepare()
    try:
        import click

        from localchat.cli.commands import group
        from localchat.errors import LocalchatError

        try:
            # Not group.main: it would turn Ctrl-C and a closed pipe into errors of its own.
            with group.make_context("localchat", arguments) as context:
                group.invoke(context)
            output.finish()
            return 0
        except click.exceptions.Exit as stop:
            return stop.exit_code
        except click.exceptions.Abort as interruption:  # what click makes of Ctrl-C
            raise KeyboardInterrupt from interruption
        except click.UsageError as error:
            output.complain(error.format_message(), _help_command(error))
            return error.exit_code
        except click.ClickException as error:
            output.complain(error.format_message())
            return error.exit_code
        except LocalchatError as error:
            if "--debug" in arguments:
                raise
            output.complain(str(error), error.hint)
            return error.exit_code
    except (KeyboardInterrupt, EOFError):
        output.interrupted()
        return 130
    except BrokenPipeError:
        output.abandon()
        return 141
    except OSError as error:
        if "--debug" in arguments:
            raise
        output.complain(f"The system refused: {error}.", "localchat --debug …, for details")
        return 1


def _help_command(error: object) -> str:
    context = getattr(error, "ctx", None)
    return f"{context.command_path} --help" if context else "localchat --help"


if __name__ == "__main__":
    main()
