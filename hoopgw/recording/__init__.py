"""Evidence: records written before an operation runs, kept in a tamper-evident log."""
