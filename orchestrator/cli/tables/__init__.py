"""Commands that read, compare and move the rows of stores."""
