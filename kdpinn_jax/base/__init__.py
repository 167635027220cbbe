"""The foundation of all other folders: types, names, files, locks, the compiler and the machine."""
