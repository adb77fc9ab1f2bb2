"""How a job file is written: YAML with its lines, places of mistakes, times, files beside it."""
