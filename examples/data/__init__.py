"""The tickets that the example jobs read, and what makes them."""
