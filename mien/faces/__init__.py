"""Photos become faces: where they are, how they are cut out, and tables of what was cut."""
