"""Run a module as `python -m MODULE WORDS` does: `python -m as_command MODULE WORDS`, in a fork of `warm`."""

import os
import runpy
import sys

from fibrolab.processes import PARENT

if __name__ == "__main__":
    del os.environ[PARENT]  # of a job, by which the commands that it starts would end
    del sys.argv[0]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
