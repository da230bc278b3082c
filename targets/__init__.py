"""What runs on the device: standard library, numpy and one runtime."""
