//! Choosing devices: weighted random order, and which devices are offered for a new file.
