"""What one trial is, what it costs, how it runs, and the files it leaves. No Ray; nothing of the other packages."""
