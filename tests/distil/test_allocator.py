"""Freed memory is kept where there is a glibc to keep it."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc returns memory so eagerly")
def test_a_freed_block_comes_back_without_new_page_faults() -> None:
    program = (
        "import resource, numpy as np\n"
        "from edgedistill.distil.allocator import keep_freed_memory\n"
        "assert keep_freed_memory()\n"
        "def faults(): return resource.getrusage(resource.RUSAGE_SELF).ru_minflt\n"
        "np.ones(64 << 20, np.uint8)\n"
        "before = faults()\n"
        "for _ in range(10): np.ones(64 << 20, np.uint8)\n"
        "print(faults() - before)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 10 * (64 << 20) // 4096 // 10  # a tenth of what touching new pages would take
