"""From results/<study>/ to analysis/records/, which is committed: rows added, or the study replaced as a whole."""
