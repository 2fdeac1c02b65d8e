"""Programs in processes of their own that begin with the long imports done, forked from one server.

What is about a fresh interpreter, or about a variable that is read at an import, needs a process that is started.
"""

import multiprocessing
import os
import runpy
import subprocess
import sys
import tempfile
from pathlib import Path
from types import ModuleType
from unittest.mock import patch

TESTS = Path(__file__).parent
WAY = "forkserver" if "forkserver" in multiprocessing.get_all_start_methods() else "spawn"


class Program:
    """A program that has been started; ``finish`` waits for it."""

    def __init__(self, *arguments, env=None, cwd=None):
        context = _context()
        self.arguments = [str(each) for each in arguments]
        self.folder = tempfile.TemporaryDirectory()
        self.outputs = [str(Path(self.folder.name, name)) for name in ("stdout", "stderr")]
        place = (dict(os.environ if env is None else env), os.getcwd() if cwd is None else str(cwd))
        self.process = context.Process(target=_run, args=(self.arguments, self.outputs, *place))
        self.process.start()

    def finish(self, timeout=None):
        """What ``subprocess.run`` returns where it captures text."""
        self.process.join(timeout)
        ended = self.process.exitcode
        self.kill()
        out, errors = (Path(each).read_text() if Path(each).exists() else "" for each in self.outputs)
        self.folder.cleanup()
        if ended is None:
            raise subprocess.TimeoutExpired(self.arguments, timeout, out, errors)
        return subprocess.CompletedProcess(self.arguments, ended, out, errors)

    def kill(self):
        """Ends it if it still runs."""
        if self.process.is_alive():
            self.process.kill()
            self.process.join()


def run(*arguments, timeout=None, env=None, cwd=None):
    """Runs what stands after ``python`` on a command line, on one thread; returns what ``subprocess.run`` does."""
    return Program(*arguments, env=env, cwd=cwd).finish(timeout)


def run_together(commands, patience):
    """Runs programs that need each other; all must end well, and none outlives a failure."""
    started = [Program(*command) for command in commands]
    try:
        for program in started:
            done = program.finish(patience)
            assert done.returncode == 0, done.stderr
    finally:
        for program in started:
            program.kill()


def _context():
    context = multiprocessing.get_context(WAY)
    if WAY == "forkserver":
        from multiprocessing import forkserver

        context.set_forkserver_preload(["preloaded"])
        path = {"PYTHONPATH": os.pathsep.join([str(TESTS), *sys.path]), "OMP_NUM_THREADS": "1"}
        with patch.dict(os.environ, path):
            forkserver.ensure_running()
    return context


def _run(arguments, outputs, environment, folder):
    import torch

    for descriptor, path in enumerate(outputs, start=1):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND), descriptor)
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    torch.set_num_threads(1)
    sys.path[:] = [each for each in sys.path if TESTS not in (Path(each), *Path(each).parents)]
    _execute(*arguments)


def _execute(first, *rest):
    sys.argv = [first, *rest]
    sys.path.insert(0, os.getcwd() if first in ("-c", "-m") else os.path.dirname(first))
    if first == "-c":
        sys.argv = ["-c", *rest[1:]]
        main = sys.modules["__main__"] = ModuleType("__main__")
        exec(compile(rest[0], "<string>", "exec"), main.__dict__)
    elif first == "-m":
        sys.argv = list(rest)
        runpy.run_module(rest[0], run_name="__main__", alter_sys=True)
    else:
        runpy.run_path(first, run_name="__main__")
