"""What every other folder builds on: types, names, files, locks, the compiler and the machine."""
