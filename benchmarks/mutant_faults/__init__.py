"""The faults that `mutants.py` plants, by subject."""

from mutant_faults import dynamics, files, hubs, memory
from mutant_faults.fault import Fault

FAULTS: tuple[Fault, ...] = (*dynamics.FAULTS, *memory.FAULTS, *files.FAULTS, *hubs.FAULTS)
