"""Tests of the simulator, through the provider's own SDK wherever it can."""
