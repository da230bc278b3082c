"""Images from class names: prompts, engines that show them, and which images stay."""
