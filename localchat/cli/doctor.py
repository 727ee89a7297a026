"""`localchat doctor`: what this machine has, what of it is used, and how to use the rest."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from dataclasses import asdict, fields
from typing import Any

import click

from localchat import __version__, config, fit, hardware, paths, room
from localchat.cli import output
from localchat.config import Settings
from localchat.errors import LocalchatError
from localchat.paths import Paths
from localchat.session.loading import load_options

_PATIENCE = 60  # seconds; a GPU's driver may take its time to start


@click.command("doctor")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON object.")
@click.pass_context
def command(ctx: click.Context, as_json: bool) -> None:
    """Check this machine: processor, GPUs, memory, models. Each finding comes with advice.

    Exit code 1 means that llama.cpp can't be loaded; anything else is advice.
    """
    places = paths.find()
    settings = config.load(places)
    build = _build()
    machine = hardware.find()
    unused = hardware.unused_gpus(machine, [d["backend"] for d in build.get("devices", [])])
    features = hardware.unused_features(machine, build.get("cpu_features", []))
    found = {
        "version": __version__,
        "python": sys.version.split()[0],
        "llama_cpp_python": hardware.binding_version(),
        "build": build,
        "cpu": machine.cpu,
        "processors": machine.processors,
        "unused_cpu_features": features if "error" not in build else [],
        "gpus": [asdict(gpu) for gpu in machine.gpus],
        "unused_gpus": [asdict(gpu) for gpu in unused],
        "threads": settings.threads or "auto",
        "memory": asdict(room.find()),
        "memory_limits": sorted(limit for limit in room.cgroup_limits() if limit < 2**60),
        "folders": {field.name: str(getattr(places, field.name)) for field in fields(places)},
        "models": _installed(places),
        "default_model": _default_model(settings, places, build),
        "advice": _advice(build, unused, features),
    }
    if as_json:
        output.json_line(found)
    else:
        _print(found)
    if "error" in build:
        ctx.exit(1)


def _build() -> dict[str, Any]:
    """What the installed llama.cpp says, or {"error": why it does not}.

    It is asked in a process of its own, which a broken library may end.
    """
    ask = [sys.executable, "-P", "-m", "localchat.llama.devices"]
    try:
        done = subprocess.run(
            ask, capture_output=True, text=True, errors="replace", timeout=_PATIENCE, check=False
        )
        found = json.loads(done.stdout)
        return found if isinstance(found, dict) else {"error": "it gave no answer"}
    except subprocess.TimeoutExpired:
        return {"error": f"it did not answer within {_PATIENCE} seconds"}
    except ValueError:
        last = done.stderr.strip().splitlines()[-1:] or ["it said nothing"]
        return {"error": f"loading it ended with {_end(done.returncode)}: {last[0]}"}


def _end(code: int) -> str:
    """SIGILL, above all: a build for other processors."""
    return signal.Signals(-code).name if code < 0 else f"code {code}"


def _installed(places: Paths) -> list[str]:
    from localchat.registry.catalogue.listing import listing

    return [row.name for row in listing(places) if row.installed]


def _default_model(settings: Settings, places: Paths, build: dict[str, Any]) -> dict[str, Any]:
    """Whether the default model can be used, with the memory it takes."""
    from localchat.registry.resolve import resolve

    found: dict[str, Any] = {"name": settings.model, "problem": None, "hint": None}
    try:
        model = resolve(settings.model, places)
        options = load_options(settings, places)
        needed = fit.footprint(model.path, options)
        free = room.find()
        on_gpus = sum(
            device["free"]
            for device in build.get("devices", [])
            if device["has_own_memory"] and options.gpu_layers
        )
        found["context"] = fit.context_length(needed, options, free.memory + on_gpus)
        found["memory"] = needed.estimate(found["context"]).total
        needed.check(found["context"], free.total + on_gpus, settings.model)
    except LocalchatError as error:
        found |= {"problem": str(error), "hint": error.hint}
    return found


def _advice(
    build: dict[str, Any], unused: list[hardware.Gpu], features: list[str]
) -> list[dict[str, str]]:
    """What is amiss, each with the command that mends it."""
    if "error" in build:
        return [
            {
                "finding": f"llama.cpp can't be loaded: {build['error'].removesuffix('.')}.",
                "command": hardware.rebuild_command([]),
            }
        ]
    advice = [
        {
            "finding": f"{gpu.name} is not used: this build of llama.cpp has no {gpu.backend}.",
            "command": hardware.rebuild_command([gpu.option]),
        }
        for gpu in unused
    ]
    if features:
        advice.append(
            {
                "finding": f"The processor has {', '.join(features)}, which this build of"
                " llama.cpp does not use.",
                "command": hardware.rebuild_command(["-DGGML_NATIVE=on"]),
            }
        )
    return advice


def _print(found: dict[str, Any]) -> None:
    build, memory, default = found["build"], found["memory"], found["default_model"]
    rows: list[tuple[str, str]] = [
        ("localchat", f"{found['version']}, Python {found['python']}"),
        ("llama.cpp", f"{build.get('version', '?')}, llama-cpp-python {found['llama_cpp_python']}"),
        ("processor", f"{found['cpu']}, {found['processors']} threads for this process"),
        ("used", " ".join(build.get("cpu_features", [])) or "?"),
        ("threads", str(found["threads"])),
    ]
    for device in build.get("devices", []):
        free = f"{device['free'] / 1e9:.1f} of {device['total'] / 1e9:.1f} GB free"
        rows.append(
            ("backend", f"{device['backend']}: {device['name']}, {device['description']}, {free}")
        )
    rows += [("GPU", gpu["name"]) for gpu in found["gpus"]] or [("GPU", "none found")]
    swap = f", and {memory['swap'] / 1e9:.1f} GB of swap" if memory["swap"] else ""
    rows.append(("memory", f"{memory['memory'] / 1e9:.1f} GB available{swap}"))
    rows += [
        ("limit", f"{limit / 1e9:.1f} GB left in this control group")
        for limit in found["memory_limits"]
    ]
    rows += [(name, folder) for name, folder in found["folders"].items()]
    rows.append(("models", ", ".join(found["models"]) or "none installed"))
    if default["problem"] is None:
        fits = f"fits: {default['memory'] / 1e6:,.0f} MB, {default['context']:,} tokens of context"
        rows.append(("default", f"{default['name']} {fits}"))
    width = max(len(name) for name, _ in rows)
    for name, text in rows:
        output.line(f"{name:{width}}  {text}")
    advice = list(found["advice"])
    if default["problem"] is not None:
        advice.append({"finding": default["problem"], "command": default["hint"]})
    for item in advice:
        output.line()
        output.line(item["finding"])
        output.line(f"  {item['command']}")
    if not advice:
        output.line()
        output.line("Everything this machine has is in use.")
