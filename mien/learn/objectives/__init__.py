"""The shelf of methods: one file each; the file's name is the name."""
