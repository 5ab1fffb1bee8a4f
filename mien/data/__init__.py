"""Files become rows: tables of faces, their readers, label rules and splits."""
