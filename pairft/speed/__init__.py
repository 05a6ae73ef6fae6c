"""What makes training faster and changes nothing else: without this folder everything still trains, slower."""
