"""Where files, tables and the ledger live."""
