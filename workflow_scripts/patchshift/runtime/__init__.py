"""What every stage needs while it runs: threads, logging, atomic writes, digests."""
