"""What a recipe reaches in the limit: of many members, of large models, of both; and what that is worth in data.

Levels of each recipe with their errors, and their multiples of the standard one. Other questions about several recipes
are `recipes.study`.
"""
