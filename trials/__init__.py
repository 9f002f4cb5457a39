"""What one trial is: its spec, what it costs, how it runs, what it leaves behind."""
