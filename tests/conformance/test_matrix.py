"""README.md's table is what the tests say, no cell of it is empty, and its list names tests that are there."""

import re
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent


def test_the_table_is_whole_and_the_list_names_tests():
    done = subprocess.run([sys.executable, "-m", "pytest", HERE, "--collect-only", "-q", "--matrix", "-p", "no:cacheprovider"],
                          capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr
    table = [line for line in done.stdout.splitlines() if line.startswith("|")]
    assert len(table) == 16 and not any("missing" in line for line in table), "\n".join(table)
    readme = (HERE / "README.md").read_text()
    assert "\n".join(table) in readme, "\n".join(["README.md has another table than this one:", *table])
    there = {(Path(f).stem, t) for f, t in re.findall(r"^(\S+\.py)::(\w+)", done.stdout, re.M)}
    listed = [(module, test) for module, tests in re.findall(r"`(test_\w+)::([\w, ]+)`", readme) for test in tests.split(", ")]
    assert len(listed) > 60 and not [t for t in listed if t not in there], [t for t in listed if t not in there]
