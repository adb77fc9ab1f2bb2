"""The providers' batch APIs on loopback; stands alone and imports nothing of ours."""
