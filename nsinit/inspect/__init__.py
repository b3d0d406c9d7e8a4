"""What /proc and the namespace ioctls tell about a running machine. Changes nothing."""
