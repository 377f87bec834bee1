"""Files and who may write them: paths (every name and root), atomic writes, leases. Imports nothing of the project."""
