"""Things to run and job files to copy."""
