"""The jobs of this code location, one folder each."""
