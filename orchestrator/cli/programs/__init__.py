"""Commands for editors, programs and agents."""
