"""Pure decisions over ledger rows: no clock, disk, network, environment or randomness."""
