"""The steps that a user asks for, one file each: what it reads, what it writes, how it is resumed."""
