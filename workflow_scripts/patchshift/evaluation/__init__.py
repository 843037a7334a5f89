"""What a detector's scores are worth: metrics, thresholds, decisions and their intervals."""
