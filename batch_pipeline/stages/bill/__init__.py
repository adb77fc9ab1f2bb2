"""What attempts cost, and the report that says so."""
