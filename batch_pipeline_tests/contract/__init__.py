"""What every provider's codec and client must do alike: one Case each, the same tests for all."""
