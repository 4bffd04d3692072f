"""Every decision about an invoice, pure: which records it covers, what it says, when it may be issued."""
