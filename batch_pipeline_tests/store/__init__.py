"""What the store promises: whole files, and a ledger that two processes can trust."""
