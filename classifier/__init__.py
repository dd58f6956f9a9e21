"""What happened -> what it means, who must act, and why. Pure: the standard library and nothing of ours."""
