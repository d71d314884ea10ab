"""What tests need from a stack: real servers behind one fixture layer, in processes or in containers."""
