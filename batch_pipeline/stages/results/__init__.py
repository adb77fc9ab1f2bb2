"""From raw result lines to outcomes, and from outcomes to one row per request."""
