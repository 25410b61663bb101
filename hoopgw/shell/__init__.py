"""What a shell command does, as far as its text tells: for SSH's ``exec`` and Kubernetes' pods."""
