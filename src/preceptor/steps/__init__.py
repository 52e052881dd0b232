"""What each step of a run reads and writes: files in, one stage called, files out."""
