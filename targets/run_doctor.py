"""`run.py doctor`: what this machine is and has, and what to run next."""

from __future__ import annotations

import argparse
import json
import platform

from . import cores, machine, power, probe, state, trtexec
from .manifest import read_manifest
from .names import CPU, TENSORRT
from .printable import say
from .run_options import bundle_of, identity_words


def doctor(options: argparse.Namespace) -> int:
    """What this machine is, which runtimes it has, and whether it is the board the bundle was built for."""
    facts = machine.read_facts()
    gpu = facts.gpus[0] if facts.gpus else None
    _say("machine", f"{machine.device_name(facts)}, {facts.machine}, {facts.memory_mb} MB memory")
    _say("python", f"{platform.python_version()}; a CPU session uses up to {_threads_words()}")
    if facts.gpus is None:
        _say("gpu", "the driver is there but refuses: check nvidia-smi, and that this user may use the GPU")
    else:
        words = f"{gpu.name}, compute capability {gpu.compute_capability}, {gpu.multiprocessors} SMs" if gpu else "none"
        _say("gpu", words)
    problems = probe.ask_all()
    for name, error in problems.items():
        _say(name, "usable" if error is None else f"not usable: {error.wrong}")
    if tool := trtexec.find():
        _say("trtexec", f"{tool}: compile takes it where TensorRT's Python module is missing")
    now = state.read_state(gpu=gpu, threads=cores.physical_cores())
    for key, value in now.items():
        _say(key.replace("_", " "), json.dumps(value))
    if rails := power.rails():
        made_of = power.counted(rails)
        told = f"energy from {' + '.join(made_of)}" if made_of else "no energy: which of these make up the module?"
        _say("power, W", f"{json.dumps(rails)}; {told}")
    watched = state.Course(now, (), now, gpu).watched()
    _say("throttling", f"told by {', '.join(watched)}" if watched else "unknown: nothing here would tell of it")
    folder = bundle_of(options)
    if not (folder / "manifest.json").is_file():
        _say("bundle", f"none in {folder}: name one with --bundle DIR")
        return 0
    manifest = read_manifest(folder)
    profile = manifest.profile
    identity = machine.identify(profile, facts=facts)
    _say("bundle", f"{len(manifest.labels)} classes, {', '.join(manifest.precisions)}; every hash is right")
    _say("profile", f"{profile['name']} ({profile['title']}): {identity_words(identity)}")
    working = [name for name in profile["runtime"]["prefer"] if name in problems and problems[name] is None]
    if not working:
        wanted = ", ".join(profile["runtime"]["prefer"])
        _say("next", f"install one of {wanted}, or name another: python run.py verify --runtime {CPU}")
    elif working[0] == TENSORRT:
        _say("next", "python run.py compile, then python run.py verify")
    else:
        _say("next", "python run.py verify")
    return 0


def _threads_words() -> str:
    """How many threads at most where none are fixed, and where they stay on a machine whose cores are not all alike."""
    threads = cores.physical_cores()
    where = cores.placement(threads)
    on = f" on its fast cores {', '.join(map(str, where))}" if where else ""
    return f"{threads} threads{on}"


def _say(what: str, found: str) -> None:
    say(f"{what:<20} {found}")
