"""Wire formats and SDK clients, one file per provider."""
