"""What every part rests on: configuration, run folders, clocks, whole files, progress, errors."""
