"""Optional fast paths. Without this folder everything still trains, only slower."""
