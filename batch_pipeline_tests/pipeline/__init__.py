"""Tests of the shell: whole loops over the simulator, on a clock of their own."""
