"""The command line: arguments in, one call, numbers out."""
