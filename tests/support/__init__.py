"""What the tests share: accounts to run as, runners, a terminal, waits without sleeps, and the check for leaks."""
