"""SQL of users as text: what is accepted, and expressions of columns. Nothing here reads a table."""
