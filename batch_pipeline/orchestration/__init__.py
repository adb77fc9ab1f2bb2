"""The Dagster skin: arguments in, one call, numbers out."""
