"""Coverage-guided fuzzing of the reader.

    pip install atheris
    mkdir found
    python tests/health/fuzz/fuzz_reader.py -max_total_time=600 found tests/health/fuzz/corpus

Everything after the file name goes to libFuzzer, which writes what it finds new into the first folder. The first byte
of an input says how the others are cut into pieces; they are what a broken node might write. The suite runs ``check``
over the corpus, so that what was found once stays found.
"""

import sys

import atheris

with atheris.instrument_imports(include=["swarm_health"]):
    from fuzz_check import check

if __name__ == "__main__":
    atheris.Setup(sys.argv, check)
    atheris.Fuzz()
