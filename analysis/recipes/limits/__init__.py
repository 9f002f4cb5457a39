"""What a recipe reaches in the limit: of many members, of large models, of both; and what that is worth in data."""
