"""What finished runs amount to: tables over seeds, paired comparisons and figures, read from their folders."""
