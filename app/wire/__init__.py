"""What travels: frozen Structs without logic or I/O."""
